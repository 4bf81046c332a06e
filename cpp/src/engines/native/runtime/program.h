/// \file
/// A network made ready for a processor: where each tensor lies, and the steps that compute one
/// after the other. compile/program_builder.h makes them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engines/native/network.h"
#include "engines/native/runtime/aligned.h"
#include "engines/native/runtime/placement.h"
#include "engines/native/runtime/rows.h"
#include "engines/native/runtime/thread_pool.h"
#include "lenet/profile.h"

namespace lenet::native {

/// The memory of a run, and the units of it that a step computes.
struct Frame {
  char* shared;  ///< of all units
  char* units;   ///< of the first unit
  std::int64_t unit_bytes;
  std::int64_t count;
  char* scratch;  ///< of the step that runs; at a cache line
  // Which share of the step's work is computed, where it splits: of so many for each thread that
  // all end at about the same time.
  static constexpr std::int64_t kPartsOfThread = 4;
  std::int64_t part = 0;
  std::int64_t parts = 1;

  /// Calls `work(index)` for those of so many indices that are this part's.
  template <class Work>
  void each(std::int64_t indices, const Work& work) const {
    for (std::int64_t i = part; i < indices; i += parts) work(i);
  }
  /// Calls `work(i, begin, end)` for each of some images of which this part has rows.
  template <class Work>
  void each_rows(std::int64_t images, std::int64_t rows, const Work& work) const {
    const std::int64_t end = images * rows * (part + 1) / parts;
    for (std::int64_t row = images * rows * part / parts; row < end;) {
      const std::int64_t first = row % rows;
      const std::int64_t last = std::min(rows, first + end - row);
      work(row / rows, first, last);
      row += last - first;
    }
  }
  /// How to cut work in two directions, so that the last thread ends early.
  /// \param work of `work(a, b)`: what a part of so much of both directions takes
  /// \returns slices of `first` and of `second`
  template <class Work>
  std::array<std::int64_t, 2> cut(std::int64_t first, std::int64_t second, const Work& work) const {
    constexpr double kLate = 0.02;  // of a part: what threads may be apart
    const auto share = [](std::int64_t all, std::int64_t slices) {
      return (all + slices - 1) / slices;
    };
    std::array<std::int64_t, 2> best = {1, 1};
    double least = std::numeric_limits<double>::infinity();
    const std::int64_t threads = parts / kPartsOfThread;
    for (std::int64_t most = threads; most > 0 && most <= parts; most *= 2) {
      for (std::int64_t slices = most; slices > 0; slices /= 2) {
        const std::int64_t a = std::min(first, slices);
        const std::int64_t b = std::min(second, most / slices);
        const double found = (static_cast<double>(share(a * b, threads)) + kLate) *
                             work(share(first, a), share(second, b));
        if (found >= least) continue;
        least = found;
        best = {a, b};
      }
    }
    return best;
  }
  /// The first pixel of a tensor inside its border.
  template <class Number>
  Number* at(const Placement& tensor, std::int64_t unit) const {
    return reinterpret_cast<Number*>(tensor.place.in(shared, units + unit * unit_bytes));
  }
};

/// An operator with its weights packed for a kernel. Immutable.
class Op {
 public:
  Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  virtual ~Op() = default;
  virtual void run(const Frame& frame) const = 0;
  /// Whether parts of the work may run at the same time; else it has one.
  virtual bool splits() const { return false; }
  /// Whether it clears the border between the rows of what it gives, while the sums are computed.
  virtual bool clears_gaps() const { return false; }
  virtual std::string kernel() const = 0;  ///< its name
  virtual std::int64_t scratch_bytes() const { return 0; }
  /// Whether the layer's weights are kept in 16 bits.
  virtual bool halves_weights() const { return false; }
  /// Whether it does nothing: what it gives is there already.
  virtual bool is_empty() const { return false; }
};

/// Tensors share memory where those of a unit take more than this. Others fit the second-level
/// cache anyway, and their borders need not be cleared in each run.
inline constexpr std::int64_t kMinSharedBytes = 1 << 18;

/// The tensors that a step takes and gives.
struct StepIo {
  std::vector<std::size_t> inputs;
  std::size_t output = 0;
  /// From this input on, each element given may be written over the one in its place: until then
  /// the step has taken all that it needs of that one.
  std::size_t in_place = kNone;
  /// For each input of a Concat, whether it lies where the output has it, so that it is not copied.
  /// Empty where none does.
  std::vector<bool> there = {};
  /// Whether it writes 0 behind the last channel, where what it takes has 0 there. Else Program
  /// does so after it.
  bool keeps_zeros = false;
};

using NameOfStep = std::function<std::string(std::size_t step)>;

/// Threads that compute the steps of one run together.
struct Crew {
  Team& team;
  char* scratch;  ///< of the threads but the first, Program::scratch_bytes() of each
};

/// Whether the environment's LENET_NATIVE_FORGET is 1: each run then begins with NaN wherever no
/// border is kept clear, and whoever reads what nobody wrote in this run gives NaN. After each step
/// Program looks for other numbers than 0 behind the last channel, which are an error. For tests.
bool forgets_runs();

/// Where a tensor lies that is some channels of another.
struct ChannelPart {
  std::size_t whole;     ///< itself, where it lies alone
  std::int64_t channel;  ///< the first, in the whole
};

/// The tensors of a program and its steps, without their operators.
struct Arrangement {
  std::vector<Placement> placements;  ///< by tensor; laid out, but without a place
  std::vector<ChannelPart> parts;     ///< by tensor
  std::vector<StepIo> steps;
  /// The steps from this one on run for all units at once, those before for one after the other, in
  /// the same memory.
  std::size_t first_batched = 0;
  std::size_t input = 0;  ///< a tensor
  std::vector<OutputSource> outputs;
};

/// Complete when its maker has added all steps; then immutable, and may be shared by threads, each
/// with memory of its own. Before that, everything but layers(), total_multiply_adds() and running
/// is known.
class Program {
 public:
  /// Gives all tensors their memory.
  /// \param min_shared_bytes see kMinSharedBytes
  /// \param name_of a step, for messages
  /// \throws Error Unsupported: they take too much; BackendFailure: see verify_plan
  Program(const ProgramKernels& kernels, std::int64_t images_per_unit,
          std::int64_t min_shared_bytes, Arrangement arrangement, const NameOfStep& name_of);

