// Arithmetic in int8 and bf16, and what is refused. Of a quantized model made
// here, with values computed from the definition; tests/inference/test_precision.py has a
// real one, and oneDNN's own record.

#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <optional>
#include <thread>

#include "engines/processor.h"
#include "io/file.h"
#include "lenet/predictor.h"
#include "lenet/predictor_pool.h"
#include "model/check_graph.h"
#include "model/parameters.h"
#include "model/pir_program.h"
#include "model/program_desc.h"
#include "model/program_traits.h"
#include "quantized_model.h"

namespace lenet::tests {
namespace {

constexpr std::int64_t kSide = 8;
constexpr std::int64_t kOut = kSide - 2;

/// Whole numbers of 127ths: nothing is lost when they are quantized.
Tensor whole_images(std::int64_t count) {
  Tensor images{{}, {count, 1, kSide, kSide}};
  for (std::int64_t i = 0; i < count * kSide * kSide; ++i) {
    images.data.push_back(static_cast<float>((i * 29 + i / 64) % 128) / 127.0F);
  }
  return images;
}

/// The largest difference from the convolution of whole numbers, scaled.
double error_of(const Tensor &output, const Tensor &images) {
  double worst = 0;
  std::size_t at = 0;
  for (std::int64_t n = 0; n < images.shape[0]; ++n) {
    for (std::int64_t c = 0; c < kChannels; ++c) {
      for (std::int64_t i = 0; i < kOut * kOut; ++i) {
        std::int64_t sum = 0;
        for (std::int64_t k = 0; k < 9; ++k) {
          const std::int64_t row = i / kOut + k / 3;
          const std::int64_t column = i % kOut + k % 3;
          const float pixel =
              images.data[static_cast<std::size_t>((n * kSide + row) * kSide + column)];
          sum += std::lround(pixel * 127) * QuantizedModel::weight(c * 9 + k);
        }
        const double scale = QuantizedModel::weight_scale(c) / (127.0 * 127.0);
        worst = std::max(worst, std::abs(output.data[at++] - static_cast<double>(sum) * scale));
      }
    }
  }
  return worst;
}

Config float_model(const char *file = "lenet.pdmodel") {
  Config config;
  config.model_file = kModelDir + "/" + file;
  config.params_file = kModelDir + "/lenet.pdiparams";
  return config;
}

std::optional<Predictor> bf16_of(Config config) {
  config.precision = "bf16";
  if (has_bf16()) return std::make_optional<Predictor>(config);
  check_error(ErrorCode::Unsupported, "avx512_bf16", [&] { Predictor{config}; });
  return std::nullopt;
}

}  // namespace

TEST_CASE("a quantized model gives what whole numbers give, in int8 and in float32") {
  const TemporaryFolder folder;
  Config config = QuantizedModel().write(folder);
  const Tensor images = whole_images(3);
  // Of sums up to 9 * 127 * 127; float32 has 24 bits.
  constexpr double kTolerance = 1e-4;
  for (const Accelerator accelerator : {Accelerator::Plain, Accelerator::OneDnn}) {
    config.accelerator = accelerator;
    Predictor plain(config);
    CHECK(plain.quantized());
    CHECK(error_of(plain.run(images.view()), images) < kTolerance);
  }
  config.accelerator = Accelerator::Auto;
  config.precision = "int8";
  Predictor whole(config);
  CHECK(whole.quantized());
  CHECK(whole.accelerator(1) == Accelerator::OneDnn);
  CHECK(whole.accelerator(64) == Accelerator::OneDnn);
  CHECK(error_of(whole.run(images.view()), images) < kTolerance);
  config.engine = "auto";
  Predictor fastest(config);
  CHECK(fastest.config().engine == "native");
  CHECK(fastest.accelerator(1) == Accelerator::Plain);
  CHECK(error_of(fastest.run(images.view()), images) < kTolerance);
  QuantizedModel large;
  large.side = 1024;
  config = large.write(folder);
  config.engine = "auto";
  config.precision = "int8";
  CHECK(Predictor(config).config().engine == "paddle");
}

TEST_CASE("auto never takes OpenVINO for a quantized model, which cannot run it") {
  const TemporaryFolder folder;
  Config config = QuantizedModel().write(folder);
  Predictor predictor(config);
  for (const std::int64_t images : {1, 2, 3, 64}) {
    CHECK(predictor.accelerator(images) ==
          (images <= 2 ? Accelerator::Plain : Accelerator::OneDnn));
    const Tensor batch = whole_images(images);
    CHECK(error_of(predictor.run(batch.view()), batch) < 1e-4);
  }
  config.accelerator = Accelerator::OpenVino;
  check_error(ErrorCode::Unsupported, "OpenVINO", [&] { Predictor{config}; });
}

TEST_CASE(
    "int8: batches of any size, clones, pools and threads agree to the "
    "last bit") {
  const TemporaryFolder folder;
  Config config = QuantizedModel().write(folder);
  config.precision = "int8";
  constexpr std::int64_t kMost = 24;  // more sizes than oneDNN keeps primitives of
  const Tensor images = whole_images(kMost);
  const Tensor expected = Predictor(config).run(images.view());
  const auto row = static_cast<std::size_t>(kChannels * kOut * kOut);
  const auto wrong = [&](Predictor &predictor, std::int64_t size) {
    const Tensor part = predictor.run({images.data.data(), {size, 1, kSide, kSide}});
    return part.shape[0] != size ||
           !std::equal(part.data.begin(), part.data.end(), expected.data.begin()) ||
           part.data.size() != row * static_cast<std::size_t>(size);
  };
  std::optional<Predictor> origin(config);
  for (std::int64_t size = 1; size <= kMost; ++size) CHECK_FALSE(wrong(*origin, size));
  std::atomic<int> failures{0};
  std::vector<Predictor> clones;
  for (int i = 0; i < 4; ++i) clones.push_back(i % 2 == 0 ? origin->clone() : clones[0].clone());
  origin.reset();
  in_threads(clones.size(), [&](std::size_t i) {
    for (std::int64_t turn = 0; turn < 30; ++turn) {
      failures += wrong(clones[i], 1 + (turn * 7 + static_cast<std::int64_t>(i)) % kMost);
    }
  });
  CHECK(failures == 0);
  PredictorPool pool(config, 2);
  CHECK(pool.run(images.view()).data == expected.data);
  config.max_batch_size = 5;
  CHECK(Predictor(config).run(images.view()).data == expected.data);
  config.memory_optim = true;
  CHECK(Predictor(config).run(images.view()).data == expected.data);
}

TEST_CASE("one file for each variable, quantized") {
  const TemporaryFolder folder;
  const QuantizedModel model;
  write_file(folder / "__model__", model.bytes());
  for (const auto &[name, bytes] : model.records()) write_file(folder / name, bytes);
  Config config;
  config.model_dir = folder.path();
  const Tensor images = whole_images(2);
  CHECK(error_of(Predictor(config).run(images.view()), images) < 1e-4);
  config.precision = "int8";
  CHECK(error_of(Predictor(config).run(images.view()), images) < 1e-4);
}

TEST_CASE("weights stored as float32 run in float32, and are refused in int8") {
  const TemporaryFolder folder;
  QuantizedModel model;
  model.weight_dtype = 5;
  Config config = model.write(folder);
  const Tensor images = whole_images(2);
  CHECK(error_of(Predictor(config).run(images.view()), images) < 1e-4);
  config.precision = "int8";
  check_error(ErrorCode::Unsupported, "stored as float32", [&] { Predictor{config}; });
  // Not only where the program is checked.
  config.check_program = false;
  check_error(ErrorCode::Unsupported, "stored as float32", [&] { Predictor{config}; });
}

TEST_CASE(
    "what a model or an option has not got is refused, not computed in "
    "float32") {
  Config config = float_model();
  config.precision = "int8";
  check_error(ErrorCode::Unsupported, "not quantized", [&] { Predictor{config}; });
  config = float_model("lenet.json");
  config.precision = "int8";
  check_error(ErrorCode::Unsupported, ".json", [&] { Predictor{config}; });
  for (const char *precision : {"int8", "bf16"}) {
    for (const Accelerator accelerator : {Accelerator::Plain, Accelerator::OpenVino}) {
      config = float_model();
      config.precision = precision;
      config.accelerator = accelerator;
      check_error(ErrorCode::BadInput, to_string(accelerator), [&] { Predictor{config}; });
    }
    config = float_model();
    config.precision = precision;
    config.ir_optim = false;
    check_error(ErrorCode::BadInput, "ir_optim", [&] { Predictor{config}; });
  }
  for (const char *precision : {"", "FP32", "int4", "fp16"}) {
    config = float_model();
    config.precision = precision;
    check_error(ErrorCode::Unsupported, "fp32, bf16, int8", [&] { Predictor{config}; });
  }
  const TemporaryFolder folder;
  config = QuantizedModel().write(folder);
  config.precision = "bf16";
  check_error(ErrorCode::Unsupported, "quantized", [&] { Predictor{config}; });
}

TEST_CASE(
    "bf16 departs from float32 by its eight bits, and clones do not from "
    "each other") {
  const Tensor images = random_images(5);
  for (const char *file : {"lenet.pdmodel", "lenet.json"}) {
    CAPTURE(file);
    const Tensor exact = Predictor(float_model(file)).run(images.view());
    auto predictor = bf16_of(float_model(file));
    if (!predictor) continue;
    CHECK_FALSE(predictor->quantized());
    CHECK(predictor->accelerator(1) == Accelerator::OneDnn);
    const Tensor output = predictor->run(images.view());
    CHECK(output.data != exact.data);
    double largest = 0;
    double worst = 0;
    for (std::size_t i = 0; i < exact.data.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(exact.data[i])));
      worst = std::max(worst, std::abs(static_cast<double>(exact.data[i] - output.data[i])));
    }
    // Five layers, each rounded to 2^-8.
    CHECK(worst < 5.0 / 256.0 * largest);
    Predictor clone = predictor->clone();
    std::vector<float> alone(50);
    in_threads(1, [&](std::size_t) { alone = clone.run(images.view()).data; });
    CHECK(alone == output.data);
    for (std::int64_t i = 0; i < 5; ++i) {
      const Tensor one = clone.run({images.data.data() + i * 784, {1, 1, 28, 28}});
      CHECK(one.shape == Shape{1, 10});
    }
    CHECK(clone.run(images.view()).data == output.data);
  }
}

