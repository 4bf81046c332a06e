/// The command line program that classifies image files.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "attached.h"
#include "batches.h"
#include "classify_files.h"
#include "description/output_plan.h"
#include "images/decoders.h"
#include "io/file.h"
#include "io/printable.h"
#include "layer_values.h"
#include "lenet/image_io.h"
#include "lenet/predictor.h"
#include "options.h"
#include "platform/platform.h"
#include "program.h"
#include "report.h"

namespace lenet::apps {
namespace {

constexpr const char* kName = "lenet_classify";

// Of images of different sizes; more are run before there are enough images of a size.
constexpr std::size_t kOpenBatches = 8;
constexpr std::size_t kOpenFloats = std::size_t{1} << 26;

bool is_same_size(const Shape& shape, const Shape& other) {
  return std::equal(shape.begin() + 1, shape.end(), other.begin() + 1, other.end());
}

/// \param changes the steps that the user gave
void check_shape(const Shape& shape, const std::string& file, const TensorSpec& spec,
                 const StepChanges& changes) {
  const auto fits = [](auto size, auto declared) { return declared < 0 || declared == size; };
  if (spec.shape.size() != shape.size() ||
      !std::equal(shape.begin() + 1, shape.end(), spec.shape.begin() + 1, fits)) {
    const char* const remedy = changes.crop ? "; change --crop"
                               : changes.resize
                                   ? "; change --resize, or give --crop"
                                   : "; name the preprocessing made for it: --preprocess";
    throw Error(ErrorCode::BadInput, "'" + file + "': the preprocessing gives " + to_string(shape) +
                                         ", the model takes " + to_string(spec.shape) + remedy);
  }
}

/// What to do when so many images are not what a model with a fixed batch takes; or nothing.
std::string batch_remedy(const TensorSpec& spec, std::size_t images) {
  const std::int64_t batch = spec.shape.empty() ? -1 : spec.shape[0];
  if (batch < 1 || static_cast<std::int64_t>(images) % batch == 0) return "";
  const std::string count = std::to_string(batch);
  return "; --batch_size=" + count + " gives it " + count + " images at once";
}

/// Images of one size, to be run together.
struct Batch {
  Tensor images;
  std::vector<std::size_t> places;  ///< among the results
};

Batch taken(std::vector<Batch>& open, Batch& batch) {
  Batch whole = std::move(batch);
  open.erase(open.begin() + (&batch - open.data()));
  return whole;
}

/// That of the images of this size, or a new one. \param run what must end before it has room
template <typename Run>
Batch& batch_for(const Shape& shape, std::vector<Batch>& open, const Run& run) {
  const auto finds = [&] {
    return std::find_if(open.begin(), open.end(), [&](const Batch& batch) {
      return is_same_size(shape, batch.images.shape);
    });
  };
  std::size_t floats = element_count(shape);
  for (const Batch& batch : open) floats += batch.images.data.size();
  const auto is_full = [&] {
    const bool is_new = finds() == open.end();
    return (open.size() == kOpenBatches && is_new) ||
           (open.size() + (is_new ? 1 : 0) > 1 && floats > kOpenFloats);
  };
  while (!open.empty() && is_full()) {
    floats -= open.front().images.data.size();
    run(taken(open, open.front()));
  }
  const auto found = finds();
  return found != open.end() ? *found : open.emplace_back();
}

/// An image as the model takes it, or why there is none.
struct Prepared {
  Tensor tensor;  ///< float32 [1, channels, height, width]
  std::exception_ptr failure;
  bool is_dark = false;  ///< as decode_bytes
};

Tensor read_image(const ImagePipeline& pipeline, const ImageName& name, bool& is_dark) {
  stop_if_interrupted();
  Tensor tensor = name.prepare(pipeline, is_dark);
  tensor.shape.insert(tensor.shape.begin(), 1);
  return tensor;
}

/// Decodes and prepares images on all processors.
std::vector<Prepared> read_images(const ImagePipeline& pipeline, const ImageName* names,
                                  std::size_t count, std::size_t threads) {
  std::vector<Prepared> images(count);
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        images[i].tensor = read_image(pipeline, names[i], images[i].is_dark);
      } catch (...) {
        images[i].failure = std::current_exception();
      }
    }
  };
  std::vector<std::future<void>> others;
  for (std::size_t i = 1; i < std::min(threads, count); ++i) {
    others.push_back(std::async(std::launch::async, work));
  }
  work();
  for (auto& other : others) other.get();
  return images;
}

