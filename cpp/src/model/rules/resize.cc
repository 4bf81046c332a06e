// Rules of operators that change the size of images.

#include <algorithm>
#include <numeric>

#include "model/rules/rules.h"

namespace lenet {
namespace {

constexpr std::int64_t kMaxFactor = 64;

void infer_interpolate(OperatorView& op) {
  Shape shape = op.in("X").shape;
  if (shape.size() != 4) op.not_checked("resizes what is not [N, channels, height, width]");
  const Layout at = layout_of(op, shape);
  const std::string method = op.text("mode");
  op.require(has_word("nearest bilinear bicubic", method), "the method");
  require_range(op, {op.integer("align_mode")}, 1, 0, 1, "align_mode");
  Numbers scale = op.numbers("scale");
  // Of Paddle 1 it is one number; 0 or less where out_h and out_w count.
  if (scale.size() == 1) scale = scale[0] > 0 ? Numbers(2, scale[0]) : Numbers();
  op.require(scale.empty() || scale.size() == 2, "scale");
  const Shape& declared = op.declared("Out").shape;
  op.require(declared.size() == shape.size(), "the rank");
  for (std::size_t i = 0; i < 2; ++i) {
    std::int64_t& size = shape[at.image + i];
    if (scale.empty()) {
      size = op.integer(i == 0 ? "out_h" : "out_w");
      op.require(size >= 1 && size <= kMaxStep, "the size");
      continue;
    }
    op.require(scale[i] > 0, "scale");
    if (scale[i] > static_cast<double>(kMaxFactor)) op.not_checked("has too large a scale");
    if (size == kUnknown) continue;
    const auto wide = static_cast<std::int64_t>(static_cast<double>(size) * scale[i]);
    const auto narrow =
        static_cast<std::int64_t>(static_cast<float>(size) * static_cast<float>(scale[i]));
    // Versions of Paddle differ in the precision; the program tells which was used.
    size = declared[at.image + i] == narrow ? narrow : wide;
    if (wide != narrow) op.not_checked("has a scale that versions of Paddle round either way");
    op.require(size >= 1, "the size");
  }
  op.count_work(volume(shape) * 16);  // taps of a bicubic one
  op.give_shape(shape);
}

/// A Resize has the sizes or the scales of all axes or some.
void infer_resize(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.supports(op.text("keep_aspect_ratio_policy", "stretch") == "stretch" &&
                  op.text("coordinate_transformation_mode", "") != "tf_crop_and_resize",
              "kernel for such a policy or mode");
  Integers all(shape.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes", all), shape.size());
  const bool sized = op.has("sizes") && op.in("sizes").shape != Shape{0};
  const char* const name = sized ? "sizes" : "scales";
  const std::optional<Numbers> by =
      op.has_attribute(name) ? op.numbers(name) : known_numbers(op, name);
  if (!by) op.not_fixed("a size");
  op.require(by->size() == axes.size(), "the number of ", name);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axes[i]];
    const double number = (*by)[i];
    op.require(number > 0, name);
    op.supports(number <= static_cast<double>(kMaxValuesPerImage), "kernel for such a size");
    op.supports(size != 0 || !sized, "kernel for a tensor without values");
    if (size == kUnknown && number != 1) op.not_fixed("a size");
    if (sized) size = static_cast<std::int64_t>(number);
    if (!sized && size != kUnknown) {
      size = static_cast<std::int64_t>(static_cast<float>(size) * static_cast<float>(number));
    }
  }
  op.count_work(volume(shape) * 16);  // taps of a cubic one
  op.give_shape(shape);
}

void infer_pad(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const Paddings paddings = read_paddings(op);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != kUnknown) shape[i] += paddings.before[i] + paddings.behind[i];
  }
  op.give_shape(shape);
}

/// Makes blocks of pixels out of channels, or with a downscale_factor the other way round.
void infer_pixel_shuffle(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const Layout at = layout_of(op, shape);
  const bool up = op.has_attribute("upscale_factor");
  const char* const name = up ? "upscale_factor" : "downscale_factor";
  const std::int64_t factor = op.integer(name);
  op.supports(op.has_attribute("data_format") || factor <= kMaxFactor, "kernel for such a factor");
  op.require(factor >= 1, name);
  if (factor > kMaxFactor) op.not_checked("has too large a factor");
  const std::int64_t block = factor * factor;
  std::int64_t& channels = shape[at.channel];
  op.require(channels == kUnknown || !up || channels % block == 0, "channels");
  if (channels != kUnknown) channels = up ? channels / block : channels * block;
  for (std::size_t i = 0; i < 2; ++i) {
    std::int64_t& size = shape[at.image + i];
    op.require(up || size == kUnknown || size % factor == 0, "the size");
    if (size != kUnknown) size = up ? size * factor : size / factor;
  }
  op.give_shape(shape);
}

void infer_channel_shuffle(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  groups_of(op, shape[layout_of(op, shape).channel]);
  infer_same(op);
}

