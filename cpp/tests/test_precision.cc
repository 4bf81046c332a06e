// Arithmetic in int8 and bf16, and what is refused. Of a quantized model made here, with values
// computed from the definition; tests/inference/test_precision.py has a real one, and oneDNN's own
// record.

#include "engines/native/kernels/dispatch.h"
#include "engines/native/kernels/int8/kernels.h"
#include "engines/paddle/paddle.h"
#include "lenet/predictor_pool.h"
#include "model/graph.h"
#include "model/model.h"
#include "model/parameters.h"
#include "model/readers.h"
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
double error_of(const Tensor& output, const Tensor& images) {
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

Config float_model(const std::string& options = "", const char* file = "lenet.pdmodel") {
  return config_of("model_file=" + kModelDir + "/" + file + " " + options);
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
  config = config_of("accelerator=auto precision=int8", config);
  Predictor whole(config);
  CHECK(whole.quantized());
  CHECK(whole.accelerator(1) == Accelerator::OneDnn);
  CHECK(whole.accelerator(64) == Accelerator::OneDnn);
  const bool bytes = native::int8::choose_kernels().bytes == 1;
  // Without VNNI oneDNN's sums of two products overflow 16 bits.
  if (bytes) CHECK(error_of(whole.run(images.view()), images) < kTolerance);
  config.engine = EngineKind::Auto;
  Predictor fastest(config);
  CHECK(fastest.config().engine == EngineKind::Native);
  CHECK(fastest.accelerator(1) == Accelerator::Plain);
  CHECK(error_of(fastest.run(images.view()), images) < kTolerance);
  config = config_of("engine=auto precision=int8", QuantizedModel().of(1024).write(folder));
  // Large images too, where there are instructions for bytes.
  CHECK(Predictor(config).config().engine == (bytes ? EngineKind::Native : EngineKind::Paddle));
}

TEST_CASE("a value is rounded where the program rounds it, and not where that observes it") {
  const TemporaryFolder folder;
  Tensor images = whole_images(3);
  for (float& pixel : images.data) pixel += 0.4F / 127;
  const std::string pair =
      "quantize_linear x Scale=s ZeroPoint=z -> Y=xq | _ quant_axis=-1;"
      "dequantize_linear X=xq Scale=s ZeroPoint=z -> Y=xd | _ quant_axis=-1;";
  const std::string observed = replaced(replaced(pair, "_ ", "only_observer=true bit_length=8 "),
                                        "_ ", "only_observer=true bit_length=8 ");
  const std::string begin = "quantize_linear x";
  // What Paddle writes for a value with several readers: the same variables are written again.
  const QuantizedModel again = QuantizedModel().with(begin, observed + begin);
  for (const std::string engine : {"paddle accelerator=plain", "native precision=int8"}) {
    const Config config = config_of("engine=" + engine, again.write(folder));
    CHECK(error_of(Predictor(config).run(images.view()), images) < 1e-4);
  }
  // Here it is only observed.
  const std::string text = again.text;
  const auto end = text.find(observed) + observed.size();
  QuantizedModel only = again;
  only.text = text.substr(0, end) + text.substr(text.find("dequantize_linear X=w "));
  for (const std::string engine : {"paddle accelerator=plain", "native precision=int8"}) {
    const Config config = config_of("engine=" + engine, only.write(folder));
    CHECK(error_of(Predictor(config).run(images.view()), images) > 1e-3);
  }
}

TEST_CASE("int8: batches of any size, clones, pools and threads agree to the last bit") {
  const TemporaryFolder folder;
  Config config = config_of("precision=int8", QuantizedModel().write(folder));
  constexpr std::int64_t kMax = 24;  // more sizes than oneDNN keeps primitives of
  const Tensor images = whole_images(kMax);
  const Tensor expected = Predictor(config).run(images.view());
  const auto wrong = [&](Predictor& predictor, std::int64_t size) {
    const auto end = expected.data.begin() + size * kChannels * kOut * kOut;
    return predictor.run({images.data.data(), {size, 1, kSide, kSide}}).data !=
           std::vector<float>(expected.data.begin(), end);
  };
  std::optional<Predictor> origin(config);
  for (std::int64_t size = 1; size <= kMax; ++size) CHECK_FALSE(wrong(*origin, size));
  std::atomic<int> failures{0};
  std::vector<Predictor> clones;
  for (int i = 0; i < 4; ++i) clones.push_back(i % 2 == 0 ? origin->clone() : clones[0].clone());
  origin.reset();
  in_threads(clones.size(), [&](std::size_t i) {
    for (std::int64_t turn = 0; turn < 30; ++turn) {
      failures += wrong(clones[i], 1 + (turn * 7 + static_cast<std::int64_t>(i)) % kMax);
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
  for (const auto& [name, bytes] : model.records()) write_file(folder / name, bytes);
  const Tensor images = whole_images(2);
  for (const char* precision : {"fp32", "int8"}) {
    Predictor predictor(
        config_of(std::string("precision=") + precision + " model_dir=" + folder.path()));
    CHECK(error_of(predictor.run(images.view()), images) < 1e-4);
  }
}

TEST_CASE("weights stored as float32 run in float32, and are refused in int8") {
  const TemporaryFolder folder;
  QuantizedModel model;
  model.weight_dtype = 5;
  Config config = model.write(folder);
  const Tensor images = whole_images(2);
  CHECK(error_of(Predictor(config).run(images.view()), images) < 1e-4);
  for (const char* check : {"true", "false"}) {
    config = config_of(std::string("precision=int8 check_program=") + check, config);
    CHECK_ERROR(Unsupported, "stored as float32", Predictor{config});
  }
  const auto refuse = [&](const std::string& option, const char* words) {
    CHECK_THROWS_WITH_AS(Predictor{config_of(option, model.write(folder))},
                         doctest::Contains(words), Error);
  };
  refuse("accelerator=openvino", "OpenVINO cannot convert");  // test_precision.py has more
  refuse("precision=bf16", "nothing of it runs in bf16");
  refuse("precision=int4", "fp32, bf16, int8");
  refuse("precision=int8 accelerator=plain", "set accelerator");
  refuse("precision=int8 ir_optim=false", "set ir_optim");
}

TEST_CASE("a model that an engine runs in no precision is advised another engine") {
  const TemporaryFolder folder;
  // The native engine has no kernel for channels that come last, and oneDNN none for ceil_mode.
  write_file(folder / "__model__",
             program("x[-1,8,8,1] y[-1,8,4,1]: pool2d x -> y | ksize=[3,1] strides=[1,3] "
                     "paddings=[1,0] ceil_mode=true adaptive=false padding_algorithm=EXPLICIT "
                     "exclusive=true global_pooling=false data_format=NHWC pooling_type=max"));
  const auto refuse = [&](const std::string& engine, const char* words) {
    CHECK_THROWS_WITH_AS(
        Predictor{config_of("precision=int8 engine=" + engine + " model_dir=" + folder.path())},
        doctest::Contains(words), Error);
  };
  refuse("native", "runs in int8; use engine paddle with precision fp32");
  refuse("auto", "lenet-cpp quantize takes; use precision fp32 for this one");
}

TEST_CASE("a program that is not checked is advised to run in float32 without an accelerator") {
  const TemporaryFolder folder;
  write_file(folder / "__model__", program("x[-1,2] y[-1,2]: unheard_of x -> y"));
  const auto message = [&](const std::string& options) -> std::string {
    try {
      Predictor(config_of(options + " model_dir=" + folder.path()));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string unchecked = "check_program=false runs it in Paddle unchecked";
  const auto ends = [](const std::string& text, const std::string& end) {
    return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
  };
  CHECK(ends(message(""), unchecked));
  CHECK(ends(message("engine=paddle accelerator=plain"), unchecked));
  for (const char* options :
       {"precision=int8", "precision=bf16", "accelerator=onednn", "accelerator=openvino"}) {
    CAPTURE(options);
    CHECK(
        ends(message(options), unchecked + "; also set precision to fp32 and accelerator to auto"));
  }
}

TEST_CASE("bf16 differs from float32 as eight bits allow, and clones give the same bits") {
  const Tensor images = random_images(5);
  for (const char* file : {"lenet.pdmodel", "lenet.json"}) {
    CAPTURE(file);
    const Tensor exact = Predictor(float_model("", file)).run(images.view());
    const Config config = float_model("precision=bf16 engine=paddle", file);
    if (!has_bf16()) {
      CHECK_ERROR(Unsupported, "avx512_bf16", Predictor{config});
      continue;
    }
    Predictor predictor(config);
    CHECK_FALSE(predictor.quantized());
    CHECK(predictor.accelerator(1) == Accelerator::OneDnn);
    const Tensor output = predictor.run(images.view());
    CHECK(output.data != exact.data);
    double largest = 0;
    double worst = 0;
    for (std::size_t i = 0; i < exact.data.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(exact.data[i])));
      worst = std::max(worst, std::abs(static_cast<double>(exact.data[i] - output.data[i])));
    }
    // Five layers, each rounded to 2^-8.
    CHECK(worst < 5.0 / 256.0 * largest);
    Predictor clone = predictor.clone();
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

TEST_CASE("a program's quantization is checked: kernels index scales without looking") {
  const QuantizedModel good;
  accept(good.bytes());
  const auto scaled = [&](const std::string& axis, const std::string& scale) {
    return good.with("_axis=0", "_axis=" + axis)
        .with("wz[4]", "wz" + scale)
        .with("ws[4]", "ws" + scale)
        .bytes();
  };
  accept(scaled("-1", "[1]"));
  accept(scaled("-1", "[]"));
  refuse(scaled("-1", "[4]"), "the shape of Scale");
  refuse(scaled("0", "[3]"), "the shape of Scale");
  refuse(scaled("0", "[1]"), "the shape of Scale");
  refuse(scaled("1", "[4]"), "the shape of Scale");  // whose size is 1
  const std::string axis = "quant_axis=";
  for (const char* value : {"-2", "2", "4", "1073741824"}) {
    refuse(good.with(axis + "0", axis + value).bytes(), "quant_axis");
  }
  for (const char* value : {"0", "1"}) {
    refuse(good.with(axis + "-1", axis + value).bytes(), "quant_axis");
  }
  for (const char* value : {"0", "1", "4", "16", "64", "-8"}) {
    const std::string bits = std::string("=") + value + " quant";
    refuse(good.with("=8 quant", bits).with("=8 quant", bits).with("=8 quant", bits).bytes(),
           "bit_length", ErrorCode::Unsupported);
  }
  refuse(good.with("ws[4]*", "ws[4]").bytes(), "ws");
  refuse(good.with("ZeroPoint=wz", "ZeroPoint=wz InAccum=s").bytes(), "InAccum",
         ErrorCode::Unsupported);
  const auto attributes = [&](const std::string& more) {
    return good.with("quant_axis=0", "quant_axis=0 " + more).bytes();
  };
  refuse(attributes("only_observer=true"), "only_observer");
  refuse(attributes("is_test=false"), "quantizes as in training", ErrorCode::Unsupported);
  refuse(attributes("round_type=2"), "round_type");
  refuse(attributes("qmin=-129 qmax=127"), "qmin");
  refuse(attributes("qmin=-128 qmax=128"), "qmax");
  accept(attributes("qmin=-128 qmax=127 round_type=1 is_test=true only_observer=false"));
}

TEST_CASE("a value may be quantized again as before, and not otherwise") {
  const auto again = [](const std::string& op) {
    QuantizedModel model = QuantizedModel().with("_axis=0", "_axis=-1").with("wz[4]", "wz[1]");
    model = model.with("ws[4]", "ws[1]");
    return program(model.text + "; " + op + " | bit_length=8 quant_axis=-1");
  };
  accept(again("quantize_linear x Scale=s ZeroPoint=wz -> Y=xq"));
  accept(again("dequantize_linear xq Scale=s ZeroPoint=wz -> Y=xd"));
  refuse(again("quantize_linear xd Scale=s ZeroPoint=wz -> Y=xq"), "overwrites 'xq'");
  refuse(again("quantize_linear x Scale=ws ZeroPoint=wz -> Y=xq"), "overwrites 'xq'");
  refuse(again("dequantize_linear x Scale=s ZeroPoint=wz -> Y=xq"), "overwrites 'xq'");
  refuse(again("quantize_linear x Scale=s ZeroPoint=wz -> Y=x"), "overwrites 'x'");
  refuse(again("quantize_linear x Scale=s ZeroPoint=wz -> Y=s"), "overwrites 's'");
}

TEST_CASE("quantized programs of other kinds are named as such") {
  for (const std::string type :
       {"fake_quantize_dequantize_moving_average_abs_max", "fake_channel_wise_dequantize_max_abs",
        "fake_dequantize_max_abs"}) {
    const std::string bytes = program(QuantizedModel().text + "; " + type + " x -> y");
    CHECK_ERROR(Unsupported, "onnx_format", accept(bytes));
  }
  const std::string json =
      replaced(read_file(kModelDir + "/lenet.json"), "1.relu", "1.dequantize_linear");
  Graph graph = read_pir_program(json, "m");
  CHECK_ERROR(Unsupported, "quantized .json", check_graph(graph, "m"));
}

TEST_CASE("int8 tensors are taken for weights, and for nothing else") {
  const QuantizedModel model;
  const std::string bytes = model.bytes();  // in which the graph's names lie
  const std::string params = model.params();
  Graph graph = read_program_desc(bytes, "m");
  const auto needed = list_parameters(graph, "m");
  const auto found = read_parameter_records(params, "p");
  require_parameters(needed, found, "p", false);
  set_parameters(graph, needed, found);
  const ModelBytes both{bytes, params};
  CHECK_FALSE(load_model({ModelFormat::Pdmodel, "m", "p"}, Config(), &both)->float_weights);
  for (const char* name : {"s", "z", "wz"}) {
    CAPTURE(name);
    auto changed = found;
    for (std::size_t i = 0; i < needed.size(); ++i) {
      if (needed[i].name == name) changed[i].dtype = 21;
    }
    CHECK_ERROR(BadModel, name, require_parameters(needed, changed, "p", false));
  }
  QuantizedModel other;
  other.stored_scale = {2, 2};
  CHECK_ERROR(BadModel, "'ws'",
              require_parameters(needed, read_parameter_records(other.params(), "p"), "p", false));
  // A weight that something else takes too must be what it was declared to be.
  const std::string twice = program(model.text + "; relu w -> y");
  CHECK_ERROR(
      BadModel, "'w'",
      require_parameters(list_parameters(read_program_desc(twice, "m"), "m"), found, "p", false));
}

}  // namespace lenet::tests
