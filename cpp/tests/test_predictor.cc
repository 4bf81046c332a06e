#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <thread>

#include "lenet/predictor.h"
#include "lenet/predictor_pool.h"
#include "lenet/version.h"
#include "program_builder.h"
#include "shared_predictor.h"
#include "support.h"

namespace lenet::tests {
namespace {

Config config_of(const std::string& file = "lenet.pdmodel",
                 Accelerator accelerator = Accelerator::Plain) {
  Config config;
  config.model_file = kModelDir + "/" + file;
  config.engine = "paddle";
  config.accelerator = accelerator;
  return config;
}

struct Way {
  const char* file;
  Accelerator accelerator;
};

const Way kWays[] = {
    {"lenet.pdmodel", Accelerator::Plain},    {"lenet.pdmodel", Accelerator::OneDnn},
    {"lenet.pdmodel", Accelerator::OpenVino}, {"lenet.json", Accelerator::Plain},
    {"lenet.json", Accelerator::OneDnn},
};

/// The tolerance between two ways of computing (design, section 7).
void check_close(const Tensor& a, const Tensor& b) {
  CHECK(a.shape == b.shape);
  REQUIRE(a.data.size() == b.data.size());
  const std::size_t row = a.data.size() / static_cast<std::size_t>(a.shape[0]);
  for (std::size_t begin = 0; begin < a.data.size(); begin += row) {
    float scale = 1;
    float worst = 0;
    for (std::size_t i = begin; i < begin + row; ++i) {
      scale = std::max(scale, std::fabs(a.data[i]));
      worst = std::max(worst, std::fabs(a.data[i] - b.data[i]));
    }
    CHECK(worst <= 1e-5F * scale);
  }
}

TensorView image(const Tensor& images, std::int64_t index) {
  return {images.data.data() + index * 784, {1, 1, 28, 28}};
}

}  // namespace

TEST_CASE("all formats and accelerators say the same, image by image or together") {
  const Tensor images = random_images(7);
  const Tensor reference = Predictor(config_of()).run(images.view());
  CHECK(reference.shape == Shape{7, 10});
  for (const Way& way : kWays) {
    const std::string where = std::string(way.file) + " " + to_string(way.accelerator);
    CAPTURE(where);
    Config config = config_of(way.file, way.accelerator);
    Predictor whole(config);
    CHECK(whole.config().accelerator == way.accelerator);
    CHECK(whole.input_spec().name == "x");
    CHECK(whole.input_spec().shape == Shape{-1, 1, 28, 28});
    CHECK(whole.input_spec().dtype == "float32");
    CHECK(whole.output_spec().shape == Shape{-1, 10});
    check_close(reference, whole.run(images.view()));
    config.max_batch_size = 3;
    check_close(reference, Predictor(config).run(images.view()));
    for (std::int64_t i = 0; i < 7; ++i) {
      const Tensor one = whole.run(image(images, i));
      const auto row = reference.data.begin() + i * 10;
      check_close({{row, row + 10}, {1, 10}}, one);
    }
  }
}

TEST_CASE("the engine auto is native, unless something is asked for that Paddle alone supports") {
  Config config = config_of("lenet.pdmodel", Accelerator::Auto);
  config.engine = "auto";
  Predictor predictor(config);
  CHECK(predictor.config().engine == "native");
  CHECK(predictor.clone().config().engine == "native");
  const Tensor images = random_images(3);
  check_close(Predictor(config_of()).run(images.view()), predictor.run(images.view()));
  int layers = 0;
  predictor.set_layer_callback(
      [&](const std::string&, const std::string&, const TensorView&) { ++layers; });
  CHECK(predictor.config().engine == "paddle");
  check_close(Predictor(config_of()).run(images.view()), predictor.run(images.view()));
  CHECK(layers > 0);

  const std::function<void(Config&)> asked[] = {
      [](Config& to) { to.accelerator = Accelerator::Plain; },
      [](Config& to) { to.accelerator = Accelerator::OneDnn; },
      [](Config& to) { to.ir_optim = false; },
      [](Config& to) { to.memory_optim = true; },
  };
  for (const auto& ask : asked) {
    Config with = config;
    ask(with);
    CHECK(Predictor(with).config().engine == "paddle");
  }
}

TEST_CASE("Auto chooses for each run") {
  const struct {
    const char* file;
    std::int64_t images;
    Accelerator chosen;
  } cases[] = {{"lenet.pdmodel", 1, Accelerator::OpenVino},
               {"lenet.pdmodel", 64, Accelerator::OpenVino},
               {"lenet.json", 1, Accelerator::Plain},
               {"lenet.json", 2, Accelerator::OneDnn}};
  for (const auto& one : cases) {
    CAPTURE(one.file);
    CAPTURE(one.images);
    const Tensor images = random_images(one.images);
    Predictor predictor(config_of(one.file, Accelerator::Auto));
    CHECK(predictor.config().accelerator == Accelerator::Auto);
    CHECK(predictor.accelerator(one.images) == one.chosen);
    const Tensor expected = Predictor(config_of(one.file, one.chosen)).run(images.view());
    CHECK(predictor.run(images.view()).data == expected.data);
    CHECK(predictor.clone().run(images.view()).data == expected.data);
  }
  CHECK_FALSE(paddle_version().empty());
}

TEST_CASE("a model that was replaced is not mixed with the one that was loaded") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  for (const char* name : {"lenet.pdmodel", "lenet.json", "lenet.pdiparams"}) {
    fs::copy_file(kModelDir + "/" + name, folder / name);
  }
  Config config;
  config.engine = "paddle";
  config.model_file = folder / "lenet.json";
  Predictor on_json(config);
  config.model_file = folder / "lenet.pdmodel";
  // As no other test: the predictors of those would be lent. On one thread, since ThreadSanitizer
  // does not see how OpenVINO's own threads take turns.
  config.memory_optim = true;
  const Predictor on_openvino(config);
  const Tensor images = random_images(2);
  const Tensor expected = on_json.run(images.view());
  // The same file, with other contents of the same size.
  write_file(folder / "lenet.pdiparams",
             std::string(fs::file_size(folder / "lenet.pdiparams"), '\0'));
  CHECK(on_json.clone().run(images.view()).data == expected.data);
  CHECK(on_json.run(random_images(1).view()).data.size() == 10);  // on another accelerator
  check_close(on_openvino.clone().run(images.view()), expected);
}