TEST_CASE(
    "a program's quantization is checked: kernels index scales without "
    "looking") {
  const auto with = [](auto member, const auto &value) {
    QuantizedModel model;
    model.*member = value;
    return model;
  };
  const auto scaled = [](std::int64_t axis, const Shape &scale) {
    QuantizedModel model;
    model.axis = axis;
    model.scale = scale;
    return model;
  };
  accept(QuantizedModel());
  accept(scaled(-1, {1}));
  accept(scaled(-1, {}));
  refuse(scaled(-1, {kChannels}), "the shape of Scale");
  refuse(scaled(0, {kChannels - 1}), "the shape of Scale");
  refuse(scaled(0, {1}), "the shape of Scale");
  refuse(scaled(1, {kChannels}), "the shape of Scale");  // whose size is 1
  for (const std::int64_t axis : {-2, 2, 4, 1 << 30}) {
    refuse(with(&QuantizedModel::axis, axis), "quant_axis");
  }
  for (const std::int64_t axis : {0, 1}) {
    refuse(with(&QuantizedModel::input_axis, axis), "quant_axis");
  }
  for (const std::int64_t bits : {0, 1, 4, 16, 64, -8}) {
    refuse(with(&QuantizedModel::bits, bits), "bit_length");
  }
  refuse(with(&QuantizedModel::scale_is_parameter, false), "ws");
  refuse(with(&QuantizedModel::training, Arguments{{"InAccum", "s"}}), "InAccum");
  const auto attributes = [&](const std::vector<std::string> &all) {
    return with(&QuantizedModel::attributes, all);
  };
  refuse(attributes({bool_attribute("only_observer", true)}), "only_observer");
  refuse(attributes({bool_attribute("is_test", false)}), "testing");
  refuse(attributes({int_attribute("round_type", 2)}), "round_type");
  refuse(attributes({int_attribute("qmin", -129), int_attribute("qmax", 127)}), "qmin");
  refuse(attributes({int_attribute("qmin", -128), int_attribute("qmax", 128)}), "qmax");
  accept(attributes({int_attribute("qmin", -128), int_attribute("qmax", 127),
                     int_attribute("round_type", 1), bool_attribute("is_test", true),
                     bool_attribute("only_observer", false)}));
}

