// Rules of operators that work on images and their channels.

#include <algorithm>
#include <array>

#include "model/rule_support.h"
#include "model/rules.h"

namespace lenet {
namespace {

constexpr std::int64_t kMaxFactor = 64;

/// Where a tensor of four dimensions has its channels, and where its image begins.
struct Layout {
  std::size_t channel;
  std::size_t image;
};

Layout layout_of(const Step& step, const std::string& name) {
  step.require(step.in("X").shape.size() == 4, "the rank");
  return channels_last(step, name) ? Layout{3, 1} : Layout{1, 2};
}

}  // namespace

void infer_conv_transpose(Step& step) {
  step.require(!step.has("Bias"), "a bias");
  const Value& input = step.in("Input");
  const Value& filter = step.in("Filter");
  step.require(input.shape.size() == 4 && filter.shape.size() == 4, "the rank");
  step.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) step.require(size > 0, "the filter");
  const bool last = channels_last(step, "data_format");
  const std::size_t channel = last ? 3 : 1;
  const std::size_t image = last ? 1 : 2;
  const std::int64_t groups = step.integer("groups");
  const std::int64_t channels = input.shape[channel];
  step.require(groups >= 1 && channels > 0 && channels % groups == 0 && filter.shape[0] == channels,
               "groups and channels");
  step.require(step.integers("output_size").empty(), "a size of the output");
  // With SAME or VALID Paddle works paddings out when it runs.
  step.require(step.text("padding_algorithm") == "EXPLICIT", "padding_algorithm");
  const Integers strides = step.integers("strides");
  const Integers dilations = step.integers("dilations");
  const Integers paddings = step.integers("paddings");
  Integers extra = step.integers("output_padding");
  require_range(step, strides, 2, 1, kMaxStep, "strides");
  require_range(step, dilations, 2, 1, kMaxStep, "dilations");
  require_range(step, paddings, paddings.size() == 4 ? 4 : 2, 0, kMaxStep, "paddings");
  if (extra.empty()) extra = {0, 0};
  require_range(step, extra, 2, 0, kMaxStep, "output_padding");
  Shape shape = input.shape;
  shape[channel] = filter.shape[1] * groups;
  for (std::size_t i = 0; i < 2; ++i) {
    step.require(extra[i] == 0 || extra[i] < std::max(strides[i], dilations[i]), "output_padding");
    const std::int64_t extent = dilations[i] * (filter.shape[i + 2] - 1) + 1;
    const bool pairs = paddings.size() == 4;
    const std::int64_t before = paddings[pairs ? 2 * i : i];
    const std::int64_t after = paddings[pairs ? 2 * i + 1 : i];
    std::int64_t& size = shape[image + i];
    if (size == kUnknown) {
      step.require(before < extent && after < extent, "a padding as wide as the window");
      continue;
    }
    size = (size - 1) * strides[i] - before - after + extent + extra[i];
    step.require(size >= 1, "the size of the output");
  }
  step.count_work(volume(input.shape) * volume(filter.shape) /
                  static_cast<double>(filter.shape[0]));
  step.give("Output", shape, input.dtype);
}

