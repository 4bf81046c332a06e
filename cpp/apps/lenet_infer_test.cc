/// \file
/// The command line program: reads the flags, calls the library, prints what it found.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

#include "interrupt.h"
#include "lenet/image_io.h"
#include "lenet/predictor.h"
#include "lenet/version.h"
#include "measure.h"
#include "options.h"
#include "report.h"

namespace lenet::apps {
namespace {

constexpr int kExitOutput = 1;
constexpr int kExitUsage = 2;
constexpr int kExitClosedPipe = 128 + SIGPIPE;
constexpr std::int64_t kDefaultBatch = 64;

/// Images of the batch size asked for, all zero, as the guides begin.
Tensor zeros(const TensorSpec& spec, std::int64_t batch_size) {
  Tensor images;
  images.shape = spec.shape;
  images.shape[0] = batch_size;
  images.data.resize(element_count(images.shape), 0.0F);
  return images;
}

TensorView slice(const Tensor& images, std::int64_t begin, std::int64_t count) {
  TensorView view = images.view();
  const std::int64_t row = static_cast<std::int64_t>(images.data.size()) / images.shape[0];
  view.data += begin * row;
  view.shape[0] = count;
  return view;
}

std::vector<std::int64_t> classes_of(const Tensor& output) {
  std::vector<std::int64_t> classes;
  if (output.data.empty()) return classes;
  const auto row = static_cast<std::ptrdiff_t>(output.data.size()) / output.shape[0];
  for (auto begin = output.data.begin(); begin != output.data.end(); begin += row) {
    classes.push_back(std::max_element(begin, begin + row) - begin);
  }
  return classes;
}

Accuracy compare(const std::vector<std::int64_t>& classes, const Options& options) {
  const std::vector<std::int64_t> labels = read_labels(options.labels);
  if (labels.size() != classes.size() || labels.empty()) {
    throw Error(ErrorCode::BadInput, "'" + options.labels + "' holds " +
                                         std::to_string(labels.size()) + " labels for " +
                                         std::to_string(classes.size()) + " images");
  }
  Accuracy accuracy;
  accuracy.total = static_cast<std::int64_t>(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) accuracy.correct += labels[i] == classes[i];
  return accuracy;
}

void append(Tensor& all, const Tensor& part) {
  if (all.shape.empty()) {
    all = part;
    return;
  }
  all.data.insert(all.data.end(), part.data.begin(), part.data.end());
  all.shape[0] += part.shape[0];
}

Report run(const Options& options) {
  Report report;
  // First, because it is quickly said that there is something wrong with it.
  const bool from_file = !options.input.empty();
  Tensor images;
  if (from_file) images = read_images(options.input);
  std::optional<Predictor> predictor;
  report.load_ms = 1e3 * seconds_of([&] { predictor.emplace(options.config); });
  report.config = predictor->config();
  report.paddle_version = paddle_version();
  report.output_name = predictor->output_spec().name;

  report.batch_size = options.batch_size > 0 ? options.batch_size : (from_file ? kDefaultBatch : 1);
  if (!from_file) images = zeros(predictor->input_spec(), report.batch_size);
  report.input = from_file ? options.input : "zeros (no --input)";
  report.input_shape = images.shape;
  const std::int64_t count = images.shape[0];
  report.batch_size = std::min(report.batch_size, std::max<std::int64_t>(count, 1));
  report.accelerator = predictor->accelerator(report.batch_size);

  if (count == 0) report.output = predictor->run(images.view());
  Tensor part;
  for (std::int64_t done = 0; done < count; done += report.batch_size) {
    stop_if_interrupted();
    const TensorView batch = slice(images, done, std::min(report.batch_size, count - done));
    const double seconds = seconds_of([&] { predictor->run(batch, part); });
    if (done == 0) report.first_run_ms = 1e3 * seconds;
    append(report.output, part);
  }
  report.classes = classes_of(report.output);
  if (!options.labels.empty()) report.accuracy = compare(report.classes, options);
  if (options.repeats > 0 && count > 0) {
    const TensorView batch = slice(images, 0, report.batch_size);
    const auto run_batch = [&] {
      stop_if_interrupted();
      predictor->run(batch, part);
    };
    report.latency =
        measure(run_batch, options.warmup, options.repeats, static_cast<double>(report.batch_size));
  }
  stop_if_interrupted();
  if (!options.output.empty()) write_npy(options.output, report.output);
  return report;
}

int print_out(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  const int error = errno;
  if (error == EPIPE) return kExitClosedPipe;
  stop_if_interrupted();
  std::fprintf(stderr, "lenet_infer_test: error: cannot write to standard output: %s\n",
               std::strerror(error));
  return kExitOutput;
}

int run_with(const Options& options) try {
  if (options.help) return print_out(help_text());
  if (options.version) {
    return print_out(std::string("lenet_infer_test ") + version() + "\nPaddle Inference " +
                     paddle_version() + "\n");
  }
  return print_out(format_report(run(options), options.format));
} catch (const Error&) {
  stop_if_interrupted();  // whatever the signal made to fail
  throw;
}

int main_of(int argc, char** argv) {
  // A closed pipe (`| head -1`) then shows as a failed write instead of ending the program.
  std::signal(SIGPIPE, SIG_IGN);
  // Likewise a file grown beyond the limit on its size (`ulimit -f`).
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const Options options = parse_options(argc, argv);
    catch_interrupts();
    return run_with(options);
  } catch (const Interrupted& interrupted) {
    end_by(interrupted.signal);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "lenet_infer_test: usage: %s (see --help)\n", error.what());
    return kExitUsage;
  } catch (const Error& error) {
    std::fprintf(stderr, "lenet_infer_test: %s: %s\n", to_string(error.code()), error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "lenet_infer_test: %s: out of memory\n",
                 to_string(ErrorCode::BackendFailure));
    return static_cast<int>(ErrorCode::BackendFailure);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lenet_infer_test: %s: %s\n", to_string(ErrorCode::BackendFailure),
                 error.what());
    return static_cast<int>(ErrorCode::BackendFailure);
  }
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) { return lenet::apps::main_of(argc, argv); }