  // ---- for its maker, until the program is complete

  const Placement& placement(std::size_t tensor) const { return placements_[tensor]; }
  const std::vector<StepIo>& steps() const { return ios_; }
  WeightArena& arena() { return arena_; }
  /// Adds the operator of the next step.
  /// \param layer with its weights
  /// \param multiply_adds for one image
  void add_step(const Layer& layer, std::string name, double multiply_adds,
                std::unique_ptr<const Op> op);

  // ---- for those who run it

  std::int64_t images_per_unit() const noexcept { return images_per_unit_; }
  /// Returns how many values the input of one image has.
  std::int64_t input_values() const noexcept { return placements_[input_].shape.values(); }
  std::int64_t output_values(std::size_t output = 0) const noexcept {
    return placements_[outputs_[output].tensor].shape.values();
  }
  std::size_t outputs() const noexcept { return outputs_.size(); }
  const WeightArena& weights() const noexcept { return arena_; }
  /// The tensors of one unit, as if each had memory of its own.
  std::int64_t tensor_bytes() const noexcept { return tensor_bytes_; }
  /// Memory of a run of one unit.
  std::int64_t unit_bytes() const noexcept { return shared_bytes_ + unit_bytes_ + scratch_bytes_; }
  /// What a run does, in its order, without times.
  std::vector<LayerProfile> layers() const;
  double total_multiply_adds() const noexcept { return multiply_adds_; }  ///< of all steps

