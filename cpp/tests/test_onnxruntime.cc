#include "lenet/engines.h"
#include "lenet/predictor_pool.h"
#include "model/hash_check.h"
#include "notation.h"

namespace lenet::tests {
namespace {

/// Whether this build has the engine and this machine its library. The Python tests, which have the
/// package onnxruntime, do not ask.
bool available() {
  try {
    return !engine_version(EngineKind::OnnxRuntime).empty();
  } catch (const Error& error) {
    MESSAGE("not tested: " << error.what());
    CHECK(error.code() == ErrorCode::Unsupported);
    return false;
  }
}

/// y = x w + b, of which the values below are computed by hand.
std::string linear(const std::string& batch = "-1") {
  return onnx_model(onnx_graph("MatMul x w -> a; Add a b -> y",
                               "w[2,3]=1,2,3,10,20,30 b[3]=0.5,0,-0.5",
                               "x[" + batch + ",2] -> y[" + batch + ",3]"));
}

const Tensor kImages{{1, 0, 0, 1, 2, 0, 1, 1}, {4, 2}};
const std::vector<float> kExpected = {1.5F, 2, 2.5F, 10.5F, 20, 29.5F,
                                      2.5F, 4, 5.5F, 11.5F, 22, 32.5F};

class Model {
 public:
  explicit Model(const std::string& bytes)
      : config(config_of("engine=onnxruntime model_file=" +
                         write_file(folder / "model.onnx", bytes))) {}
  TemporaryFolder folder;
  Config config;
};

}  // namespace

TEST_CASE("an .onnx runs on onnxruntime") {  // test_onnxruntime_engine.py has more
  if (!available()) return;
  const Model model(linear());
  for (const std::string optim : {"false", "true"}) {
    for (const std::string options : {"engine=auto threads=1", "threads=3", "max_batch_size=3"}) {
      Predictor predictor(
          config_of(options + " ir_optim=" + optim + " memory_optim=" + optim, model.config));
      CHECK(predictor.config().engine == EngineKind::OnnxRuntime);
      CHECK(predictor.input_spec().shape == Shape{-1, 2});
      CHECK(predictor.output_spec().name == "y");
      CHECK(predictor.run(kImages.view()).data == kExpected);
    }
  }
}

TEST_CASE("a model for a fixed number of images runs in pieces of that many") {
  if (!available()) return;
  for (const std::int64_t fixed : {1, 2}) {
    Model model(linear(std::to_string(fixed)));
    model.config.max_batch_size = 3;  // which it cannot be
    Predictor predictor(model.config);
    CHECK(predictor.input_spec().shape == Shape{fixed, 2});
    CHECK(predictor.run(kImages.view()).data == kExpected);
    CHECK(predictor.run({nullptr, {0, 2}}).shape == Shape{0, 3});
    CHECK(predictor.clone().run(kImages.view()).data == kExpected);
  }
  const Model model(linear("3"));
  Predictor predictor(model.config);
  CHECK_ERROR(BadInput, "[3, 2], or a multiple of 3 images", predictor.run(kImages.view()));
  CHECK_ERROR(BadInput, "expects [3, 2]", predictor.run({kImages.data.data(), {3, 1}}));
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

TEST_CASE("options that onnxruntime has not") {
  if (!available()) return;
  const Model model(linear());
  for (const std::string option :
       {"precision=bf16", "precision=int8", "precision=tf32", "accelerator=onednn",
        "accelerator=openvino", "accelerator=tensorrt"}) {
    CHECK_ERROR(Unsupported, option.substr(option.find('=') + 1),
                Predictor{config_of(option, model.config)});
  }
  Predictor predictor(config_of("accelerator=plain", model.config));
  CHECK_ERROR(Unsupported, "lenet-cpp import", predictor.set_layer_callback([](auto&&...) {}));
  CHECK(predictor.run(kImages.view()).data == kExpected);
}

TEST_CASE("models that onnxruntime cannot run") {  // test_onnxruntime_engine.py has more
  if (!available()) return;
  const auto load = [](const char* nodes, const char* tensors, const char* more = "") {
    const Model model(
        onnx_model(onnx_graph(nodes, tensors, std::string(more) + "x[-1,2] -> y[-1,2]")));
    Predictor{model.config};
  };
  CHECK_ERROR(BadModel, "Incompatible dimensions", load("MatMul x w -> y", "w[3,2]=1,2,3,4,5,6"));
  CHECK_ERROR(Unsupported, "Abacus", load("Abacus x -> y", ""));
  CHECK_ERROR(Unsupported, "has 2 inputs", load("Add x z -> y", "", "z[-1,2] "));
  CHECK_ERROR(FileNotFound, "such.onnx", Predictor{config_of("model_file=/none/such.onnx")});
}

TEST_CASE("an .onnx and its external data are read once and compared with SHA256SUMS") {
  if (!available()) return;
  const std::string tensor =
      onnx_external_tensor("w", {3, 2, 1, 1}, {{"location", "w.bin"}, {"length", "24"}});
  Model model(onnx_model(onnx_graph("Conv x w -> a; Flatten a -> y", "", "x[-1,2,1,1] -> y[-1,3]") +
                         delimited(5, tensor)));
  model.config.model_file.insert(0, "/.");  // other than the normal form of the same path
  const std::string values = bytes_of<float>({1, 10, 2, 20, 3, 30});
  const std::string sum = sha256_hex(values) + "  w.bin\n";
  for (const EngineKind engine : {EngineKind::OnnxRuntime, EngineKind::Native}) {
    write_file(model.folder / "w.bin", values);
    write_file(model.folder / "SHA256SUMS", sum);
    model.config.engine = engine;
    const Opens opens(model.folder.path());
    Predictor predictor(model.config);
    const auto counts = opens.counts();
    CHECK(counts.at("model.onnx") == 1);
    CHECK(counts.at("w.bin") == 1);
    const Tensor output = predictor.run({kImages.data.data(), {4, 2, 1, 1}});
    CHECK(output.data == std::vector<float>{1, 2, 3, 10, 20, 30, 2, 4, 6, 11, 22, 33});
    std::string changed = values;
    changed[3] = 'x';
    write_file(model.folder / "w.bin", changed);
    CHECK_ERROR(BadModel, "w.bin' has SHA-256", Predictor{model.config});
    model.config.check_hashes = false;
    CHECK_NOTHROW(Predictor{model.config});
    model.config.check_hashes = true;
    write_file(model.folder / "SHA256SUMS", std::string(64, '0') + "  model.onnx\n");
    CHECK_ERROR(BadModel, "model.onnx' has SHA-256", Predictor{model.config});
  }
}

}  // namespace lenet::tests
