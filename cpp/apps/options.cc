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
  line.add("gpu_id", "ID", "the number of the GPU for --use_gpu (default: 0)", options.gpu_id, 0);
}

void add_information_flags(CommandLine& line, CommonOptions& options) {
  line.add("version", "", "print the versions of this program and of the engines", options.version);
  line.add("help", "", "print the options that most users need", options.help);
  line.add("help_all", "", "print all options and the exit codes", options.help_all);
  line.add_hint("model", "give the model as the first argument");
}

CommandLine command_line(Options& options) {
  CommandLine line;
  add_config_flags(line, options);
  line.heading("Data");
  line.add("input", "FILE",
           ".npy (float32, or uint8, which is divided by 255), IDX images or PGM (default: zeros). "
           "For a model whose input has another type, an .npy of that type, which is not scaled",
           options.input);
  line.add("labels", "FILE", "the correct classes, as IDX or .npy, to print the accuracy",
           options.labels);
  line.add(
      "output", "FILE",
      "FILE.npy: write the first output in float32. FILE.npz: write all outputs by their names, "
      "integers and bools in the model's type; an output without a batch axis gets an entry for "
      "each batch",
      options.output);
  line.add("batch_size", "N", "images in a run (default: 64 with --input, 1 without)",
           options.batch_size, 1);
  line.add("check_range", "true|false",
           "warn if the input is far outside the range that preprocess.json beside the model "
           "describes (default: true)",
           options.check_range);
  line.heading("Measurement and output");
  line.add("repeats", "N",
           "measure N runs of the first batch, and print the median, p90, p99 and images/s",
           options.repeats, 1);
  line.add("max_seconds", "N",
           "stop the warm-up and the measurement after N seconds (default: 600)",
           options.max_seconds, 1);
  line.add("warmup", "N", "unmeasured runs before the measured ones (default: 10)", options.warmup,
           0);
  line.add("profile", "",
           "print the cost of each layer: kernel, multiply-adds, bytes, time, and shares of the "
           "machine's limits. --repeats sets the number of measured runs (default: as many as "
           "half a second allows)",
           options.profile);
  line.add("explain", "", "the same as --profile", options.profile);
  line.add("trace", "FILE",
           "also write the profile as a Chrome trace, for Perfetto or chrome://tracing; needs "
           "--profile",
           options.trace);
  line.add("format", "text|json", "format of the report on standard output (default: text)",
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
      "description of how images are prepared: preprocess.json, or a toolkit's file, such as "
      "PaddleClas's inference.yml (default: the file beside the model; without one, the shape of "
      "the input selects the preparation of digits or of ImageNet)",
      options.preprocess);
  for (const StepOption& option : kStepOptions) {
    line.add(option.name, option.argument, option.help,
             [&](const std::string& shown, const std::string& value) {
               option.set(options.changes, shown, value);
             });
  }
  line.add("labels", "FILE",
           "names of the classes, one in each line, as NAME or '0 NAME' (default: those that the "
           "model's files name, such as labels.txt beside it)",
           options.labels);
  line.add("topk", "N",
           "print the N most probable classes of each image (default: the number in the "
           "description, or else 5)",
           [&](const std::string& shown, const std::string& value) {
             lenet::parse_value(shown, value, options.topk.emplace(), 1);
           });
  line.add("threshold", "X", "omit classes below X; replaces the thresholds of the description",
           [&](const std::string& shown, const std::string& value) {
             char* end = nullptr;
             options.threshold = std::strtod(value.c_str(), &end);
             if (value.empty() || *end != '\0' || !std::isfinite(*options.threshold)) {
               throw UsageError(shown + " is '" + value + "'; expected a number");
             }
           });
  line.add("softmax", "true|false",
           "whether the outputs are logits, to which softmax is applied (default: derived from the "
           "model's last operators, or else from manifest.json; if neither says so, the outputs "
           "are printed unchanged, as scores)",
           [&](const std::string& shown, const std::string& value) {
             lenet::parse_value(shown, value, options.softmax.emplace());
           });
  line.add("batch_size", "N", "images in a run (default: 1)", options.batch_size, 1);
  line.add(
      "skip_errors", "",
      "exit with 0 if at least one image was classified. By default the exit code is 5 if an image "
      "cannot be read or does not fit the model; the other images are classified in both cases",
      options.skip_errors);
  line.heading("Output");
  line.add("format", "text|json|csv", "format of the result (default: text)", options.format, true);
  line.add("output", "FILE",
           "write the result to FILE instead of printing it; an incomplete file is never left",
           options.output);
  line.add("output_tensor", "FILE",
           "also write the prepared images as .npy: float32 [images, channels, height, width]",
           options.output_tensor);
  add_information_flags(line, options);
  return line;
}