void infer_adaptive_max_pool(Step& step) {
  const Value& x = step.in("X");
  step.require(x.shape.size() == 4, "the rank");
  step.require(step.flag("adaptive") && !step.flag("global_pooling"),
               "pooling with positions, not adaptive");
  const Integers kernel = step.integers(step.has_attribute("ksize") ? "ksize" : "kernel_size");
  require_range(step, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(step, step.integers("strides"), 2, 1, kMaxStep, "strides");
  require_range(step, step.integers("paddings"), 2, 0, 0, "paddings");
  const Shape shape = {x.shape[0], x.shape[1], kernel[0], kernel[1]};
  step.count_work(volume(x.shape));
  step.give("Out", shape, x.dtype);
  step.give("Mask", shape, kInt32);
}

void infer_group_norm(Step& step) {
  const Value& x = step.in("X");
  step.require(x.shape.size() >= 2, "the rank");
  const bool last = channels_last(step, either(step, "data_layout", "data_format"));
  const std::int64_t channels = last ? x.shape.back() : x.shape[1];
  const std::int64_t groups = step.integer("groups");
  step.require(channels > 0 && groups >= 1 && groups <= channels && channels % groups == 0,
               "groups and channels");
  require_vector(step, "Scale", channels);
  require_vector(step, "Bias", channels);
  step.give_like("Y", x);
  step.give("Mean", {x.shape[0], groups}, x.dtype);
  step.give("Variance", {x.shape[0], groups}, x.dtype);
}

void infer_prelu(Step& step) {
  const Value& x = step.in("X");
  const Value& alpha = step.in("Alpha");
  step.require(x.dtype == alpha.dtype, "the element type");
  const std::int64_t size = product(alpha.shape, 0, alpha.shape.size());
  const std::string& mode = step.text("mode");
  const bool last = channels_last(step, "data_format");
  std::int64_t needed = 1;
  if (mode == "channel") {
    step.require(x.shape.size() >= 2, "the rank");
    needed = last ? x.shape.back() : x.shape[1];
  } else if (mode == "element") {
    step.require(x.shape.size() >= 2, "the rank");
    needed = product(x.shape, 1, x.shape.size());
  } else {
    step.require(mode == "all", "the mode");
  }
  step.require(needed > 0 && size == needed, "the number of slopes");
  step.give_like("Out", x);
}

void infer_interpolate(Step& step) {
  for (const char* name : {"OutSize", "SizeTensor", "Scale"}) {
    step.require(!step.has(name), "a size that is a tensor");
  }
  const Value& x = step.in("X");
  if (x.shape.size() != 4) step.unsupported("resizes what is not [N, channels, height, width]");
  const Layout at = layout_of(step, either(step, "data_layout", "data_format"));
  const std::string& method = step.text("interp_method");
  step.require(method == "nearest" || method == "bilinear" || method == "bicubic", "the method");
  const std::int64_t mode = step.integer("align_mode");
  step.require(mode == 0 || mode == 1, "align_mode");
  const Numbers scale = step.numbers("scale");
  step.require(scale.empty() || scale.size() == 2, "scale");
  const std::array<std::int64_t, 2> sizes = {step.integer("out_h"), step.integer("out_w")};
  Shape shape = x.shape;
  const Shape& declared = step.declared("Out").shape;
  step.require(declared.size() == shape.size(), "the rank");
  for (std::size_t i = 0; i < 2; ++i) {
    std::int64_t& size = shape[at.image + i];
    if (scale.empty()) {
      step.require(sizes[i] >= 1 && sizes[i] <= kMaxStep, "the size");
      size = sizes[i];
      continue;
    }
    step.require(scale[i] > 0 && scale[i] <= static_cast<double>(kMaxFactor), "scale");
    if (size == kUnknown) continue;
    const auto wide = static_cast<std::int64_t>(static_cast<double>(size) * scale[i]);
    const auto narrow =
        static_cast<std::int64_t>(static_cast<float>(size) * static_cast<float>(scale[i]));
    // Versions of Paddle differ in the precision; the program tells which was used.
    size = declared[at.image + i] == narrow ? narrow : wide;
    step.require(size >= 1 && wide == narrow, "a scale that rounds either way");
  }
  constexpr double kTaps = 16;
  step.count_work(volume(shape) * kTaps);
  step.give("Out", shape, x.dtype);
}

void infer_pad(Step& step) {
  step.require(!step.has("Paddings"), "paddings that are a tensor");
  const Value& x = step.in("X");
  step.require(x.shape.size() == 5, "the rank");
  const std::string& layout = step.text("data_format");
  step.require(layout == "NCDHW" || layout == "NDHWC", "data_format");
  const std::string& mode = step.text("mode");
  step.require(mode == "constant" || mode == "reflect" || mode == "replicate" || mode == "circular",
               "the mode");
  const Integers paddings = step.integers("paddings");
  require_range(step, paddings, 6, 0, kMaxStep, "paddings");
  Shape shape = x.shape;
  const std::size_t last = layout == "NCDHW" ? 4 : 3;
  for (std::size_t i = 0; i < 3; ++i) {  // of the last dimension first
    std::int64_t& size = shape[last - i];
    const std::int64_t before = paddings[2 * i];
    const std::int64_t after = paddings[2 * i + 1];
    if (mode != "constant") {
      step.require(size > 0, "a size that is not known");
      const std::int64_t most = mode == "reflect" ? size - 1 : mode == "circular" ? size : kMaxStep;
      step.require(before <= most && after <= most, "paddings");
    }
    if (size != kUnknown) size += before + after;
  }
  step.give("Out", shape, x.dtype);
}

void infer_pixel_shuffle(Step& step) {
  const Value& x = step.in("X");
  const Layout at = layout_of(step, "data_format");
  const std::int64_t factor = step.integer("upscale_factor");
  step.require(factor >= 1 && factor <= kMaxFactor, "upscale_factor");
  Shape shape = x.shape;
  step.require(shape[at.channel] > 0 && shape[at.channel] % (factor * factor) == 0, "channels");
  shape[at.channel] /= factor * factor;
  for (std::size_t i = 0; i < 2; ++i) {
    if (shape[at.image + i] != kUnknown) shape[at.image + i] *= factor;
  }
  step.give("Out", shape, x.dtype);
}

void infer_pixel_unshuffle(Step& step) {
  const Value& x = step.in("X");
  const Layout at = layout_of(step, "data_format");
  const std::int64_t factor = step.integer("downscale_factor");
  step.require(factor >= 1 && factor <= kMaxFactor, "downscale_factor");
  Shape shape = x.shape;
  step.require(shape[at.channel] > 0, "channels");
  shape[at.channel] *= factor * factor;
  for (std::size_t i = 0; i < 2; ++i) {
    step.require(shape[at.image + i] > 0 && shape[at.image + i] % factor == 0, "the size");
    shape[at.image + i] /= factor;
  }
  step.give("Out", shape, x.dtype);
}

void infer_channel_shuffle(Step& step) {
  const Value& x = step.in("X");
  const Layout at = layout_of(step, "data_format");
  const std::int64_t groups = step.integer("groups");
  const std::int64_t channels = x.shape[at.channel];
  step.require(groups >= 1 && channels > 0 && channels % groups == 0, "groups and channels");
  step.give_like("Out", x);
}

void infer_maxout(Step& step) {
  const Value& x = step.in("X");
  step.require(x.shape.size() == 4, "the rank");
  const std::size_t axis = step.axis(step.integer("axis"), 4);
  step.require(axis == 1 || axis == 3, "axis");
  const std::int64_t groups = step.integer("groups");
  Shape shape = x.shape;
  step.require(groups >= 2 && shape[axis] > 0 && shape[axis] % groups == 0, "groups and channels");
  shape[axis] /= groups;
  step.give("Out", shape, x.dtype);
}

}  // namespace lenet
