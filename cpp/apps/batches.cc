#include "batches.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "io/printable.h"

namespace lenet::apps {
namespace {

// python/lenet_cpp/inference/input_range.py has the same numbers.
constexpr double kFar = 8;    // times the largest magnitude that the preprocessing gives
constexpr double kLeast = 4;  // smaller values are always accepted

/// From black to white pixels in any channel; none when nothing says so. The images' code, which
/// knows more of this file, is no part of lenet_infer_native.
std::vector<double> prepared_pixels(const std::string& path) try {
  std::vector<double> found;
  const auto document = parse_json(read_file(path));
  for (const auto& step : document.at("steps")) {
    if (step.at("type") != "Normalize") continue;
    const double white = 255 * step.at("scale").get<double>();
    for (std::size_t channel = 0; channel < step.at("mean").size(); ++channel) {
      const double mean = step.at("mean")[channel].get<double>();
      const double deviation = step.at("std").at(channel).get<double>();
      for (const double pixel : {0.0, white}) found.push_back((pixel - mean) / deviation);
    }
  }
  return found;
} catch (const std::exception&) {
  return {};  // nothing else here needs that file
}

}  // namespace

std::string input_range_warning(const Tensor& images, const std::string& model_file) {
  float largest = 0;
  for (const float value : images.data) largest = std::max(largest, std::abs(value));
  if (!(largest > kLeast) || std::isinf(largest)) return "";
  const std::string path =
      std::filesystem::path(model_file).replace_filename("preprocess.json").string();
  const std::vector<double> pixels = prepared_pixels(path);
  const auto [low, high] = std::minmax_element(pixels.begin(), pixels.end());
  if (pixels.empty() || largest <= kFar * std::max(-*low, *high)) return "";
  return print(
      "the input holds values up to %.4g, the preprocessing of the model (%s) gives %.4g to %.4g: "
      "scale the input likewise, for a range of 0 to 1 by giving uint8 pixels or dividing by 255 "
      "(--check_range=false turns this warning off)",
      static_cast<double>(largest), path.c_str(), *low, *high);
}

}  // namespace lenet::apps
