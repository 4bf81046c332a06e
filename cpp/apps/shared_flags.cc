#include "shared_flags.h"

#include <memory>

#include "lenet/engines.h"

namespace lenet::apps {

void add_model_flags(CommandLine& line, Config& config) {
  line.heading("Model");
  line.text("model_file", "FILE", "program: NAME.pdmodel, NAME.json or NAME.onnx",
            config.model_file);
  line.text("params_file", "FILE",
            "parameters (default: NAME.pdiparams beside the program; not used with .onnx)",
            config.params_file);
  line.text("model_dir", "DIR",
            "instead of both: the folder of an exported model, or of __model__ and one file per "
            "variable",
            config.model_dir);
  line.boolean("check_program",
               "refuse programs that could make Paddle fault, and operators that are not known "
               "(default: true; false for a trusted model with others)",
               config.check_program);
  line.boolean("check_hashes", "compare the files with SHA256SUMS beside them (default: true)",
               config.check_hashes);
}

void add_engine_flags(CommandLine& line, Config& config) {
  line.heading("Engine");
  line.add("engine", "NAME",
           "inference engine: " + engine_names() +
               " (default: auto, the fastest that runs the model and supports the options below)",
           [&config](const std::string& value) { config.engine = parse_engine(value); });
  line.add("accelerator", "NAME",
           "auto, plain, onednn or openvino (default: auto, the fastest by measurement: openvino "
           "for a .pdmodel, otherwise plain for one image on a small model, and onednn; onednn "
           "for bf16 and int8)",
           [&config](const std::string& value) {
             try {
               config.accelerator = parse_accelerator(value);
             } catch (const Error& error) {
               throw UsageError(error.what());
             }
           });
  const auto given = std::make_shared<std::string>();
  const auto set_precision = [&config, given](const std::string& name) {
    if (!given->empty() && *given != name) {
      throw UsageError("the precision is to be " + *given + " and " + name +
                       "; --int8 is short for --precision=int8");
    }
    config.precision = parse_precision(name);
    *given = name;
  };
  line.add("precision", "NAME",
           "of the arithmetic: fp32, bf16, or int8 for a quantized .pdmodel (default: fp32)",
           set_precision);
  line.toggle("int8", "the same as --precision=int8", [set_precision] { set_precision("int8"); });
  line.integer("threads", "CPU threads of a run (default: 1)", config.threads, 1);
  line.boolean("ir_optim", "let the engine fuse and rewrite operators (default: true)",
               config.ir_optim);
  line.integer("time_limit_ms",
               "end a run with an error after N milliseconds (default: 0, no limit; not supported "
               "by Paddle)",
               config.time_limit_ms, 0);
  line.boolean("memory_optim", "let intermediate results share memory (default: false)",
               config.memory_optim);
}

void add_information_flags(CommandLine& line, bool& version, bool& help) {
  line.toggle("version", "print our version and those of the engines", version);
  line.toggle("help", "print this text", help);
}

void require_model(const Config& config) {
  if (config.model_dir.empty() && config.model_file.empty()) {
    throw UsageError("name a model: --model_file and --params_file, or --model_dir");
  }
  if (!config.model_dir.empty() && !(config.model_file + config.params_file).empty()) {
    throw UsageError(
        "--model_dir stands instead of --model_file and --params_file, not beside them");
  }
}

std::string exit_code_help() {
  return "\n"
         "Exit code: 0 done; 1 standard output could not be written; 2 wrong usage; 3 "
         "FileNotFound;\n"
         "4 BadModel; 5 BadInput; 6 Unsupported; 7 VersionMismatch; 8 BackendFailure.\n"
         "Ctrl-C, SIGTERM and SIGHUP end it by the signal (130, 143, 129 in a shell) and leave no\n"
         "half-written file.\n";
}

}  // namespace lenet::apps
