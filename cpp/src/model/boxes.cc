#include "model/boxes.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "model/rules/support.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

/// Calls `work(from, to)` with the places of every value of the loops from `at` on.
template <class Work>
void each_place(const std::vector<Box::Loop>& loops, std::size_t at, std::int64_t from,
                std::int64_t to, const Work& work) {
  if (at == loops.size()) return work(from, to);
  for (std::int64_t i = 0; i < loops[at].count; ++i) {
    each_place(loops, at + 1, from + i * loops[at].from, to + i * loops[at].to, work);
  }
}

/// A slice of the images that ends here or beyond has all of them.
constexpr std::int64_t kMaxBatch = std::numeric_limits<std::int32_t>::max();

/// Reads one operator.
class BoxReader {
 public:
  BoxReader(const OperatorView& op, bool of_constants) : op_(op), first_(of_constants ? 0 : 1) {}

  std::vector<Boxes> transposed() const {
    const Shape& shape = shape_of();
    Integers reversed(shape.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const Integers order = op_.integers("perm", reversed);
    const Integers steps = steps_of(shape);
    Integers from;
    for (const std::int64_t given : order) from.push_back(steps[op_.axis(given, shape.size())]);
    keep_images(first_ == 0 || op_.axis(order[0], shape.size()) == 0);
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
    const Integers strides = op_.integers("steps", Integers(axes.size(), 1));
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t axis = op_.axis(axes[i], shape.size());
      if (axis < first_ && shape[axis] == kUnknown) {
        keep_images(starts[i] == 0 && ends[i] >= kMaxBatch && strides[i] == 1);
        continue;
      }
      const auto [begin, count, step] = strided_slice(starts[i], ends[i], strides[i], shape[axis]);
      keep_images(axis >= first_ || (count == shape[axis] && step == 1));
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
    const Shape shape = image_of(shape_of());
    const std::size_t axis = axis_of(shape_of().size());
    const bool unbinds = op_.declared("Out").shape.size() < shape_of().size();
    const Integers from = steps_of(shape);
    std::vector<Boxes> outputs;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.outputs("Out"); ++i) {
      Shape part = shape;
      part[axis] = unbinds ? 1 : image_of(op_.declared("Out", i).shape)[axis];
      Box box = box_of(part, from, steps_of(part));
      box.from = first * from[axis];
      first += part[axis];
      outputs.push_back({box});
    }
    return outputs;
  }

