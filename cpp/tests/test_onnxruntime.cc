#include <atomic>
#include <cmath>
#include <optional>
#include <thread>

#include "lenet/predictor.h"
#include "lenet/predictor_pool.h"
#include "lenet/version.h"
#include "model/sha256.h"
#include "onnx_builder.h"
#include "support.h"

namespace lenet::tests {
namespace {

/// Whether this build has the engine and this machine its library. The Python tests, which have the
/// package onnxruntime, do not ask.
bool available() {
  try {
    return !onnxruntime_version().empty();
  } catch (const Error& error) {
    MESSAGE("not tested: " << error.what());
    CHECK(error.code() == ErrorCode::Unsupported);
    return false;
  }
}

const Names kWeights = {onnx_tensor("w", {2, 3}, {1, 2, 3, 10, 20, 30}),
                        onnx_tensor("b", {3}, {0.5F, 0, -0.5F})};

/// y = x w + b, of which the values below are computed by hand.
std::string linear(std::int64_t batch = -1) {
  return onnx_model(
      onnx_graph({onnx_node("MatMul", {"x", "w"}, {"a"}), onnx_node("Add", {"a", "b"}, {"y"})},
                 kWeights, {onnx_value("x", {batch, 2})}, {onnx_value("y", {batch, 3})}));
}

const Tensor kImages{{1, 0, 0, 1, 2, 0, 1, 1}, {4, 2}};
const std::vector<float> kExpected = {1.5F, 2, 2.5F, 10.5F, 20, 29.5F,
                                      2.5F, 4, 5.5F, 11.5F, 22, 32.5F};

class Model {
 public:
  explicit Model(const std::string& bytes) {
    config.model_file = write_file(folder / "model.onnx", bytes);
    config.engine = "onnxruntime";
  }
  TemporaryFolder folder;
  Config config;
};

}  // namespace

TEST_CASE("an .onnx runs on onnxruntime") {
  if (!available()) return;
  Model model(linear());
  for (const char* engine : {"auto", "onnxruntime"}) {
    model.config.engine = engine;
    for (const bool optim : {false, true}) {
      model.config.ir_optim = model.config.memory_optim = optim;
      for (const int threads : {1, 3}) {
        model.config.threads = threads;
        Predictor predictor(model.config);
        CHECK(predictor.config().engine == "onnxruntime");
        CHECK(predictor.config().params_file.empty());
        CHECK(predictor.accelerator(7) == Accelerator::Plain);
        CHECK_FALSE(predictor.quantized());
        CHECK(predictor.input_spec().name == "x");
        CHECK(predictor.input_spec().shape == Shape{-1, 2});
        CHECK(predictor.input_spec().dtype == "float32");
        CHECK(predictor.output_spec().name == "y");
        CHECK(predictor.output_spec().shape == Shape{-1, 3});
        const Tensor output = predictor.run(kImages.view());
        CHECK(output.shape == Shape{4, 3});
        CHECK(output.data == kExpected);
        CHECK(predictor.run({nullptr, {0, 2}}).shape == Shape{0, 3});
      }
    }
  }
  model.config.max_batch_size = 3;
  CHECK(Predictor(model.config).run(kImages.view()).data == kExpected);
}

TEST_CASE("a model for a fixed number of images runs in pieces of that many") {
  if (!available()) return;
  for (const std::int64_t fixed : {1, 2}) {
    Model model(linear(fixed));
    model.config.max_batch_size = 3;  // which it cannot be
    Predictor predictor(model.config);
    CHECK(predictor.input_spec().shape == Shape{fixed, 2});
    CHECK(predictor.run(kImages.view()).data == kExpected);
    CHECK(predictor.run({nullptr, {0, 2}}).shape == Shape{0, 3});
    CHECK(predictor.clone().run(kImages.view()).data == kExpected);
  }
  Model model(linear(3));
  Predictor predictor(model.config);
  check_error(ErrorCode::BadInput, "[3, 2], or a multiple of 3 images",
              [&] { predictor.run(kImages.view()); });
  check_error(ErrorCode::BadInput, "expects [3, 2]",
              [&] { predictor.run({kImages.data.data(), {3, 1}}); });
}

TEST_CASE("inputs that do not fit are refused, and the predictor works on") {
  if (!available()) return;
  Model model(linear());
  Predictor predictor(model.config);
  for (const Shape& shape : {Shape{}, Shape{2}, Shape{1, 3}, Shape{1, 2, 1}, Shape{-1, 2}}) {
    check_error(ErrorCode::BadInput, "the model expects [N, 2]",
                [&] { predictor.run({kImages.data.data(), shape}); });
  }
  const Tensor bad{{1, NAN}, {1, 2}};
  check_error(ErrorCode::BadInput, "NaN", [&] { predictor.run(bad.view()); });
  CHECK(predictor.run(kImages.view()).data == kExpected);
  model.config.check_finite = false;
  CHECK(std::isnan(Predictor(model.config).run(bad.view()).data[0]));
}

TEST_CASE("clones share one session, in any number of threads") {
  if (!available()) return;
  Model model(linear());
  auto origin = std::make_optional<Predictor>(model.config);
  Predictor clone = origin->clone();
  CHECK(origin->run(kImages.view()).data == kExpected);
  origin.reset();
  CHECK(clone.run(kImages.view()).data == kExpected);

  for (const int threads : {1, 2}) {
    model.config.threads = threads;
    PredictorPool pool(model.config, 3);
    std::atomic<int> wrong{0};
    in_threads(4, [&](std::size_t) {
      for (int turn = 0; turn < 50; ++turn) wrong += pool.run(kImages.view()).data != kExpected;
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("each engine has its formats, and says how to come by them") {
  Model model(linear());
  model.config.engine = "paddle";
  check_error(ErrorCode::Unsupported, "lenet-cpp import", [&] { Predictor{model.config}; });
  Config paddle = bundled("onnxruntime");
  check_error(ErrorCode::Unsupported, "lenet-cpp export-onnx", [&] { Predictor{paddle}; });
  paddle.engine = "auto";
  CHECK(Predictor(paddle).config().engine == "native");
  paddle.engine = "abacus";
  check_error(ErrorCode::Unsupported, "auto, native, onnxruntime, paddle",
              [&] { Predictor{paddle}; });
}

TEST_CASE("options that onnxruntime has not") {
  if (!available()) return;
  Model model(linear());
  for (const char* precision : {"bf16", "int8", "int4"}) {
    model.config.precision = precision;
    check_error(ErrorCode::Unsupported, precision, [&] { Predictor{model.config}; });
  }
  model.config.precision = "fp32";
  for (const auto accelerator : {Accelerator::OneDnn, Accelerator::OpenVino}) {
    model.config.accelerator = accelerator;
    check_error(ErrorCode::Unsupported, to_string(accelerator), [&] { Predictor{model.config}; });
  }
  model.config.accelerator = Accelerator::Plain;
  Predictor predictor(model.config);
  check_error(ErrorCode::Unsupported, "lenet-cpp import", [&] {
    predictor.set_layer_callback([](const std::string&, const std::string&, const TensorView&) {});
  });
  CHECK(predictor.run(kImages.view()).data == kExpected);
}

TEST_CASE("models that onnxruntime cannot run") {  // test_onnxruntime_engine.py has more
  if (!available()) return;
  const Names input = {onnx_value("x", {-1, 2})};
  const Names output = {onnx_value("y", {-1, 2})};
  const auto model_of = [&](const std::string& node, const Names& tensors = {}) {
    return onnx_model(onnx_graph({node}, tensors, input, output));
  };
  const struct {
    std::string bytes;
    ErrorCode code;
    const char* text;
  } cases[] = {
      {linear().substr(0, 60), ErrorCode::BadModel, "cut short"},
      {model_of(onnx_node("MatMul", {"x", "w"}, {"y"}),
                {onnx_tensor("w", {3, 2}, {1, 2, 3, 4, 5, 6})}),
       ErrorCode::BadModel, "Incompatible dimensions"},
      {model_of(onnx_node("Abacus", {"x"}, {"y"})), ErrorCode::Unsupported, "Abacus"},
      {onnx_model(onnx_graph({onnx_node("Add", {"x", "z"}, {"y"})}, {},
                             {input[0], onnx_value("z", {-1, 2})}, output)),
       ErrorCode::Unsupported, "2 inputs and 1 outputs"},
  };
  for (const auto& one : cases) {
    const Model model(one.bytes);
    check_error(one.code, one.text, [&] { Predictor{model.config}; });
    check_error(one.code, "model.onnx", [&] { Predictor{model.config}; });
  }
  Config missing;
  missing.model_file = "/none/such.onnx";
  check_error(ErrorCode::FileNotFound, "such.onnx", [&] { Predictor{missing}; });
}

TEST_CASE("an .onnx and its external data are read once and compared with SHA256SUMS") {
  if (!available()) return;
  Model model(onnx_model(onnx_graph(
      {onnx_node("Conv", {"x", "w"}, {"a"}), onnx_node("Flatten", {"a"}, {"y"})},
      {onnx_external_tensor("w", {3, 2, 1, 1}, {{"location", "w.bin"}, {"length", "24"}})},
      {onnx_value("x", {-1, 2, 1, 1})}, {onnx_value("y", {-1, 3})})));
  std::string values;
  for (const float value : {1.0F, 10.0F, 2.0F, 20.0F, 3.0F, 30.0F}) values += bytes_of(value);
  const std::string sum = sha256_hex(values) + "  w.bin\n";
  for (const std::string engine : {"onnxruntime", "native"}) {
    write_file(model.folder / "w.bin", values);
    write_file(model.folder / "SHA256SUMS", sum);
    model.config.engine = engine;
    const Opens opens(model.folder.path());
    Predictor predictor(model.config);
    const auto counts = opens.counts();
    CHECK(counts.at("model.onnx") == 1);
    // Besides, it is opened to see whether it is a file.
    CHECK(counts.at("w.bin") == (engine == "native" ? 3 : 2));
    const Tensor output = predictor.run({kImages.data.data(), {4, 2, 1, 1}});
    CHECK(output.data == std::vector<float>{1, 2, 3, 10, 20, 30, 2, 4, 6, 11, 22, 33});
    std::string changed = values;
    changed[3] = 'x';
    write_file(model.folder / "w.bin", changed);
    check_error(ErrorCode::BadModel, "w.bin' has SHA-256", [&] { Predictor{model.config}; });
    model.config.check_hashes = false;
    CHECK_NOTHROW(Predictor{model.config});
    model.config.check_hashes = true;
    write_file(model.folder / "SHA256SUMS", std::string(64, '0') + "  model.onnx\n");
    check_error(ErrorCode::BadModel, "model.onnx' has SHA-256", [&] { Predictor{model.config}; });
  }
}

}  // namespace lenet::tests
