#include <chrono>
#include <limits>

#include "agreement.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor_pool.h"
#include "lenet/version.h"
#include "notation.h"
#include "self_check.h"
#include "shared_predictor.h"

namespace lenet::tests {
namespace {

struct Way {
  std::string file = "lenet.pdmodel";
  std::string accelerator = "plain";
  std::string options() const { return file + " engine=paddle accelerator=" + accelerator; }
};
const Way kWays[] = {{"lenet.pdmodel", "plain"},
                     {"lenet.pdmodel", "onednn"},
                     {"lenet.pdmodel", "openvino"},
                     {"lenet.json", "plain"},
                     {"lenet.json", "onednn"}};

Config on_paddle(const Way& way = {}) {
  return config_of("model_file=" + kModelDir + "/" + way.options());
}

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
  const Tensor reference = Predictor(on_paddle()).run(images.view());
  CHECK(reference.shape == Shape{7, 10});
  for (const Way& way : kWays) {
    CAPTURE(way.options());
    Config config = on_paddle(way);
    Predictor whole(config);
    CHECK(to_string(whole.config().accelerator) == way.accelerator);
    CHECK(whole.input_spec().name == "x");
    CHECK(whole.input_spec().shape == Shape{-1, 1, 28, 28});
    CHECK(whole.input_spec().dtype == "float32");
    CHECK(whole.output_spec().shape == Shape{-1, 10});
    const Tensor found = whole.run(images.view());
    check_close(reference, found);
    for (std::int64_t i = 0; i < 7; ++i) {
      const Tensor one = whole.run(image(images, i));
      const auto row = reference.data.begin() + i * 10;
      check_close({{row, row + 10}, {1, 10}}, one);
    }
    if (way.accelerator != "openvino") {
      // With a .json Paddle needs its new executor for this, and fails while loading without it.
      config.memory_optim = true;
      CHECK(Predictor(config).run(images.view()).data == found.data);
      config.ir_optim = config.memory_optim = false;
      check_close(reference, Predictor(config).run(images.view()));
    }
    config = config_of("max_batch_size=3", on_paddle(way));
    check_close(reference, Predictor(config).run(images.view()));
  }
}

TEST_CASE("the engine auto is native, unless something is asked for that Paddle alone supports") {
  Predictor predictor(bundled("engine=auto"));
  CHECK(predictor.config().engine == EngineKind::Native);
  CHECK(predictor.clone().config().engine == EngineKind::Native);
  const Tensor images = random_images(3);
  check_close(Predictor(on_paddle()).run(images.view()), predictor.run(images.view()));
  for (const std::string option :
       {"accelerator=plain", "accelerator=onednn", "ir_optim=false", "memory_optim=true"}) {
    CHECK(Predictor(bundled("engine=auto " + option)).config().engine == EngineKind::Paddle);
  }
  CHECK_ERROR(Unsupported, "lenet-cpp export-onnx", Predictor{bundled("engine=onnxruntime")});
}

/// How many files of models the process holds in memory.
std::ptrdiff_t held_files() {
  const fs::directory_iterator descriptors("/proc/self/fd");
  return std::count_if(begin(descriptors), end(descriptors), [](const auto& descriptor) {
    std::error_code closed;  // that of the folder itself
    return fs::read_symlink(descriptor, closed).string().find("memfd:lenet") != std::string::npos;
  });
}

TEST_CASE("a layer callback sees the values of the engine that runs the model") {
  const Tensor images = random_images(3);
  using Values = std::vector<std::pair<std::string, Tensor>>;
  const auto values_of = [&](Predictor& predictor) {
    Values values;
    predictor.set_layer_callback(
        [&](const std::string& type, const std::string&, const TensorView& value) {
          const float* const end = value.data + element_count(value.shape);
          values.push_back({type, Tensor{{value.data, end}, value.shape}});
        });
    const EngineKind engine = predictor.config().engine;
    const Tensor output = predictor.run(images.view());
    CHECK(predictor.config().engine == engine);
    const std::size_t shown = values.size();
    predictor.set_layer_callback({});
    CHECK(predictor.run(images.view()).data == output.data);
    CHECK(values.size() == shown);
    int seen = 0;
    predictor.set_layer_callback([&](auto&&...) { ++seen; });
    predictor.set_layer_callback([&](auto&&...) { --seen; });  // replaces the one before
    predictor.run(images.view());
    CHECK(seen == -static_cast<int>(shown));
    return values;
  };
  Predictor automatic(bundled("engine=auto"));
  Predictor paddle(
      config_of("model_file=" + kModelDir + "/" + Way{}.options() + " ir_optim=false"));
  const Values native_values = values_of(automatic);
  CHECK(automatic.config().engine == EngineKind::Native);
  const auto first_relu = [](const Values& values) {
    const auto found = std::find_if(values.begin(), values.end(), [](const auto& value) {
      return value.first.find("relu") != std::string::npos;
    });
    REQUIRE(found != values.end());
    return found->second;
  };
  check_close(first_relu(values_of(paddle)), first_relu(native_values));
}

TEST_CASE("the native engine reads the files again for a layer callback") {
  const ModelFolder folder;
  const std::string params = folder / "lenet.pdiparams";
  const std::string bytes = read_file(params);
  std::string others = bytes;
  others.back() ^= 1;  // a parameter that is as good
  const std::ptrdiff_t before = held_files();
  Predictor predictor(config_of("engine=auto model_file=" + (folder / "lenet.pdmodel")));
  CHECK(held_files() == before);
  const Tensor images = random_images(2);
  const Tensor expected = predictor.run(images.view());
  int layers = 0;
  const auto show = [&](auto&&...) { ++layers; };
  write_file(params, others);
  CHECK_ERROR(BadModel, "SHA256SUMS", predictor.set_layer_callback(show));
  fs::remove(params);
  CHECK_ERROR(FileNotFound, "lenet.pdiparams", predictor.clone().set_layer_callback(show));
  CHECK(predictor.run(images.view()).data == expected.data);
  CHECK(layers == 0);
  write_file(params, bytes);
  Predictor clone = predictor.clone();
  clone.set_layer_callback(show);
  CHECK(clone.run(images.view()).data == expected.data);
  CHECK(layers > 0);
  const std::string program = read_file(folder / "lenet.pdmodel");
  Predictor in_memory(config_of("engine=auto"), ModelBytes{program, bytes});
  CHECK(held_files() == before);
  CHECK_ERROR(Unsupported, "engine paddle", in_memory.set_layer_callback(show));
  CHECK(in_memory.run(images.view()).data == expected.data);
  Predictor paddle(config_of("engine=paddle"), ModelBytes{program, bytes});
  layers = 0;
  paddle.set_layer_callback(show);
  check_close(paddle.run(images.view()), expected);
  CHECK(layers > 0);
}

TEST_CASE("outputs agree within a share of the largest value of the image") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto share = [](const std::vector<float>& a, const std::vector<float>& b,
                        bool real = true) {
    const Shape shape = {2, static_cast<std::int64_t>(a.size() / 2)};
    return compare({a, shape}, {b, shape}, real, 1e-5).share;
  };
  CHECK(share({0, 1, 0, 0}, {0, 1, 0, 0}) == 0);
  CHECK(share({0, 1, 0, 0}, {9e-6F, 1, 0, 0}) < 1);
  CHECK(share({0, 1, 0, 0}, {1.1e-5F, 1, 0, 0}) > 1);
  CHECK(share({0, 100, 0, 0}, {0, 100.0009F, 0, 0}) < 1);
  CHECK(share({0, 100, 0, 0}, {0, 100, 2e-5F, 0}) > 1);  // the other image's values are small
  CHECK(share({nan, inf, 0, -inf}, {nan, inf, 0, -inf}) == 0);
  CHECK(share({nan, 0, 0, 0}, {0, 0, 0, 0}) == static_cast<double>(inf));
  CHECK(share({inf, 0, 0, 0}, {-inf, 0, 0, 0}) == static_cast<double>(inf));
  CHECK(share({0, 0, 0, 16777216}, {0, 0, 0, 16777215}, false) == static_cast<double>(inf));
  CHECK(compare({{1, 2}, {2}}, {{1, 2}, {1, 2}}, true, 1).share == static_cast<double>(inf));
}

