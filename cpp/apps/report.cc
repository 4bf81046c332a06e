#include "report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "attached.h"
#include "io/printable.h"
#include "lenet/engines.h"
#include "lenet/version.h"

namespace lenet::apps {
namespace {

using Json = nlohmann::ordered_json;
using Names = std::vector<std::string>;

constexpr std::size_t kImagesShown = 10;

double percent(const Report& report) {
  return 100.0 * static_cast<double>(*report.correct) / static_cast<double>(report.classes.size());
}

std::string format_json(const Predictor& predictor, const Report& report) {
  const Config& config = predictor.config();
  const std::string engine = to_string(config.engine);
  Json root;
  root["version"] = version();
  root[engine + "_version"] = engine_version(config.engine);
  root["engine"] = engine;
  root["accelerator"] = to_string(predictor.accelerator(report.batch_size));
  root["precision"] = to_string(config.precision);
  const ComputedPrecision computed = predictor.computed_precision();
  root["computed_precision"] = to_string(computed.precision);
  root["precision_reason"] = computed.reason;
  root["quantized"] = predictor.quantized();
  root["threads"] = config.threads;
  root["model_file"] = config.model_file;
  root["params_file"] = config.params_file;
  root["input"] = report.input;
  root["input_shape"] = report.input_shape;
  root["output_name"] = predictor.output_spec().name;
  root["output_shape"] = report.output.shape;
  root["classes"] = report.classes;
  root["outputs"] = report.output.data;
  if (report.correct) {
    Json& accuracy = root["accuracy"];
    accuracy["correct"] = *report.correct;
    accuracy["total"] = report.classes.size();
    accuracy["percent"] = percent(report);
  }
  root["batch_size"] = report.batch_size;
  root["peak_bytes"] = report.peak_bytes;
  root["load_ms"] = report.load_ms;
  root["first_run_ms"] = report.first_run_ms;
  if (report.latency) {
    Json& latency = root["latency"];
    latency["median_ms"] = report.latency->median;
    latency["p90_ms"] = report.latency->p90;
    latency["p99_ms"] = report.latency->p99;
    latency["images_per_second"] = report.latency->images_per_second;
    latency["runs"] = report.latency->runs;
  }
  return root.dump() + "\n";
}

std::string name_of(const Names& names, std::int64_t class_id) {
  const auto index = static_cast<std::size_t>(class_id);
  return index < names.size() ? names[index] : "";
}

/// One line of a terminal: control characters would do things to it.
std::string shown(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char byte) { return byte < ' ' || byte == 0x7f; }, '?');
  return text;
}

/// RFC 4180.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char byte : text) {
    if (byte == '"') result += '"';
    result += byte;
  }
  return result + '"';
}

/// The columns of lenet-cpp predict.
std::string csv_of(const std::vector<ImageResult>& results, const Names& names,
                   const std::string& value, bool has_values) {
  std::string text = "file,rank,class_id,label," + value + ",error\n";
  for (const ImageResult& result : results) {
    if (!result.error.empty()) {
      text += quoted(result.file) + ",,,,," + quoted(result.error) + "\n";
    }
    int rank = 0;
    for (const Prediction& prediction : result.predictions) {
      text += quoted(result.file) +
              print(",%d,%lld,", ++rank, static_cast<long long>(prediction.class_id)) +
              quoted(name_of(names, prediction.class_id)) +
              (has_values ? print(",%.9g,\n", static_cast<double>(prediction.value)) : ",,\n");
    }
  }
  return text;
}

