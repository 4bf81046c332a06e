#include "classify_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "attached.h"
#include "images/decoders.h"
#include "io/array_file.h"
#include "io/file.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet::apps {
namespace {

using Names = std::vector<std::string>;

// As in Python, also those that only Python decodes: an image is refused rather than left out.
constexpr std::array<std::string_view, 17> kSuffixes = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe",  ".jpeg", ".jpg",
    ".pbm",  ".pgm", ".png", ".pnm",  ".ppm",  ".tif",  ".tiff", ".webp"};

bool is_image(const std::string& path) {
  std::string suffix = platform::suffix_of(path);
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
  return std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end() &&
         platform::name_of(path)[0] != '.' && platform::is_file(path);
}

Names images_in(const std::string& folder) {
  std::string failure;
  Names images = platform::list_folder(folder, failure);
  if (!failure.empty()) {
    throw Error(ErrorCode::FileNotFound, "cannot read folder '" + folder + "': " + failure);
  }
  const auto is_other = [](const std::string& path) { return !is_image(path); };
  images.erase(std::remove_if(images.begin(), images.end(), is_other), images.end());
  std::sort(images.begin(), images.end());
  if (!images.empty()) return images;
  std::string known;
  for (const std::string_view suffix : kSuffixes) known += " " + std::string(suffix);
  throw Error(ErrorCode::FileNotFound,
              "'" + folder + "': no image in this folder; looked for" + known);
}

/// \returns null when it holds one image, or cannot be read, which shows when that is tried
std::shared_ptr<const Stack> read_stack(const std::string& path) try {
  auto stack = std::make_shared<Stack>();
  stack->bytes = read_file(path);
  const Array array = parse_npy(stack->bytes, path);
  stack->begin = static_cast<std::size_t>(array.bytes.data() - stack->bytes.data());
  stack->shape = array.shape;
  const auto is_channels = [](std::int64_t size) { return size == 1 || size == 3; };
  if (array.shape.size() == 3 && !is_channels(array.shape[2])) stack->shape.push_back(1);
  const bool usable = array.dtype == "|u1" && stack->shape.size() == 4 &&
                      is_channels(stack->shape[3]) && stack->shape[1] * stack->shape[2] > 0;
  return usable ? stack : nullptr;
} catch (const Error&) {
  return nullptr;
}

}  // namespace

std::string ImageName::text() const {
  return stack ? file + "[" + std::to_string(row) + "]" : file;
}

Tensor ImageName::prepare(const ImagePipeline& pipeline, bool& is_dark) const try {
  if (!stack) {
    const std::string bytes = read_file(file);
    const auto image = open_image({bytes, file, kMaxImagePixels, pipeline.depth(), &is_dark});
    return pipeline(*image);
  }
  const Shape& shape = stack->shape;
  const auto size = static_cast<std::size_t>(shape[1] * shape[2] * shape[3]);
  const char* const first = &stack->bytes[stack->begin + static_cast<std::size_t>(row) * size];
  return pipeline(Image{{first, first + size}, shape[1], shape[2], shape[3]});
} catch (const Error& error) {
  if (error.code() == ErrorCode::FileNotFound || names_file(error, file)) throw;
  throw Error(error.code(), "'" + text() + "': " + error.what());
}

std::vector<ImageName> find_images(const Names& names, bool missing) {
  std::vector<ImageName> images;
  for (const std::string& name : names) {
    const platform::Kind kind = platform::kind_of(name);
    if (kind == platform::Kind::Folder) {
      for (std::string& file : images_in(name)) images.push_back({std::move(file), nullptr});
    } else {
      if (kind == platform::Kind::Missing && !missing) read_file(name);  // which says why it cannot
      const bool may_be_stack = platform::suffix_of(name) == ".npy";
      const std::shared_ptr<const Stack> stack = may_be_stack ? read_stack(name) : nullptr;
      const std::int64_t count = stack ? stack->shape[0] : 1;
      for (std::int64_t row = 0; row < count; ++row) images.push_back({name, stack, row});
    }
  }
  return images;
}

Described describe(const Predictor& predictor, const std::string& preprocess,
                   const StepChanges& changes) {
  const Config& config = predictor.config();
  const std::vector<std::string>& names = predictor.class_names();
  const AttachedModel* const attached = attached_model(config);
  const TensorSpec& input = predictor.input_spec();
  if (attached == nullptr)
    return describe_model(config.model_file, preprocess, config.check_hashes, input, names,
                          changes);
  return describe_model(attached->name, preprocess, attached->bytes, input, names, changes);
}

}  // namespace lenet::apps
