// The definition of Resize: of ONNX, and of Paddle's interpolations.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "engines/plain/call.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet::plain {
namespace {

/// Places of one axis that a new value is a sum of, each times its weight.
struct Taps {
  Integers places;
  Numbers weights;
};

/// One axis that is resized.
struct ResizedAxis {
  std::int64_t inputs;
  std::int64_t outputs;
  /// New values for each old one; 0: what the sizes say, whose quotients are exact.
  double scale;

  /// So many new values, as old ones.
  double old(double values) const {
    if (scale > 0) return values / scale;
    return values * static_cast<double>(inputs) / static_cast<double>(outputs);
  }
  /// Where the values at both ends keep their places.
  /// \param size of the result, which ONNX takes as the scale gives it, without rounding
  double by_corners(double at, double size) const {
    return size == 1 ? 0 : at * static_cast<double>(inputs - 1) / (size - 1);
  }
  double by_corners(double at) const { return by_corners(at, static_cast<double>(outputs)); }
};

class Resampler {
 public:
  explicit Resampler(const Call& call)
      : call_(call),
        paddle_(call.view().has_attribute("align_mode")),
        is_cubic_(has_word("cubic bicubic", call.text("mode", "nearest"))),
        is_linear_(has_word("linear bilinear", call.text("mode", "nearest"))),
        a_(call.number("cubic_coeff_a", -0.75)),
        excludes_(call.flag("exclude_outside")),
        smooths_(call.flag("antialias")) {
    // Before operator set 11 of ONNX there was one way.
    const bool old = call.view().opset() < 11;
    how_ = call.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    nearest_ = call.text("nearest_mode", old ? "floor" : "round_prefer_floor");
  }

  void run() const {
    Array made = call_.in();
    const std::size_t rank = made.shape.size();
    const Numbers scales = paddle_ ? paddle_scales(rank) : onnx_scales(rank);
    const bool stays = made.shape == call_.shape();
    for (std::size_t i = 0; i < rank; ++i) {
      const ResizedAxis axis{made.shape[i], call_.shape()[i], scales[i]};
      const bool same = paddle_
                            ? !is_paddles(i) || stays
                            : axis.inputs == axis.outputs && (axis.scale == 0 || axis.scale == 1);
      if (!same) made = resized(made, i, axis);
    }
    call_.give(std::move(made));
  }

 private:
  /// Whether Paddle resizes an axis: height or width.
  bool is_paddles(std::size_t axis) const { return axis != 0 && axis != call_.channel_axis(); }

  Numbers paddle_scales(std::size_t rank) const {
    Numbers scales(rank, 0);
    const Numbers given = call_.flag("by_sizes") ? Numbers() : call_.numbers("scale");
    std::size_t next = 0;
    for (std::size_t i = 0; i < rank && !given.empty(); ++i) {
      if (!is_paddles(i)) continue;
      scales[i] = std::max(given[std::min(next++, given.size() - 1)], 0.0);
    }
    return scales;
  }

  Numbers onnx_scales(std::size_t rank) const {
    Integers all(rank);
    std::iota(all.begin(), all.end(), 0);
    const Integers axes = call_.integers("axes", all);
    const bool sized = call_.has("sizes") && call_.in("sizes").count() > 0;
    Numbers scales(rank, sized ? 0 : 1);
    if (sized) return scales;
    const Numbers given = call_.numbers("scales");
    for (std::size_t i = 0; i < axes.size(); ++i) {
      scales[call_.view().axis(axes[i], rank)] = given.at(i);
    }
    return scales;
  }

  Array resized(const Array& from, std::size_t at, const ResizedAxis& axis) const {
    Shape shape = from.shape;
    shape[at] = axis.outputs;
    Array made = make_array(from.dtype, shape);
    const Lines lines = lines_of(from.shape, at);
    for (std::int64_t i = 0; i < axis.outputs; ++i) {
      const Taps taps = taps_of(axis, static_cast<double>(i));
      for (std::int64_t outer = 0; outer < lines.outer; ++outer) {
        for (std::int64_t inner = 0; inner < lines.inner; ++inner) {
          double sum = 0;
          for (std::size_t k = 0; k < taps.places.size(); ++k) {
            const std::int64_t place = outer * lines.count + taps.places[k];
            sum += taps.weights[k] *
                   from.number(static_cast<std::size_t>(place * lines.inner + inner));
          }
          const std::int64_t to = (outer * axis.outputs + i) * lines.inner + inner;
          made.set(static_cast<std::size_t>(to), sum);
        }
      }
    }
    return made;
  }