  /// Also stack, which adds the axis.
  std::vector<Boxes> joined() const {
    const Shape& whole = op_.declared("Out").shape;
    const std::size_t axis = axis_of(whole.size());
    const Integers to = image_of(steps_of(whole));
    Boxes boxes;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.count("X"); ++i) {
      Shape part = image_of(op_.in("X", i).shape);
      if (part.size() < to.size()) part.insert(part.begin() + static_cast<int>(axis), 1);
      Box box = box_of(part, steps_of(part), to);
      box.input = i;
      box.to = first * to[axis];
      first += part[axis];
      boxes.push_back(std::move(box));
    }
    return {boxes};
  }

  /// Each value several times: in the place of one (expand), or all one after the other (tile).
  std::vector<Boxes> repeated() const {
    const Shape& from = shape_of();
    const Shape& to = op_.declared("Out").shape;
    keep_images(first_ == 0 || (from.size() == to.size() && fits(from[0], to[0])));
    return {{repeated_box(image_of(from), image_of(to))}};
  }

  /// Parts of one axis, in any order.
  std::vector<Boxes> gathered() const {
    const Shape shape = image_of(shape_of());
    const std::size_t axis = axis_of(shape_of().size());
    const Integers places = op_.integers("Indices");
    const std::int64_t inner = product(shape, axis + 1, shape.size());
    const std::int64_t outer = product(shape, 0, axis);
    const auto count = static_cast<std::int64_t>(places.size());
    Boxes boxes;
    for (const std::int64_t place : places) {
      const std::size_t from = op_.axis(place, static_cast<std::size_t>(shape[axis]));
      Box& box = boxes.emplace_back();
      box.from = static_cast<std::int64_t>(from) * inner;
      box.to = static_cast<std::int64_t>(boxes.size() - 1) * inner;
      box.add({outer, shape[axis] * inner, count * inner});
      box.add({inner, 1, 1});
    }
    return {boxes};
  }

  /// Up to three parts of each axis: before the values, they, and behind them.
  std::vector<Boxes> padded() const {
    op_.supports(first_ == 1, "kernel that pads a constant");
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
        op_.supports(std::max(before, behind) <= size, "kernel for paddings larger than the image");
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

  /// Channels to blocks of pixels, or with a downscale_factor the other way round.
  std::vector<Boxes> shuffled_pixels() const {
    const bool up = op_.has_attribute("upscale_factor");
    const std::int64_t factor = op_.integer(up ? "upscale_factor" : "downscale_factor");
    const bool paddle = op_.has_attribute("data_format");
    // Whether the channels that become a block lie side by side.
    const bool together = paddle || op_.text("mode", "DCR") == "CRD";
    const Shape& wide = up ? op_.declared("Out").shape : shape_of();
    const auto [channel, image] = layout_of(op_, wide);
    const Integers many = steps_of(up ? shape_of() : op_.declared("Out").shape);  // channels
    const Integers large = steps_of(wide);                                        // pixels
    const std::int64_t channels = wide[channel];
    const std::int64_t of_block = together ? 1 : channels;
    Box box;
    const auto add = [&](std::int64_t count, std::int64_t of_many, std::int64_t of_large) {
      box.add({count, up ? of_many : of_large, up ? of_large : of_many});
    };
    if (first_ == 0) add(wide[0], many[0], large[0]);
    add(channels, many[channel] * (together ? factor * factor : 1), large[channel]);
    for (const std::size_t axis : {image, image + 1}) {
      const std::int64_t row = axis == image ? factor : 1;
      add(wide[axis] / factor, many[axis], large[axis] * factor);
      add(factor, many[channel] * of_block * row, large[axis]);
    }
    return {{box}};
  }

  /// Up to two parts of each axis that is rolled.
  std::vector<Boxes> rolled() const {
    const Shape shape = image_of(shape_of());
    const Integers steps = steps_of(shape);
    const Integers given = op_.integers("axis");
    const Integers shifts = op_.integers("shifts");
    op_.require(shifts.size() == given.size(), "the number of shifts");
    Integers by(shape.size());
    for (std::size_t i = 0; i < given.size(); ++i) {
      const std::size_t axis = op_.axis(given[i], shape.size() + first_);
      keep_images(axis >= first_);
      const std::int64_t size = shape[axis - first_];
      std::int64_t& shift = by[axis - first_];
      shift = (shift + shifts[i] % size + size) % size;
    }
    Boxes boxes(1);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::int64_t size = shape[i];
      for (const Box& box : std::exchange(boxes, {})) {
        const auto add = [&](std::int64_t first, std::int64_t count, std::int64_t place) {
          if (count == 0) return;
          Box& made = boxes.emplace_back(box);
          made.from += first * steps[i];
          made.to += place * steps[i];
          made.add({count, steps[i], steps[i]});
        };
        add(0, size - by[i], by[i]);
        add(size - by[i], by[i], 0);
      }
    }
    return {boxes};
  }

  /// The values of each window below each other: a box for each place of the window, without those
  /// outside the image, which are 0.
  std::vector<Boxes> unfolded() const {
    const Shape& shape = shape_of();
    const Integers kernel = op_.integers("kernel_sizes");
    const auto [window, windows] = plan_window(op_, kernel, {shape[2], shape[3]}, false);
    constexpr std::int64_t kMaxPlaces = 4096;
    const std::int64_t places = kernel[0] * kernel[1];
    op_.supports(places <= kMaxPlaces, "kernel for such a window");
    const std::int64_t all = windows[0] * windows[1];
    const std::int64_t pixels = shape[2] * shape[3];
    Boxes boxes;
    for (std::int64_t place = 0; place < places; ++place) {
      const std::array<std::int64_t, 2> tap = {place / kernel[1], place % kernel[1]};
      std::array<std::int64_t, 2> first{};
      std::array<std::int64_t, 2> count{};
      std::array<std::int64_t, 2> from{};
      for (std::size_t i = 0; i < 2; ++i) {
        const std::int64_t stride = window.strides[i];
        const std::int64_t offset = tap[i] * window.dilations[i] - window.padding[2 * i];
        first[i] = offset < 0 ? (-offset + stride - 1) / stride : 0;
        const std::int64_t room = shape[i + 2] - 1 - offset;
        const std::int64_t end = room < 0 ? 0 : std::min(windows[i], room / stride + 1);
        count[i] = end - first[i];
        from[i] = offset + first[i] * stride;
      }
      if (count[0] <= 0 || count[1] <= 0) continue;
      Box& box = boxes.emplace_back();
      box.from = from[0] * shape[3] + from[1];
      box.to = place * all + first[0] * windows[1] + first[1];
      if (first_ == 0) box.add({shape[0], shape[1] * pixels, shape[1] * places * all});
      box.add({shape[1], pixels, places * all});
      box.add({count[0], window.strides[0] * shape[3], windows[1]});
      box.add({count[1], window.strides[1], 1});
    }
    return {boxes};
  }

  std::vector<Boxes> flipped() const {
    const Shape shape = image_of(shape_of());
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (const std::size_t axis : distinct_axes(op_, op_.integers("axis"), shape.size() + first_)) {
      keep_images(axis >= first_);
      first += (shape[axis - first_] - 1) * from[axis - first_];
      from[axis - first_] *= -1;
    }
    Box box = box_of(shape, from, steps_of(shape));
    box.from = first;
    return {{box}};
  }

 private:
  const Shape& shape_of() const { return op_.in("X").shape; }
  void keep_images(bool keeps) const { op_.supports(keeps, "operator that mixes images"); }
  /// Without that of the images.
  std::size_t axis_of(std::size_t rank) const {
    const std::size_t axis = op_.axis(op_.integer("axis", 0), rank);
    keep_images(axis >= first_);
    return axis - first_;
  }
  /// A shape without the number of images, which constants do not have.
  Shape image_of(const Shape& shape) const {
    return {shape.begin() + static_cast<std::ptrdiff_t>(first_), shape.end()};
  }

  const OperatorView& op_;
  std::size_t first_;  ///< axis that is moved
};

