#include <optional>

#include "description/description.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet {
namespace {

// What images.digit() and images.imagenet(S, library="opencv") of Python write.
constexpr const char* kDigits =
    R"({"format_version": 1, "mode": "L", "steps": [{"type": "Digit", "size": 28, "box": 20},
{"type": "Normalize", "scale": 1.0, "mean": [0.0], "std": [255.0]}, {"type": "ToCHW"}]})";
constexpr const char* kNormalizeImageNet =
    R"({"type": "Normalize", "scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406],
"std": [0.229, 0.224, 0.225]}, {"type": "ToCHW"}]})";

/// The short side that goes with the middle of `size` x `size` pixels: size * 256 / 224, rounded.
std::int64_t short_side(std::int64_t size) { return (16 * size + 7) / 14; }

std::string imagenet(std::int64_t size) {
  const std::string side = std::to_string(size);
  return R"({"format_version": 1, "mode": "RGB", "steps": [{"type": "Resize", "short_side": )" +
         std::to_string(short_side(size)) +
         R"(, "interpolation": "bilinear", "library": "opencv", "rounding": "half_even"},
{"type": "CenterCrop", "size": [)" +
         side + ", " + side + R"(], "rounding": "down"}, )" + kNormalizeImageNet;
}

/// A text of Python between double quotes of a shell.
std::string quoted(const std::string& text) {
  std::string python;
  for (const char byte : text) {
    if (byte == '\'' || byte == '\\') python += '\\';
    python += byte;
  }
  std::string shell;
  for (const char byte : python) {
    if (byte == '"' || byte == '\\' || byte == '$' || byte == '`') shell += '\\';
    shell += byte;
  }
  return "'" + shell + "'";
}

/// The command that writes the description that `pipeline`, an expression of Python, makes.
std::string command(const std::string& pipeline, const std::string& file) {
  return "python -c \"from lenet_cpp import images; images." + pipeline + ".save(" + quoted(file) +
         ")\"";
}

bool is_channels(std::int64_t size) { return size == 1 || size == 3; }

/// The axis of the channels of an input of pictures; nothing where it takes none.
std::optional<std::size_t> channel_axis(const Shape& shape) {
  if (shape.size() != 4) return std::nullopt;
  if (is_channels(shape[1])) return 1;
  if (is_channels(shape[3])) return 3;
  return std::nullopt;
}

/// An expression of Python that only resizes pictures, for a user who knows better to change it.
std::string plain_pipeline(const TensorSpec& input, std::size_t channels) {
  constexpr std::int64_t kOften = 224;
  const auto size = [&](std::size_t axis) {
    return std::to_string(input.shape[axis] > 0 ? input.shape[axis] : kOften);
  };
  const bool is_last = channels == 3;
  const std::size_t rows = is_last ? 1 : 2;
  const bool is_grey = input.shape[channels] == 1;
  const std::string many = is_grey ? "" : " * 3";
  const std::string std = input.dtype == "uint8" ? "1.0" : "255.0";
  return "Pipeline('" + std::string(is_grey ? "L" : "RGB") + "', (images.Resize(size=(" +
         size(rows) + ", " + size(rows + 1) + ")), images.Normalize(1.0, (0.0,)" + many + ", (" +
         std + ",)" + many + ")" + (is_last ? "" : ", images.ToCHW()") + "))";
}

/// \throws Error FileNotFound or Unsupported, as usual_description
[[noreturn]] void refuse(const std::string& program, const std::string& file,
                         const TensorSpec& input) {
  const Shape& shape = input.shape;
  const std::string takes = "'" + program + "' takes " + input.dtype + " " + to_string(shape);
  const std::optional<std::size_t> channels = channel_axis(shape);
  if (!channels) {
    throw Error(ErrorCode::Unsupported,
                takes +
                    ", and pictures are prepared as [N, channels, height, width] or [N, height, "
                    "width, channels], of 1 or 3 channels: give it arrays, by lenet_infer_test "
                    "--input=FILE.npy or in Python");
  }
  const std::size_t rows = *channels == 3 ? 1 : 2;
  const bool is_open = shape[rows] < 0 || shape[rows + 1] < 0;
  const std::string problem =
      (file.empty() ? "nothing describes how images are prepared" : no_description(program)) +
      ", and " + takes +
      (is_open ? ", whose size is open"
               : ", which are neither digits, float32 [N, 1, 28, 28], nor images as of ImageNet, "
                 "float32 [N, 3, S, S]");
  const std::string pipeline = plain_pipeline(input, *channels);
  throw Error(ErrorCode::FileNotFound,
              problem + ": name a description (--preprocess, preprocess=), " +
                  (file.empty() ? "such as lenet_cpp.images." + pipeline
                                : "or write one, with the size and the values that it was trained "
                                  "with: " +
                                      command(pipeline, file)));
}

}  // namespace

ReadDescription usual_description(const std::string& program, const std::string& file,
                                  const TensorSpec& input) {
  const Shape& shape = input.shape;
  const bool is_picture = shape.size() == 4 && input.dtype == "float32";
  const bool is_digit = is_picture && shape[1] == 1 && shape[2] == 28 && shape[3] == 28;
  const bool is_colour = is_picture && shape[1] == 3 && shape[2] > 0 && shape[2] == shape[3];
  if (!is_digit && !is_colour) refuse(program, file, input);
  const std::string side = is_digit ? "28" : std::to_string(shape[2]);
  const std::string way = is_digit ? "as digits (found, 28 x 28, light on dark, from 0 to 1)"
                                   : "as for ImageNet (short side " +
                                         std::to_string(short_side(shape[2])) + ", middle " + side +
                                         " x " + side + ", its mean and standard deviation)";
  const std::string pipeline = is_digit ? "digit()" : "imagenet(" + side + ", library='opencv')";
  const std::string remedy =
      file.empty() ? "to choose, name a description (--preprocess, preprocess=), such as "
                     "lenet_cpp.images." +
                         pipeline
                   : "to keep this, write it beside the model: " + command(pipeline, file);
  return {is_digit ? kDigits : imagenet(shape[2]),
          "nothing describes how images are prepared for '" + program + "', so they are prepared " +
              way + "; " + remedy};
}

}  // namespace lenet
