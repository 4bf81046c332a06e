#include "input_range.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "images/description.h"
#include "io/file.h"
#include "print.h"

namespace lenet::apps {
namespace {

// python/lenet_cpp/_input_range.py has the same numbers.
constexpr double kFar = 8;    // times the largest magnitude that the preprocessing gives
constexpr double kLeast = 4;  // nothing is looked up for smaller values

double largest_magnitude(const Tensor& tensor) {
  double largest = 0;
  for (const float value : tensor.data) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

/// What a black and a white pixel become; empty when nothing says so.
Tensor extremes(const std::string& path) try {
  const Description description = parse_description(read_file(path), path);
  const std::int64_t channels = channels_of(description.mode);
  Image image{{}, 1, 2, channels};
  image.pixels.resize(static_cast<std::size_t>(channels), 0);
  image.pixels.resize(static_cast<std::size_t>(2 * channels), 255);
  return normalize_to_chw(description.normalize, description.mode, image);
} catch (const Error&) {
  return {};  // nothing else here needs that file
}

}  // namespace

std::string input_range_warning(const Tensor& images, const std::string& model_file) {
  const double largest = largest_magnitude(images);
  if (!(largest > kLeast) || std::isinf(largest)) return "";
  const std::string path =
      std::filesystem::path(model_file).replace_filename("preprocess.json").string();
  const Tensor expected = extremes(path);
  if (expected.data.empty() || largest <= kFar * largest_magnitude(expected)) return "";
  const auto [low, high] = std::minmax_element(expected.data.begin(), expected.data.end());
  return print(
      "the input holds values up to %.4g, the preprocessing of the model (%s) gives %.4g to %.4g: "
      "scale the input likewise, for a range of 0 to 1 by giving uint8 pixels or dividing by 255 "
      "(--check_range=false turns this warning off)",
      largest, path.c_str(), double{*low}, double{*high});
}

}  // namespace lenet::apps
