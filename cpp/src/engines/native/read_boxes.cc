#include "engines/native/read_boxes.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "model/rules/support.h"

namespace lenet::native {
namespace {

using Boxes = std::vector<Box>;

/// A shape without the number of images.
Shape image_of(const Shape& shape) { return {shape.begin() + 1, shape.end()}; }

/// Reads one operator.
class BoxReader {
 public:
  explicit BoxReader(const OperatorView& op) : op_(op), input_(op.present({"X", "Input"})) {}

  std::vector<Boxes> transposed() const {
    const Shape& shape = shape_of();
    Integers reversed(shape.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const Integers order = op_.integers(op_.present({"perm", "axis"}), reversed);
    const Integers steps = steps_of(shape);
    Integers from;
    for (const std::int64_t given : order) from.push_back(steps[op_.axis(given, shape.size())]);
    keep_images(op_.axis(order[0], shape.size()) == 0);
    const Shape to = image_of(op_.declared("Out").shape);
    return {{box_of(to, image_of(from), steps_of(to))}};
  }

  /// With constant bounds; of ONNX backwards too.
  std::vector<Boxes> sliced() const {
    Shape shape = shape_of();
    const Integers starts = op_.integers("starts");
    const Integers ends = op_.integers("ends");
    Integers axes(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
    axes = op_.integers("axes", axes);
    const Integers strides =
        op_.integers(op_.present({"strides", "steps"}), Integers(axes.size(), 1));
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t axis = op_.axis(axes[i], shape.size());
      const auto [begin, count, step] = strided_slice(starts[i], ends[i], strides[i], shape[axis]);
      keep_images(axis > 0);
      shape[axis] = count;
      first += begin * from[axis];
      from[axis] *= step;
    }
    const Shape to = image_of(shape);
    Box box = box_of(to, image_of(from), steps_of(to));
    box.from = first;
    return {{box}};
  }

  /// Also unbind, whose parts are one of the axis each.
  std::vector<Boxes> split() const {
    const Shape& shape = shape_of();
    const std::size_t axis = axis_of(shape.size());
    const bool unbinds = plain_rank("Out", 0) < shape.size();
    const Integers from = image_of(steps_of(shape));
    std::vector<Boxes> outputs;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.outputs("Out"); ++i) {
      Shape part = image_of(shape);
      part[axis - 1] = unbinds ? 1 : op_.declared("Out", i).shape[axis];
      Box box = box_of(part, from, steps_of(part));
      box.from = first * from[axis - 1];
      first += part[axis - 1];
      outputs.push_back({box});
    }
    return outputs;
  }

  /// Also stack, which adds the axis.
  std::vector<Boxes> joined() const {
    const Shape& whole = op_.declared(op_.outputs("Y") > 0 ? "Y" : "Out").shape;
    const std::size_t axis = axis_of(whole.size());
    const Integers to = image_of(steps_of(whole));
    Boxes boxes;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.count("X"); ++i) {
      Shape part = image_of(op_.in("X", i).shape);
      if (part.size() < to.size()) part.insert(part.begin() + static_cast<int>(axis) - 1, 1);
      Box box = box_of(part, steps_of(part), to);
      box.input = i;
      box.to = first * to[axis - 1];
      first += part[axis - 1];
      boxes.push_back(std::move(box));
    }
    return {boxes};
  }

  /// Each value several times: in the place of one (expand), or all one after the other (tile).
  std::vector<Boxes> repeated() const {
    const Shape& from = shape_of();
    const Shape& to = op_.declared("Out").shape;
    keep_images(from.size() == to.size() && fits(from[0], to[0]));
    return {{repeated_box(from, to)}};
  }