  Taps taps_of(const ResizedAxis& axis, double at) const {
    if (is_cubic_ || is_linear_) {
      const double place = paddle_ ? paddle_place(axis, at) : onnx_place(axis, at);
      const double share = axis.scale > 0 ? axis.scale : 1 / axis.old(1);
      return weighted(axis, place, smooths_ ? std::min(share, 1.0) : 1);
    }
    const double place = paddle_ ? paddle_nearest(axis, at) : rounded(onnx_place(axis, at));
    return {{clamped(axis, place)}, {1}};
  }

  static std::int64_t clamped(const ResizedAxis& axis, double place) {
    const double last = static_cast<double>(axis.inputs - 1);
    return static_cast<std::int64_t>(std::min(std::max(place, 0.0), last));
  }

  double onnx_place(const ResizedAxis& axis, double at) const {
    if (how_ == "asymmetric") return axis.old(at);
    if (how_ == "align_corners" && axis.scale > 0) {
      return axis.by_corners(at, axis.scale * static_cast<double>(axis.inputs));
    }
    if (how_ == "align_corners") return axis.by_corners(at);
    if (how_ == "tf_half_pixel_for_nn") return axis.old(at + 0.5);
    if (how_ == "pytorch_half_pixel" && axis.outputs == 1) return 0;
    if (how_ == "half_pixel_symmetric") {
      // The middles of both are the same place.
      const auto middle = static_cast<double>(axis.inputs) / 2;
      return middle + axis.old(at + 0.5 - static_cast<double>(axis.outputs) / 2) - 0.5;
    }
    return axis.old(at + 0.5) - 0.5;
  }

  double rounded(double place) const {
    if (nearest_ == "floor") return std::floor(place);
    if (nearest_ == "ceil") return std::ceil(place);
    return nearest_ == "round_prefer_ceil" ? std::floor(place + 0.5) : std::ceil(place - 0.5);
  }

  double paddle_place(const ResizedAxis& axis, double at) const {
    if (call_.flag("align_corners")) return axis.by_corners(at);
    const bool from_corner = is_linear_ && call_.integer("align_mode") == 1;
    const double place = from_corner ? axis.old(at) : axis.old(at + 0.5) - 0.5;
    return is_linear_ ? std::max(place, 0.0) : place;
  }

  double paddle_nearest(const ResizedAxis& axis, double at) const {
    return call_.flag("align_corners") ? std::floor(axis.by_corners(at) + 0.5)
                                       : std::floor(axis.old(at));
  }

  /// The weight of a value that lies so far from a place.
  double weight(double apart) const {
    const double x = std::abs(apart);
    if (is_linear_) return std::max(1 - x, 0.0);
    if (x < 1) return ((a_ + 2) * x - (a_ + 3)) * x * x + 1;
    return x < 2 ? ((a_ * x - 5 * a_) * x + 8 * a_) * x - 4 * a_ : 0;
  }

  /// All values that lie around a place.
  /// \param share by which the weights reach further than for an image that grows; 1: they do not
  Taps weighted(const ResizedAxis& axis, double place, double share) const {
    const double reach = (is_linear_ ? 1 : 2) / share;
    Taps taps;
    double sum = 0;
    for (double at = std::ceil(place - reach); at <= std::floor(place + reach); ++at) {
      const bool outside = at < 0 || at > static_cast<double>(axis.inputs - 1);
      const double one = outside && excludes_ ? 0 : weight((at - place) * share);
      if (one == 0) continue;
      taps.places.push_back(clamped(axis, at));
      taps.weights.push_back(one);
      sum += one;
    }
    for (double& one : taps.weights) one /= sum;
    return taps;
  }

  const Call& call_;
  bool paddle_;
  bool is_cubic_;
  bool is_linear_;
  double a_;
  bool excludes_;
  bool smooths_;  ///< antialias
  std::string how_;
  std::string nearest_;
};

void resize(const Call& call) { Resampler(call).run(); }

constexpr Definition kDefinitions[] = {{"Resize", resize}};

}  // namespace

Definitions resize_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