/// How far the work is, in one line of a terminal; nothing where standard error is none.
class Progress {
 public:
  explicit Progress(std::size_t total) : total_(total), shows_(platform::is_terminal_stderr()) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  void show(std::size_t done) {
    const auto now = std::chrono::steady_clock::now();
    if (!shows_ || now - shown_ < std::chrono::milliseconds(200)) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - begun_).count();
    const double rate = static_cast<double>(done) / seconds;
    const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : 0;
    std::fprintf(stderr, "\r\033[K%zu of %zu images, %.0f a second, %.0f s left", done, total_,
                 rate, left);
    std::fflush(stderr);
  }
  /// So that something else can be printed.
  void clear() {
    if (shows_) std::fputs("\r\033[K", stderr);
  }

 private:
  std::size_t total_;
  bool shows_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point shown_ = begun_;
};

/// What was found, and of how many images.
struct Classified {
  std::string text;  ///< to print or to write
  std::size_t images = 0;
  std::size_t skipped = 0;
  std::string problem;  ///< with the first of those that were skipped
};

/// What is said when images were skipped.
std::string summary_of(const Classified& found) {
  const std::string count =
      std::to_string(found.skipped) + " of " + std::to_string(found.images) + " images";
  return count + " could not be classified" + (found.skipped > 1 ? ", for example: " : ": ") +
         printable(found.problem);
}

