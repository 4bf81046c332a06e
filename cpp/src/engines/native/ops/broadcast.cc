#include <algorithm>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Values computed from two or three each, of tensors in the order of the program.
class Broadcast final : public Op {
 public:
  explicit Broadcast(const PlacedLayer& source)
      : kernels_(source.kernels),
        activation_(source.layer.activation),
        inputs_(source.inputs),
        to_(source.output) {
    const auto& params = source.layer.get<BroadcastParams>();
    combine_ = params.combine;
    operands_.resize(params.operands.size());
    task_.kind = params.kind;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const BroadcastOperand& operand = params.operands[i];
      operands_[i].input = operand.input;
      operands_[i].begin = operand.begin;
      if (operand.input != kNone) continue;
      const auto count = static_cast<std::int64_t>(operand.numbers.size());
      source.memory.add(static_cast<double>(count) * sizeof(float));
      auto* const numbers = source.arena.take<float>(count);
      std::copy(operand.numbers.begin(), operand.numbers.end(), numbers);
      operands_[i].numbers = source.arena.share(numbers);
    }
    join_loops(params.loops);
    const BroadcastLoop& row = loops_.back();
    task_.count = row.count;
    std::copy(row.steps.begin(), row.steps.end(), task_.steps);
    pieces_ = (row.count + kPiece - 1) / kPiece;
    for (const BroadcastLoop& loop : loops_) rows_ *= loop.count;
    rows_ /= row.count;
  }

  void run(const Frame& frame) const override {
    if (pieces_ > 1) {
      frame.each_rows(frame.count * rows_, pieces_,
                      [&](std::int64_t row, std::int64_t first, std::int64_t last) {
                        run_row(frame, row, first * kPiece, std::min(task_.count, last * kPiece));
                      });
    } else {
      frame.each_rows(frame.count, rows_,
                      [&](std::int64_t unit, std::int64_t first, std::int64_t last) {
                        run_rows(frame, unit, first, last);
                      });
    }
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return "broadcast"; }

 private:
  /// Values whose activation is applied while they are in the first-level cache; several vectors.
  static constexpr std::int64_t kPiece = 4096;

  struct Operand {
    std::size_t input = kNone;
    const float* numbers = nullptr;
    std::int64_t begin = 0;  ///< in the tensor
  };

  /// Loops that go on where the one inside them ends are one.
  void join_loops(const std::vector<BroadcastLoop>& loops) {
    for (const BroadcastLoop& loop : loops) {
      if (loop.count == 1) continue;
      const auto goes_on = [&](std::size_t i) {
        return loops_.back().steps[i] == loop.steps[i] * loop.count;
      };
      bool joins = !loops_.empty();
      for (std::size_t i = 0; i < operands_.size(); ++i) joins = joins && goes_on(i);
      if (joins) {
        loops_.back() = {loops_.back().count * loop.count, loop.steps};
      } else {
        loops_.push_back(loop);
      }
    }
    if (loops_.empty()) loops_.push_back({});
  }

  /// \param row counted through the loops but the innermost
  BroadcastTask task_at(const Frame& frame, std::int64_t unit, std::int64_t row) const {
    BroadcastTask task = task_;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const Operand& operand = operands_[i];
      const float* first = operand.input == kNone
                               ? operand.numbers
                               : frame.at<float>(inputs_[operand.input], unit) + operand.begin;
      std::int64_t left = row;
      for (std::size_t l = loops_.size() - 1; l-- > 0;) {
        first += left % loops_[l].count * loops_[l].steps[i];
        left /= loops_[l].count;
      }
      task.operands[i] = first;
    }
    task.to = frame.at<float>(to_, unit) + row * task.count;
    return task;
  }

  /// Values of one row. \param row of all units
  void run_row(const Frame& frame, std::int64_t row, std::int64_t begin, std::int64_t end) const {
    BroadcastTask task = task_at(frame, row / rows_, row % rows_);
    task.rows = 1;
    const auto go_on = [&](std::int64_t values) {
      for (std::size_t i = 0; i < operands_.size(); ++i) task.operands[i] += values * task.steps[i];
      task.to += values;
    };
    go_on(begin);
    for (std::int64_t at = begin; at < end; at += kPiece) {
      task.count = std::min(kPiece, end - at);
      compute(task);
      go_on(task.count);
    }
  }

  /// Rows as far as they lie at the same steps.
  void run_rows(const Frame& frame, std::int64_t unit, std::int64_t begin, std::int64_t end) const {
    const std::int64_t most = std::max<std::int64_t>(kPiece / task_.count, 1);
    const BroadcastLoop none;
    const BroadcastLoop& outer = loops_.size() > 1 ? loops_[loops_.size() - 2] : none;
    while (begin < end) {
      BroadcastTask task = task_at(frame, unit, begin);
      std::copy(outer.steps.begin(), outer.steps.end(), task.row_steps);
      task.rows = std::min({most, end - begin, outer.count - begin % outer.count});
      compute(task);
      begin += task.rows;
    }
  }

  void compute(const BroadcastTask& task) const {
    combine_ != nullptr ? combine(task) : kernels_.broadcast(task);
    activate_run(kernels_, activation_, task.to, task.rows * task.count);
  }

  /// One value after the other.
  void combine(const BroadcastTask& task) const {
    for (std::int64_t row = 0; row < task.rows; ++row) {
      const float* const a = task.operands[0] + row * task.row_steps[0];
      const float* const b = task.operands[1] + row * task.row_steps[1];
      for (std::int64_t i = 0; i < task.count; ++i) {
        const double value = combine_(static_cast<double>(a[i * task.steps[0]]),
                                      static_cast<double>(b[i * task.steps[1]]));
        task.to[row * task.count + i] = static_cast<float>(value);
      }
    }
  }

  const Kernels& kernels_;
  Activation activation_;
  double (*combine_)(double a, double b);
  std::vector<Operand> operands_;
  std::vector<BroadcastLoop> loops_;  ///< one at least
  std::vector<Placement> inputs_;
  Placement to_;
  BroadcastTask task_{};     ///< what all tasks have in common
  std::int64_t rows_ = 1;    ///< of one unit
  std::int64_t pieces_ = 1;  ///< of a row
};

void check_broadcast(const LayerCheck& of) {
  const auto& broadcast = of.layer.get<BroadcastParams>();
  const std::size_t operands = broadcast.kind == BroadcastKind::Where ? 3 : 2;
  of.require((broadcast.kind == BroadcastKind::Scalar) == (broadcast.combine != nullptr),
             "has no function");
  of.require(broadcast.operands.size() == operands, "has another number of operands");
  std::int64_t values = 1;
  for (const BroadcastLoop& loop : broadcast.loops) values *= loop.count;
  of.require(values == of.output().values(), "gives another number of values than its output has");
  for (std::size_t i = 0; i < operands; ++i) {
    const BroadcastOperand& operand = broadcast.operands[i];
    const std::int64_t given = operand.input == kNone
                                   ? static_cast<std::int64_t>(operand.numbers.size())
                                   : of.input(operand.input).values();
    std::int64_t last = operand.begin;
    of.require(last == 0 || (last > 0 && operand.input != kNone),
               "reads values that there are not");
    for (const BroadcastLoop& loop : broadcast.loops) {
      of.require(loop.count > 0 && loop.steps[i] >= 0, "reads values that there are not");
      last += (loop.count - 1) * loop.steps[i];
    }
    of.require(last < given, "reads values that there are not");
  }
}

}  // namespace

extern const LayerFamily kBroadcastFamily = {check_broadcast, make_op<Broadcast>};

}  // namespace lenet::native
