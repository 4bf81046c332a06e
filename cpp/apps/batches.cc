#include "batches.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "io/json.h"
#include "print.h"

namespace lenet::apps {
namespace {

// python/lenet_cpp/inference/input_range.py has the same numbers.
constexpr double kFar = 8;    // times the largest magnitude that the preprocessing gives
constexpr double kLeast = 4;  // smaller values are always accepted

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
};

/// From black to white pixels in any channel; empty when nothing says so. The images' code, which
/// knows more of this file, is no part of lenet_infer_native.
Range prepared_range(const std::string& path) try {
  Range range;
  const auto document = parse_json(read_file(path));
  for (const auto& step : document.at("steps")) {
    if (step.at("type") != "Normalize") continue;
    const double white = 255 * step.at("scale").get<double>();
    for (std::size_t channel = 0; channel < step.at("mean").size(); ++channel) {
      const double mean = step.at("mean")[channel].get<double>();
      const double deviation = step.at("std").at(channel).get<double>();
      for (const double pixel : {0.0, white}) {
        range.low = std::min(range.low, (pixel - mean) / deviation);
        range.high = std::max(range.high, (pixel - mean) / deviation);
      }
    }
  }
  return range;
} catch (const std::exception&) {
  return {};  // nothing else here needs that file
}

}  // namespace

TensorView slice(const Tensor& images, std::int64_t begin, std::int64_t count) {
  TensorView view = images.view();
  const std::int64_t row = static_cast<std::int64_t>(images.data.size()) / images.shape[0];
  view.data += begin * row;
  view.shape[0] = count;
  return view;
}

void append(Tensor& all, const Tensor& part) {
  if (all.shape.empty()) {
    all = part;
    return;
  }
  all.data.insert(all.data.end(), part.data.begin(), part.data.end());
  all.shape[0] += part.shape[0];
}

std::string input_range_warning(const Tensor& images, const std::string& model_file) {
  float largest = 0;
  for (const float value : images.data) largest = std::max(largest, std::abs(value));
  if (!(largest > kLeast) || std::isinf(largest)) return "";
  const std::string path =
      std::filesystem::path(model_file).replace_filename("preprocess.json").string();
  const Range range = prepared_range(path);
  if (range.low > range.high || largest <= kFar * std::max(-range.low, range.high)) return "";
  return print(
      "the input holds values up to %.4g, the preprocessing of the model (%s) gives %.4g to %.4g: "
      "scale the input likewise, for a range of 0 to 1 by giving uint8 pixels or dividing by 255 "
      "(--check_range=false turns this warning off)",
      static_cast<double>(largest), path.c_str(), range.low, range.high);
}

}  // namespace lenet::apps