TEST_CASE("the files of a model are read once: what runs is what was checked") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  for (const char* name : {"lenet.pdmodel", "lenet.json", "lenet.pdiparams", "SHA256SUMS"}) {
    fs::copy_file(kModelDir + "/" + name, folder / name);
  }
  const TestProgram program{{-1, 2},
                            {-1, 2},
                            {tensor_variable("w", {2}, true), tensor_variable("a", {2}, true),
                             tensor_variable("xw", {-1, 2})},
                            {make_operator("elementwise_mul", {{"X", "x"}, {"Y", "w"}},
                                           {{"Out", "xw"}}, {int_attribute("axis", -1)}),
                             make_operator("elementwise_add", {{"X", "xw"}, {"Y", "a"}},
                                           {{"Out", "y"}}, {int_attribute("axis", -1)})}};
  write_file(folder / "__model__", program.bytes());
  write_file(folder / "w", parameter_record({2}, bytes_of(2.0F) + bytes_of(3.0F)));
  write_file(folder / "a", parameter_record({2}, bytes_of(10.0F) + bytes_of(20.0F)));
  using Counts = std::map<std::string, int>;
  const Opens opens(folder.path());
  const auto load = [&](const std::string& file, const std::string& engine,
                        Accelerator accelerator) {
    Config config;
    config.model_file = folder / file;
    config.engine = engine;
    config.accelerator = accelerator;
    config.threads = 5;  // as no other test: the predictors of those would be lent
    return Predictor(config);
  };
  for (const auto& [file, accelerator] : kWays) {
    const Predictor predictor = load(file, "paddle", accelerator);
    const Predictor clone = predictor.clone();
    CHECK(opens.counts() == Counts{{file, 1}, {"lenet.pdiparams", 1}, {"SHA256SUMS", 1}});
  }
  const Predictor native = load("lenet.json", "native", Accelerator::Auto);
  CHECK(opens.counts() == Counts{{"lenet.json", 1}, {"lenet.pdiparams", 1}, {"SHA256SUMS", 1}});
  Predictor separate = load("__model__", "paddle", Accelerator::Plain);
  const std::vector<float> x = {1, 1};
  for (int i = 0; i < 2; ++i) {
    CHECK(separate.run({x.data(), {1, 2}}).data == std::vector<float>{12, 23});
    separate = separate.clone();
  }
  CHECK(opens.counts() == Counts{{"__model__", 1}, {"w", 1}, {"a", 1}, {"SHA256SUMS", 1}});
}