TEST_CASE("a predictor compares itself with the plain program when it is loaded") {
  const Tensor images = random_images(2);
  for (const std::string options :
       {"engine=native", "engine=auto threads=2 time_limit_ms=10000", "engine=paddle"}) {
    CAPTURE(options);
    const Tensor expected = Predictor(bundled(options)).run(images.view());
    Predictor checked(bundled(options + " self_check=true"));
    CHECK(checked.config().self_check);
    CHECK(checked.clone().run(images.view()).data == expected.data);
    checked.set_layer_callback([](auto&&...) {});  // loads the model again, without the check
    CHECK(checked.run(images.view()).data == expected.data);
  }
}

TEST_CASE("a predictor that differs from the plain program is refused") {
  const ModelFolder folder;
  fs::remove(folder / "SHA256SUMS");
  const std::string program = read_file(folder / "lenet.pdmodel");
  std::string params = read_file(folder / "lenet.pdiparams");
  const std::string files = "model_file=" + (folder / "lenet.pdmodel");
  for (const std::string engine : {"native", "paddle"}) {
    CAPTURE(engine);
    Predictor on_files(config_of("engine=" + engine + " " + files));
    Predictor in_memory(config_of("engine=" + engine), ModelBytes{program, params});
    self_check(on_files, nullptr);
    const ModelBytes same{program, params};
    self_check(in_memory, &same);
    // Other parameters than the predictor runs stand for kernels that compute something else.
    // All weights of the last layer, as some of its inputs may be 0 for every image.
    std::string others = params;
    const std::string weights = bytes_of(std::vector<float>(84 * 10, 0.5F));
    others.replace(others.size() - weights.size(), weights.size(), weights);
    write_file(folder / "lenet.pdiparams", others);
    const std::string words = "the " + engine + " engine computes the output '";
    CHECK_ERROR(BackendFailure, words, self_check(on_files, nullptr));
    const ModelBytes changed{program, others};
    CHECK_ERROR(BackendFailure, "'model in memory': self_check: " + words,
                self_check(in_memory, &changed));
    write_file(folder / "lenet.pdiparams", params);
  }
}

