#include "model/boxes.h"

#include <algorithm>
#include <array>
#include <iterator>
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

constexpr std::size_t kMaxPlaces = 1 << 16;  // of indices: each may become a box

/// Boxes of parts of so many values each, as far as these lie at regular steps.
class PartBoxes {
 public:
  PartBoxes(const OperatorView& op, std::int64_t values) : op_(op), values_(values) {}

  /// \param from the first value of a part \param part its number in the output
  void add(std::int64_t from, std::int64_t part) {
    const std::int64_t to = part * values_;
    const Box::Loop step = {count_ + 1, from - last_.from, to - last_.to};
    const bool goes_on =
        count_ == 1 || (count_ > 1 && step.from == step_.from && step.to == step_.to);
    if (!goes_on) {
      close();
      first_ = {1, from, to};
    }
    step_ = step;
    count_ = goes_on ? count_ + 1 : 1;
    last_ = {1, from, to};
  }
  Boxes take() {
    close();
    return std::move(boxes_);
  }

 private:
  void close() {
    if (count_ == 0) return;
    op_.supports(boxes_.size() < kMaxPlaces, "kernel for so many places");
    Box& box = boxes_.emplace_back();
    box.from = first_.from;
    box.to = first_.to;
    box.add({count_, step_.from, step_.to});
    box.add({values_, 1, 1});
  }

  const OperatorView& op_;
  std::int64_t values_;
  Boxes boxes_;
  std::int64_t count_ = 0;  ///< parts that are in no box yet
  Box::Loop first_;
  Box::Loop last_;
  Box::Loop step_;
};

/// Reads one operator.
class BoxReader {
 public:
  /// \param indices see read_boxes
  BoxReader(const OperatorView& op, const Value* indices) : op_(op), indices_(indices) {}

  std::vector<Boxes> transposed() const {
    const Shape shape = shape_of();
    Integers reversed(shape.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const Integers order = op_.integers("perm", reversed);
    const Integers steps = steps_of(shape);
    Integers from;
    for (const std::int64_t given : order) from.push_back(steps[op_.axis(given, shape.size())]);
    const Shape to = image_of(op_.declared("Out"));
    return {{box_of(to, from, steps_of(to))}};
  }

  /// A slice with constant bounds, which ONNX also takes backwards.
  std::vector<Boxes> sliced() const {
    Shape shape = shape_of();
    const OpenIntegers starts = bounds("starts");
    const OpenIntegers ends = bounds("ends");
    Integers axes(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
    axes = op_.integers("axes", axes);
    const Integers strides = op_.integers("steps", Integers(axes.size(), 1));
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t axis = op_.axis(axes[i], shape.size());
      if (axis == op_.in("X").images.axis) continue;  // all images stay
      op_.supports(starts[i] && ends[i], "kernel for a slice that is computed");
      const auto [begin, count, step] =
          strided_slice(*starts[i], *ends[i], strides[i], shape[axis]);
      shape[axis] = count;
      first += begin * from[axis];
      from[axis] *= step;
    }
    Box box = box_of(shape, from, steps_of(shape));
    box.from = first;
    return {{box}};
  }

  /// Also unbind, whose parts are one of the axis each.
  std::vector<Boxes> split() const {
    const Shape shape = shape_of();
    const std::size_t axis = axis_of(shape.size());
    const bool unbinds = op_.declared("Out").shape.size() < shape.size();
    const Integers from = steps_of(shape);
    std::vector<Boxes> outputs;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.outputs("Out"); ++i) {
      Shape part = shape;
      part[axis] = unbinds ? 1 : image_of(op_.declared("Out", i))[axis];
      Box box = box_of(part, from, steps_of(part));
      box.from = first * from[axis];
      first += part[axis];
      outputs.push_back({box});
    }
    return outputs;
  }

  /// Also stack, which adds the axis.
  std::vector<Boxes> joined() const {
    const Shape whole = image_of(op_.declared("Out"));
    const std::size_t axis = axis_of(whole.size());
    const Integers to = steps_of(whole);
    Boxes boxes;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.count("X"); ++i) {
      Shape part = image_of(op_.in("X", i));
      if (is_empty(part)) continue;
      if (part.size() < to.size()) part.insert(part.begin() + static_cast<int>(axis), 1);
      for (std::size_t k = 0; k < part.size(); ++k) {
        op_.supports(k == axis || part[k] == whole[k], "kernel for a constant of several images");
      }
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
    return {{repeated_box(shape_of(), image_of(op_.declared("Out")))}};
  }

