#include "options.h"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "lenet/error.h"

namespace lenet::apps {
namespace {

template <typename Integer>
Integer parse_integer(const std::string& flag, const std::string& text, Integer least) {
  Integer value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || value < least) {
    throw UsageError("--" + flag + " is '" + text + "'; expected a whole number, " +
                     std::to_string(least) + " or more");
  }
  return value;
}

bool is_bool(const std::string& text) {
  return text == "true" || text == "false" || text == "1" || text == "0";
}

bool parse_bool(const std::string& flag, const std::string& text) {
  if (!is_bool(text)) {
    throw UsageError("--" + flag + " is '" + text + "'; expected true or false");
  }
  return text == "true" || text == "1";
}

struct Flag {
  std::string name;
  std::string argument;  ///< as shown in the help; empty: a switch that takes none
  std::string help;
  std::function<void(Options&, const std::string&)> set;
  bool boolean = false;
  const char* heading = nullptr;  ///< starts a group in the help
};

Flag text_flag(const char* name, const char* argument, const char* help,
               std::string* (*field)(Options&)) {
  return {name, argument, help,
          [field](Options& options, const std::string& value) { *field(options) = value; }};
}

Flag bool_flag(const char* name, const char* help, bool* (*field)(Options&)) {
  return {name, "true|false", help,
          [name, field](Options& options, const std::string& value) {
            *field(options) = parse_bool(name, value);
          },
          true};
}

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = [] {
    std::vector<Flag> list;
    const auto add = [&list](Flag flag, const char* heading = nullptr) {
      flag.heading = heading;
      list.push_back(std::move(flag));
    };
    add(text_flag("model_file", "FILE", "program: NAME.pdmodel or NAME.json",
                  [](Options& o) { return &o.config.model_file; }),
        "Model");
    add(text_flag("params_file", "FILE", "parameters (default: NAME.pdiparams beside the program)",
                  [](Options& o) { return &o.config.params_file; }));
    add(text_flag("model_dir", "DIR",
                  "instead of both: the folder of an exported model, or of __model__ and one file "
                  "per variable",
                  [](Options& o) { return &o.config.model_dir; }));
    add(bool_flag("check_program",
                  "refuse programs that could make Paddle fault, and operators that are not known "
                  "(default: true; false for a trusted model with others)",
                  [](Options& o) { return &o.config.check_program; }));
    add(bool_flag("check_hashes", "compare the files with SHA256SUMS beside them (default: true)",
                  [](Options& o) { return &o.config.check_hashes; }));

    add(text_flag("input", "FILE",
                  ".npy (float32, or uint8 scaled by 1/255), IDX images or PGM (default: zeros)",
                  [](Options& o) { return &o.input; }),
        "Data");
    add(text_flag("labels", "FILE", "IDX or .npy labels; prints the accuracy",
                  [](Options& o) { return &o.labels; }));
    add(text_flag("output", "FILE", "write the outputs as .npy, float32",
                  [](Options& o) { return &o.output; }));
    add({"batch_size", "N", "images a run (default: 64 with --input, 1 without)",
         [](Options& o, const std::string& value) {
           o.batch_size = parse_integer<std::int64_t>("batch_size", value, 1);
         }});
    add({"max_batch_size", "N",
         "larger batches are cut into pieces of N images (default: 0, which is 64 a thread)",
         [](Options& o, const std::string& value) {
           o.config.max_batch_size = parse_integer<std::int64_t>("max_batch_size", value, 0);
         }});
    add(bool_flag("check_finite", "refuse NaN and infinity in the input (default: true)",
                  [](Options& o) { return &o.config.check_finite; }));

    add(text_flag("engine", "NAME", "inference engine: paddle (default: paddle)",
                  [](Options& o) { return &o.config.engine; }),
        "Engine");
    add({"accelerator", "NAME",
         "auto, plain, onednn or openvino (default: auto, the fastest by measurement: openvino for "
         "a "
         ".pdmodel, otherwise plain for one image on a small model, and onednn)",
         [](Options& o, const std::string& value) {
           try {
             o.config.accelerator = parse_accelerator(value);
           } catch (const Error& error) {
             throw UsageError(error.what());
           }
         }});
    add(text_flag("precision", "NAME", "of the arithmetic: fp32 (default: fp32)",
                  [](Options& o) { return &o.config.precision; }));
    add({"threads", "N", "CPU threads of a run (default: 1)",
         [](Options& o, const std::string& value) {
           o.config.threads = parse_integer<int>("threads", value, 1);
         }});
    add(bool_flag("ir_optim", "let the engine fuse and rewrite operators (default: true)",
                  [](Options& o) { return &o.config.ir_optim; }));
    add(bool_flag("memory_optim", "let intermediate results share memory (default: false)",
                  [](Options& o) { return &o.config.memory_optim; }));

    add({"repeats", "N", "measure N runs of the first batch: median, p90, p99, images/s",
         [](Options& o, const std::string& value) {
           o.repeats = parse_integer<int>("repeats", value, 1);
         }},
        "Measurement and output");
    add({"warmup", "N", "runs before the measured ones (default: 10)",
         [](Options& o, const std::string& value) {
           o.warmup = parse_integer<int>("warmup", value, 0);
         }});
    add({"format", "text|json", "what to print on standard output (default: text)",
         [](Options& o, const std::string& value) {
           if (value != "text" && value != "json") {
             throw UsageError("--format is '" + value + "'; expected text or json");
           }
           o.format = value == "json" ? Format::Json : Format::Text;
         }});
    add({"version", "", "print our version and Paddle's",
         [](Options& o, const std::string&) { o.version = true; }});
    add({"help", "", "print this text", [](Options& o, const std::string&) { o.help = true; }});
    return list;
  }();
  return all;
}