std::string json_of(const std::vector<ImageResult>& results, const Names& names,
                    const char* value_name) {
  Json list = Json::array();
  for (const ImageResult& result : results) {
    if (!result.error.empty()) {
      list.push_back({{"file", result.file}, {"error", result.error}});
      continue;
    }
    Json predictions = Json::array();
    for (const auto& [class_id, value] : result.predictions) {
      const bool is_named = static_cast<std::size_t>(class_id) < names.size();
      const Json label = is_named ? Json(name_of(names, class_id)) : Json();
      predictions.push_back({{"class_id", class_id}, {"label", label}, {value_name, value}});
    }
    list.push_back({{"file", result.file}, {"predictions", std::move(predictions)}});
  }
  // A file's name may be no UTF-8.
  return list.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string format_report(const char* program, const Options& options, const Predictor& predictor,
                          const Report& report) {
  if (options.format == Format::Json) return format_json(predictor, report);
  const Config& config = predictor.config();
  const char* engine = to_string(config.engine);
  std::string text = print("%s %s, %s %s: engine %s, accelerator %s, precision %s, threads %d\n",
                           program, version(), engine, engine_version(config.engine).c_str(),
                           engine, to_string(predictor.accelerator(report.batch_size)),
                           to_string(config.precision), config.threads);
  const AttachedModel* attached = attached_model(config);
  text += "model   " + (attached ? attached->name + " in this program" : config.model_file) + "\n";
  if (predictor.quantized() && config.precision != Precision::Int8 &&
      supports_precision(config.engine, Precision::Int8)) {
    text += "        quantized, but computed in float32: --int8 computes it in int8\n";
  }
  if (const ComputedPrecision computed = predictor.computed_precision(); !computed.reason.empty()) {
    text += std::string("        computed in ") + to_string(computed.precision) + ": " +
            computed.reason + "\n";
  }
  text += "input   " + report.input + " " + to_string(report.input_shape) + "\n";
  text += "output  " + predictor.output_spec().name + " " + to_string(report.output.shape) + "\n";
  const std::size_t images = report.classes.size();
  const float* value = report.output.data.data();
  for (std::size_t i = 0; i < std::min(images, kImagesShown); ++i) {
    text += print("image %zu: class %lld, logits", i, static_cast<long long>(report.classes[i]));
    for (std::size_t j = 0; j < report.output.data.size() / images; ++j) {
      text += print(" %.9g", static_cast<double>(*value++));
    }
    text += "\n";
  }
  if (images > kImagesShown) {
    text += print("... and %zu more (--output=FILE.npy writes all)\n", images - kImagesShown);
  }
  if (report.correct) {
    text += print("accuracy %.2f %% (%lld of %zu)\n", percent(report),
                  static_cast<long long>(*report.correct), images);
  }
  text += print("load %.1f ms, first run %.3f ms (batch %lld)\n", report.load_ms,
                report.first_run_ms, static_cast<long long>(report.batch_size));
  if (!report.latency) return text;
  const Latency& latency = *report.latency;
  text += print("latency median %.4f ms, p90 %.4f ms, p99 %.4f ms, %.0f images/s", latency.median,
                latency.p90, latency.p99, latency.images_per_second);
  if (latency.runs < options.repeats) {
    text += print(" (%lld of %d runs, ended by --max_seconds)",
                  static_cast<long long>(latency.runs), options.repeats);
  }
  return text + "\n";
}

const char* value_name(OutputKind kind) {
  const bool known = kind != OutputKind::Unknown && kind != OutputKind::Labels;
  return known ? "probability" : "score";
}

std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, int k,
                                    OutputKind kind) {
  if (kind == OutputKind::Labels) {
    std::vector<Prediction> labels;
    const std::size_t count = std::min(static_cast<std::size_t>(k), classes);
    for (std::size_t i = 0; i < count; ++i) {
      labels.push_back({static_cast<std::int64_t>(outputs[i]), std::nanf("")});
    }
    return labels;
  }
  const bool softmax = kind == OutputKind::Logits;
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto end =
      order.begin() + static_cast<std::ptrdiff_t>(std::min(static_cast<std::size_t>(k), classes));
  // By the outputs themselves: different logits may round to one probability.
  const auto rank = [&](std::size_t i) {
    return std::isnan(outputs[i]) ? -std::numeric_limits<float>::infinity() : outputs[i];
  };
  std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
    return rank(a) > rank(b) || (rank(a) == rank(b) && a < b);
  });
  const double greatest = static_cast<double>(outputs[order.front()]);
  const auto exponential = [&](std::size_t i) {
    return std::exp(static_cast<double>(outputs[i]) - greatest);
  };
  double sum = 0;
  for (std::size_t i = 0; softmax && i < classes; ++i) sum += exponential(i);
  std::vector<Prediction> top;
  for (auto i = order.begin(); i != end; ++i) {
    const float value = softmax ? static_cast<float>(exponential(*i) / sum) : outputs[*i];
    top.push_back({static_cast<std::int64_t>(*i), value});
  }
  return top;
}

std::string format_results(const std::vector<ImageResult>& results, const Names& names,
                           Format format, OutputKind kind) {
  const char* const value = value_name(kind);
  if (format == Format::Json) return json_of(results, names, value);
  const bool has_values = kind != OutputKind::Labels;
  if (format == Format::Csv) return csv_of(results, names, value, has_values);
  std::string text;
  for (const ImageResult& result : results) {
    text += shown(result.file) + "\n";
    if (!result.error.empty()) text += "  " + shown(result.error) + "\n";
    for (const Prediction& prediction : result.predictions) {
      std::string line = kind == OutputKind::Unknown ? "  score " : "  ";
      if (has_values) line += print("%.6f  ", static_cast<double>(prediction.value));
      line += print("class %lld", static_cast<long long>(prediction.class_id));
      const std::string name = shown(name_of(names, prediction.class_id));
      if (!name.empty()) line += "  " + name;
      text += line + "\n";
    }
  }
  return text;
}

}  // namespace lenet::apps