  /// Parts of one axis, in any order.
  std::vector<Boxes> gathered() const {
    const Shape shape = shape_of();
    const std::size_t axis = axis_of(shape.size());
    const Integers places = read_places();
    const std::int64_t zeros =
        op_.integer("padding_idx", -1);  // of Paddle: a part that counts as 0
    const std::int64_t inner = product(shape, axis + 1, shape.size());
    const std::int64_t outer = product(shape, 0, axis);
    const auto count = static_cast<std::int64_t>(places.size());
    Boxes boxes;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t place = places[static_cast<std::size_t>(i)];
      const std::size_t from = op_.axis(place, static_cast<std::size_t>(shape[axis]));
      if (zeros >= 0 && place == zeros) continue;
      Box& box = boxes.emplace_back();
      box.from = static_cast<std::int64_t>(from) * inner;
      box.to = i * inner;
      box.add({outer, shape[axis] * inner, count * inner});
      box.add({inner, 1, 1});
    }
    return {boxes};
  }

  /// Up to three parts of each axis: before the values, they, and behind them.
  std::vector<Boxes> padded() const {
    const Shape shape = shape_of();
    const Paddings paddings = read_paddings(op_);
    const Integers from = steps_of(shape);
    const Integers to = steps_of(image_of(op_.declared("Out")));
    Boxes boxes(1);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::int64_t size = shape[i];
      const std::int64_t before = std::max<std::int64_t>(paddings.before[i], 0);
      const std::int64_t behind = std::max<std::int64_t>(paddings.behind[i], 0);
      const std::int64_t cut = before - paddings.before[i];
      const std::int64_t kept = size - cut + std::min<std::int64_t>(paddings.behind[i], 0);
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
      cut_into(boxes, parts, from[i], to[i]);
    }
    return {boxes};
  }

  /// Each axis in two parts, which change places.
  std::vector<Boxes> rolled() const {
    const Shape shape = shape_of();
    const Integers shifts = op_.integers("shifts");
    const std::vector<std::size_t> axes = distinct_axes(op_, op_.integers("axis"), shape.size());
    Integers shifted(shape.size());
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::int64_t size = std::max<std::int64_t>(shape[axes[i]], 1);
      shifted[axes[i]] = (shifts[i] % size + size) % size;
    }
    const Integers steps = steps_of(shape);
    Boxes boxes(1);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::int64_t kept = shape[i] - shifted[i];
      cut_into(boxes, {{kept, 0, 1, shifted[i]}, {shifted[i], kept, 1, 0}}, steps[i], steps[i]);
    }
    return {boxes};
  }

  /// Blocks of pixels that become channels, or come out of them.
  std::vector<Boxes> in_blocks() const {
    const bool up = op_.kind() == "DepthToSpace";
    const Shape given = image_of(op_.declared("Out"));
    const Shape deep = up ? shape_of() : given;
    const Shape fine = up ? given : shape_of();
    const Layout at = layout_of(op_, fine);
    const std::int64_t block = op_.integer(up ? "upscale_factor" : "downscale_factor");
    const std::int64_t channels = fine[at.channel];
    const std::string mode = op_.text("mode", "DCR");
    op_.supports(has_word("DCR CRD", mode), "kernel for such a mode");
    const bool pixels_last = mode == "CRD";  // the channels of a block's pixels lie side by side
    const Integers deep_steps = steps_of(deep);
    const Integers fine_steps = steps_of(fine);
    const std::int64_t pixel = deep_steps[at.channel] * (pixels_last ? 1 : channels);
    Box box;
    const auto add = [&](std::int64_t count, std::int64_t of_deep, std::int64_t of_fine) {
      box.add({count, up ? of_deep : of_fine, up ? of_fine : of_deep});
    };
    add(deep[0], deep_steps[0], fine_steps[0]);
    const std::int64_t of_channel = deep_steps[at.channel] * (pixels_last ? block * block : 1);
    const auto add_channels = [&] { add(channels, of_channel, fine_steps[at.channel]); };
    if (at.channel < at.image) add_channels();
    for (std::size_t i = 0; i < 2; ++i) {
      const std::size_t axis = at.image + i;
      add(deep[axis], deep_steps[axis], fine_steps[axis] * block);
      add(block, i == 0 ? pixel * block : pixel, fine_steps[axis]);
    }
    if (at.channel > at.image) add_channels();
    return {{box}};
  }

  /// Channels of some groups, the first of each, then the second, and so on.
  std::vector<Boxes> shuffled() const {
    const Shape shape = shape_of();
    const std::size_t channel = layout_of(op_, shape).channel;
    const std::int64_t groups = op_.integer("group", 1);
    const std::int64_t many = shape[channel] / groups;
    const Integers steps = steps_of(shape);
    Box box;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (i == channel) {
        box.add({groups, many * steps[i], steps[i]});
        box.add({many, steps[i], groups * steps[i]});
      } else {
        box.add({shape[i], steps[i], steps[i]});
      }
    }
    return {{box}};
  }

  /// Each vector along an axis of its own, repeated along the others.
  std::vector<Boxes> meshed() const {
    const Shape shape = image_of(op_.declared("Out"));
    const Integers to = steps_of(shape);
    std::vector<Boxes> outputs;
    for (std::size_t i = 0; i < op_.outputs("Out"); ++i) {
      Integers from(shape.size());
      from[i] = 1;
      Box box = box_of(shape, from, to);
      box.input = i;
      outputs.push_back({box});
    }
    return outputs;
  }

  std::vector<Boxes> unfolded() const { return {window_boxes(op_, shape_of())}; }

  /// One value for each index along an axis.
  std::vector<Boxes> gathered_elements() const {
    PartBoxes parts(op_, 1);
    const bool fits =
        each_element(op_, shape_of(), image_of(indices()), read_places(),
                     [&](std::int64_t from, std::int64_t to) { parts.add(from, to); });
    op_.supports(fits, "kernel for indices of such a shape");
    return {parts.take()};
  }

  /// Parts whose places the last axis of the indices has.
  std::vector<Boxes> gathered_parts() const {
    const Shape shape = shape_of();
    const Shape places = image_of(indices());
    op_.require(!places.empty(), "the rank");
    const auto first = static_cast<std::size_t>(op_.integer("batch_dims", 0) + places.back());
    PartBoxes parts(op_, product(shape, first, shape.size()));
    const bool fits = each_part(op_, shape, places, read_places(),
                                [&](std::int64_t from, std::int64_t to) { parts.add(from, to); });
    op_.supports(fits, "kernel for indices of such a shape");
    return {parts.take()};
  }

  std::vector<Boxes> flipped() const {
    const Shape shape = shape_of();
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (const std::size_t axis : distinct_axes(op_, op_.integers("axis"), shape.size())) {
      first += (shape[axis] - 1) * from[axis];
      from[axis] *= -1;
    }
    Box box = box_of(shape, from, steps_of(shape));
    box.from = first;
    return {{box}};
  }

 private:
  /// Values of an axis: so many from the first on, each `step` further, and where they go.
  struct Part {
    std::int64_t count, first, step, place;
  };
  /// Makes of each box one for each part of a further axis. \param from,to its steps
  static void cut_into(Boxes& boxes, const std::vector<Part>& parts, std::int64_t from,
                       std::int64_t to) {
    for (const Box& box : std::exchange(boxes, {})) {
      for (const Part& part : parts) {
        if (part.count == 0) continue;
        Box& made = boxes.emplace_back(box);
        made.from += part.first * from;
        made.to += part.place * to;
        made.add({part.count, part.step * from, to});
      }
    }
  }
  const Value& indices() const { return indices_ == nullptr ? op_.in("Indices") : *indices_; }
  /// The indices of a gather, which may also be a parameter.
  Integers read_places() const {
    const Value& found = indices();
    if (!is_known(found) || has_open(found)) return op_.integers("Indices");
    op_.supports(count_values(found) <= kMaxPlaces, "kernel for so many places");
    Integers places(count_values(found));
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i] = number_as<std::int64_t>(found, i);
    }
    const Shape shape = image_of(found);
    op_.supports(static_cast<std::int64_t>(places.size()) == product(shape, 0, shape.size()),
                 "kernel for indices of such a shape");
    return places;
  }
  Shape shape_of() const { return image_of(op_.in("X")); }
  /// The bounds of a slice. Those of the images may depend on their number.
  OpenIntegers bounds(std::string_view name) const {
    const auto list = op_.open_list(name);
    if (!list) op_.not_fixed("a value of " + std::string(name));
    return *list;
  }
  std::size_t axis_of(std::size_t rank) const { return op_.axis(op_.integer("axis", 0), rank); }

  const OperatorView& op_;
  const Value* indices_;
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
    {"GatherElements", &BoxReader::gathered_elements},
    {"GatherND", &BoxReader::gathered_parts},
    {"Flip", &BoxReader::flipped},
    {"Pad", &BoxReader::padded},
    {"Roll", &BoxReader::rolled},
    {"DepthToSpace SpaceToDepth", &BoxReader::in_blocks},
    {"ChannelShuffle", &BoxReader::shuffled},
    {"Meshgrid", &BoxReader::meshed},
    {"Unfold", &BoxReader::unfolded},
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

