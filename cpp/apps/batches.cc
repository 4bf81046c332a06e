#include "batches.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "attached.h"
#include "description/description.h"
#include "io/file.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "platform/platform.h"
#include "program.h"

namespace lenet::apps {
namespace {

// python/lenet_cpp/inference/input_range.py has the same numbers.
constexpr float kFar = 8;     // times the largest magnitude that the preprocessing gives
constexpr double kLeast = 4;  // smaller values are always accepted

/// Of black and white pixels, in each channel; none when nothing says so.
std::vector<float> prepared_pixels(const Config& config, const std::string& path) try {
  const AttachedModel* const attached = attached_model(config);
  std::string text;
  if (attached == nullptr) {
    text = read_file(path);
  } else {
    const auto file = attached->bytes.external.find(path);
    if (file == attached->bytes.external.end()) return {};
    text = file->second;
  }
  const Preparation found = parse_preparation(text, path);
  std::vector<float> values;
  for (const auto& channel : make_table(found.normalize, found.mode).channels) {
    values.insert(values.end(), {channel.front(), channel.back()});
  }
  return values;
} catch (const Error&) {
  return {};  // nothing else here needs that file
}

}  // namespace

void Gathered::add(const Tensor& part, std::int64_t images) {
  const Shape& shape = part.shape;
  if (batches_ == 0) first_ = shape;
  const bool same_rest =
      shape.size() == first_.size() &&
      (shape.empty() || std::equal(shape.begin() + 1, shape.end(), first_.begin() + 1));
  by_image_ = by_image_ && same_rest && !shape.empty() && shape[0] == images;
  alike_ = alike_ && shape == first_;
  data_.insert(data_.end(), part.data.begin(), part.data.end());
  images_ += images;
  ++batches_;
}

Tensor Gathered::take(const std::string& name) {
  Shape shape = first_;
  if (by_image_) {
    shape[0] = images_;
  } else if (batches_ > 1) {
    if (!alike_) {
      throw Error(ErrorCode::Unsupported,
                  "the output '" + name +
                      "' has no batch axis and another shape in each batch, "
                      "such as " +
                      to_string(first_) +
                      "; choose a batch size that divides the number of images");
    }
    shape.insert(shape.begin(), batches_);
  }
  return {std::move(data_), std::move(shape)};
}

std::string input_range_warning(const Tensor& images, const Config& config) {
  float largest = 0;
  for (const float value : images.data) largest = std::max(largest, std::abs(value));
  if (!(largest > kLeast) || std::isinf(largest)) return "";
  const std::string path = platform::beside(config.model_file, "preprocess.json");
  const std::vector<float> pixels = prepared_pixels(config, path);
  const auto [low, high] = std::minmax_element(pixels.begin(), pixels.end());
  if (pixels.empty() || largest <= kFar * std::max(-*low, *high)) return "";
  return print(
      "the input holds values up to %.4g, the preprocessing of the model (%s) gives %.4g to %.4g: "
      "scale the input likewise, for a range of 0 to 1 by giving uint8 pixels or dividing by 255 "
      "(--check_range=false turns this warning off)",
      static_cast<double>(largest), path.c_str(), *low, *high);
}

void warn_of_shape(const char* name, const Tensor& output, const TensorSpec& declared,
                   std::int64_t images) {
  if (fits(output.shape, declared, images)) return;
  print_message(name, "warning",
                "the output '" + declared.name + "' has the shape " + to_string(output.shape) +
                    "; the model declares " + to_string(declared.shape));
}

}  // namespace lenet::apps
