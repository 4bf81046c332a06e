#include "lenet/image_pipeline.h"

#include <utility>

#include "images/steps.h"
#include "io/file.h"
#include "model/hash_check.h"

namespace lenet {

struct ImagePipeline::State : Description {
  explicit State(Description of_file)
      : Description(std::move(of_file)), table(make_table(normalize, mode)) {}

  PixelTable table;
};

ImagePipeline::ImagePipeline(std::shared_ptr<const State> state) : state_(std::move(state)) {}

ImagePipeline ImagePipeline::load(const std::string& path, bool check_hashes) {
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  return ImagePipeline(std::make_shared<State>(parse_description(text, path)));
}

ImagePipeline ImagePipeline::parse(const std::string& description) {
  return ImagePipeline(std::make_shared<State>(parse_description(description, "")));
}

Image ImagePipeline::prepare(const Image& image) const {
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
  return current;
}

TensorView ImagePipeline::view(const std::uint8_t* pixels, Shape shape) const {
  return {nullptr, std::move(shape), pixels, &state_->table};
}

Tensor ImagePipeline::operator()(const Image& image) const {
  const Image prepared = prepare(image);
  Tensor tensor;
  read_values(view(prepared.pixels.data(), {1, prepared.height, prepared.width, channels()}),
              tensor);
  tensor.shape.erase(tensor.shape.begin());
  return tensor;
}

std::int64_t ImagePipeline::channels() const noexcept { return channels_of(state_->mode); }

}  // namespace lenet
