#include <array>
#include <cstdlib>
#include <new>

#include "notation.h"
#include "quantized_model.h"

namespace {
std::atomic<int> allocations{0};
std::atomic<std::size_t> allocated{0};  // bytes
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  allocated += size;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace lenet::tests {

TEST_CASE("a steady run allocates nothing for one of several outputs, else the outputs alone") {
  const TemporaryFolder folder;
  Predictor predictor(write_onnx(folder, onnx_graph("Conv x w -> y; GlobalMaxPool y -> z",
                                                    "w[1,1,1,1]=2", "x[-1,1,1,2] -> y z")));
  const Tensor images{{1, 2, 3, 4}, {2, 1, 1, 2}};
  const TensorView view = images.view();
  Tensor output;
  std::array<int, 3> counts{};
  for (int i = 0; i < 2; ++i) {
    counts[0] = allocations;
    predictor.run(view, output);
    counts[1] = allocations;
    predictor.run_outputs(view);
    counts[2] = allocations;
  }
  CHECK(counts[1] == counts[0]);
  CHECK(counts[2] == counts[1] + 1 + 2 + 2);  // their list, values and shapes
}

TEST_CASE("a steady run of the native engine allocates nothing") {
  const TemporaryFolder folder;
  const Tensor images = random_images(200);
  for (const std::string options : {"threads=1", "threads=2", "precision=int8"}) {
    const bool int8 = options == "precision=int8";
    Predictor predictor(int8 ? config_of(options + " engine=native", QuantizedModel().write(folder))
                             : bundled(options));
    for (const std::int64_t count : {1, 20, 200}) {
      CAPTURE(options);
      CAPTURE(count);
      TensorView view{images.data.data(), predictor.input_spec().shape};
      view.shape[0] = count;
      Tensor output;
      predictor.run(view, output);
      std::vector<float> memory(output.data.size());
      predictor.run(view, memory.data(), memory.size());
      const int before = allocations;
      predictor.run(view, output);
      predictor.run(view, memory.data(), memory.size());
      const int after = allocations;
      CHECK(after == before);
      CHECK(memory == output.data);
      std::vector<std::uint8_t> pixels(element_count(view.shape));
      std::vector<float> shares(pixels.size());
      for (std::size_t i = 0; i < pixels.size(); ++i) {
        pixels[i] = static_cast<std::uint8_t>(i * i / 7);
        shares[i] = static_cast<float>(pixels[i]) / 255.0F;
      }
      predictor.run({shares.data(), view.shape}, memory.data(), memory.size());
      const TensorView of_pixels{nullptr, view.shape, pixels.data()};
      predictor.run(of_pixels, output);
      const int before_pixels = allocations;
      predictor.run(of_pixels, output);
      const int after_pixels = allocations;
      CHECK(after_pixels == before_pixels);
      CHECK(output.data == memory);
    }
  }
}

// 6 kB when shapes were inferred once; 9 kB when passes copied it, and they were.
TEST_CASE("loading an operator allocates some 8 kB altogether") {
  const auto bytes_for = [](int operators) {
    std::string nodes;
    for (int i = 0; i < operators; ++i) {
      nodes += "Conv " + (i == 0 ? "x" : "v" + std::to_string(i)) + " w -> " +
               (i == operators - 1 ? "y" : "v" + std::to_string(i + 1)) + ";";
    }
    const TemporaryFolder folder;
    const Config config = write_onnx(folder, onnx_graph(nodes, "w[1,1,1,1]=2", "x[-1,1,1,2] -> y"));
    const std::size_t before = allocated;
    const Predictor predictor(config);
    return allocated - before;
  };
  constexpr int kOperators = 500;
  CHECK(bytes_for(2 * kOperators) - bytes_for(kOperators) < std::size_t{8500} * kOperators);
}

}  // namespace lenet::tests
