#include <optional>

#include "description/description.h"
#include "description/step_changes.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet {
namespace {

// What images.digit() of Python writes.
constexpr const char* kDigits =
    R"({"format_version": 1, "mode": "L", "steps": [{"type": "Digit", "size": 28, "box": 20}, )"
    R"({"type": "Normalize", "scale": 1.0, "mean": [0.0], "std": [255.0]}, {"type": "ToCHW"}]})";
constexpr const char* kNormalizeImageNet =
    R"({"type": "Normalize", "scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406], )"
    R"("std": [0.229, 0.224, 0.225]}, {"type": "ToCHW"}]})";

/// The short side that goes with the middle of `size` x `size` pixels: size * 256 / 224, rounded.
std::int64_t short_side(std::int64_t size) { return (16 * size + 7) / 14; }

/// What images.imagenet(size) of Python writes, or images.imagenet(size, library="opencv").
std::string imagenet(std::int64_t size, bool is_opencv) {
  const std::string side = std::to_string(size);
  const std::string rounded = is_opencv ? R"(, "library": "opencv", "rounding": "half_even")" : "";
  return R"({"format_version": 1, "mode": "RGB", "steps": [{"type": "Resize", "short_side": )" +
         std::to_string(short_side(size)) + R"(, "interpolation": "bilinear")" + rounded +
         R"(}, {"type": "CenterCrop", "size": [)" + side + ", " + side + "]" +
         (is_opencv ? R"(, "rounding": "down")" : "") + "}, " + kNormalizeImageNet;
}

/// What of imagenet() stays after the changes, for a note; nothing where each step is given.
std::string imagenet_words(std::int64_t size, bool is_opencv, const StepChanges& changes) {
  const bool is_resized = !changes.resize || changes.resize->height > 0;
  const std::string resize =
      std::string("with the bilinear resize of ") +
      (is_opencv ? "OpenCV, which PaddleClas uses" : "Pillow, which torchvision uses");
  if (changes.mean && changes.std && changes.resize && changes.crop) {
    return is_resized && changes.library.empty() ? resize : "";
  }
  const std::string side = std::to_string(size);
  return "as for ImageNet (short side " + std::to_string(short_side(size)) + ", middle " + side +
         " x " + side + ", its mean and standard deviation)" + (is_resized ? " " + resize : "");
}

/// A text between single quotes of a shell.
std::string quoted(const std::string& text) {
  std::string shell;
  for (const char byte : text) {
    if (byte == '\'') {
      shell += R"('\'')";
    } else {
      shell += byte;
    }
  }
  return "'" + shell + "'";
}

/// The command of a shell that writes a description, which is one line, to a file.
std::string command(const std::string& description, const std::string& file) {
  return R"(printf '%s\n' )" + quoted(description) + " > " + quoted(file);
}

/// How to keep a description, for a note.
/// \param file empty: there is no file beside the model
std::string remedy_of(const std::string& description, const std::string& file) {
  if (file.empty()) {
    return "to choose, name a file with a description (--preprocess, preprocess=), such as " +
           description;
  }
  return "to keep this, write it beside the model: " + command(description, file);
}

bool is_channels(std::int64_t size) { return size == 1 || size == 3; }

/// The axis of the channels of an input of pictures; nothing where it takes none.
std::optional<std::size_t> channel_axis(const Shape& shape) {
  if (shape.size() != 4) return std::nullopt;
  if (is_channels(shape[1])) return 1;
  if (is_channels(shape[3])) return 3;
  return std::nullopt;
}

/// A description without steps on images.
/// \param values the fields of Normalize after the scale, for each channel
std::string description_of(bool is_grey, const std::string& steps, const std::string& scale,
                           const std::string& mean, const std::string& std, bool is_first) {
  const auto list = [&](const std::string& value) {
    return "[" + value + (is_grey ? "" : ", " + value + ", " + value) + "]";
  };
  return R"({"format_version": 1, "mode": ")" + std::string(is_grey ? "L" : "RGB") +
         R"(", "steps": [)" + steps + R"({"type": "Normalize", "scale": )" + scale +
         R"(, "mean": )" + list(mean) + R"(, "std": )" + list(std) + "}" +
         (is_first ? R"(, {"type": "ToCHW"})" : "") + "]}";
}

/// A description that only resizes pictures, for a user who knows better to change it.
std::string plain_description(const TensorSpec& input, std::size_t channels) {
  constexpr std::int64_t kOften = 224;
  const auto size = [&](std::size_t axis) {
    return std::to_string(input.shape[axis] > 0 ? input.shape[axis] : kOften);
  };
  const bool is_first = channels == 1;
  const std::size_t rows = is_first ? 2 : 1;
  const std::string resize = R"({"type": "Resize", "size": [)" + size(rows) + ", " +
                             size(rows + 1) + R"(], "interpolation": "bilinear"}, )";
  return description_of(input.shape[channels] == 1, resize, "1.0", "0.0",
                        input.dtype == "uint8" ? "1.0" : "255.0", is_first);
}

/// A description for changes that tell everything: mean, std, and a resize or a crop.
/// \returns nothing where they do not, or the input takes no pictures of float32
std::string told_description(const TensorSpec& input, const StepChanges& changes) {
  const std::optional<std::size_t> channels = channel_axis(input.shape);
  const bool is_told = changes.mean && changes.std && (changes.resize || changes.crop);
  if (!is_told || !channels || input.dtype != "float32") return "";
  return description_of(input.shape[*channels] == 1, "", "0.00392156862745098", "0.0", "1.0",
                        *channels == 1);
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
  const std::string description = plain_description(input, *channels);
  throw Error(ErrorCode::FileNotFound,
              problem + ": name a file with a description (--preprocess, preprocess=), " +
                  (file.empty() ? "such as " + description
                                : "or write one, with the size and the values that it was trained "
                                  "with: " +
                                      command(description, file)));
}

}  // namespace

ReadDescription usual_description(const UndescribedModel& model, const StepChanges& changes) {
  const Shape& shape = model.input.shape;
  const bool is_picture = shape.size() == 4 && model.input.dtype == "float32";
  const bool is_digit = is_picture && shape[1] == 1 && shape[2] == 28 && shape[3] == 28;
  const bool is_colour = is_picture && shape[1] == 3 && shape[2] > 0 && shape[2] == shape[3];
  std::string text;
  std::string way;
  if (is_digit) {
    text = kDigits;
    way = "as digits (found, 28 x 28, light on dark, from 0 to 1)";
  } else if (is_colour) {
    const bool is_opencv =
        changes.library.empty() ? model.producer != "pytorch" : changes.library == "opencv";
    text = imagenet(shape[2], is_opencv);
    way = imagenet_words(shape[2], is_opencv, changes);
  } else {
    text = told_description(model.input, changes);
    if (text.empty()) refuse(model.program, model.file, model.input);
  }
  if (!changes.empty()) {
    text = change_steps(text, changes);
    way += (way.empty() ? "with the given " : ", but with the given ") + list_of(changes);
  }
  return {text, "nothing describes how images are prepared for '" + model.program +
                    "', so they are prepared " + way + "; " + remedy_of(text, model.file)};
}

ReadDescription changed_description(const std::string& text, const std::string& source,
                                    const std::string& file, const StepChanges& changes) {
  const std::string changed = change_steps(text, changes);
  return {changed, "images are prepared as '" + source + "' says, but with the given " +
                       list_of(changes) + "; " + remedy_of(changed, file)};
}

}  // namespace lenet
