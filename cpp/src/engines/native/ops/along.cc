#include <algorithm>
#include <cmath>
#include <numeric>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

// Over tensors in the order of the program, one value after the other: the same bits on every
// processor.
namespace lenet::native {
namespace {

/// The values of one axis.
struct Line {
  const float* first;
  std::int64_t step;
  std::int64_t count;

  float at(std::int64_t i) const { return first[i * step]; }
};

/// Whether one place of a line comes before another one where its values are put in order. What is
/// no number comes first.
struct Order {
  const Line& line;
  const AlongParams& along;

  bool operator()(std::int32_t one, std::int32_t other) const {
    const float a = line.at(one);
    const float b = line.at(other);
    const bool a_counts = !std::isnan(a);
    const bool b_counts = !std::isnan(b);
    if (a_counts != b_counts) return b_counts;
    if (a_counts && a != b) return (a < b) == along.smallest;
    return (one < other) != along.last;
  }
};

class AlongAxis final : public Op {
 public:
  explicit AlongAxis(const PlacedLayer& source)
      : along_(source.layer.get<AlongParams>()),
        axis_(along_.axis),
        from_(source.inputs[0]),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    const std::int64_t outer = from_.shape.values() / (axis_.count * axis_.inner);
    frame.each_rows(frame.count * outer, axis_.inner,
                    [&](std::int64_t item, std::int64_t first, std::int64_t last) {
                      const std::int64_t unit = item / outer;
                      const std::int64_t at = item % outer * axis_.inner;
                      const float* from = frame.at<float>(from_, unit) + at * axis_.count;
                      float* to = frame.at<float>(to_, unit) + at * along_.given;
                      for (std::int64_t i = first; i < last; ++i) {
                        give({from + i, axis_.inner, axis_.count}, to + i, frame.scratch);
                      }
                    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(LayerKind::Along); }
  std::int64_t scratch_bytes() const override {
    return along_.orders() ? axis_.count * static_cast<std::int64_t>(sizeof(std::int32_t)) : 0;
  }

 private:
  void give(const Line& line, float* to, char* scratch) const {
    const auto give = [&](std::int64_t i, double value) {
      to[i * axis_.inner] = static_cast<float>(value);
    };
    switch (along_.kind) {
      case AlongParams::Kind::Sums: {
        double sum = 0;
        for (std::int64_t k = 0; k < line.count; ++k) {
          const std::int64_t i = along_.last ? line.count - 1 - k : k;
          const double before = sum;
          sum += static_cast<double>(line.at(i));
          give(i, along_.exclusive ? before : sum);
        }
        return;
      }
      case AlongParams::Kind::Normalized: {
        double sum = along_.epsilon;
        for (std::int64_t i = 0; i < line.count; ++i) {
          const auto value = static_cast<double>(line.at(i));
          sum += along_.of_squares ? value * value : std::abs(value);
        }
        const double norm = along_.of_squares ? std::sqrt(sum) : sum;
        // What has no norm stays 0.
        const double factor = norm == 0 ? 1 : norm;
        for (std::int64_t i = 0; i < line.count; ++i) give(i, line.at(i) / factor);
        return;
      }
      case AlongParams::Kind::Hardmax: {
        std::int64_t largest = 0;
        for (std::int64_t i = 1; i < line.count; ++i) {
          if (line.at(i) > line.at(largest)) largest = i;
        }
        for (std::int64_t i = 0; i < line.count; ++i) give(i, i == largest ? 1 : 0);
        return;
      }
      case AlongParams::Kind::Largest:
      case AlongParams::Kind::Places: {
        auto* const places = reinterpret_cast<std::int32_t*>(scratch);
        std::iota(places, places + line.count, 0);
        const Order order{line, along_};
        if (along_.given == 1) {
          places[0] = *std::min_element(places, places + line.count, order);
        } else {
          std::partial_sort(places, places + along_.given, places + line.count, order);
        }
        for (std::int64_t i = 0; i < along_.given; ++i) {
          const std::int32_t place = places[i];
          give(i, along_.kind == AlongParams::Kind::Places ? place : double{line.at(place)});
        }
        return;
      }
    }
  }

  AlongParams along_;
  Axis axis_;
  Placement from_;
  Placement to_;
};

void check_along(const LayerCheck& of) {
  const auto& along = of.layer.get<AlongParams>();
  const std::int64_t count = along.axis.count;
  of.require_axis(along.axis);
  of.require(along.orders() ? 0 < along.given && along.given <= count : along.given == count,
             "gives more values than its axis has");
  of.require(of.output().values() == of.input().values() / count * along.given,
             "gives another number of values than its output has");
}

}  // namespace

extern const LayerFamily kAlongFamily = {check_along, make_op<AlongAxis>};

}  // namespace lenet::native
