#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "engines/native/contradiction.h"
#include "engines/native/ops/copy_runs.h"
#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/views.h"
#include "model/boxes.h"

namespace lenet::native {
namespace {

/// One of several parts of some work.
struct Share {
  std::int64_t part = 0;
  std::int64_t parts = 1;

  /// Which of so many indices are its own. \param together of which only the last may be fewer
  std::array<std::int64_t, 2> of(std::int64_t indices, std::int64_t together) const {
    const std::int64_t all = (indices + together - 1) / together;
    const auto begin = [&](std::int64_t i) {
      return std::min(indices, all * i / parts * together);
    };
    return {begin(part), begin(part + 1)};
  }
};

/// A box by the way it is copied.
class BoxCopy {
 public:
  /// \param box of which no value goes where another does
  explicit BoxCopy(const Box& box) : from_(box.from), to_(box.to), loops_(box.loops) {
    // The innermost loop goes along the input; with the one before it, which goes along the output
    // where that is another, it is transposed.
    const auto last = [this](auto side) {
      const auto found = std::find_if(loops_.begin(), loops_.end(), side);
      if (found != loops_.end()) std::rotate(found, found + 1, loops_.end());
      return found != loops_.end();
    };
    const bool along_output = last([](const Box::Loop& loop) { return loop.to == 1; });
    const bool along_input = last([](const Box::Loop& loop) { return loop.from == 1; });
    const std::size_t count = loops_.size();
    const bool runs = along_input && loops_[count - 1].to == 1;
    transposes_ = along_output && along_input && !runs;
    if (count == 0) loops_.push_back({});
    const bool short_runs = runs && count > 1 && loops_.back().count <= kShort;
    if (short_runs) {  // most often one behind the other
      const auto most = std::max_element(
          loops_.begin(), loops_.end() - 1, [](const Box::Loop& a, const Box::Loop& b) {
            return a.count != b.count ? a.count < b.count : step_of(a) > step_of(b);
          });
      std::rotate(most, most + 1, loops_.end() - 1);
    }
    inner_ = loops_.size() - (transposes_ || short_runs ? 2 : 1);
    // The innermost of the others goes along lines that are near in one tensor, so that the caches
    // hold what is near in the other one until its turn comes.
    std::stable_sort(
        loops_.begin(), loops_.begin() + static_cast<std::ptrdiff_t>(inner_),
        [](const Box::Loop& a, const Box::Loop& b) { return step_of(a) > step_of(b); });
  }

  /// \param share of the work: so many of which one is done
  void run(const Kernels& kernels, const float* from, float* to, const Share& share) const {
    run(kernels, 0, from + from_, to + to_, share);
  }

 private:
  static constexpr std::int64_t kShort = 64;  // numbers of a run

  /// How far a loop goes at a time, in the tensor where that is less.
  static std::int64_t step_of(const Box::Loop& loop) {
    return std::min(std::abs(loop.from), std::abs(loop.to));
  }

  void run(const Kernels& kernels, std::size_t at, const float* from, float* to,
           const Share& share) const {
    Box::Loop loop = loops_[at];
    if (at == inner_) {
      constexpr std::int64_t kTogether = 16;  // whole vectors, and cache lines
      const auto [begin, end] = share.of(loop.count, kTogether);
      loop.count = end - begin;
      from += begin * loop.from;
      to += begin * loop.to;
      if (loop.count == 0) return;
      if (transposes_) return transpose(kernels, loop, from, to);
      if (at + 1 < loops_.size()) {
        return copy_runs({loops_.back().count, loop.count, loop.from, loop.to}, from, to);
      }
      return copy(loop, from, to);
    }
    if (loop.count < share.parts) {  // some of the parts have the same turn of this loop
      const std::int64_t turn = share.part * loop.count / share.parts;
      const auto first = [&](std::int64_t i) {
        return (i * share.parts + loop.count - 1) / loop.count;
      };
      return run(kernels, at + 1, from + turn * loop.from, to + turn * loop.to,
                 {share.part - first(turn), first(turn + 1) - first(turn)});
    }
    const auto [begin, end] = share.of(loop.count, 1);
    for (std::int64_t i = begin; i < end; ++i) {
      run(kernels, at + 1, from + i * loop.from, to + i * loop.to, {});
    }
  }
  static void copy(const Box::Loop& loop, const float* from, float* to) {
    if (loop.from == 1 && loop.to == 1) {
      std::copy_n(from, loop.count, to);
      return;
    }
    for (std::int64_t i = 0; i < loop.count; ++i) to[i * loop.to] = from[i * loop.from];
  }
  /// Rows of the input to columns of the output.
  void transpose(const Kernels& kernels, const Box::Loop& row, const float* from, float* to) const {
    const Box::Loop& value = loops_[inner_ + 1];
    std::array<const float*, 16> rows{};
    std::int64_t done = 0;
    for (; done + kernels.lanes <= row.count; done += kernels.lanes) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(kernels.lanes); ++i) {
        rows[i] = from + (done + static_cast<std::int64_t>(i)) * row.from;
      }
      kernels.interleave(rows.data(), value.count, to + done, value.to);
    }
    for (; done < row.count; ++done) copy(value, from + done * row.from, to + done);
  }