  /// Memory for runs of up to so many images.
  Aligned<char> memory(std::int64_t images) const;
  /// Runs `images` images of the input from `first` on; of the steps those that the outputs need.
  /// \param input values or pixels; without the shape, but of pixels
  /// \param memory of as many images or more
  /// \param outputs where each goes, [images of the input, values]; null: it is not wanted
  /// \param done called after each part with its place in layers(), which comes again where a unit
  ///   is computed after the other; may throw, which ends the run
  void run(
      const TensorView& input, std::int64_t first, std::int64_t images, char* memory,
      float* const* outputs, const std::function<void(std::size_t)>& done = [](std::size_t) {},
      const Crew* crew = nullptr) const;
  std::int64_t scratch_bytes() const noexcept { return scratch_bytes_; }

 private:
  struct Step {
    LayerProfile profile;
    std::unique_ptr<const Op> op;
  };

  /// Gives the tensors of all steps their memory.
  void place(std::int64_t min_shared_bytes, const NameOfStep& name_of);
  void need_scratch(std::int64_t bytes) {
    scratch_bytes_ = std::max(scratch_bytes_, round_up(bytes, kCacheLine));
  }

  void compute(const Op& op, const Frame& frame, const Crew* crew) const;
  /// What is known of every part. \param other_bytes of activations beside those of the tensor
  LayerProfile describe(std::string name, std::size_t tensor, double other_bytes) const;
  void read_input(const TensorView& input, std::int64_t first, std::int64_t count,
                  const Frame& frame) const;
  /// Writes [channels][height][width] of an image.
  void write_output(const OutputSource& source, const Frame& frame, std::int64_t image,
                    float* output) const;
  /// Whether `outputs` need each step, written to the memory of a run. \returns null: all do
  const bool* find_needed(float* const* outputs, char* memory) const;
  Frame frame(char* memory, std::int64_t units) const {
    char* scratch = memory + shared_bytes_;
    return {memory, scratch + scratch_bytes_ + needed_bytes(), unit_bytes_, units, scratch};
  }
  /// Memory for what find_needed gives.
  std::int64_t needed_bytes() const noexcept {
    return outputs_.size() < 2 ? 0 : round_up(static_cast<std::int64_t>(ios_.size()), kCacheLine);
  }
  /// Fills one of a run's memories with NaN, but for the borders that the plan keeps clear.
  void forget(Place::Memory memory, const Frame& frame) const;
  /// \param gaps also between rows
  void clear_border(std::size_t tensor, const Frame& frame, bool gaps = true) const;
  /// Writes the zeros behind the last channel of a tensor.
  void clear_behind(std::size_t tensor, const Frame& frame) const;
  /// \throws Error BackendFailure: what a step gives has another number than 0 behind the last
  ///   channel, though all values that it takes and gives are finite
  void require_zeros_behind(std::size_t step, const Frame& frame) const;

  ProgramKernels kernels_;
  std::int64_t images_per_unit_;
  std::vector<Placement> placements_;  ///< by tensor
  std::vector<ChannelPart> parts_;     ///< by tensor
  std::vector<StepIo> ios_;            ///< of each step
  std::size_t input_;                  ///< a tensor
  std::vector<OutputSource> outputs_;
  WeightArena arena_;
  bool forgets_ = forgets_runs();
  std::size_t first_batched_;
  double multiply_adds_ = 0;
  std::vector<bool> clears_;  ///< by tensor: its border is cleared before each time it is written
  std::vector<Step> steps_;
  std::vector<std::size_t> producers_;  ///< by tensor: the step that gives it; or kNone
  std::int64_t tensor_bytes_ = 0;
  std::int64_t shared_bytes_ = 0;
  std::int64_t unit_bytes_ = 0;
  std::int64_t scratch_bytes_ = 0;
};

}  // namespace lenet::native