constexpr OperatorRule kRules[] = {
    {kPaddle,
     "nearest_interp_v2/nearest_interp bilinear_interp_v2/bilinear_interp "
     "bicubic_interp_v2/bicubic_interp",
     "Resize", "X OutSize! SizeTensor! Scale!", "Out",
     "data_layout>data_format:str/data_format:str out_d:int out_h:int out_w:int "
     "scale:floats/scale:doubles|floats interp_method>mode:str align_corners:bool align_mode:int",
     infer_interpolate},
    {kDesc, "nearest_interp bilinear_interp", "Resize", "X OutSize! SizeTensor! Scale!", "Out",
     "data_layout>data_format:str out_d:int out_h:int out_w:int scale:float interp_method>mode:str "
     "align_corners:bool align_mode:int +by_sizes",
     infer_interpolate},
    {kPaddle, "pad3d", "Pad", "X Paddings!/pads", "Out",
     "paddings>pads:ints/ mode:str value:float/pad_value>value:float|double data_format:str "
     "+in_pairs",
     infer_pad},
    {kPaddle, "pad", "Pad", "X /value", "Out",
     "paddings>pads:ints pad_value>value:float/ +in_pairs", infer_pad},
    {kOnnx, "Pad", "", "X /pads /value? /axes?", "Out", "mode:str? pads:longs/ value:float?/",
     infer_pad, 11},
    {kOnnx, "Resize", "", "X /roi? scales? /sizes?", "Out",
     "antialias:long? axes:longs? coordinate_transformation_mode:str? cubic_coeff_a:float? "
     "exclude_outside:long? extrapolation_value:float? keep_aspect_ratio_policy:str? mode:str? "
     "nearest_mode:str?",
     infer_resize, 11},
    {kOnnx, "Upsample", "Resize", "X /scales", "Out", "mode:str? scales:floats/", infer_resize, 9},
    {kOnnx, "DepthToSpace", "", "X", "Out", "blocksize>upscale_factor:long mode:str?",
     infer_pixel_shuffle},
    {kOnnx, "SpaceToDepth", "", "X", "Out", "blocksize>downscale_factor:long", infer_pixel_shuffle},
    // The channels of a block lie side by side.
    {kPaddle, "pixel_shuffle", "DepthToSpace", "X", "Out",
     "upscale_factor:int data_format:str=NCHW/data_format:str +mode=CRD", infer_pixel_shuffle},
    {kPaddle, "pixel_unshuffle", "SpaceToDepth", "X", "Out",
     "downscale_factor:int data_format:str +mode=CRD", infer_pixel_shuffle},
    {kDesc, "shuffle_channel", "ChannelShuffle", "X", "Out", "group:int", infer_channel_shuffle},
    {kPaddle, "channel_shuffle", "ChannelShuffle", "X", "Out", "groups>group:int data_format:str",
     infer_channel_shuffle},
};

}  // namespace

Paddings read_paddings(const OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const Integers given = op.integers("pads");
  Integers axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (op.has_attribute("data_format")) {  // of images in three dimensions, the last one first
    op.require(shape.size() == 5, "the rank");
    const std::string layout = op.text("data_format");
    op.require(has_word("NCDHW NDHWC", layout), "data_format");
    axes = layout == "NCDHW" ? Integers{4, 3, 2} : Integers{3, 2, 1};
  }
  axes = op.integers("axes", axes);
  op.require(given.size() == 2 * axes.size(), "the number of paddings");
  const bool in_pairs = op.flag("in_pairs", false);  // by axis; else all before and all behind
  const std::string name = op.text("mode", "constant");
  constexpr const char* kModes[] = {"constant", "reflect", "replicate edge", "circular wrap"};
  const auto* const mode = std::find_if(std::begin(kModes), std::end(kModes),
                                        [&](const char* each) { return has_word(each, name); });
  op.require(mode != std::end(kModes), "the mode");
  Paddings paddings{Integers(shape.size()), Integers(shape.size()),
                    static_cast<PadMode>(mode - std::begin(kModes))};
  const bool constant = paddings.mode == PadMode::Constant;
  const std::vector<std::size_t> padded = distinct_axes(op, axes, shape.size());
  for (std::size_t i = 0; i < padded.size(); ++i) {
    const std::int64_t before = given[in_pairs ? 2 * i : i];
    const std::int64_t behind = given[in_pairs ? 2 * i + 1 : i + axes.size()];
    const std::int64_t size = shape[padded[i]];
    if (before == 0 && behind == 0) continue;
    op.require(!in_pairs || std::min(before, behind) >= 0, "paddings");
    op.supports(std::max(before, behind) <= kMaxStep && std::min(before, behind) >= -kMaxStep,
                "kernel for paddings so wide");
    // Behind its end the image begins again, in Paddle as often as it takes.
    const bool again = name == "circular";
    const std::int64_t most = paddings.mode == PadMode::Reflect          ? size - 1
                              : paddings.mode == PadMode::Wrap && !again ? size
                                                                         : kMaxStep;
    const bool open = constant || size == kUnknown;  // who knows the size looks again
    const bool fits = open || (size > 0 && std::max(before, behind) <= most);
    op.require(!in_pairs || fits, "paddings");
    op.supports(fits && (constant || std::min(before, behind) >= 0), "kernel for such paddings");
    const std::int64_t cut_off =
        std::max<std::int64_t>(-before, 0) + std::max<std::int64_t>(-behind, 0);
    op.supports(size == kUnknown || cut_off <= size, "kernel for such paddings");
    paddings.before[padded[i]] = before;
    paddings.behind[padded[i]] = behind;
  }
  return paddings;
}

RuleRows resize_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