TEST_CASE("an output of another shape than the model declares is an error") {
  const TemporaryFolder folder;
  const TestProgram program{{-1, 2},
                            {-1, 3},
                            {tensor_variable("w", {2}, true)},
                            {make_operator("elementwise_add", {{"X", "x"}, {"Y", "w"}},
                                           {{"Out", "y"}}, {int_attribute("axis", -1)})}};
  write_file(folder / "__model__", program.bytes());
  write_file(folder / "w", parameter_record({2}, bytes_of(2.0F) + bytes_of(3.0F)));
  Config config;
  config.model_dir = folder.path();
  config.engine = "paddle";
  config.accelerator = Accelerator::Plain;
  config.check_program = false;
  Predictor predictor(config);
  const std::vector<float> x = {1, 1};
  check_error(ErrorCode::BackendFailure, "has shape [1, 2]; the model declares [N, 3]",
              [&] { predictor.run({x.data(), {1, 2}}); });
}

TEST_CASE("inputs that do not fit are refused, and the predictor works on") {
  Predictor predictor(config_of());
  const Tensor images = random_images(2);
  const Tensor before = predictor.run(images.view());
  for (const Shape& shape :
       {Shape{}, Shape{784}, Shape{28, 28}, Shape{1, 28, 28}, Shape{1, 28, 28, 1},
        Shape{1, 3, 28, 28}, Shape{1, 1, 27, 28}, Shape{1, 1, 28, 28, 1}, Shape{-1, 1, 28, 28}}) {
    check_error(ErrorCode::BadInput, "the model expects [N, 1, 28, 28]",
                [&] { predictor.run({images.data.data(), shape}); });
  }
  check_error(ErrorCode::BadInput, "no data", [&] { predictor.run({nullptr, {1, 1, 28, 28}}); });
  CHECK(predictor.run(images.view()).data == before.data);
}

TEST_CASE("NaN and infinity are refused wherever they are, unless let through") {
  Config config = config_of();
  Predictor predictor(config);
  Tensor images = random_images(3);
  const float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float value : {nan, -nan, kInfinity, -kInfinity}) {
    for (const std::size_t at : {std::size_t{0}, images.data.size() / 2, images.data.size() - 1}) {
      Tensor bad = images;
      bad.data[at] = value;
      check_error(ErrorCode::BadInput, "NaN or infinity", [&] { predictor.run(bad.view()); });
    }
  }
  images.data[5] = nan;
  config.check_finite = false;
  CHECK(Predictor(config).run(images.view()).shape == Shape{3, 10});
}

TEST_CASE("the greatest finite values and denormals are values") {
  Predictor predictor(config_of());
  for (const float value : {1e30F, -1e30F, 1e-42F, std::numeric_limits<float>::denorm_min()}) {
    const Tensor images{std::vector<float>(784, value), {1, 1, 28, 28}};
    CHECK(predictor.run(images.view()).shape == Shape{1, 10});
  }
}

TEST_CASE("an output's memory is used again") {
  Predictor predictor(config_of());
  const Tensor images = random_images(4);
  Tensor output;
  predictor.run(images.view(), output);
  const float* const place = output.data.data();
  const Tensor expected = output;
  predictor.run(images.view(), output);
  CHECK(output.data.data() == place);
  CHECK(output.data == expected.data);
  predictor.run(image(images, 0), output);
  CHECK(output.shape == Shape{1, 10});
  CHECK(output.data.size() == 10);
}

TEST_CASE("switches do not change the answer") {
  // With a .json Paddle needs its new executor for this, and fails while loading without it.
  const Tensor images = random_images(3);
  for (const char* file : {"lenet.pdmodel", "lenet.json"}) {
    for (const Accelerator accelerator : {Accelerator::Plain, Accelerator::OneDnn}) {
      CAPTURE(file);
      Config config = config_of(file, accelerator);
      const Tensor expected = Predictor(config).run(images.view());
      config.memory_optim = true;
      CHECK(Predictor(config).run(images.view()).data == expected.data);
      config.ir_optim = config.memory_optim = false;
      check_close(expected, Predictor(config).run(images.view()));
    }
  }
}