std::vector<Boxes> read_boxes(const OperatorView& op, const Value* indices) {
  return (BoxReader(op, indices).*find_kind(op.kind())->read)();
}

Boxes window_boxes(const OperatorView& op, const Shape& image) {
  const Integers kernel = op.integers("kernel_sizes");
  const WindowPlan plan = plan_window(op, kernel, {image[2], image[3]}, false);
  const Window& window = plan.window;
  const std::array<std::int64_t, 2>& windows = plan.outputs;
  constexpr std::int64_t kMaxWindow = 4096;
  const std::int64_t places = kernel[0] * kernel[1];
  op.supports(places <= kMaxWindow, "kernel for such a window");
  const std::int64_t all = windows[0] * windows[1];
  const std::int64_t pixels = image[2] * image[3];
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
      const std::int64_t room = image[i + 2] - 1 - offset;
      const std::int64_t end = room < 0 ? 0 : std::min(windows[i], room / stride + 1);
      count[i] = end - first[i];
      from[i] = offset + first[i] * stride;
    }
    if (count[0] <= 0 || count[1] <= 0) continue;
    Box& box = boxes.emplace_back();
    box.from = from[0] * image[3] + from[1];
    box.to = place * all + first[0] * windows[1] + first[1];
    box.add({image[0], image[1] * pixels, image[1] * places * all});
    box.add({image[1], pixels, places * all});
    box.add({count[0], window.strides[0] * image[3], windows[1]});
    box.add({count[1], window.strides[1], 1});
  }
  return boxes;
}