Classified classify(const ClassifyOptions& options) {
  // First, because it is quickly said that one of them is missing.
  const std::vector<ImageName> files = find_images(options.images, options.skip_errors);
  std::vector<std::string> labels;
  if (!options.labels.empty()) labels = read_class_names(options.labels);
  Predictor predictor = make_predictor(kName, options.config);
  Described described = with_images(describe(predictor, options.preprocess, options.changes));
  for (const std::string& note : described.image_notes) print_message(kName, "note", note);
  Description& description = described.description;
  if (!labels.empty()) {
    give_labels(described, std::move(labels), options.labels);
  } else if (!described.note.empty()) {
    print_message(kName, "note", described.note);
  }
  if (const std::string why = predictor.computed_precision().reason; !why.empty()) {
    print_message(kName, "note", why);
  }
  const ImagePipeline pipeline(description.images);
  pipeline.require_layout(predictor.input_spec().shape, described.source);
  const AttachedModel* attached = attached_model(options.config);
  const std::string model_file =
      attached == nullptr ? predictor.config().model_file : attached->name;
  const OutputPlan plan = plan_outputs(predictor, described, options.softmax);
  const bool has_classes = gives_classes(plan, description.outputs);
  require_classes(has_classes, described);
  if (!has_classes && options.format == Format::Csv) {
    throw Error(ErrorCode::Unsupported,
                "'" + model_file + "' gives features, no classes: use --format=json");
  }
  takes_labels(static_cast<std::size_t>(plan.num_classes), described, predictor.config());
  if (!plan.note.empty()) print_message(kName, "note", plan.note);

  std::vector<ImageResult> results;
  Classified found{"", files.size(), 0, ""};
  Progress progress(files.size());
  // Goes on without an image, or throws.
  const auto skip = [&](std::size_t place, const Error& error) {
    const bool alone = files.size() == 1 && !options.skip_errors;
    if (alone || error.code() == ErrorCode::BackendFailure) throw error;
    results[place].error = error.what();
    if (found.skipped++ == 0) found.problem = error.what();
  };
  NanOrigin origin;
  Tensor written;  // what the model took, if it is wanted: all of one shape
  std::vector<Batch> open;
  const auto run = [&](const Batch& batch) {
    const auto& [images, places] = batch;
    std::vector<Tensor> outputs;
    try {
      run_plan(predictor, images.view(), plan, outputs);
    } catch (const Error& error) {  // such as a size that the model does not take
      if (error.code() == ErrorCode::BackendFailure) throw;
      const std::string remedy = batch_remedy(predictor.input_spec(), places.size());
      for (const std::size_t place : places) {
        skip(place, Error(error.code(), "'" + files[place].text() + "': " + error.what() + remedy));
      }
      return;
    }
    if (!options.output_tensor.empty()) append(written, images);
    const auto count = static_cast<std::int64_t>(places.size());
    if (places.front() == 0) {
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        warn_of_shape(kName, outputs[i], predictor.output_specs()[plan.wanted[i]], count);
      }
    }
    const std::vector<TensorView> views = views_of(outputs);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t place = places[static_cast<std::size_t>(i)];
      const std::string problem = problem_of(plan, description.outputs, views, i);
      if (!problem.empty()) {
        skip(place, no_class("'" + files[place].text() + "'", problem,
                             origin.find(predictor, slice(images, i, 1))));
        continue;
      }
      results[place].found = interpret(plan, views, i, described, predictor.config(),
                                       {options.topk, options.threshold});
    }
  };
  bool warned = false;  // of the first dark image; the report has all
  const std::size_t threads = std::max(1U, std::thread::hardware_concurrency());
  // A model that runs on all processors is slower while others decode.
  const bool has_idle = options.config.threads < static_cast<int>(threads);
  const std::launch when = has_idle ? std::launch::async : std::launch::deferred;
  const auto read_next = [&](std::size_t begin) {
    const std::size_t count = std::min(files.size() - begin, 4 * threads);
    return std::async(when, [&pipeline, names = files.data() + begin, count, threads] {
      return read_images(pipeline, names, count, threads);
    });
  };
  auto next = read_next(0);
  while (results.size() < files.size()) {
    std::vector<Prepared> read = next.get();
    const std::size_t end = results.size() + read.size();
    if (end < files.size()) next = read_next(end);
    for (Prepared& image : read) {
      const std::string name = files[results.size()].text();
      ImageResult& result = results.emplace_back(ImageResult{name, {}, ""});
      if (image.is_dark) {
        result.warning = kDarkNote;
        progress.clear();
        if (!std::exchange(warned, true)) {
          print_message(kName, "warning", "'" + name + "': " + kDarkNote);
        }
      }
      try {
        if (image.failure) std::rethrow_exception(image.failure);
        const Shape& shape = image.tensor.shape;
        check_shape(shape, name, predictor.input_spec(), options.changes);
        const Shape& before =
            written.shape.empty() && !open.empty() ? open[0].images.shape : written.shape;
        if (!options.output_tensor.empty() && !before.empty() && !is_same_size(shape, before)) {
          throw Error(ErrorCode::BadInput,
                      "'" + name + "': " + to_string(shape) + " after the preprocessing, images " +
                          "before " + to_string(before) + ": --output_tensor writes images of " +
                          "one size; end the steps with CenterCrop");
        }
      } catch (const Error& error) {
        skip(results.size() - 1, error);
        image.tensor = {};
      }
      if (!image.tensor.shape.empty()) {
        Batch& batch = batch_for(image.tensor.shape, open, run);
        append(batch.images, image.tensor);
        batch.places.push_back(results.size() - 1);
        if (static_cast<std::int64_t>(batch.places.size()) == options.batch_size) {
          run(taken(open, batch));
        }
      }
      stop_if_interrupted();
      progress.show(results.size());
    }
  }
  for (const Batch& batch : open) run(batch);
  stop_if_interrupted();
  if (!options.output_tensor.empty()) write_npy(options.output_tensor, written);
  found.text = format_results(results, options.format, value_name(plan, description.outputs));
  return found;
}

std::string work(int argc, char** argv) {
  const ClassifyOptions options = parse_classify_options(argc, argv);
  if (options.help || options.help_all) return classify_help(options.help_all);
  if (options.version) return version_text(kName);
  Classified found = classify(options);
  if (!options.output.empty()) {
    stop_if_interrupted();
    write_atomically(options.output, {found.text});
    found.text.clear();
  }
  if (found.skipped == 0) return found.text;
  const std::string summary = summary_of(found);
  if (options.skip_errors && found.skipped < found.images) {
    print_message(kName, "note", summary);
    return found.text;
  }
  const char* const remedy = options.skip_errors ? "" : "; with --skip_errors the exit code is 0";
  throw PartialResult{found.text, Error(ErrorCode::BadInput, summary + remedy)};
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) {
  using namespace lenet::apps;
  argv = lenet::platform::arguments(argc, argv);
  return run_program(kName, [&] { return work(argc, argv); });
}
