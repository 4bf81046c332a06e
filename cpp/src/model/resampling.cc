#include "model/resampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "model/rules/support.h"

namespace lenet {
namespace {

/// One axis. Places are computed in float32, as onnxruntime and Paddle compute them.
struct Axis {
  std::int64_t inputs;
  std::int64_t outputs;
  float scale;  ///< outputs of an input; of Paddle 0: what the sizes give
};

class Resampler {
 public:
  explicit Resampler(const OperatorView& op)
      : op_(op),
        paddle_(op.has_attribute("align_mode")),
        mode_(op.text("mode", "nearest")),
        cubic_(has_word("cubic bicubic", mode_)),
        linear_(has_word("linear bilinear", mode_)),
        cubic_a_(static_cast<float>(op.number("cubic_coeff_a", -0.75))),
        excludes_(op.flag("exclude_outside", false)),
        smooths_(op.flag("antialias", false)) {
    op.supports(cubic_ || linear_ || mode_ == "nearest", "kernel for such a mode");
    if (paddle_) return;
    // Before operator set 11 there was one way, which versions of onnxruntime differ in.
    const bool old = op.opset() < 11;
    transformation_ = op.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    nearest_ = op.text("nearest_mode", old ? "floor" : "round_prefer_floor");
    op.supports(has_word("half_pixel align_corners asymmetric pytorch_half_pixel "
                         "tf_half_pixel_for_nn half_pixel_symmetric",
                         transformation_) &&
                    has_word("floor ceil round_prefer_floor round_prefer_ceil", nearest_),
                "kernel for such a policy or mode");
    op.supports(!smooths_ || (mode_ != "nearest" && transformation_ == "half_pixel"),
                "kernel for antialias with such a mode");
  }

  std::vector<Taps> read() const {
    const Shape& from = op_.in("X").shape;
    const Shape& to = op_.declared("Out").shape;
    const Numbers scales = paddle_ ? paddle_scales(from.size()) : onnx_scales(from.size());
    std::vector<Taps> taps(from.size());
    // Paddle copies an image whose sizes stay, whatever the scale.
    if (paddle_ && from == to) return taps;
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (from[i] == kUnknown || to[i] == kUnknown) continue;
      Axis axis{from[i], to[i], static_cast<float>(scales[i])};
      if (paddle_ && !is_image(i)) continue;
      if (!paddle_ && axis.scale <= 0) {
        axis.scale = static_cast<float>(to[i]) / static_cast<float>(from[i]);
      }
      if (!paddle_ && axis.scale == 1) continue;
      // ONNX's definition takes the size as the scale gives it, onnxruntime the rounded one.
      const float size = axis.scale * static_cast<float>(from[i]);
      op_.supports(transformation_ != "align_corners" || std::abs(size - std::round(size)) < 1e-3F,
                   "kernel for align_corners with a scale that gives no integer size");
      op_.supports(mode_ != "nearest" || paddle_ || op_.opset() >= 11 || axis.scale > 1,
                   "kernel for this operator that makes images smaller by the nearest pixel, "
                   "before operator set 11");
      taps[i] = taps_of(axis);
    }
    return taps;
  }

 private:
  /// Whether Paddle resizes an axis.
  bool is_image(std::size_t axis) const {
    const std::size_t first = layout_of(op_, op_.in("X").shape).image;
    return axis == first || axis == first + 1;
  }

  /// That of each axis; 0: what the sizes give.
  Numbers paddle_scales(std::size_t rank) const {
    Numbers scales(rank, 0);
    if (op_.flag("by_sizes", false)) return scales;
    Numbers given = op_.numbers("scale");
    if (given.size() == 1) given.push_back(given[0]);
    const std::size_t image = layout_of(op_, op_.in("X").shape).image;
    for (std::size_t i = 0; i < given.size() && i < 2; ++i) scales[image + i] = given[i];
    return scales;
  }

  Numbers onnx_scales(std::size_t rank) const {
    Numbers scales(rank, 1);
    Integers all(rank);
    std::iota(all.begin(), all.end(), 0);
    const std::vector<std::size_t> axes = distinct_axes(op_, op_.integers("axes", all), rank);
    const bool sized = op_.has("sizes") && op_.in("sizes").shape != Shape{0};
    Numbers given(axes.size(), 0);
    if (!sized && op_.has_attribute("scales")) given = op_.numbers("scales");
    if (!sized && !op_.has_attribute("scales")) {
      const auto known = known_numbers(op_, "scales");
      if (known) given = *known;
    }
    for (std::size_t i = 0; i < axes.size() && i < given.size(); ++i) scales[axes[i]] = given[i];
    return scales;
  }

  Taps taps_of(const Axis& axis) const {
    Taps taps;
    for (std::int64_t i = 0; i < axis.outputs; ++i) {
      taps.begins.push_back(static_cast<std::int32_t>(taps.places.size()));
      const auto x = static_cast<float>(i);
      if (smooths_) {
        add_smooth(taps, axis, place(axis, x));
      } else if (cubic_) {
        add_cubic(taps, axis, paddle_ ? paddle_place(axis, x) : place(axis, x));
      } else if (linear_) {
        add_linear(taps, axis, paddle_ ? paddle_place(axis, x) : place(axis, x));
      } else {
        const float nearest = paddle_ ? paddle_nearest(axis, x) : rounded(place(axis, x));
        add(taps, axis, static_cast<std::int64_t>(nearest), 1);
      }
    }
    taps.begins.push_back(static_cast<std::int32_t>(taps.places.size()));
    return taps;
  }