TEST_CASE("a model that was replaced is not mixed with the one that was loaded") {
  const ModelFolder folder;
  fs::remove(folder / "SHA256SUMS");
  Predictor on_json(config_of("engine=paddle model_file=" + (folder / "lenet.json")));
  // memory_optim as in no other test: the predictors of those would be lent. On one thread, since
  // ThreadSanitizer does not see how OpenVINO's own threads take turns.
  const Predictor on_openvino(
      config_of("engine=paddle memory_optim=true model_file=" + (folder / "lenet.pdmodel")));
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
  const ModelFolder folder;
  write_file(folder / "__model__", program("x[-1,2] y[-1,2] w[2]* a[2]* xw[-1,2]:"
                                           "elementwise_mul x Y=w -> xw | axis=-1;"
                                           "elementwise_add xw Y=a -> y | axis=-1"));
  write_file(folder / "w", parameter_record({2}, bytes_of<float>({2, 3})));
  write_file(folder / "a", parameter_record({2}, bytes_of<float>({10, 20})));
  using Counts = std::map<std::string, int>;
  const Opens opens(folder.path());
  const auto load = [&](const std::string& options) {
    // As many threads as in no other test: the predictors of those would be lent.
    return Predictor(config_of("threads=5 model_file=" + (folder / options)));
  };
  for (const Way& way : kWays) {
    const Predictor predictor = load(way.options());
    const Predictor clone = predictor.clone();
    CHECK(opens.counts() == Counts{{way.file, 1}, {"lenet.pdiparams", 1}, {"SHA256SUMS", 1}});
  }
  const Predictor native = load("lenet.json engine=native");
  CHECK(opens.counts() == Counts{{"lenet.json", 1}, {"lenet.pdiparams", 1}, {"SHA256SUMS", 1}});
  Predictor separate = load("__model__ engine=paddle accelerator=plain");
  const std::vector<float> x = {1, 1};
  for (int i = 0; i < 2; ++i) {
    CHECK(separate.run({x.data(), {1, 2}}).data == std::vector<float>{12, 23});
    separate = separate.clone();
  }
  CHECK(opens.counts() == Counts{{"__model__", 1}, {"w", 1}, {"a", 1}, {"SHA256SUMS", 1}});
}

