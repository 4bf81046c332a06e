/// \file
/// The command line program that classifies image files.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batches.h"
#include "image_files.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "lenet/image_io.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"
#include "manifest.h"
#include "model/ends_in_softmax.h"
#include "options.h"
#include "program.h"
#include "results.h"

namespace lenet::apps {
namespace {
namespace fs = std::filesystem;

constexpr const char* kName = "lenet_classify";
constexpr const char* kPreprocessName = "preprocess.json";

ImagePipeline load_pipeline(const ClassifyOptions& options) {
  const Config& config = options.config;
  // Named outright it is used as it is; beside the model it is one of the model's files.
  if (!options.preprocess.empty()) return ImagePipeline::load(options.preprocess, false);
  const fs::path folder(config.model_dir.empty()
                            ? fs::path(config.model_file).parent_path().string()
                            : config.model_dir);
  const std::string path = (folder / kPreprocessName).string();
  std::error_code failed;
  if (fs::is_directory(folder.empty() ? "." : folder, failed) && !fs::exists(path, failed)) {
    throw Error(ErrorCode::FileNotFound, "there is no " + path +
                                             ", which says how images are prepared; export the "
                                             "model again, or name one with --preprocess");
  }
  return ImagePipeline::load(path, config.check_hashes);
}

/// As images[0], and the model, have it.
void check_shape(const Shape& shape, const std::string& file, const Tensor& batch,
                 const TensorSpec& spec) {
  bool fits = spec.shape.size() == shape.size();
  for (std::size_t i = 1; fits && i < shape.size(); ++i) {
    fits = spec.shape[i] < 0 || spec.shape[i] == shape[i];
  }
  if (!fits) {
    throw Error(ErrorCode::BadInput, "'" + file + "': the preprocessing gives " + to_string(shape) +
                                         ", the model takes " + to_string(spec.shape) +
                                         "; name the preprocessing made for it: --preprocess");
  }
  if (!batch.shape.empty() &&
      !std::equal(shape.begin() + 1, shape.end(), batch.shape.begin() + 1)) {
    throw Error(ErrorCode::BadInput, "'" + file + "': " + to_string(shape) +
                                         " after the preprocessing, images before " +
                                         to_string(batch.shape) +
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

class Classifier {
 public:
  explicit Classifier(const ClassifyOptions& options)
      : options_(options), pipeline_(load_pipeline(options)) {
    if (!options.labels.empty()) names_ = read_class_names(options.labels);
    predictor_.emplace(options.config);
    const Manifest manifest =
        read_manifest(predictor_->config().model_file, options.config.check_hashes);
    if (options.labels.empty()) names_ = manifest.classes;
    softmax_ = options.softmax;
    if (!softmax_ && manifest.softmax) softmax_ = !*manifest.softmax;
  }

  /// \returns the text to print or to write.
  std::string run(const std::vector<std::string>& files) {
    const auto batch_size = static_cast<std::size_t>(options_.batch_size);
    for (std::size_t begin = 0; begin < files.size(); begin += batch_size) {
      const std::size_t end = begin + std::min(batch_size, files.size() - begin);
      run_batch({files.begin() + static_cast<std::ptrdiff_t>(begin),
                 files.begin() + static_cast<std::ptrdiff_t>(end)});
    }
    stop_if_interrupted();
    if (!options_.output_tensor.empty()) write_npy(options_.output_tensor, taken_);
    return format_results(results_, names_, options_.format);
  }

 private:
  void run_batch(const std::vector<std::string>& files) {
    Tensor batch;
    for (const std::string& file : files) {
      stop_if_interrupted();
      const Tensor image = read_image(pipeline_, file);
      // All that is written has one shape.
      const Tensor& before =
          options_.output_tensor.empty() || taken_.shape.empty() ? batch : taken_;
      check_shape(image.shape, file, before, predictor_->input_spec());
      append(batch, image);
    }
    if (!options_.output_tensor.empty()) append(taken_, batch);
    const Tensor outputs = predictor_->run(batch.view());
    const std::size_t classes = outputs.data.size() / files.size();
    if (classes == 0) {
      throw Error(ErrorCode::BadModel, "'" + predictor_->config().model_file +
                                           "' is no classifier: its output is " +
                                           to_string(outputs.shape));
    }
    if (!names_.empty() && names_.size() != classes) wrong_names(classes);
    if (!softmax_) softmax_ = !ends_in_softmax(predictor_->config());
    const auto k = static_cast<std::size_t>(options_.topk);
    for (std::size_t i = 0; i < files.size(); ++i) {
      results_.push_back(
          {files[i], top_classes(outputs.data.data() + i * classes, classes, k, *softmax_)});
    }
  }

  [[noreturn]] void wrong_names(std::size_t classes) const {
    throw Error(options_.labels.empty() ? ErrorCode::BadModel : ErrorCode::BadInput,
                (options_.labels.empty() ? "the manifest beside '" + predictor_->config().model_file
                                         : "'" + options_.labels) +
                    "' names " + std::to_string(names_.size()) + " classes, the model has " +
                    std::to_string(classes));
  }

  const ClassifyOptions& options_;
  ImagePipeline pipeline_;
  std::vector<std::string> names_;  ///< of the classes; may be empty
  std::optional<Predictor> predictor_;
  std::optional<bool> softmax_;  ///< whether to apply it; known from the first batch on
  std::vector<ImageResult> results_;
  Tensor taken_;  ///< by the model, when it is to be written
};

std::string work(int argc, char** argv) {
  const ClassifyOptions options = parse_classify_options(argc, argv);
  catch_interrupts();
  if (options.help) return classify_help();
  if (options.version) return version_text(kName);
  // First, because it is quickly said that one of them is missing.
  const std::vector<std::string> files = find_images(options.images);
  const std::string result = Classifier(options).run(files);
  if (options.output.empty()) return result;
  stop_if_interrupted();
  write_atomically(options.output, {result});
  return "";
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) {
  using namespace lenet::apps;
  return run_program("lenet_classify", [&] { return work(argc, argv); });
}
