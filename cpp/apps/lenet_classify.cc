/// The command line program that classifies image files.
#include <algorithm>
#include <string>
#include <vector>

#include "attached.h"
#include "batches.h"
#include "classify_files.h"
#include "io/file.h"
#include "lenet/image_io.h"
#include "lenet/predictor.h"
#include "options.h"
#include "program.h"
#include "report.h"

namespace lenet::apps {
namespace {

constexpr const char* kName = "lenet_classify";

/// As the model, and the images before it, have it.
void check_shape(const Shape& shape, const std::string& file, const Tensor& before,
                 const TensorSpec& spec) {
  const auto fits = [](auto size, auto declared) { return declared < 0 || declared == size; };
  if (spec.shape.size() != shape.size() ||
      !std::equal(shape.begin() + 1, shape.end(), spec.shape.begin() + 1, fits)) {
    throw Error(ErrorCode::BadInput, "'" + file + "': the preprocessing gives " + to_string(shape) +
                                         ", the model takes " + to_string(spec.shape) +
                                         "; name the preprocessing made for it: --preprocess");
  }
  if (!before.shape.empty() &&
      !std::equal(shape.begin() + 1, shape.end(), before.shape.begin() + 1)) {
    throw Error(ErrorCode::BadInput, "'" + file + "': " + to_string(shape) +
                                         " after the preprocessing, images before " +
                                         to_string(before.shape) +
                                         "; end its steps with CenterCrop, or use --batch_size=1");
  }
}

/// \returns float32 [1, channels, height, width].
Tensor read_image(const ImagePipeline& pipeline, const std::string& file) {
  const Image image = decode_image(file);
  try {
    Tensor tensor = pipeline(image);
    tensor.shape.insert(tensor.shape.begin(), 1);
    return tensor;
  } catch (const Error& error) {
    throw Error(error.code(), "'" + file + "': " + error.what());
  }
}

void check_names(const std::vector<std::string>& names, std::size_t classes,
                 const ClassifyOptions& options, const std::string& model_file) {
  if (names.empty() || names.size() == classes) return;
  const bool from_file = !options.labels.empty();
  throw Error(from_file ? ErrorCode::BadInput : ErrorCode::BadModel,
              (from_file ? "'" + options.labels : "the manifest beside '" + model_file) +
                  "' names " + std::to_string(names.size()) + " classes, the model has " +
                  std::to_string(classes));
}

/// \returns the text to print or to write.
std::string classify(const ClassifyOptions& options) {
  // First, because it is quickly said that one of them is missing.
  const std::vector<std::string> files = find_images(options.images);
  const ImagePipeline pipeline = load_pipeline(options.config, options.preprocess);
  std::vector<std::string> names;
  if (!options.labels.empty()) names = read_class_names(options.labels);
  Predictor predictor = make_predictor(options.config);
  const AttachedModel* attached = attached_model(options.config);
  const std::string model_file =
      attached == nullptr ? predictor.config().model_file : attached->name;
  const Manifest manifest =
      attached == nullptr ? read_manifest(model_file, options.config.check_hashes)
      : attached->manifest.empty()
          ? Manifest{}
          : parse_manifest(std::string(attached->manifest), "manifest.json", attached->name);
  if (options.labels.empty()) names = manifest.classes;
  const bool has_softmax = manifest.softmax.value_or(predictor.ends_in_softmax());
  const bool softmax = options.softmax.value_or(!has_softmax);

  std::vector<ImageResult> results;
  Tensor taken;  // by the model, when it is to be written: all of one shape
  const bool take = !options.output_tensor.empty();
  for (auto begin = files.begin(); begin != files.end();) {
    const auto end = begin + std::min(options.batch_size, files.end() - begin);
    Tensor batch;
    for (auto file = begin; file != end; ++file) {
      stop_if_interrupted();
      const Tensor image = read_image(pipeline, *file);
      check_shape(image.shape, *file, taken.shape.empty() ? batch : taken, predictor.input_spec());
      append(batch, image);
    }
    if (take) append(taken, batch);
    const Tensor outputs = predictor.run(batch.view());
    const std::size_t classes = outputs.data.size() / static_cast<std::size_t>(end - begin);
    if (classes == 0) {
      throw Error(ErrorCode::BadModel, "'" + model_file + "' is no classifier: its output is " +
                                           to_string(outputs.shape));
    }
    check_names(names, classes, options, model_file);
    for (const float* row = outputs.data.data(); begin != end; ++begin, row += classes) {
      results.push_back({*begin, top_classes(row, classes, options.topk, softmax)});
    }
  }
  stop_if_interrupted();
  if (take) write_npy(options.output_tensor, taken);
  return format_results(results, names, options.format);
}

std::string work(int argc, char** argv) {
  const ClassifyOptions options = parse_classify_options(argc, argv);
  if (options.help) return classify_help();
  if (options.version) return version_text(kName);
  const std::string result = classify(options);
  if (options.output.empty()) return result;
  stop_if_interrupted();
  write_atomically(options.output, {result});
  return "";
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) {
  using namespace lenet::apps;
  return run_program(kName, [&] { return work(argc, argv); });
}
