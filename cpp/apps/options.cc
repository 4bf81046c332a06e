#include "options.h"

#include <cmath>
#include <cstdlib>

#include "attached.h"
#include "lenet/engines.h"

namespace lenet::apps {

/// Found by CommandLine::add.
/// \param csv whether that is one of the formats of the program
static void parse_value(const std::string& shown, const std::string& text, Format& value,
                        bool csv) {
  if (text != "text" && text != "json" && !(csv && text == "csv")) {
    throw UsageError(shown + " is '" + text + "'; expected " +
                     (csv ? "text, json or csv" : "text or json"));
  }
  value = text == "text" ? Format::Text : text == "json" ? Format::Json : Format::Csv;
}

namespace {

/// What a model is and how it runs: the library's own options.
void add_config_flags(CommandLine& line, CommonOptions& options) {
  line.heading("Model and engine");
  for (const ConfigOption& option : kConfigOptions) {
    const std::string names = option.name == "engine" ? engine_names() : "";
    line.add(option.name, option.argument, option.help + names,
             [&](const std::string& shown, const std::string& value) {
               option.set(options.config, shown, value);
               if (option.name == "precision") options.precision_given = true;
             });
  }
  line.add("int8", "", "the same as --precision=int8", options.int8);
  line.add("use_gpu", "true|false", "the same as --device=gpu", options.use_gpu);
  line.add("gpu_id", "ID", "with --use_gpu, which one (default: 0)", options.gpu_id, 0);
}

void add_information_flags(CommandLine& line, CommonOptions& options) {
  line.add("version", "", "print our version and those of the engines", options.version);
  line.add("help", "", "print this text", options.help);
}

CommandLine command_line(Options& options) {
  CommandLine line;
  add_config_flags(line, options);
  line.heading("Data");
  line.add("input", "FILE",
           ".npy (float32, or uint8 scaled by 1/255), IDX images or PGM (default: zeros); for a "
           "model whose input is no float32 tensor, numbers of its type, which are not scaled",
           options.input);
  line.add("labels", "FILE", "IDX or .npy labels; prints the accuracy", options.labels);
  line.add(
      "output", "FILE",
      "write the first output as .npy, float32; or all outputs by their names as .npz, integers "
      "and bools in the model's type: of one without a batch axis an entry for each batch",
      options.output);
  line.add("batch_size", "N", "images a run (default: 64 with --input, 1 without)",
           options.batch_size, 1);
  line.add("check_range", "true|false",
           "warn of an input far beyond the range that preprocess.json beside the model gives "
           "(default: true)",
           options.check_range);
  line.heading("Measurement and output");
  line.add("repeats", "N",
           "measure N runs of the first batch: median, p90, p99, images/s, to 0.05 %",
           options.repeats, 1);
  line.add("max_seconds", "N", "end warming up and measuring after N seconds (default: 600)",
           options.max_seconds, 1);
  line.add("warmup", "N", "runs before the measured ones (default: 10)", options.warmup, 0);
  line.add("profile", "",
           "print what each layer costs: kernel, multiply-adds, bytes, time, and shares of the "
           "machine's limits (--repeats: measured runs; default: half a second of them)",
           options.profile);
  line.add("explain", "", "the same as --profile", options.profile);
  line.add("trace", "FILE",
           "with --profile: also write it as a Chrome trace, for Perfetto or chrome://tracing",
           options.trace);
  line.add("format", "text|json", "what to print on standard output (default: text)",
           options.format, false);
  add_information_flags(line, options);
  return line;
}

CommandLine command_line(ClassifyOptions& options) {
  CommandLine line;
  add_config_flags(line, options);
  line.heading("Images and classes");
  line.add(
      "preprocess", "FILE",
      "how images are prepared: preprocess.json, or what a toolkit wrote, such as PaddleClas's "
      "inference.yml (default: that beside the model, or as the shape of the input tells: digits, "
      "or images as of ImageNet)",
      options.preprocess);
  line.add("labels", "FILE",
           "names of the classes, one a line, or '0 NAME' and so on (default: those of the "
           "description of the model, or manifest.json beside it)",
           options.labels);
  line.add("topk", "N",
           "the N most probable classes of each image (default: what the description says, or else "
           "5)",
           [&](const std::string& shown, const std::string& value) {
             lenet::parse_value(shown, value, options.topk.emplace(), 1);
           });
  line.add("threshold", "X",
           "leave classes below it out; in place of the thresholds of the description",
           [&](const std::string& shown, const std::string& value) {
             char* end = nullptr;
             options.threshold = std::strtod(value.c_str(), &end);
             if (value.empty() || *end != '\0' || !std::isfinite(*options.threshold)) {
               throw UsageError(shown + " is '" + value + "'; expected a number");
             }
           });
  line.add("softmax", "true|false",
           "whether the model gives logits, which softmax turns into probabilities (default: seen "
           "from the model's last operators, or else as manifest.json says; where neither tells, "
           "the outputs are printed as they are, as scores)",
           [&](const std::string& shown, const std::string& value) {
             lenet::parse_value(shown, value, options.softmax.emplace());
           });
  line.add("batch_size", "N", "images a run (default: 1)", options.batch_size, 1);
  line.add(
      "skip_errors", "",
      "exit code 0 where some images can be classified; without it the code is 5 when one of them "
      "cannot be read, or the model does not take it (the others are classified all the same)",
      options.skip_errors);
  line.heading("Output");
  line.add("format", "text|json|csv", "of the result (default: text)", options.format, true);
  line.add("output", "FILE",
           "write the result there instead of printing it; it appears whole or not at all",
           options.output);
  line.add("output_tensor", "FILE",
           "also write what the model took, as .npy: float32 [images, channels, height, width]",
           options.output_tensor);
  add_information_flags(line, options);
  return line;
}

/// The model has to be named, in one way, and its precision too.
void settle(CommonOptions& options) {
  Config& config = options.config;
  if (config.model_dir.empty() && config.model_file.empty() && attached_model() == nullptr) {
    throw UsageError("name a model: --model_file and --params_file, or --model_dir");
  }
  if (!config.model_dir.empty() && !(config.model_file + config.params_file).empty()) {
    throw UsageError(
        "--model_dir stands instead of --model_file and --params_file, not beside them");
  }
  if (options.use_gpu) config.device = "gpu:" + std::to_string(options.gpu_id);
  if (!options.int8) return;
  if (options.precision_given && config.precision != Precision::Int8) {
    throw UsageError(std::string("--int8 is short for --precision=int8, and --precision is ") +
                     to_string(config.precision));
  }
  config.precision = Precision::Int8;
}

constexpr const char* kExitCodes = R"(
Exit code: 0 done; 1 standard output could not be written; 2 wrong usage; 3 FileNotFound;
4 BadModel; 5 BadInput; 6 Unsupported; 7 VersionMismatch; 8 BackendFailure.
Ctrl-C, SIGTERM and SIGHUP end it by the signal (130, 143, 129 in a shell) and leave no
half-written file.
)";

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  const std::vector<std::string> others = command_line(options).parse(argc, argv);
  if (!others.empty()) throw UsageError("unexpected argument '" + others.front() + "'");
  if (options.help || options.version) return options;
  settle(options);
  if (!options.labels.empty() && options.input.empty()) {
    throw UsageError("--labels needs the images they belong to: --input");
  }
  if (options.profile && !(options.input + options.output).empty()) {
    throw UsageError("--profile measures values of its own; leave --input and --output out");
  }
  if (!options.profile && !options.trace.empty()) {
    throw UsageError("--trace needs what it writes: --profile");
  }
  return options;
}

