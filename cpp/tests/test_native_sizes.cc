// Models with open sizes in many threads.

#include <thread>

#include "engines/native/forms.h"
#include "native_support.h"
#include "notation.h"

namespace lenet::tests {
namespace {

constexpr int kThreads = 8;

/// \param work takes the number of the thread
template <typename Work>
void run_threads(const Work& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

std::shared_ptr<native::Compiled> compiled_of(std::size_t outputs) {
  auto compiled = std::make_shared<native::Compiled>();
  compiled->outputs.resize(outputs);
  return compiled;
}

TEST_CASE("threads that want the same new size compile it once") {
  constexpr int kSizes = 20;
  std::atomic<int> count{0};
  const auto compile = [&](const Shape& sizes) {
    ++count;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (sizes[1] == kSizes) throw Error(ErrorCode::BadInput, "too large");
    return compiled_of(sizes[1] > kSizes ? 2 : 1);
  };
  native::Forms forms(compile, kSizes, *compiled_of(1), {-1, 1});
  std::vector<std::vector<const native::Compiled*>> found(kThreads);
  run_threads([&](int thread) {
    for (int size = 0; size < kSizes; ++size) {
      found[static_cast<std::size_t>(thread)].push_back(forms.of({thread + 1, size}).get());
    }
  });
  CHECK(count == kSizes);
  for (const auto& each : found) CHECK(each == found[0]);
  // What cannot be compiled is not kept.
  CHECK_ERROR(Unsupported, "max_sizes=20", forms.of({1, kSizes}));
  native::Forms others(compile, 1, *compiled_of(1), {-1, 1});
  CHECK_ERROR(BadInput, "too large", others.of({1, kSizes}));
  CHECK_ERROR(Unsupported, "gives other outputs for [1, 21] than for [N, 1]",
              others.of({1, kSizes + 1}));
  CHECK(others.of({1, 0}) != nullptr);
}

/// The mean of what a convolution of 3 x 3 ones, with zeros around the image, and a relu give.
std::vector<double> mean_of_sums(const std::vector<float>& image, std::int64_t height,
                                 std::int64_t width) {
  double total = 0;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      double sum = 0;
      for (std::int64_t i = std::max<std::int64_t>(y - 1, 0); i < std::min(y + 2, height); ++i) {
        for (std::int64_t j = std::max<std::int64_t>(x - 1, 0); j < std::min(x + 2, width); ++j) {
          sum += static_cast<double>(image[static_cast<std::size_t>(i * width + j)]);
        }
      }
      total += std::max(sum, 0.0);
    }
  }
  const double mean = total / static_cast<double>(height * width);
  return {mean, 2 * mean};
}

TEST_CASE("images without pixels are refused") {
  const TemporaryFolder folder;
  Predictor predictor(write_onnx(
      folder, onnx_graph("GlobalAveragePool x -> y", "", "x[-1,1,-1,-1] -> y[-1,1,1,1]")));
  const std::vector<float> values(4, 1);
  CHECK(predictor.run({values.data(), {1, 1, 2, 2}}).data == std::vector<float>{1});
  for (const Shape& shape : {Shape{1, 1, 0, 4}, Shape{1, 1, 4, 0}}) {
    CHECK_ERROR(BadInput, "the model expects", predictor.run({values.data(), shape}));
  }
}

TEST_CASE("a thousand requests of fifty sizes in eight threads are right") {
  constexpr std::size_t kSizes = 50;
  constexpr int kRequests = 125;  // of a thread
  const TemporaryFolder folder;
  const std::string weights = "w[2,1,3,3]=1,1,1,1,1,1,1,1,1,2,2,2,2,2,2,2,2,2";
  const Predictor predictor(write_onnx(
      folder, onnx_graph("Conv x w -> c | pads=[1,1,1,1]; Relu c -> r; GlobalAveragePool r -> y",
                         weights, "x[-1,1,-1,-1] -> y[-1,2,1,1]")));
  Random random(7);
  struct Case {
    Tensor image;
    std::vector<double> expected;
  };
  std::vector<Case> cases;
  for (std::size_t i = 0; i < kSizes; ++i) {
    const std::int64_t height = random.from(1, 40);
    const std::int64_t width = random.from(1, 40);
    const std::vector<float> values = random.values(height * width);
    cases.push_back({{values, {1, 1, height, width}}, mean_of_sums(values, height, width)});
  }
  std::atomic<int> wrong{0};
  std::atomic<std::size_t> most{0};
  run_threads([&](int thread) {
    Predictor clone = predictor.clone();
    Random own(static_cast<unsigned>(thread));
    for (int request = 0; request < kRequests; ++request) {
      const Case& one = cases[static_cast<std::size_t>(own.from(0, kSizes - 1))];
      const Tensor found = clone.run(one.image.view());
      for (std::size_t i = 0; i < 2; ++i) {
        const double expected = one.expected[i];
        const double distance = std::abs(static_cast<double>(found.data.at(i)) - expected);
        wrong += distance > 1e-5 * std::max(1.0, std::abs(expected)) ? 1 : 0;
      }
      most = std::max(most.load(), predictor.compiled_sizes().sizes.size());
    }
  });
  CHECK(wrong == 0);
  CHECK(most == 8);
}

}  // namespace
}  // namespace lenet::tests
