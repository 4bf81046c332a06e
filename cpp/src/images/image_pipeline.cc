#include "lenet/image_pipeline.h"

#include <utility>

#include "images/description.h"
#include "io/file.h"
#include "model/hash_check.h"

namespace lenet {

struct ImagePipeline::State : Description {};

ImagePipeline::ImagePipeline(std::shared_ptr<const State> state) : state_(std::move(state)) {}

ImagePipeline ImagePipeline::load(const std::string& path, bool check_hashes) {
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  return ImagePipeline(std::make_shared<State>(State{parse_description(text, path)}));
}

ImagePipeline ImagePipeline::parse(const std::string& description) {
  return ImagePipeline(std::make_shared<State>(State{parse_description(description, "")}));
}

Tensor ImagePipeline::operator()(const Image& image) const {
  const Shape shape = {image.height, image.width, image.channels};
  if (image.height < 1 || image.width < 1 || (image.channels != 1 && image.channels != 3) ||
      image.height > kMaxImagePixels / image.width || element_count(shape) != image.pixels.size()) {
    throw Error(ErrorCode::BadInput,
                "not an image: shape " + to_string(shape) + " and " +
                    std::to_string(image.pixels.size()) + " bytes; expected [H, W, 1] or " +
                    "[H, W, 3] of at most " + std::to_string(kMaxImagePixels) + " pixels");
  }
  Image current = to_channels(image, channels());
  for (const ImageStep& step : state_->image_steps) current = run_step(step, current);
  return normalize_to_chw(state_->normalize, state_->mode, current);
}

std::int64_t ImagePipeline::channels() const noexcept { return channels_of(state_->mode); }

}  // namespace lenet
