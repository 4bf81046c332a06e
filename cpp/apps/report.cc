#include "report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lenet/engines.h"
#include "lenet/version.h"
#include "print.h"

namespace lenet::apps {
namespace {

constexpr std::size_t kImagesShown = 10;

double percent(const Accuracy& accuracy) {
  return 100.0 * static_cast<double>(accuracy.correct) / static_cast<double>(accuracy.total);
}

std::string format_text(const Report& report) {
  const Config& config = report.config;
  const char* engine = to_string(config.engine);
  std::string text =
      print("%s %s, %s %s: engine %s, accelerator %s, precision %s, threads %d\n",
            report.program.c_str(), version(), engine, report.engine_version.c_str(), engine,
            to_string(report.accelerator), to_string(config.precision), config.threads);
  text += "model   " + config.model_file + "\n";
  if (report.quantized && config.precision != Precision::Int8 &&
      supports_precision(config.engine, Precision::Int8)) {
    text += "        quantized, but computed in float32: --int8 computes it in int8\n";
  }
  text += "input   " + report.input + " " + to_string(report.input_shape) + "\n";
  text += "output  " + report.output_name + " " + to_string(report.output.shape) + "\n";
  const std::size_t images = report.classes.size();
  const std::size_t row = images == 0 ? 0 : report.output.data.size() / images;
  for (std::size_t i = 0; i < std::min(images, kImagesShown); ++i) {
    text += print("image %zu: class %lld, logits", i, static_cast<long long>(report.classes[i]));
    for (std::size_t j = 0; j < row; ++j) {
      text += print(" %.9g", static_cast<double>(report.output.data[i * row + j]));
    }
    text += "\n";
  }
  if (images > kImagesShown) {
    text += print("... and %zu more (--output=FILE.npy writes all)\n", images - kImagesShown);
  }
  if (report.accuracy) {
    text += print("accuracy %.2f %% (%lld of %lld)\n", percent(*report.accuracy),
                  static_cast<long long>(report.accuracy->correct),
                  static_cast<long long>(report.accuracy->total));
  }
  text += print("load %.1f ms, first run %.3f ms (batch %lld)\n", report.load_ms,
                report.first_run_ms, static_cast<long long>(report.batch_size));
  if (report.latency) {
    const Latency& latency = *report.latency;
    text += print("latency median %.4f ms, p90 %.4f ms, p99 %.4f ms, %.0f images/s", latency.median,
                  latency.p90, latency.p99, latency.images_per_second);
    if (latency.runs < report.repeats) {
      text += print(" (%lld of %lld runs, ended by --max_seconds)",
                    static_cast<long long>(latency.runs), static_cast<long long>(report.repeats));
    }
    text += "\n";
  }
  return text;
}

std::string format_json(const Report& report) {
  nlohmann::ordered_json root;
  root["version"] = version();
  const std::string engine = to_string(report.config.engine);
  root[engine + "_version"] = report.engine_version;
  root["engine"] = engine;
  root["accelerator"] = to_string(report.accelerator);
  root["precision"] = to_string(report.config.precision);
  root["quantized"] = report.quantized;
  root["threads"] = report.config.threads;
  root["model_file"] = report.config.model_file;
  root["params_file"] = report.config.params_file;
  root["input"] = report.input;
  root["input_shape"] = report.input_shape;
  root["output_name"] = report.output_name;
  root["output_shape"] = report.output.shape;
  root["classes"] = report.classes;
  root["outputs"] = report.output.data;
  if (report.accuracy) {
    root["accuracy"] = {{"correct", report.accuracy->correct},
                        {"total", report.accuracy->total},
                        {"percent", percent(*report.accuracy)}};
  }
  root["batch_size"] = report.batch_size;
  root["peak_bytes"] = report.peak_bytes;
  root["load_ms"] = report.load_ms;
  root["first_run_ms"] = report.first_run_ms;
  if (report.latency) {
    root["latency"] = {{"median_ms", report.latency->median},
                       {"p90_ms", report.latency->p90},
                       {"p99_ms", report.latency->p99},
                       {"images_per_second", report.latency->images_per_second},
                       {"runs", report.latency->runs}};
  }
  return root.dump() + "\n";
}

}  // namespace

std::string format_report(const Report& report, Format format) {
  return format == Format::Json ? format_json(report) : format_text(report);
}

}  // namespace lenet::apps