TEST_CASE("a model in memory gives what its files give, and needs them no longer") {
  const Tensor images = random_images(2);
  const TemporaryFolder folder;
  const Config onnx =
      write_onnx(folder, onnx_graph("Conv x w -> y", "w[2,1,1,1]=2,3", "x[-1,1,28,28] -> y"));
  const std::string params = kModelDir + "/lenet.pdiparams";
  for (const std::string& program :
       {kModelDir + "/lenet.pdmodel", kModelDir + "/lenet.json", onnx.model_file}) {
    for (const char* engine : {"native", "paddle"}) {
      if (program == onnx.model_file && engine == std::string("paddle")) continue;
      CAPTURE(program);
      CAPTURE(engine);
      const Config config = config_of(std::string("engine=") + engine);
      std::string bytes = read_file(program);
      std::string values = program == onnx.model_file ? "" : read_file(params);
      Predictor from_memory(config, {bytes, values});
      PredictorPool pool(config, {bytes, values}, 2);
      bytes.assign(bytes.size(), 'x');
      values.assign(values.size(), 'x');
      Predictor from_files(config_of("model_file=" + program, config));
      CHECK(from_memory.clone().run(images.view()).data == from_files.run(images.view()).data);
      CHECK(pool.run(images.view()).data == from_files.run(images.view()).data);
      CHECK(from_memory.config().model_file.empty());
    }
  }
  const std::string bytes = read_file(kModelDir + "/lenet.pdmodel");
  const auto refuse = [](ErrorCode code, const char* words, const char* config,
                         const ModelBytes& model) {
    check_error(code, words, [&] { Predictor(config_of(config), model); });
  };
  refuse(ErrorCode::BadInput, "needs its parameters", "", {bytes, ""});
  refuse(ErrorCode::BadInput, "leave params empty", "", {"\x08", "p"});
  refuse(ErrorCode::BadInput, "leave model_file", "model_file=m", {bytes, "p"});
  refuse(ErrorCode::BadModel, "'parameters in memory'", "", {bytes, "p"});
  refuse(ErrorCode::BadModel, "'program in memory'", "", {"", ""});
  const std::string outside =
      onnx_model(onnx_graph("Add x w -> y", "", "x[-1,1,4,4] -> y") +
                 delimited(5, onnx_external_tensor("w", {1}, {{"location", "w"}})));
  refuse(ErrorCode::BadModel, "file 'w', which was not given", "", {outside, ""});
  const float two = 2;
  const std::string_view values(reinterpret_cast<const char*>(&two), sizeof(two));
  const ModelBytes whole{outside, "", {{"w", values}, {"labels.txt", "a"}}};
  Predictor adds(config_of("engine=native"), whole);
  self_check(adds, &whole);
  const std::vector<float> ones(16, 1);
  CHECK(adds.clone().run({ones.data(), {1, 1, 4, 4}}).data == std::vector<float>(16, 3));
  refuse(ErrorCode::BadModel, "as many values as its shape says", "",
         {outside, "", {{"w", "abc"}}});
  for (const char* location : {"../w", "/w", "a/../../w", "*/w"}) {
    const std::string hostile =
        onnx_model(onnx_graph("Add x w -> y", "", "x[-1,1,4,4] -> y") +
                   delimited(5, onnx_external_tensor("w", {1}, {{"location", location}})));
    refuse(ErrorCode::BadModel, "no file of its folder", "", {hostile, "", {{location, values}}});
  }
}

TEST_CASE("an output of another shape than the model declares is an error") {
  const TemporaryFolder folder;
  write_file(folder / "__model__",
             program("x[-1,2] y[-1,3] w[2]*: elementwise_add x Y=w -> y | axis=-1"));
  write_file(folder / "w", parameter_record({2}, bytes_of<float>({2, 3})));
  Predictor predictor(
      config_of("engine=paddle accelerator=plain check_program=false model_dir=" + folder.path()));
  const std::vector<float> x = {1, 1};
  CHECK_ERROR(BackendFailure, "has shape [1, 2]; the model declares [N, 3]",
              predictor.run({x.data(), {1, 2}}));
}

TEST_CASE("inputs that do not fit are refused, and the predictor works on") {
  Config config = on_paddle();  // bad_input_cases.py has more
  Predictor predictor(config);
  Tensor images = random_images(3);
  const Tensor before = predictor.run(images.view());
  for (const Shape& shape : {Shape{}, Shape{1, 28, 28, 1}, Shape{-1, 1, 28, 28}}) {
    CHECK_ERROR(BadInput, "the model expects [N, 1, 28, 28]",
                predictor.run({images.data.data(), shape}));
  }
  CHECK_ERROR(BadInput, "no data", predictor.run({nullptr, {1, 1, 28, 28}}));
  for (const float value : {NAN, -NAN, INFINITY, -INFINITY}) {
    for (const std::size_t at : {std::size_t{0}, images.data.size() / 2, images.data.size() - 1}) {
      Tensor bad = images;
      bad.data[at] = value;
      CHECK_ERROR(BadInput, "NaN or infinity", predictor.run(bad.view()));
    }
  }
  CHECK(predictor.run(images.view()).data == before.data);
  images.data[5] = NAN;
  config.check_finite = false;
  CHECK(Predictor(config).run(images.view()).shape == Shape{3, 10});
}