TEST_CASE("a value may be quantized again as before, and not otherwise") {
  const std::vector<std::string> settings = {int_attribute("bit_length", 8),
                                             int_attribute("quant_axis", -1)};
  const auto again = [&](const char *type, const char *x, const char *scale, const char *y) {
    QuantizedModel model;
    model.operators = {make_operator(type, {{"X", x}, {"Scale", scale}, {"ZeroPoint", "wz"}},
                                     {{"Y", y}}, settings)};
    model.axis = -1;
    model.scale = {1};
    return model;
  };
  accept(again("quantize_linear", "x", "s", "xq"));
  accept(again("dequantize_linear", "xq", "s", "xd"));
  refuse(again("quantize_linear", "xd", "s", "xq"), "overwrites 'xq'");
  refuse(again("quantize_linear", "x", "ws", "xq"), "overwrites 'xq'");
  refuse(again("dequantize_linear", "x", "s", "xq"), "overwrites 'xq'");
  refuse(again("quantize_linear", "x", "s", "x"), "overwrites 'x'");
  refuse(again("quantize_linear", "x", "s", "s"), "overwrites 's'");
}

TEST_CASE("quantized programs of other kinds are named as such") {
  for (const char *type : {"fake_quantize_dequantize_moving_average_abs_max",
                           "fake_channel_wise_dequantize_max_abs", "fake_dequantize_max_abs"}) {
    QuantizedModel model;
    model.operators = {make_operator(type, {{"X", "x"}}, {{"Out", "y"}})};
    check_error(ErrorCode::Unsupported, "onnx_format", [&] { accept(model); });
  }
}