TEST_CASE("a clone outlives its origin, and an origin its clones") {
  const Tensor images = random_images(3);
  for (const Way& way : kWays) {
    const std::string where = std::string(way.file) + " " + to_string(way.accelerator);
    CAPTURE(where);
    auto origin = std::make_optional<Predictor>(config_of(way.file, way.accelerator));
    const Tensor expected = origin->run(images.view());
    { Predictor unused = origin->clone(); }
    CHECK(origin->run(images.view()).data == expected.data);
    auto clone = std::make_optional<Predictor>(origin->clone());
    CHECK(clone->run(images.view()).data == expected.data);
    Predictor second = clone->clone();
    clone.reset();
    CHECK(origin->run(images.view()).data == expected.data);
    CHECK(second.run(images.view()).data == expected.data);
    origin.reset();
    CHECK(second.run(images.view()).data == expected.data);
    Predictor third = second.clone();
    CHECK(third.run(images.view()).data == expected.data);
    CHECK(third.config().model_file == kModelDir + "/" + way.file);
  }
}

TEST_CASE("a predictor can be moved") {
  const Tensor images = random_images(1);
  Predictor first(config_of());
  const Tensor expected = first.run(images.view());
  Predictor second(std::move(first));
  CHECK(second.run(images.view()).data == expected.data);
  first = std::move(second);
  CHECK(first.run(images.view()).data == expected.data);
}

TEST_CASE("a pool serves more threads than it has predictors") {
  const Tensor images = random_images(8);
  for (const Way& way :
       {Way{"lenet.pdmodel", Accelerator::Plain}, Way{"lenet.json", Accelerator::OneDnn}}) {
    PredictorPool pool(config_of(way.file, way.accelerator), 2);
    CHECK(pool.size() == 2);
    CHECK(pool.input_spec().name == "x");
    std::vector<Tensor> expected;
    for (std::int64_t i = 0; i < 8; ++i) expected.push_back(pool.run(image(images, i)));
    std::atomic<int> wrong{0};
    std::atomic<int> errors{0};
    in_threads(4, [&](std::size_t thread) {
      for (std::size_t turn = 0; turn < 20; ++turn) {
        const std::size_t i = (thread + turn) % 8;
        try {
          // An error gives its predictor back too.
          if (turn % 5 == 4) pool.run({images.data.data(), {28, 28}});
          wrong += pool.run(image(images, static_cast<std::int64_t>(i))).data != expected[i].data;
        } catch (const Error&) {
          ++errors;
        }
      }
    });
    CHECK(wrong == 0);
    CHECK(errors == 16);
  }
}

TEST_CASE("layers are recorded in one thread while others ask what runs") {  // ThreadSanitizer's
  Config config = config_of("lenet.pdmodel", Accelerator::Auto);
  config.engine = "auto";  // native, which gives way to Paddle for the layers
  const Tensor images = random_images(1);
  bindings::SharedPredictor predictor{Predictor(config)};
  std::atomic<bool> done{false};
  std::thread asking([&] {
    while (!done) {
      CHECK(predictor.accelerator(1) != Accelerator::Auto);
      CHECK(predictor.config().engine != "auto");
      std::this_thread::sleep_for(std::chrono::microseconds(100));  // a mutex need not be fair
    }
  });
  const auto layers = predictor.run_layers(image(images, 0));
  predictor.run_layers(image(images, 0));
  done = true;
  asking.join();
  CHECK_FALSE(layers.empty());
}

TEST_CASE("the layer callback sees every operator in order") {
  Config config = config_of();
  config.ir_optim = false;
  Predictor predictor(config);
  std::map<std::string, int> seen;
  std::vector<float> last;
  Shape last_shape;
  predictor.set_layer_callback(
      [&](const std::string& op_type, const std::string& name, const TensorView& values) {
        ++seen[op_type];
        CHECK_FALSE(name.empty());
        last_shape = values.shape;
        last.assign(values.data, values.data + element_count(values.shape));
      });
  const Tensor images = random_images(2);
  const Tensor output = predictor.run(images.view());
  CHECK(seen["conv2d"] == 2);
  CHECK(seen["pool2d"] == 2);
  CHECK(last_shape == Shape{2, 10});
  CHECK(last == output.data);
}

}  // namespace lenet::tests
