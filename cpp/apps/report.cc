#include "report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "attached.h"
#include "io/printable.h"
#include "lenet/engines.h"
#include "lenet/version.h"

namespace lenet::apps {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kImagesShown = 10;
constexpr std::size_t kMostOutputs = 10;  // of an image that are printed whole
constexpr std::size_t kLargestShown = 5;  // of more

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
  root["engine_refusals"] = predictor.engine_refusals();
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
  // A file's name may be no UTF-8.
  return root.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

/// The outputs of one image: all of them, or of many the largest with their numbers.
std::string shown_outputs(const float* values, std::size_t count) {
  std::string text;
  if (count <= kMostOutputs) {
    for (std::size_t i = 0; i < count; ++i) text += print(" %.9g", static_cast<double>(values[i]));
    return text;
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto is_larger = [&](std::size_t a, std::size_t b) {
    return !std::isnan(values[a]) && (std::isnan(values[b]) || values[a] > values[b]);
  };
  std::partial_sort(order.begin(), order.begin() + kLargestShown, order.end(), is_larger);
  order.resize(kLargestShown);
  for (const std::size_t i : order) text += print(" %zu: %.9g,", i, static_cast<double>(values[i]));
  return text + print(" ... (the %zu largest of %zu; --format=json or --output=FILE.npy has all)",
                      kLargestShown, count);
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

/// The columns of lenet-cpp predict; `head` is there where some image has several answers.
std::string csv_of(const std::vector<ImageResult>& results, const std::string& value) {
  const bool has_heads = std::any_of(results.begin(), results.end(), [](const ImageResult& one) {
    const std::vector<Prediction>& found = one.found.predictions;
    return !found.empty() && !found.front().head.empty();
  });
  const std::string no_head = has_heads ? "," : "";
  std::string text = std::string("file,rank,") + (has_heads ? "head," : "") + "class_id,label," +
                     value + ",error\n";
  for (const ImageResult& result : results) {
    const std::string file = quoted(result.file);
    if (!result.error.empty()) text += file + ",,,,," + no_head + quoted(result.error) + "\n";
    int rank = 0;
    for (const Prediction& one : result.found.predictions) {
      text += file + print(",%d,", ++rank) + (has_heads ? quoted(one.head) + "," : "") +
              print("%lld,", static_cast<long long>(one.class_id)) +
              quoted(one.label.value_or("")) +
              (std::isnan(one.value) ? ",,\n" : print(",%.9g,\n", static_cast<double>(one.value)));
    }
    for (const std::string& attribute : result.found.attributes) {
      text += file + print(",%d,,", ++rank) + no_head + quoted(attribute) + ",,\n";
    }
  }
  return text;
}

std::string json_of(const std::vector<ImageResult>& results, const std::string& value) {
  Json list = Json::array();
  for (const ImageResult& result : results) {
    if (!result.error.empty()) {
      list.push_back({{"file", result.file}, {"error", result.error}});
      continue;
    }
    if (!result.found.features.empty()) {
      list.push_back({{"file", result.file}, {"features", result.found.features}});
    } else if (!result.found.attributes.empty()) {
      list.push_back({{"file", result.file},
                      {"attributes", result.found.attributes},
                      {"output", result.found.flags}});
    } else {
      Json predictions = Json::array();
      for (const Prediction& one : result.found.predictions) {
        const Json label = one.label ? Json(*one.label) : Json();
        Json entry;
        if (!one.head.empty()) entry["head"] = one.head;
        entry["class_id"] = one.class_id;
        entry["label"] = label;
        entry[value] = one.value;
        predictions.push_back(std::move(entry));
      }
      list.push_back({{"file", result.file}, {"predictions", std::move(predictions)}});
    }
    if (!result.warning.empty()) list.back()["warning"] = result.warning;
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
  text += "model   " +
          terminal_text(attached ? attached->name + " in this program" : config.model_file) + "\n";
  if (!predictor.engine_refusals().empty()) {
    text += "        auto passed over " + terminal_text(predictor.engine_refusals()) + "\n";
  }
  if (predictor.quantized() && config.precision != Precision::Int8 &&
      supports_precision(config.engine, Precision::Int8)) {
    text += "        quantized, but computed in float32: --int8 computes it in int8\n";
  }
  if (const ComputedPrecision computed = predictor.computed_precision(); !computed.reason.empty()) {
    text += std::string("        computed in ") + to_string(computed.precision) + ": " +
            terminal_text(computed.reason) + "\n";
  }
  text += "input   " + terminal_text(report.input) + " " + to_string(report.input_shape) + "\n";
  text += "output  " + terminal_text(predictor.output_spec().name) + " " +
          to_string(report.output.shape) + "\n";
  const std::size_t images = report.classes.size();
  const std::size_t outputs = images == 0 ? 0 : report.output.data.size() / images;
  const float* value = report.output.data.data();
  for (std::size_t i = 0; i < std::min(images, kImagesShown); ++i) {
    const std::int64_t found = report.classes[i];
    text += print("image %zu: ", i) +
            (found == kNoClass ? "no class" : "class " + std::to_string(found)) + ", logits" +
            shown_outputs(value, outputs) + "\n";
    value += outputs;
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

std::string format_results(const std::vector<ImageResult>& results, Format format,
                           const std::string& value) {
  if (format == Format::Json) return json_of(results, value);
  if (format == Format::Csv) return csv_of(results, value);
  const std::string prefix = value == "score" ? "  score " : "  ";
  std::string text;
  for (const ImageResult& result : results) {
    text += terminal_text(result.file) + "\n";
    if (!result.error.empty()) text += "  " + terminal_text(result.error) + "\n";
    if (!result.warning.empty()) text += "  warning: " + result.warning + "\n";
    std::string head;
    for (const Prediction& one : result.found.predictions) {
      if (one.head != head) text += "  " + terminal_text(head = one.head) + ":\n";
      std::string line = one.head.empty() ? "" : "  ";
      line +=
          std::isnan(one.value) ? "  " : prefix + print("%.6f  ", static_cast<double>(one.value));
      line += print("class %lld", static_cast<long long>(one.class_id));
      if (one.label && !one.label->empty()) line += "  " + terminal_text(*one.label);
      text += line + "\n";
    }
    for (const std::string& attribute : result.found.attributes) {
      text += "  " + terminal_text(attribute) + "\n";
    }
    if (!result.found.features.empty()) {
      text += print("  %zu features; --format=json prints them\n", result.found.features.size());
    }
    const bool none = result.found.predictions.empty() && result.found.attributes.empty() &&
                      result.found.features.empty();
    if (none && result.error.empty()) text += "  no class reaches the threshold\n";
  }
  return text;
}

}  // namespace lenet::apps
