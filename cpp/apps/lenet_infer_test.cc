/// The command line program: reads the flags, calls the library, prints what it found.
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attached.h"
#include "batches.h"
#include "description/outputs.h"
#include "io/file.h"
#include "io/image_numbers.h"
#include "io/npz.h"
#include "io/printable.h"
#include "layer_values.h"
#include "lenet/image_io.h"
#include "lenet/predictor.h"
#include "lenet/version.h"
#include "measure.h"
#include "model/element_types.h"
#include "options.h"
#include "own_numbers.h"
#include "platform/platform.h"
#include "program.h"
#include "report.h"

// lenet_infer_native is the same program, linked with no engine but native.
#ifndef LENET_PROGRAM
#define LENET_PROGRAM "lenet_infer_test"
#define LENET_HELP ""
#endif

namespace lenet::apps {
namespace {

constexpr std::int64_t kDefaultBatch = 64;

/// As asked for; otherwise, of a model that was exported for a fixed number of images a run, a
/// multiple of it.
std::int64_t batch_size_of(const Options& options, const TensorSpec& spec) {
  if (options.batch_size > 0) return options.batch_size;
  const std::int64_t wanted = options.input.empty() ? 1 : kDefaultBatch;
  const std::int64_t fixed = spec.shape.empty() || spec.shape[0] < 1 ? 1 : spec.shape[0];
  return std::max<std::int64_t>(wanted / fixed, 1) * fixed;
}

/// Images of the batch size asked for, all zero, as the guides begin.
Tensor zeros(const TensorSpec& spec, std::int64_t batch_size) {
  Tensor images;
  images.shape = spec.shape;
  images.shape[0] = batch_size;
  if (std::any_of(images.shape.begin(), images.shape.end(), [](auto size) { return size < 0; })) {
    throw Error(ErrorCode::BadInput, "the model takes images of any size, " +
                                         to_string(spec.shape) + "; name some with --input");
  }
  images.data.resize(element_count(images.shape), 0.0F);
  return images;
}

/// Whether the first output tells the class of each image: by its greatest value, or its number.
bool tells_class(const Predictor& predictor, const Tensor& output, std::int64_t images) {
  const OutputMeaning& meaning = predictor.output_meanings().front();
  const bool has_other_numbers = meaning.picked || meaning.role == OutputRole::MultiHot ||
                                 meaning.role == OutputRole::Features;
  const auto is_several = [](std::int64_t size) { return size > 1; };
  return !has_other_numbers && !output.shape.empty() && output.shape[0] == images &&
         std::count_if(output.shape.begin() + 1, output.shape.end(), is_several) <= 1;
}

/// The greatest output of each image, or of class numbers the first; kNoClass where that is NaN's.
/// \param refuse called with the number of such an image and what is wrong with its outputs
template <typename Refuse>
std::vector<std::int64_t> classes_of(const Tensor& output, OutputRole role, const Refuse& refuse) {
  std::vector<std::int64_t> classes;
  if (output.data.empty()) return classes;
  const auto row = static_cast<std::ptrdiff_t>(output.data.size()) / output.shape[0];
  const bool has_numbers = role == OutputRole::ClassNumbers || role == OutputRole::Indices;
  // The greatest one needs no softmax.
  const OutputRole compared = has_numbers ? OutputRole::ClassNumbers : OutputRole::Unknown;
  for (auto begin = output.data.begin(); begin != output.data.end(); begin += row) {
    const std::string problem = problem_of(&*begin, static_cast<std::size_t>(row), compared);
    if (!problem.empty()) {
      refuse(classes.size(), problem);
      classes.push_back(kNoClass);
      continue;
    }
    const auto greatest = std::max_element(begin, begin + row) - begin;
    classes.push_back(has_numbers ? static_cast<std::int64_t>(*begin) : greatest);
  }
  return classes;
}

/// Whether every output is written, by its name.
bool writes_all(const Options& options) {
  constexpr std::string_view kSuffix = ".npz";
  const std::string& file = options.output;
  return file.size() >= kSuffix.size() &&
         file.compare(file.size() - kSuffix.size(), kSuffix.size(), kSuffix) == 0;
}

/// Writes the outputs of a model with the types that it gives them, but floating-point values as
/// float32.
void write_outputs(const std::string& file, const std::vector<TensorSpec>& specs,
                   const std::vector<Tensor>& outputs) {
  std::vector<std::string> contents;
  contents.reserve(specs.size());  // which the arrays point into
  std::vector<NamedArray> arrays;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::vector<float>& values = outputs[i].data;
    const ElementType& type =
        is_real(specs[i].dtype) ? element_type(kFloat32) : element_type_named(specs[i].dtype);
    contents.push_back(converted_to(type, values.data(), values.size()));
    arrays.push_back({specs[i].name, {npy_type(type), outputs[i].shape, contents.back()}});
  }
  write_npz(file, arrays);
}

std::int64_t count_correct(const std::vector<std::int64_t>& classes, const std::string& file) {
  const std::vector<std::int64_t> labels = read_labels(file);
  if (labels.size() != classes.size() || labels.empty()) {
    throw Error(ErrorCode::BadInput, "'" + file + "' holds " + std::to_string(labels.size()) +
                                         " labels for " + std::to_string(classes.size()) +
                                         " images");
  }
  std::int64_t correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) correct += labels[i] == classes[i];
  return correct;
}