  /// Where the value of an output lies in the input, of ONNX.
  float place(const Axis& axis, float x) const {
    const auto inputs = static_cast<float>(axis.inputs);
    const auto outputs = static_cast<float>(axis.outputs);
    if (transformation_ == "asymmetric") return x / axis.scale;
    if (transformation_ == "tf_half_pixel_for_nn") return (x + 0.5F) / axis.scale;
    if (transformation_ == "align_corners") {
      return axis.outputs == 1 ? 0 : x * (inputs - 1) / (outputs - 1);
    }
    if (transformation_ == "pytorch_half_pixel" && axis.outputs == 1) return 0;
    // The middles of both images are the same place: exactly, so that it is rounded as it should
    // be.
    if (transformation_ == "half_pixel_symmetric") {
      return (x + 0.5F - outputs / 2) / axis.scale + inputs / 2 - 0.5F;
    }
    return (x + 0.5F) / axis.scale - 0.5F;
  }

  /// The nearest pixel. A place so close to the middle between two pixels is taken for the middle,
  /// as onnxruntime takes it: float32 may have missed it.
  float rounded(float place) const {
    constexpr float kClose = 1e-6F;
    if (nearest_ == "floor") return std::floor(place);
    if (nearest_ == "ceil") return std::ceil(place);
    const float below = std::floor(place);
    const float behind_middle = place - below - 0.5F;
    const bool up =
        nearest_ == "round_prefer_ceil" ? behind_middle >= -kClose : behind_middle > kClose;
    return up ? below + 1 : below;
  }

  /// How far the next output lies in the input, of Paddle.
  float paddle_step(const Axis& axis) const {
    if (axis.outputs == 1) return 0;
    const auto inputs = static_cast<float>(axis.inputs);
    const auto outputs = static_cast<float>(axis.outputs);
    if (op_.flag("align_corners")) return (inputs - 1) / (outputs - 1);
    return axis.scale > 0 ? static_cast<float>(1.0 / static_cast<double>(axis.scale))
                          : inputs / outputs;
  }

  float paddle_place(const Axis& axis, float x) const {
    const float step = paddle_step(axis);
    const bool corners = op_.flag("align_corners") || (linear_ && op_.integer("align_mode") == 1);
    return corners ? step * x : step * (x + 0.5F) - 0.5F;
  }

  float paddle_nearest(const Axis& axis, float x) const {
    return std::floor(paddle_step(axis) * x + (op_.flag("align_corners") ? 0.5F : 0));
  }

  /// A place outside the image is the nearest one inside.
  static void add(Taps& taps, const Axis& axis, std::int64_t place, float weight) {
    place = std::clamp<std::int64_t>(place, 0, axis.inputs - 1);
    taps.places.push_back(static_cast<std::int32_t>(place));
    taps.weights.push_back(weight);
  }

  static void add_linear(Taps& taps, const Axis& axis, float place) {
    place = std::clamp(place, 0.0F, static_cast<float>(axis.inputs - 1));
    const float below = std::floor(place);
    const float weight = place - below;
    add(taps, axis, static_cast<std::int64_t>(below), 1 - weight);
    if (weight > 0) add(taps, axis, static_cast<std::int64_t>(below) + 1, weight);
  }

  /// Adds taps with weights of which some may be 0, so that they add up to 1.
  /// \param first the place of the first, which may lie outside the image
  void add_normalized(Taps& taps, const Axis& axis, std::int64_t first,
                      const std::vector<float>& weights) const {
    const auto is_left_out = [&](std::size_t i) {
      const std::int64_t at = first + static_cast<std::int64_t>(i);
      return weights[i] == 0 || (excludes_ && (at < 0 || at >= axis.inputs));
    };
    float sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) sum += is_left_out(i) ? 0 : weights[i];
    const std::size_t before = taps.places.size();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (is_left_out(i)) continue;
      add(taps, axis, first + static_cast<std::int64_t>(i), weights[i] / sum);
    }
    op_.supports(sum != 0 && std::isfinite(sum), "kernel for such weights");
    if (taps.places.size() == before + 1) taps.weights.back() = 1;
  }

  /// Of an image that becomes smaller, with all pixels that lie in the filter.
  void add_smooth(Taps& taps, const Axis& axis, float place) const {
    const float size = std::max(1.0F, 1 / axis.scale);
    const float reach = (cubic_ ? 2.0F : 1.0F) * size;
    const float middle = place + 0.5F;
    const auto first = static_cast<std::int64_t>(std::floor(middle - reach + 0.5F));
    const auto end = static_cast<std::int64_t>(std::floor(middle + reach + 0.5F));
    std::vector<float> weights;
    for (std::int64_t i = first; i < end; ++i) {
      const float apart = std::abs((static_cast<float>(i) - middle + 0.5F) / size);
      weights.push_back(cubic_ ? cubic(apart) : std::max(0.0F, 1 - apart));
    }
    add_normalized(taps, axis, first, weights);
  }

  /// The weight of a pixel that is so far away.
  float cubic(float apart) const {
    const float a = cubic_a_;
    if (apart < 1) return ((a + 2) * apart - (a + 3)) * apart * apart + 1;
    return apart < 2 ? ((a * apart - 5 * a) * apart + 8 * a) * apart - 4 * a : 0;
  }

  void add_cubic(Taps& taps, const Axis& axis, float place) const {
    const float below = std::floor(place);
    const float t = place - below;
    add_normalized(taps, axis, static_cast<std::int64_t>(below) - 1,
                   {cubic(t + 1), cubic(t), cubic(1 - t), cubic(2 - t)});
  }

  const OperatorView& op_;
  bool paddle_;
  std::string mode_;
  bool cubic_;
  bool linear_;
  float cubic_a_;
  bool excludes_;
  bool smooths_;  ///< antialias
  std::string transformation_;
  std::string nearest_;
};

}  // namespace

std::vector<Taps> read_resampling(const OperatorView& op) { return Resampler(op).read(); }

}  // namespace lenet
