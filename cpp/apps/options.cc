#include "options.h"

#include <vector>

#include "shared_flags.h"

namespace lenet::apps {
namespace {

CommandLine command_line(Options& options) {
  CommandLine line;
  add_model_flags(line, options.config);

  line.heading("Data");
  line.text("input", "FILE",
            ".npy (float32, or uint8 scaled by 1/255), IDX images or PGM (default: zeros)",
            options.input);
  line.text("labels", "FILE", "IDX or .npy labels; prints the accuracy", options.labels);
  line.text("output", "FILE", "write the outputs as .npy, float32", options.output);
  line.integer("batch_size", "images a run (default: 64 with --input, 1 without)",
               options.batch_size, 1);
  line.integer("max_batch_size",
               "larger batches are cut into pieces of N images (default: 0, which is 64 a thread)",
               options.config.max_batch_size, 0);
  line.boolean("check_finite",
               "refuse NaN and infinity in the input and the parameters (default: true)",
               options.config.check_finite);
  line.boolean("check_range",
               "warn of an input far beyond the range that preprocess.json beside the model gives "
               "(default: true)",
               options.check_range);

  add_engine_flags(line, options.config);

  line.heading("Measurement and output");
  line.integer(
      "repeats",
      "measure N runs of the first batch: median, p90, p99, images/s; of more than 100,000 "
      "to 0.05 %",
      options.repeats, 1);
  line.integer("max_seconds", "end warming up and measuring after N seconds (default: 600)",
               options.max_seconds, 1);
  line.integer("warmup", "runs before the measured ones (default: 10)", options.warmup, 0);
  line.toggle(
      "profile",
      "print what each layer costs: kernel, multiply-adds, bytes, time, "
      "and shares of the machine's limits (--repeats: measured runs; default: half a second "
      "of them)",
      options.profile);
  line.toggle("explain", "the same as --profile", options.profile);
  line.text("trace", "FILE",
            "with --profile: also write it as a Chrome trace, for Perfetto or chrome://tracing",
            options.trace);
  line.add("format", "text|json", "what to print on standard output (default: text)",
           [&options](const std::string& value) {
             if (value != "text" && value != "json") {
               throw UsageError("--format is '" + value + "'; expected text or json");
             }
             options.format = value == "json" ? Format::Json : Format::Text;
           });
  add_information_flags(line, options.version, options.help);
  return line;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  const std::vector<std::string> others = command_line(options).parse(argc, argv);
  if (!others.empty()) throw UsageError("unexpected argument '" + others.front() + "'");
  if (!options.help && !options.version) require_model(options.config);
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

std::string help_text(const std::string& program) {
  Options unused;
  const std::string call = "  " + program + " ";
  const std::string indent(call.size(), ' ');
  return "Runs an exported image classifier through the C++ inference engine.\n"
         "\n" +
         call + "--model_file=inference_model/lenet/lenet.pdmodel \\\n" + indent +
         "--params_file=inference_model/lenet/lenet.pdiparams\n" + call +
         "--model_dir=inference_model/lenet --input=digits.npy \\\n" + indent +
         "--labels=labels.npy --output=logits.npy --repeats=1000\n"
         "\n"
         "Values follow '=' or a space. Without --input one image of zeros is run.\n" +
         command_line(unused).help() + exit_code_help();
}

}  // namespace lenet::apps