std::string run(const Options& options) {
  Report report;
  // First, because it is quickly said that there is something wrong with it.
  const bool from_file = !options.input.empty();
  ImageNumbers numbers;
  if (from_file) numbers = read_image_numbers(options.input, true);
  std::optional<Predictor> predictor;
  report.load_ms =
      1e3 * seconds_of([&] { predictor.emplace(make_predictor(LENET_PROGRAM, options.config)); });

  report.batch_size = batch_size_of(options, predictor->input_spec());
  const TensorSpec& spec = predictor->input_spec();
  Tensor images = from_file ? to_input(std::move(numbers), options.input, spec.dtype)
                            : zeros(spec, report.batch_size);
  if (from_file && options.check_range) {
    const std::string warning = input_range_warning(images, predictor->config());
    if (!warning.empty()) print_message(LENET_PROGRAM, "warning", warning);
  }
  report.input = from_file ? options.input : "zeros (no --input)";
  // A file of three dimensions is taken for images of one channel.
  if (from_file && spec.shape.size() == 3 && images.shape.size() == 4 && images.shape[1] == 1) {
    images.shape.erase(images.shape.begin() + 1);
  }
  report.input_shape = images.shape;
  const std::int64_t count = images.shape[0];
  report.batch_size = std::min(report.batch_size, std::max<std::int64_t>(count, 1));

  const std::vector<TensorSpec>& specs = predictor->output_specs();
  const bool all = writes_all(options);
  std::vector<Tensor> outputs(all ? specs.size() : 1);
  std::vector<Gathered> gathered(outputs.size());
  const auto run_part = [&](const TensorView& batch) {
    if (all) outputs = predictor->run_outputs(batch);
    if (!all) predictor->run(batch, outputs[0]);
  };
  if (count == 0) run_part(images.view());
  for (std::int64_t done = 0; done < count; done += report.batch_size) {
    stop_if_interrupted();
    const TensorView batch = slice(images, done, std::min(report.batch_size, count - done));
    const double seconds = seconds_of([&] { run_part(batch); });
    if (done == 0) report.first_run_ms = 1e3 * seconds;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (done == 0) warn_of_shape(LENET_PROGRAM, outputs[i], specs[i], batch.shape[0]);
      gathered[i].add(outputs[i], batch.shape[0]);
    }
  }
  for (std::size_t i = 0; i < outputs.size() && count > 0; ++i) {
    outputs[i] = gathered[i].take(specs[i].name);
  }
  report.output = outputs[0];
  const auto refuse = [&](std::size_t image, const std::string& problem) {
    if (options.labels.empty()) return;  // the outputs are shown as they are
    const TensorView values = slice(images, static_cast<std::int64_t>(image), 1);
    throw no_class("image " + std::to_string(image) + " of '" + report.input + "'", problem,
                   NanOrigin().find(*predictor, values));
  };
  if (tells_class(*predictor, report.output, count)) {
    report.classes = classes_of(report.output, predictor->output_meanings().front().role, refuse);
  } else if (!options.labels.empty()) {
    throw Error(ErrorCode::Unsupported, "the first output, '" +
                                            printable(predictor->output_spec().name) +
                                            "', tells no class of each image: leave out --labels");
  }
  if (!options.labels.empty()) report.correct = count_correct(report.classes, options.labels);
  if (options.repeats > 0 && count > 0) {
    const TensorView batch = slice(images, 0, report.batch_size);
    Tensor part;
    const auto run_batch = [&] {
      stop_if_interrupted();
      predictor->run(batch, part);
    };
    report.latency = measure(run_batch, options.warmup, options.repeats, options.max_seconds,
                             static_cast<double>(report.batch_size));
  }
  report.peak_bytes = peak_resident_bytes();
  stop_if_interrupted();
  if (all) {
    write_outputs(options.output, specs, outputs);
  } else if (!options.output.empty()) {
    write_npy(options.output, report.output);
  }
  return format_report(LENET_PROGRAM, options, *predictor, report);
}

std::string profile(const Options& options) {
  Predictor predictor = make_predictor(LENET_PROGRAM, options.config);
  const Profile found =
      predictor.profile(batch_size_of(options, predictor.input_spec()), options.repeats);
  stop_if_interrupted();
  if (!options.trace.empty()) write_atomically(options.trace, {to_trace(found)});
  if (options.format == Format::Json) return to_json(found) + "\n";
  return std::string(LENET_PROGRAM " ") + version() + ": " + to_table(found);
}

std::string work(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  if (options.help || options.help_all) {
    return help_text(LENET_PROGRAM, options.help_all) + LENET_HELP;
  }
  if (options.version) return version_text(LENET_PROGRAM);
  return options.profile ? profile(options) : run(options);
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) {
  using namespace lenet::apps;
  argv = lenet::platform::arguments(argc, argv);
  return run_program(LENET_PROGRAM, [&] { return work(argc, argv); });
}