struct Kind {
  std::string_view kinds;
  std::vector<Boxes> (BoxReader::*read)() const;
};

constexpr Kind kKinds[] = {
    {"Transpose", &BoxReader::transposed},
    {"Slice", &BoxReader::sliced},
    {"Split Unbind", &BoxReader::split},
    {"Concat Stack", &BoxReader::joined},
    {"Expand Tile", &BoxReader::repeated},
    {"Gather", &BoxReader::gathered},
    {"Flip", &BoxReader::flipped},
    {"Pad", &BoxReader::padded},
    {"roll", &BoxReader::rolled},
    {"unfold", &BoxReader::unfolded},
    {"DepthToSpace SpaceToDepth pixel_shuffle pixel_unshuffle", &BoxReader::shuffled_pixels},
};

const Kind* find_kind(std::string_view kind) {
  const auto* const found =
      std::find_if(std::begin(kKinds), std::end(kKinds),
                   [kind](const Kind& each) { return has_word(each.kinds, kind); });
  return found == std::end(kKinds) ? nullptr : found;
}

}  // namespace

void each_place(const Box& box, const std::function<void(std::int64_t, std::int64_t)>& work) {
  each_place(box.loops, 0, box.from, box.to, work);
}

void Box::add(const Loop& loop) {
  if (loop.count == 1) return;
  if (!loops.empty()) {
    Loop& outer = loops.back();
    if (outer.from == loop.from * loop.count && outer.to == loop.to * loop.count) {  // they are one
      outer = {outer.count * loop.count, loop.from, loop.to};
      return;
    }
  }
  loops.push_back(loop);
}

bool Box::moves_whole(std::int64_t values) const {
  if (values == 1) return true;
  if (loops.empty() || from % values != 0 || to % values != 0) return false;
  const Loop& inner = loops.back();
  return inner.from == 1 && inner.to == 1 && inner.count % values == 0 &&
         std::all_of(loops.begin(), loops.end() - 1, [values](const Loop& loop) {
           return loop.from % values == 0 && loop.to % values == 0;
         });
}

Integers steps_of(const Shape& shape) {
  Integers steps(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) steps[i - 1] = steps[i] * shape[i];
  return steps;
}

Box box_of(const Shape& shape, const Integers& from, const Integers& to) {
  Box box;
  for (std::size_t i = 0; i < shape.size(); ++i) box.add({shape[i], from[i], to[i]});
  return box;
}

Box repeated_box(Shape from, const Shape& to) {
  from.insert(from.begin(), to.size() - from.size(), 1);
  const Integers from_steps = steps_of(from);
  const Integers to_steps = steps_of(to);
  Box box;
  for (std::size_t i = 0; i < to.size(); ++i) {
    box.add({to[i] / from[i], 0, to_steps[i] * from[i]});
    box.add({from[i], from_steps[i], to_steps[i]});
  }
  return box;
}

bool moves_values(std::string_view kind) { return find_kind(kind) != nullptr; }

std::vector<Boxes> read_boxes(const OperatorView& op, bool of_constants) {
  return (BoxReader(op, of_constants).*find_kind(op.kind())->read)();
}

}  // namespace lenet