  /// Up to three parts of each axis: before the values, they, and behind them.
  std::vector<Boxes> padded() const {
    const Shape& shape = shape_of();
    const Paddings paddings = read_paddings(op_);
    keep_images(paddings.before[0] == 0 && paddings.behind[0] == 0);
    const Integers from = steps_of(shape);
    const Integers to = steps_of(op_.declared("Out").shape);
    Boxes boxes(1);
    for (std::size_t i = 1; i < shape.size(); ++i) {
      const std::int64_t size = shape[i];
      const std::int64_t before = std::max<std::int64_t>(paddings.before[i], 0);
      const std::int64_t behind = std::max<std::int64_t>(paddings.behind[i], 0);
      const std::int64_t cut = before - paddings.before[i];
      const std::int64_t kept = size - cut + std::min<std::int64_t>(paddings.behind[i], 0);
      struct Part {
        std::int64_t count, first, step, place;
      };
      std::vector<Part> parts = {{kept, cut, 1, before}};
      if (paddings.mode == PadMode::Reflect) {
        parts.push_back({before, before, -1, 0});
        parts.push_back({behind, size - 2, -1, before + size});
      } else if (paddings.mode == PadMode::Edge) {
        parts.push_back({before, 0, 0, 0});
        parts.push_back({behind, size - 1, 0, before + size});
      } else if (paddings.mode == PadMode::Wrap) {
        parts.push_back({before, size - before, 1, 0});
        parts.push_back({behind, 0, 1, before + size});
      }
      for (const Box& box : std::exchange(boxes, {})) {
        for (const Part& part : parts) {
          if (part.count == 0) continue;
          Box& made = boxes.emplace_back(box);
          made.from += part.first * from[i];
          made.to += part.place * to[i];
          made.add({part.count, part.step * from[i], to[i]});
        }
      }
    }
    return {boxes};
  }

  std::vector<Boxes> flipped() const {
    const Shape shape = image_of(shape_of());
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (const std::size_t axis : distinct_axes(op_, op_.integers("axis"), shape.size() + 1)) {
      keep_images(axis > 0);
      first += (shape[axis - 1] - 1) * from[axis - 1];
      from[axis - 1] *= -1;
    }
    Box box = box_of(shape, from, steps_of(shape));
    box.from = first;
    return {{box}};
  }

 private:
  const Shape& shape_of() const { return op_.in(input_).shape; }
  std::size_t plain_rank(const char* name, std::size_t index) const {
    return op_.declared(name, index).shape.size();
  }
  void keep_images(bool keeps) const { op_.supports(keeps, "operator that mixes images"); }
  std::size_t axis_of(std::size_t rank) const {
    const std::size_t axis = op_.axis(op_.integer("axis", 0), rank);
    keep_images(axis > 0);
    return axis;
  }

  const OperatorView& op_;
  const char* input_;
};

using Reader = BoxReader;

struct Kind {
  std::string_view types;
  std::vector<Boxes> (Reader::*read)() const;
};

constexpr Kind kKinds[] = {
    {"transpose2 transpose Transpose", &Reader::transposed},
    {"slice strided_slice Slice", &Reader::sliced},
    {"split split_with_num unbind Split", &Reader::split},
    {"concat stack Concat", &Reader::joined},
    {"expand_v2 expand tile Expand Tile", &Reader::repeated},
    {"flip", &Reader::flipped},
    {"pad pad3d Pad", &Reader::padded},
};

const Kind* find_kind(std::string_view type) {
  const auto* const found =
      std::find_if(std::begin(kKinds), std::end(kKinds),
                   [type](const Kind& kind) { return has_word(kind.types, type); });
  return found == std::end(kKinds) ? nullptr : found;
}

}  // namespace

Box repeated_box(const Shape& from, const Shape& to) {
  const Integers from_steps = steps_of(from);
  const Integers to_steps = steps_of(to);
  Box box;
  for (std::size_t i = 1; i < to.size(); ++i) {
    box.add({to[i] / from[i], 0, to_steps[i] * from[i]});
    box.add({from[i], from_steps[i], to_steps[i]});
  }
  return box;
}

bool moves_values(std::string_view type) { return find_kind(type) != nullptr; }

std::vector<Boxes> read_boxes(const OperatorView& op, std::string_view type) {
  return (BoxReader(op).*find_kind(type)->read)();
}

}  // namespace lenet::native