TEST_CASE("pixels give the bits of their values") {
  const auto pipeline = ImagePipeline::parse(
      R"({"format_version": 1, "mode": "L", "steps": [{"type": "Normalize", "scale": 1,)"
      R"("mean": [100.3], "std": [57.7]}, {"type": "ToCHW"}]})");
  for (const std::string option : {"engine=native", "engine=paddle max_batch_size=9"}) {
    Predictor predictor(bundled(option));
    for (const std::int64_t count : {0, 1, 20, 100}) {
      Tensor values{{}, {count, 1, 28, 28}};
      std::vector<std::uint8_t> pixels;
      for (std::int64_t i = 0; i < count * 784; ++i) {
        pixels.push_back(static_cast<std::uint8_t>(i * i / 7));
        values.data.push_back((static_cast<float>(pixels.back()) - 100.3F) / 57.7F);
      }
      CAPTURE(option);
      CAPTURE(count);
      Tensor output = predictor.run(values.view());
      CHECK(predictor.run(pipeline.view(pixels.data(), {count, 28, 28, 1})).data == output.data);
    }
    CHECK_ERROR(BadInput, "pixels come as [N, height, width, channels], with the 1 channels",
                predictor.run(pipeline.view(nullptr, {1, 1, 28, 28})));
    CHECK_ERROR(BadInput, "no data", predictor.run(pipeline.view(nullptr, {1, 28, 28, 1})));
  }
}

TEST_CASE("an output goes into memory of the caller's") {
  const Tensor images = random_images(7);
  for (const std::string option : {"engine=native", "engine=paddle max_batch_size=3"}) {
    Predictor predictor(bundled(option));
    const Tensor expected = predictor.run(images.view());
    std::vector<float> memory(72, 5);
    predictor.run(images.view(), memory.data() + 1, 70);
    CHECK(std::vector<float>(memory.begin() + 1, memory.end() - 1) == expected.data);
    CHECK(memory.front() + memory.back() == 10);  // nothing beside it
    CHECK_ERROR(BadInput, "holds 71 values; that of 7 images has 70",
                predictor.run(images.view(), memory.data(), 71));
    CHECK_ERROR(BadInput, "no memory", predictor.run(images.view(), nullptr, 70));
    Tensor both = images;
    predictor.run(both.view(), both.data.data(), 70);  // which holds the input
    CHECK(std::vector<float>(both.data.begin(), both.data.begin() + 70) == expected.data);
  }
}

TEST_CASE("a clone outlives its origin, and an origin its clones") {
  const Tensor images = random_images(3);
  for (const Way& way : kWays) {
    CAPTURE(way.options());
    auto origin = std::make_optional<Predictor>(on_paddle(way));
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
    Predictor moved(std::move(third));
    CHECK(moved.run(images.view()).data == expected.data);
    second = std::move(moved);
    CHECK(second.run(images.view()).data == expected.data);
  }
}