ClassifyOptions parse_classify_options(int argc, char** argv) {
  ClassifyOptions options;
  options.batch_size = 1;
  options.images = command_line(options).parse(argc, argv);
  if (options.help || options.version) return options;
  settle(options);
  if (options.images.empty()) throw UsageError("name images to classify: files or folders");
  return options;
}

std::string help_text(const std::string& program) {
  Options unused;
  return "Runs an exported image classifier through the C++ inference engine.\n\n  " + program +
         " --model_file=inference_model/lenet/lenet.pdmodel \\\n"
         "      --params_file=inference_model/lenet/lenet.pdiparams\n  " +
         program + " --model_dir=inference_model/lenet --input=digits.npy \\\n" +
         R"(      --labels=labels.npy --output=logits.npy --repeats=1000

Values follow '=' or a space. Without --input one image of zeros is run.
)" + command_line(unused).help() +
         kExitCodes;
}

std::string classify_help() {
  ClassifyOptions unused;
  return R"(Classifies image files with an exported model: decodes and prepares them as the
description beside the model says (preprocess.json, or the inference.yml of PaddleClas or
PaddleX), runs the model, prints the classes.

  lenet_classify --model_dir=inference_model/lenet photo.jpg
  lenet_classify --model_dir=ResNet50_vd_infer photo.jpg
  lenet_classify --model_dir=inference_model/lenet --topk=3 --format=csv \
                 --output=digits.csv photos/ another.png

Images are files, or folders, which stand for the images in them. Read are JPEG, PNG,
WebP, BMP, PGM, PPM (binary, 8 bits) and .npy (uint8, [H, W] or [H, W, 3]; or images of
one size, [N, H, W] or [N, H, W, 3]), on all processors. Values follow '=' or a space;
after '--' everything is an image.
)" + command_line(unused).help() +
         kExitCodes;
}

}  // namespace lenet::apps