TEST_CASE("a quantized .json is named as such") {
  std::string program = read_file(kModelDir + "/lenet.json");
  const std::string relu = "1.relu";
  const auto at = program.find(relu);
  REQUIRE(at != std::string::npos);
  program.replace(at, relu.size(), "1.dequantize_linear");
  Graph graph = read_pir_program(program, "m");
  check_error(ErrorCode::Unsupported, "quantized .json", [&] { check_graph(graph, "m"); });
}

TEST_CASE("int8 tensors are taken for weights, and for nothing else") {
  const QuantizedModel model;
  const auto needed = read_pdmodel_parameters(model.bytes(), "m");
  const auto found = read_parameter_records(model.params(), "p");
  require_same_parameters(needed, found, "p");
  CHECK_FALSE(has_float_weights(needed, found));
  for (const char *name : {"s", "z", "wz"}) {
    CAPTURE(name);
    auto changed = found;
    for (std::size_t i = 0; i < needed.size(); ++i) {
      if (needed[i].name == name) changed[i].dtype = 21;
    }
    check_error(ErrorCode::BadModel, name, [&] { require_same_parameters(needed, changed, "p"); });
  }
  QuantizedModel other = model;
  other.stored_scale = {2, 2};
  check_error(ErrorCode::BadModel, "'ws'", [&] {
    require_same_parameters(needed, read_parameter_records(other.params(), "p"), "p");
  });
  // A weight that something else takes too must be what it was declared to be.
  other = model;
  other.operators = {make_operator("relu", {{"X", "w"}}, {{"Out", "y"}})};
  check_error(ErrorCode::BadModel, "'w'", [&] {
    require_same_parameters(read_pdmodel_parameters(other.bytes(), "m"), found, "p");
  });
}

}  // namespace lenet::tests