  std::int64_t from_;
  std::int64_t to_;
  std::vector<Box::Loop> loops_;
  std::size_t inner_ = 0;    ///< the first loop that is not run through one by one
  bool transposes_ = false;  ///< the last two loops
};

/// A tensor that holds its values in their order, as one of another shape.
Placement reshaped(Placement tensor, const TensorShape& shape) {
  if (!tensor.is_in_order()) return tensor;
  tensor.shape = shape;
  tensor.layout = Layout::Order;
  tensor.lay_out(0);
  return tensor;
}

/// A box with the places in a tensor as they lie in its layout.
Box placed(const Box& box, const Placement& tensor, const BoxSide& side) {
  if (tensor.is_in_order()) return box;
  auto found = found_through(view_of(tensor), box, side);
  if (!found) contradict("a copy of values that do not lie at regular steps");
  return *std::move(found);
}

/// Boxes of values, or a whole tensor from one layout to the other.
class Copy final : public Op {
 public:
  explicit Copy(const PlacedLayer& source)
      : kernels_(source.kernels),
        kind_(source.layer.kind),
        inputs_(source.inputs),
        to_(source.output) {
    if (kind_ == LayerKind::Convert) {
      convert();
      return;
    }
    const auto& params = source.layer.get<CopyParams>();
    std::int64_t copied = 0;
    for (const Box& box : params.boxes) {
      boxes_.emplace_back(box.input,
                          placed(placed(box, inputs_[box.input], kFromSide), to_, kToSide));
      copied += box.values();
    }
    fill_ = params.fill;
    fills_ = copied < to_.shape.values();
    overlaps_ = copied > to_.shape.values();
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      float* to = frame.at<float>(to_, unit);
      if (fills_) std::fill_n(to, to_.shape.values(), fill_);
      for (const auto& [input, box] : boxes_) {
        box.run(kernels_, frame.at<float>(inputs_[input], unit), to, {frame.part, frame.parts});
      }
    }
  }
  /// What is written before a box, by fill or by another box, must be there when it comes.
  bool splits() const override { return !fills_ && !overlaps_; }
  std::string kernel() const override { return to_string(kind_); }

 private:
  /// All values, block by block.
  void convert() {
    const bool interleaved = to_.layout == Layout::Images;
    const Placement from = reshaped(inputs_[0], to_.shape);
    const Placement to = reshaped(to_, from.shape);
    const std::int64_t blocks = std::max(from.lanes, to.lanes);
    const std::int64_t channels = interleaved ? 1 : to.shape.channels();
    const std::int64_t lanes = blocks > 1 ? blocks : channels;
    const auto step = [](const Placement& tensor) { return tensor.lanes > 1 ? 1 : tensor.block; };
    for (std::int64_t first = 0; first < channels; first += lanes) {
      Box box;
      box.from = from.channel_offset(first);
      box.to = to.channel_offset(first);
      box.add({std::min(lanes, channels - first), step(from), step(to)});
      box.add({to.shape.height(), from.row, to.row});
      box.add({to.shape.width(), from.column, to.column});
      if (interleaved) box.add({to.column, 1, 1});  // all images and channels of a pixel
      boxes_.emplace_back(0, box);
    }
  }

  const Kernels& kernels_;
  LayerKind kind_;
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<std::pair<std::size_t, BoxCopy>> boxes_;  ///< with the input of each
  float fill_ = 0;
  bool fills_ = false;     ///< what no box goes to
  bool overlaps_ = false;  ///< a box goes where one before it does
};

/// The first and the last place that a box reads or writes.
struct Range {
  std::int64_t first;
  std::int64_t last;

  bool lies_in(std::int64_t values) const { return 0 <= first && last < values; }
};

Range range_of(const Box& box, std::int64_t begin, std::int64_t Box::Loop::*step) {
  Range range = {begin, begin};
  for (const Box::Loop& loop : box.loops) {
    const std::int64_t end = (loop.count - 1) * (loop.*step);
    (end < 0 ? range.first : range.last) += end;
  }
  return range;
}

void check_copy(const LayerCheck& of) {
  if (of.layer.kind == LayerKind::Convert) return of.require_same_values();
  const Boxes& boxes = of.layer.get<CopyParams>().boxes;
  of.require(!boxes.empty(), "copies nothing");
  for (const Box& box : boxes) {
    of.require(range_of(box, box.from, &Box::Loop::from).lies_in(of.input(box.input).values()),
               "reads values that there are not");
    of.require(range_of(box, box.to, &Box::Loop::to).lies_in(of.output().values()),
               "writes values that its output does not have");
  }
}

}  // namespace

extern const LayerFamily kCopyFamily = {check_copy, make_op<Copy>};

}  // namespace lenet::native