std::int64_t place_of(const OperatorView& op, std::int64_t index, std::int64_t size) {
  op.require(index >= -size && index < size, "an index that is out of range");
  return index < 0 ? index + size : index;
}

bool each_element(const OperatorView& op, const Shape& x, const Shape& places,
                  const Integers& indices, const IndexWork& work) {
  const std::size_t axis = op.axis(op.integer("axis", 0), x.size());
  if (places.size() != x.size()) return false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i != axis && places[i] > x[i]) return false;
  }
  const Integers steps = steps_of(x);
  Integers from = steps;
  from[axis] = 0;
  each_place(box_of(places, from, steps_of(places)), [&](std::int64_t at, std::int64_t place) {
    const std::int64_t index = indices[static_cast<std::size_t>(place)];
    work(at + place_of(op, index, x[axis]) * steps[axis], place);
  });
  return true;
}

bool each_part(const OperatorView& op, const Shape& x, const Shape& places, const Integers& indices,
               const IndexWork& work) {
  const auto apart = static_cast<std::size_t>(op.integer("batch_dims", 0));
  if (places.empty() || apart >= places.size() || places.back() < 1) return false;
  const auto axes = static_cast<std::size_t>(places.back());
  if (apart + axes > x.size()) return false;
  const std::int64_t batches = product(places, 0, apart);
  const std::int64_t parts = product(places, 0, places.size() - 1);
  if (batches != product(x, 0, apart) || batches == 0) return false;
  const Integers steps = steps_of(x);
  const std::int64_t batch_step = product(x, apart, x.size());
  for (std::int64_t part = 0; part < parts; ++part) {
    std::int64_t at = part / (parts / batches) * batch_step;
    for (std::size_t i = 0; i < axes; ++i) {
      const std::int64_t index = indices[static_cast<std::size_t>(part) * axes + i];
      at += place_of(op, index, x[apart + i]) * steps[apart + i];
    }
    work(at, part);
  }
  return true;
}

}  // namespace lenet
