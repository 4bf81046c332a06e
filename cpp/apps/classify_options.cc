#include "classify_options.h"

#include "command_line.h"
#include "shared_flags.h"

namespace lenet::apps {
namespace {

ResultFormat parse_format(const std::string& value) {
  if (value == "text") return ResultFormat::Text;
  if (value == "json") return ResultFormat::Json;
  if (value == "csv") return ResultFormat::Csv;
  throw UsageError("--format is '" + value + "'; expected text, json or csv");
}

CommandLine command_line(ClassifyOptions& options) {
  CommandLine line;
  add_model_flags(line, options.config);

  line.heading("Images and classes");
  line.text("preprocess", "FILE",
            "how images are prepared (default: preprocess.json beside the model)",
            options.preprocess);
  line.text("labels", "FILE",
            "names of the classes, one a line, or '0 NAME' and so on (default: those of "
            "manifest.json beside the model)",
            options.labels);
  line.integer("topk", "classes of each image, the most probable first (default: 5)", options.topk,
               1);
  line.boolean("softmax",
               "whether the model gives logits, which softmax turns into probabilities (default: "
               "as manifest.json says, or else seen from the model's last operator)",
               options.softmax);
  line.integer("batch_size", "images a run (default: 1)", options.batch_size, 1);

  add_engine_flags(line, options.config);

  line.heading("Output");
  line.add("format", "text|json|csv", "of the result (default: text)",
           [&options](const std::string& value) { options.format = parse_format(value); });
  line.text("output", "FILE",
            "write the result there instead of printing it; it appears whole or not at all",
            options.output);
  line.text("output_tensor", "FILE",
            "also write what the model took, as .npy: float32 [images, channels, height, width]",
            options.output_tensor);
  add_information_flags(line, options.version, options.help);
  return line;
}

}  // namespace

ClassifyOptions parse_classify_options(int argc, char** argv) {
  ClassifyOptions options;
  options.images = command_line(options).parse(argc, argv);
  if (options.help || options.version) return options;
  require_model(options.config);
  if (options.images.empty()) throw UsageError("name images to classify: files or folders");
  return options;
}

std::string classify_help() {
  ClassifyOptions unused;
  return "Classifies image files with an exported model: decodes and prepares them as\n"
         "preprocess.json beside the model says, runs the model, prints the most probable "
         "classes.\n"
         "\n"
         "  lenet_classify --model_dir=inference_model/lenet photo.jpg\n"
         "  lenet_classify --model_dir=inference_model/lenet --topk=3 --format=csv \\\n"
         "                 --output=digits.csv photos/ another.png\n"
         "\n"
         "Images are files, or folders, which stand for the images in them. Read are JPEG, PNG,\n"
         "BMP, PGM, PPM (binary, 8 bits) and .npy (uint8, [H, W] or [H, W, 3]). Values follow '='\n"
         "or a space; after '--' everything is an image.\n" +
         command_line(unused).help() + exit_code_help();
}

}  // namespace lenet::apps
