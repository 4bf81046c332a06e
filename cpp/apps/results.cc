#include "results.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "print.h"

namespace lenet::apps {
namespace {

using Names = std::vector<std::string>;

const std::string& name_of(const Names& names, std::int64_t class_id) {
  static const std::string kUnknown;
  return names.empty() ? kUnknown : names[static_cast<std::size_t>(class_id)];
}

/// One line of a terminal: control characters would do things to it.
std::string shown(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char byte) { return byte < ' ' || byte == 0x7f; }, '?');
  return text;
}

std::string text_of(const std::vector<ImageResult>& results, const Names& names) {
  std::string text;
  for (const ImageResult& result : results) {
    text += shown(result.file) + "\n";
    for (const Prediction& prediction : result.predictions) {
      std::string line = print("  %.6f  class %lld", static_cast<double>(prediction.probability),
                               static_cast<long long>(prediction.class_id));
      if (!names.empty()) line += "  " + shown(name_of(names, prediction.class_id));
      text += line + "\n";
    }
  }
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

/// The columns of lenet-cpp predict; an image that cannot be read ends this program.
std::string csv_of(const std::vector<ImageResult>& results, const Names& names) {
  std::string text = "file,rank,class_id,label,probability,error\n";
  for (const ImageResult& result : results) {
    int rank = 0;
    for (const Prediction& prediction : result.predictions) {
      text += quoted(result.file) +
              print(",%d,%lld,", ++rank, static_cast<long long>(prediction.class_id)) +
              quoted(name_of(names, prediction.class_id)) +
              print(",%.9g,\n", static_cast<double>(prediction.probability));
    }
  }
  return text;
}

std::string json_of(const std::vector<ImageResult>& results, const Names& names) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ImageResult& result : results) {
    nlohmann::ordered_json predictions = nlohmann::ordered_json::array();
    for (const Prediction& prediction : result.predictions) {
      nlohmann::ordered_json one;
      one["class_id"] = prediction.class_id;
      one["label"] = nullptr;
      if (!names.empty()) one["label"] = name_of(names, prediction.class_id);
      one["probability"] = prediction.probability;
      predictions.push_back(std::move(one));
    }
    list.push_back({{"file", result.file}, {"predictions", std::move(predictions)}});
  }
  // A file's name may be no UTF-8.
  return list.dump(2, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, std::size_t k,
                                    bool softmax) {
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(k, classes));
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
    const float probability = softmax ? static_cast<float>(exponential(*i) / sum) : outputs[*i];
    top.push_back({static_cast<std::int64_t>(*i), probability});
  }
  return top;
}

std::string format_results(const std::vector<ImageResult>& results, const Names& names,
                           Format format) {
  switch (format) {
    case Format::Json:
      return json_of(results, names);
    case Format::Csv:
      return csv_of(results, names);
    case Format::Text:
      break;
  }
  return text_of(results, names);
}

}  // namespace lenet::apps