TEST_CASE("a pool serves more threads than it has predictors") {
  const Tensor images = random_images(8);
  for (const Way& way : {kWays[0], kWays[4]}) {
    PredictorPool pool(on_paddle(way), 2);
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

TEST_CASE("a pool runs what was submitted in its own threads") {
  const Tensor images = random_images(40);
  auto pool = std::make_optional<PredictorPool>(bundled(), 3);
  const Tensor expected = pool->run(images.view());
  std::vector<float> memory(400);
  pool->run(images.view(), memory.data(), memory.size());
  CHECK(memory == expected.data);
  std::vector<std::future<Tensor>> outputs;
  for (std::int64_t i = 0; i < 40; ++i) {
    const auto pixels = images.data.begin() + i * 784;
    outputs.push_back(pool->submit({{pixels, pixels + 784}, {1, 1, 28, 28}}));
  }
  outputs.push_back(pool->submit({{}, {1, 28}}));
  std::optional<PredictorPool> moved(std::move(*pool));
  pool.reset();
  moved.reset();  // waits for all
  CHECK_ERROR(BadInput, "expects", outputs.back().get());
  for (std::size_t i = 0; i < 40; ++i) {
    CHECK(outputs[i].wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    const auto row = expected.data.begin() + static_cast<std::ptrdiff_t>(i) * 10;
    CHECK(outputs[i].get().data == std::vector<float>(row, row + 10));
  }
}

TEST_CASE("outputs of one run by their names") {
  const TemporaryFolder folder;
  TestProgram model(
      "x[-1,2] y[-1,2] z[-1,2] w[2]*: elementwise_mul x Y=w -> z | axis=-1;"
      "elementwise_add z Y=w -> y | axis=-1");
  model.operators.push_back(paddle_operator("fetch z -> fetch | col=1"));
  write_file(folder / "__model__", model.bytes());
  write_file(folder / "w", parameter_record({2}, bytes_of<float>({2, 3})));
  Config config = config_of("engine=paddle max_batch_size=2 model_dir=" + folder.path());
  Predictor predictor(config);
  REQUIRE(predictor.output_specs().size() == 2);
  CHECK(predictor.output_spec().name == predictor.output_specs()[0].name);
  const std::string z = predictor.output_specs()[1].name;
  const std::vector<float> x = {1, 1, 2, 2, 3, 3};
  const TensorView images{x.data(), {3, 2}};
  const std::vector<float> product = {2, 3, 4, 6, 6, 9};
  const std::vector<float> sum = {4, 6, 6, 9, 8, 12};
  CHECK(predictor.run(images).data == sum);
  const std::vector<Tensor> both = predictor.run_outputs(images);
  REQUIRE(both.size() == 2);
  CHECK(both[0].data == sum);
  CHECK(both[1].data == product);
  CHECK(both[1].shape == Shape{3, 2});
  CHECK(predictor.clone().run_outputs(images, {z})[0].data == product);
  CHECK(predictor.run_outputs({x.data(), {0, 2}})[1].shape == Shape{0, 2});
  CHECK_ERROR(BadInput, "named twice", predictor.run_outputs(images, {z, z}));
  CHECK_ERROR(Unsupported, "gives no output 'nothing'", predictor.run_outputs(images, {"nothing"}));
}

TEST_CASE("a run ends early when it is cancelled or out of time, and the next one does not") {
  const Tensor images = random_images(5000);
  for (const std::string option : {"threads=1", "threads=2"}) {
    Predictor predictor(bundled(option));
    const Tensor expected = predictor.run(images.view());
    std::atomic<bool> done{false};
    std::thread cancelling([&] {
      while (!done) predictor.cancel();
    });
    CHECK_ERROR(BackendFailure, "the run was cancelled", predictor.run(images.view()));
    done = true;
    cancelling.join();
    CHECK(predictor.run(images.view()).data == expected.data);
    CHECK_ERROR(BackendFailure, "longer than time_limit_ms, 1;",
                Predictor(bundled("time_limit_ms=1 " + option)).run(images.view()));
    CHECK(Predictor(bundled("time_limit_ms=600000")).run(images.view()).data == expected.data);
  }
  CHECK(Predictor(bundled("engine=auto time_limit_ms=1")).config().engine == EngineKind::Native);
  for (const std::string option : {"engine=paddle", "engine=auto accelerator=plain"}) {
    CHECK_ERROR(Unsupported, "time_limit_ms; use the native engine",
                Predictor{bundled(option + " time_limit_ms=1")});
    CHECK_ERROR(Unsupported, "cannot end a run early", Predictor(bundled(option)).cancel());
  }
}

TEST_CASE("layers are recorded in one thread while others ask what runs") {  // ThreadSanitizer's
  const Tensor images = random_images(1);
  // On native, which gives way to Paddle for the layers.
  bindings::SharedPredictor predictor{Predictor(bundled("engine=auto"))};
  std::atomic<bool> done{false};
  std::thread asking([&] {
    while (!done) {
      const auto [accelerator, engine] = predictor.in_turn(
          [](Predictor& own) { return std::pair(own.accelerator(), own.config().engine); });
      CHECK(accelerator != Accelerator::Auto);
      CHECK(engine != EngineKind::Auto);
      std::this_thread::sleep_for(std::chrono::microseconds(100));  // a mutex need not be fair
    }
  });
  const auto record = [&](Predictor& own) { return bindings::run_layers(own, image(images, 0)); };
  const auto layers = predictor.in_turn(record);
  predictor.in_turn(record);
  done = true;
  asking.join();
  CHECK_FALSE(layers.empty());
}

}  // namespace lenet::tests