int argument_kind(const Flag& flag) {
  if (flag.argument.empty()) return no_argument;
  return flag.boolean ? optional_argument : required_argument;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  std::vector<option> table;
  for (const Flag& flag : flags()) {
    table.push_back({flag.name.c_str(), argument_kind(flag), nullptr, 0});
  }
  table.push_back({nullptr, 0, nullptr, 0});

  Options options;
  opterr = 0;
  optind = 0;  // glibc: forget where an earlier scan stopped
  for (;;) {
    const int current = std::max(optind, 1);
    int index = 0;
    // The leading colon tells a missing value (':') from an unknown flag ('?').
    const int result = getopt_long(argc, argv, ":", table.data(), &index);
    if (result == -1) break;
    if (result == ':') throw UsageError(std::string(argv[optind - 1]) + " needs a value");
    if (result == '?') {
      const bool known = optopt == 0 && std::strchr(argv[optind - 1], '=') != nullptr &&
                         std::strncmp(argv[optind - 1], "--help", 6) == 0;
      throw UsageError((known ? "no value is taken by " : "unknown option ") +
                       std::string(argv[current < optind ? optind - 1 : current]));
    }
    const Flag& flag = flags()[static_cast<std::size_t>(index)];
    std::string value = optarg == nullptr ? "" : optarg;
    if (flag.boolean && optarg == nullptr) {
      const bool follows = optind < argc && is_bool(argv[optind]);
      value = follows ? argv[optind++] : "true";
    }
    flag.set(options, value);
  }
  if (optind < argc) throw UsageError("unexpected argument '" + std::string(argv[optind]) + "'");

  const bool runs = !options.help && !options.version;
  const Config& config = options.config;
  if (runs && config.model_dir.empty() && config.model_file.empty()) {
    throw UsageError("name a model: --model_file and --params_file, or --model_dir");
  }
  if (!config.model_dir.empty() && !(config.model_file + config.params_file).empty()) {
    throw UsageError(
        "--model_dir stands instead of --model_file and --params_file, not beside them");
  }
  if (!options.labels.empty() && options.input.empty()) {
    throw UsageError("--labels needs the images they belong to: --input");
  }
  return options;
}

std::string help_text() {
  std::string text =
      "Runs an exported image classifier through the C++ inference engine.\n"
      "\n"
      "  lenet_infer_test --model_file=inference_model/lenet/lenet.pdmodel \\\n"
      "                   --params_file=inference_model/lenet/lenet.pdiparams\n"
      "  lenet_infer_test --model_dir=inference_model/lenet --input=digits.npy \\\n"
      "                   --labels=labels.npy --output=logits.npy --repeats=1000\n"
      "\n"
      "Values follow '=' or a space. Without --input one image of zeros is run.\n";
  constexpr std::size_t kColumn = 28;
  constexpr std::size_t kWidth = 96;
  for (const Flag& flag : flags()) {
    if (flag.heading != nullptr) text += std::string("\n") + flag.heading + ":\n";
    std::string line = "  --" + flag.name + (flag.argument.empty() ? "" : "=" + flag.argument);
    line.resize(std::max(line.size() + 1, kColumn), ' ');
    std::size_t begin = 0;
    while (begin < flag.help.size()) {
      std::size_t count = std::min(flag.help.size() - begin, kWidth - line.size());
      if (begin + count < flag.help.size()) count = flag.help.rfind(' ', begin + count) - begin;
      text += line + flag.help.substr(begin, count) + "\n";
      begin += count + 1;
      line.assign(kColumn, ' ');
    }
  }
  return text +
         "\n"
         "Exit code: 0 done; 1 standard output could not be written; 2 wrong usage; 3 "
         "FileNotFound;\n"
         "4 BadModel; 5 BadInput; 6 Unsupported; 7 VersionMismatch; 8 BackendFailure.\n"
         "Ctrl-C, SIGTERM and SIGHUP end it by the signal (130, 143, 129 in a shell) and leave no\n"
         "half-written file.\n";
}

}  // namespace lenet::apps
