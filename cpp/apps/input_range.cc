#include "input_range.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "lenet/error.h"
#include "print.h"

namespace lenet::apps {
namespace {

// python/lenet_cpp/inference/input_range.py has the same numbers.
constexpr double kFar = 8;    // times the largest magnitude that the preprocessing gives
constexpr double kLeast = 4;  // smaller values are always accepted

/// What a black and a white pixel become in each channel; empty when nothing says so. The images'
/// code, which knows more of this file, is no part of lenet_infer_native.
std::vector<double> extremes(const std::string& path) try {
  std::vector<double> found;
  const auto document = parse_json(read_file(path));
  for (const auto& step : document.at("steps")) {
    if (step.at("type") != "Normalize") continue;
    const double white = 255 * step.at("scale").get<double>();
    const auto& deviations = step.at("std");
    std::size_t channel = 0;
    for (const auto& mean : step.at("mean")) {
      const double deviation = deviations.at(channel++).get<double>();
      for (const double pixel : {0.0, white}) {
        found.push_back((pixel - mean.get<double>()) / deviation);
      }
    }
  }
  return found;
} catch (const InvalidJson&) {
  return {};
} catch (const nlohmann::json::exception&) {
  return {};
} catch (const Error&) {
  return {};  // nothing else here needs that file
}

template <typename Values>
double largest_magnitude(const Values& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

}  // namespace

std::string input_range_warning(const Tensor& images, const std::string& model_file) {
  const double largest = largest_magnitude(images.data);
  if (!(largest > kLeast) || std::isinf(largest)) return "";
  const std::string path =
      std::filesystem::path(model_file).replace_filename("preprocess.json").string();
  const std::vector<double> expected = extremes(path);
  if (expected.empty() || largest <= kFar * largest_magnitude(expected)) return "";
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  return print(
      "the input holds values up to %.4g, the preprocessing of the model (%s) gives %.4g to %.4g: "
      "scale the input likewise, for a range of 0 to 1 by giving uint8 pixels or dividing by 255 "
      "(--check_range=false turns this warning off)",
      largest, path.c_str(), *low, *high);
}

}  // namespace lenet::apps