/// Takes the model from the arguments unless an option or the program's own file has it. Checks
/// that one model is named, and that its precision is not given twice; applies the short forms of
/// options.
/// \param example a call of the program
void settle(CommonOptions& options, std::vector<std::string>& arguments, const char* example) {
  Config& config = options.config;
  if (config.model_dir.empty() && config.model_file.empty() && attached_model() == nullptr) {
    if (arguments.empty()) throw UsageError(std::string("name a model: ") + example);
    config.model_file = std::move(arguments.front());
    arguments.erase(arguments.begin());
  }
  if (!config.model_dir.empty() && !(config.model_file + config.params_file).empty()) {
    throw UsageError(
        "--model_dir cannot be combined with --model_file or --params_file; give one or the other");
  }
  if (options.use_gpu) config.device = "gpu:" + std::to_string(options.gpu_id);
  if (!options.int8) return;
  if (options.precision_given && config.precision != Precision::Int8) {
    throw UsageError(std::string("--int8 is short for --precision=int8, but --precision is ") +
                     to_string(config.precision) + "; leave one of them out");
  }
  config.precision = Precision::Int8;
}

constexpr const char* kClassifyExample = "lenet_classify model.onnx photo.jpg";

constexpr const char* kExitCodes = R"(
Exit code: 0 success; 1 standard output could not be written; 2 wrong usage; 3 FileNotFound;
4 BadModel; 5 BadInput; 6 Unsupported; 7 VersionMismatch; 8 BackendFailure.
After Ctrl-C, SIGTERM or SIGHUP the program ends by that signal (130, 143, 129 in a shell) and
leaves no incomplete file.
)";

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  std::vector<std::string> others = command_line(options).parse(argc, argv);
  if (options.help || options.help_all || options.version) return options;
  settle(options, others, "model.onnx, or the folder of a model");
  if (!others.empty()) {
    throw UsageError("unexpected argument '" + others.front() +
                     "'; --input names arrays, and lenet_classify takes image files");
  }
  if (!options.labels.empty() && options.input.empty()) {
    throw UsageError("--labels needs --input, the images to which they belong");
  }
  if (options.profile && !(options.input + options.output).empty()) {
    throw UsageError("--profile measures runs of generated images; leave out --input and --output");
  }
  if (!options.profile && !options.trace.empty()) {
    throw UsageError("--trace needs --profile, whose result it writes");
  }
  return options;
}

ClassifyOptions parse_classify_options(int argc, char** argv) {
  ClassifyOptions options;
  options.batch_size = 1;
  options.images = command_line(options).parse(argc, argv);
  if (options.help || options.help_all || options.version) return options;
  settle(options, options.images, kClassifyExample);
  if (options.images.empty()) {
    throw UsageError(std::string("name images to classify, files or folders: ") + kClassifyExample);
  }
  return options;
}

std::string help_text(const std::string& program, bool all) {
  Options unused;
  const CommandLine line = command_line(unused);
  const std::string text = "Run an exported image classifier with the C++ inference engine.\n\n  " +
                           program + " model.onnx --input=images.npy --output=outputs.npy\n  " +
                           program + " model.onnx --repeats=1000\n  " + program +
                           R"( inference_model/lenet --input=digits.npy --labels=labels.npy

The argument is the model: an .onnx, .pdmodel or .json, or the folder of a model. Without --input,
the model runs one image of zeros.
)";
  if (!all) {
    return text + "\n" +
           line.help({"input", "labels", "output", "batch_size", "repeats", "profile", "engine",
                      "precision", "threads", "format", "version", "help", "help_all"});
  }
  return text + R"(
The options --model_file and --params_file, or --model_dir, also name the model. Values follow '='
or a space.
)" + line.help() +
         kExitCodes;
}

std::string classify_help(bool all) {
  ClassifyOptions unused;
  const CommandLine line = command_line(unused);
  const std::string text = R"(Classify image files with an exported model.

  lenet_classify model.onnx photo.jpg
  lenet_classify model.onnx photos/ another.png --labels=labels.txt --topk=3
  lenet_classify inference_model/lenet photos/ --format=csv --output=classes.csv

The first argument is the model: an .onnx, .pdmodel or .json, or the folder of a model. The other
arguments are image files and folders of images.
)";
  if (!all) {
    return text + "\n" +
           line.help({"labels", "preprocess", "mean", "std", "topk", "format", "output",
                      "batch_size", "engine", "threads", "version", "help", "help_all"});
  }
  return text + R"(
If an option names the model (--model_dir, or --model_file and --params_file), or if the program's
own file holds one, all arguments are images. After '--' no argument is an option. Values follow '='
or a space.

The program decodes and prepares the images as the description beside the model says
(preprocess.json, or the inference.yml of PaddleClas or PaddleX), runs the model and prints the
classes. The formats are JPEG, PNG, WebP, BMP, PGM, PPM (binary, 8 bits) and .npy (uint8: [H, W] or
[H, W, 3], or several images of one size, [N, H, W] or [N, H, W, 3]). All processors decode them.
)" + line.help() +
         kExitCodes;
}

}  // namespace lenet::apps
