// Rules of operators that change the size of images.

#include <numeric>
#include <string>
#include <vector>

#include "model/rules/rules.h"

namespace lenet {
namespace {

constexpr std::int64_t kMaxFactor = 64;

void infer_interpolate(OperatorView& op) {
  Shape shape = op.in("X").shape;
  if (shape.size() != 4) op.unsupported("resizes what is not [N, channels, height, width]");
  const Layout at = layout_of(op, shape);
  const std::string method = op.text("interp_method");
  op.require(has_word("nearest bilinear bicubic", method), "the method");
  require_range(op, {op.integer("align_mode")}, 1, 0, 1, "align_mode");
  const Numbers scale = op.numbers("scale");
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
    op.require(scale[i] > 0 && scale[i] <= static_cast<double>(kMaxFactor), "scale");
    if (size == kUnknown) continue;
    const auto wide = static_cast<std::int64_t>(static_cast<double>(size) * scale[i]);
    const auto narrow =
        static_cast<std::int64_t>(static_cast<float>(size) * static_cast<float>(scale[i]));
    // Versions of Paddle differ in the precision; the program tells which was used.
    size = declared[at.image + i] == narrow ? narrow : wide;
    op.require(size >= 1 && wide == narrow, "a scale that rounds either way");
  }
  op.count_work(volume(shape) * 16);  // taps of a bicubic one
  op.give_shape(shape);
}

void infer_pad(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.require(shape.size() == 5, "the rank");
  const std::string layout = op.text("data_format");
  op.require(has_word("NCDHW NDHWC", layout), "data_format");
  const std::string mode = op.text("mode");
  op.require(has_word("constant reflect replicate circular", mode), "the mode");
  const Integers paddings = op.integers("paddings");
  require_range(op, paddings, 6, 0, kMaxStep, "paddings");
  const std::size_t last = layout == "NCDHW" ? 4 : 3;
  for (std::size_t i = 0; i < 3; ++i) {  // of the last dimension first
    std::int64_t& size = shape[last - i];
    const std::int64_t before = paddings[2 * i];
    const std::int64_t after = paddings[2 * i + 1];
    if (mode != "constant") {
      op.require(size > 0, "a size that is not known");
      const std::int64_t most = mode == "reflect" ? size - 1 : mode == "circular" ? size : kMaxStep;
      op.require(before <= most && after <= most, "paddings");
    }
    if (size != kUnknown) size += before + after;
  }
  op.give_shape(shape);
}

/// Of a tensor of any rank, where negative paddings cut values off: Paddle's pad and ONNX's.
void infer_pad_each(OperatorView& op) {
  Shape shape = op.in("X").shape;
  std::vector<std::int64_t> paddings = op.integers(op.present({"pads", "paddings"}));
  Integers axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  axes = op.integers("axes", axes);
  const std::string mode = op.text("mode", "constant");
  op.require(has_word("constant reflect edge wrap", mode), "the mode");
  op.require(paddings.size() == 2 * axes.size(), "the number of paddings");
  const std::vector<std::size_t> padded = distinct_axes(op, axes, shape.size());
  for (std::size_t i = 0; i < padded.size(); ++i) {
    // ONNX lists all before and then all behind the values, Paddle both of an axis together.
    const std::int64_t before = op.is_onnx() ? paddings[i] : paddings[2 * i];
    const std::int64_t after = op.is_onnx() ? paddings[i + axes.size()] : paddings[2 * i + 1];
    std::int64_t& size = shape[padded[i]];
    if (before == 0 && after == 0) continue;
    const std::int64_t least = op.is_onnx() ? -kMaxStep : 0;
    require_range(op, {before, after}, 2, least, kMaxStep, "paddings");
    op.supports(size > 0, "kernel that pads a batch");
    const std::int64_t most = mode == "reflect" ? size - 1 : mode == "wrap" ? size : kMaxStep;
    op.supports(before <= most && after <= most, "kernel for paddings larger than the image");
    size += before + after;
    op.supports(size > 0, "kernel for a tensor without values");
  }
  op.give_shape(shape);
}

/// Makes blocks of pixels out of channels, or with a downscale_factor the other way round.
void infer_pixel_shuffle(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const Layout at = layout_of(op, shape);
  const std::string_view name = op.present({"upscale_factor", "downscale_factor"});
  const bool up = name == "upscale_factor";
  const std::int64_t factor = op.integer(name);
  op.require(factor >= 1 && factor <= kMaxFactor, name);
  const std::int64_t block = factor * factor;
  std::int64_t& channels = shape[at.channel];
  op.require(channels > 0 && (!up || channels % block == 0), "channels");
  channels = up ? channels / block : channels * block;
  for (std::size_t i = 0; i < 2; ++i) {
    std::int64_t& size = shape[at.image + i];
    op.require(up || (size > 0 && size % factor == 0), "the size");
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
     "X OutSize! SizeTensor! Scale!", "Out",
     "data_layout:str/data_format:str out_d:int out_h:int out_w:int "
     "scale:floats/scale:doubles|floats|empty interp_method:str align_corners:bool align_mode:int",
     infer_interpolate},
    {kPaddle, "pad3d", "X Paddings!/paddings", "Out",
     "paddings:ints/ mode:str value:float/pad_value:float|double data_format:str", infer_pad},
    {kPaddle, "pad", "X /value", "Out", "paddings:ints pad_value:float/", infer_pad_each},
    {kOnnx, "Pad", "X /pads /value? /axes?", "Out", "mode:str? pads:longs/ value:float?/",
     infer_pad_each, 11},
    {kPaddle, "pixel_shuffle", "X", "Out", "upscale_factor:int data_format:str",
     infer_pixel_shuffle},
    {kPaddle, "pixel_unshuffle", "X", "Out", "downscale_factor:int data_format:str",
     infer_pixel_shuffle},
    {kPaddle, "channel_shuffle", "X", "Out", "groups:int data_format:str", infer_channel_shuffle},
};

}  // namespace

RuleRows resize_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
