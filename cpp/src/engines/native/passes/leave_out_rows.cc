#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Which values of a tensor are needed. The tensor is cut into parts of `period` values, such as
/// matrices; of each part the values from `first` to before `end` are needed, which are whole rows.
struct Rows {
  std::int64_t period = 0;
  std::int64_t first = 0;
  std::int64_t end = 0;

  std::int64_t count() const { return end - first; }
  bool operator==(const Rows& other) const {
    return period == other.period && first == other.first && end == other.end;
  }
  /// Whether rows of so many values are needed whole or not at all.
  bool has_rows_of(std::int64_t values) const {
    return period % values == 0 && first % values == 0 && end % values == 0;
  }
  /// Where a needed value lies when the others are left out.
  std::int64_t place(std::int64_t of) const { return step(of - of % period) + of % period - first; }
  /// How far a step goes when the others are left out. \pre it stays within a part, or goes from
  /// a part to another
  std::int64_t step(std::int64_t of) const { return of % period == 0 ? of / period * count() : of; }
};

/// Returns how many values all rows of a matrix take, where the matrices of that side of a product
/// lie one after the other, or beside each other in the same rows; nothing where they lie
/// elsewhere.
std::optional<std::int64_t> period_of(const Product& of, const ProductSide& side) {
  const Product::Matrix& matrix = of.*side.matrix;
  const std::int64_t period = of.rows * matrix.row;
  if (matrix.begin != 0 || matrix.row <= 0 || matrix.column < 0 || of.rows < 2) return std::nullopt;
  std::int64_t last = (of.*side.columns - 1) * matrix.column;  // of the first row
  for (const Product::Loop& loop : of.matrices) {
    const std::int64_t step = loop.*side.step;
    if (step < 0) return std::nullopt;
    if (step % period != 0) last += (loop.count - 1) * step;
  }
  return last < matrix.row ? std::optional(period) : std::nullopt;
}

/// The loop of a Broadcast that goes along the rows of what it gives, if these are some of them.
/// \returns its place; nothing where there is none, or numbers would have to begin elsewhere
std::optional<std::size_t> loop_of_rows(const BroadcastParams& broadcast, const Rows& rows) {
  std::int64_t values = rows.period;
  for (std::size_t i = 0; i < broadcast.loops.size(); ++i) {
    const BroadcastLoop& loop = broadcast.loops[i];
    values /= loop.count;
    if (loop.count == 1) continue;
    for (std::size_t o = 0; o < broadcast.operands.size(); ++o) {
      if (broadcast.operands[o].input == kNone && loop.steps[o] != 0) return std::nullopt;
    }
    return rows.has_rows_of(values) ? std::optional(i) : std::nullopt;
  }
  return std::nullopt;
}

/// Whether a Broadcast reads each value of an operand for the one at the same place.
bool reads_same_places(const BroadcastParams& broadcast, std::size_t operand) {
  std::int64_t values = 1;
  for (auto loop = broadcast.loops.rbegin(); loop != broadcast.loops.rend(); ++loop) {
    if (loop->count > 1 && loop->steps[operand] != values) return false;
    values *= loop->count;
  }
  return broadcast.operands[operand].begin == 0;
}

/// Returns of how many values the rows are that a layer computes each by itself; 0 where it does
/// not. A PRelu does not, as its numbers are those of channels.
std::int64_t rows_computed_by(const Network& network, const Layer& layer) {
  const NetworkTensor& output = network.tensors[layer.output];
  const auto lies_so = [&](std::size_t input) { return lie_alike(network.tensors[input], output); };
  if (layer.kind == LayerKind::Normalize) return layer.get<NormalizeParams>().count;
  if (layer.kind == LayerKind::Softmax) {
    const Axis& axis = layer.get<SoftmaxParams>().axis;
    return axis.inner == 1 ? axis.count : 0;
  }
  const bool is_elementwise = layer.kind == LayerKind::Activate || is_combination(layer.kind);
  return is_elementwise && layer.kind != LayerKind::PRelu &&
                 std::all_of(layer.inputs.begin(), layer.inputs.end(), lies_so)
             ? 1
             : 0;
}

class Rewriting {
 public:
  explicit Rewriting(Network& network) : network_(network), needed_(network.tensors.size()) {}

  void run() {
    if (!finds_cut()) return;
    for (const std::size_t output : network_.outputs) need_all(output);
    need_all(network_.input);
    for (auto layer = network_.layers.rbegin(); layer != network_.layers.rend(); ++layer) {
      ask(*layer);
    }
    auto layers = std::exchange(network_.layers, {});
    for (Layer& layer : layers) rewrite(std::move(layer));
    for (std::size_t tensor = 0; tensor < needed_.size(); ++tensor) {
      if (is_cut(tensor)) network_.tensors[tensor].shape = *shape_of_rows(tensor, *needed_[tensor]);
    }
  }

 private:
  std::int64_t values(std::size_t tensor) const { return network_.tensors[tensor].shape.values(); }
  bool is_cut(std::size_t tensor) const {
    return needed_[tensor] && needed_[tensor]->count() < needed_[tensor]->period;
  }

  /// Whether anything reads only some of a tensor, which takes little time to find out.
  bool finds_cut() const {
    return std::any_of(network_.layers.begin(), network_.layers.end(), [&](const Layer& layer) {
      return std::any_of(layer.inputs.begin(), layer.inputs.end(), [&](std::size_t input) {
        const auto read = read_by(layer, input);
        return read && read->count() < read->period;
      });
    });
  }

  void need(std::size_t tensor, const Rows& rows) {
    std::optional<Rows>& needed = needed_[tensor];
    if (!needed) {
      needed = rows;
    } else if (needed->period == rows.period) {
      needed->first = std::min(needed->first, rows.first);
      needed->end = std::max(needed->end, rows.end);
    } else {
      need_all(tensor);
    }
  }
  Rows all_of(std::size_t tensor) const { return {values(tensor), 0, values(tensor)}; }
  void need_all(std::size_t tensor) { needed_[tensor] = all_of(tensor); }

  /// The rows that a layer reads of a tensor, whatever is needed of what it gives; nothing where it
  /// may read all. A copy of several tensors is taken to do so.
  std::optional<Rows> read_by(const Layer& layer, std::size_t input) const {
    if (layer.kind == LayerKind::Copy && layer.inputs.size() == 1) {
      std::int64_t first = values(input);
      std::int64_t end = 0;
      for (const Box& box : layer.get<CopyParams>().boxes) {
        std::int64_t last = box.from;
        for (const Box::Loop& loop : box.loops) {
          if (loop.from < 0) return std::nullopt;
          last += (loop.count - 1) * loop.from;
        }
        first = std::min(first, box.from);
        end = std::max(end, last + 1);
      }
      if (first < end) return Rows{values(input), first, end};
    }
    if (layer.kind == LayerKind::MatMul && has_weights(layer) && layer.integers.empty()) {
      const Product of = layer.product().joined(true);
      const Product::Matrix& matrix = of.first;
      if (of.matrices.empty() && matrix.row >= 0 && matrix.column >= 0) {
        return Rows{values(input), matrix.begin,
                    matrix.begin + (of.rows - 1) * matrix.row + (of.sums - 1) * matrix.column + 1};
      }
    }
    return std::nullopt;
  }

  /// The shape of a tensor that has some rows alone; nothing where no dimension goes along the
  /// rows.
  std::optional<TensorShape> shape_of_rows(std::size_t tensor, const Rows& rows) const {
    Shape sizes = network_.tensors[tensor].shape.sizes();
    std::int64_t row = 1;
    for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
      if (row * *size == rows.period && rows.has_rows_of(row)) {
        *size = rows.count() / row;
        return TensorShape(std::move(sizes));
      }
      row *= *size;
    }
    return std::nullopt;
  }

  /// Whether a layer can give some rows alone. \param rows of what it gives
  bool can_cut(const Layer& layer, const Rows& rows) const {
    const NetworkTensor& tensor = network_.tensors[layer.output];
    // Each of these is for a column, or for every value.
    constexpr unsigned kFields = kActivation | kWeights | kWeightScales | kBias;
    if (tensor.layout != Layout::Order || !has_only(layer, kFields) ||
        !shape_of_rows(layer.output, rows)) {
      return false;
    }
    if (layer.kind == LayerKind::MatMul) {
      const Product& of = layer.product();
      return period_of(of, kProductOutput) == rows.period && rows.has_rows_of(of.output.row);
    }
    if (layer.kind == LayerKind::Broadcast) {
      return rows.period == values(layer.output) &&
             loop_of_rows(layer.get<BroadcastParams>(), rows);
    }
    const auto has_rows = [&](std::size_t input) {
      return network_.tensors[input].layout == Layout::Order && shape_of_rows(input, rows);
    };
    const std::int64_t row = rows_computed_by(network_, layer);
    return row > 0 && rows.has_rows_of(row) &&
           std::all_of(layer.inputs.begin(), layer.inputs.end(), has_rows);
  }

  /// Notes what a layer needs of what it takes. Those behind it have been asked.
  void ask(const Layer& layer) {
    if (needed_[layer.output] && is_cut(layer.output) && !can_cut(layer, *needed_[layer.output])) {
      need_all(layer.output);
    }
    if (!needed_[layer.output] || !is_cut(layer.output)) {
      for (const std::size_t input : layer.inputs) {
        need(input, read_by(layer, input).value_or(all_of(input)));
      }
      return;
    }
    const Rows& rows = *needed_[layer.output];
    if (layer.kind == LayerKind::Broadcast) {
      for (const BroadcastOperand& operand : layer.get<BroadcastParams>().operands) {
        if (operand.input == kNone) continue;
        const std::size_t input = layer.inputs[operand.input];
        need(input, reads_rows(layer, operand, rows) ? rows : all_of(input));
      }
      return;
    }
    if (layer.kind != LayerKind::MatMul) {
      for (const std::size_t input : layer.inputs) need(input, rows);
      return;
    }
    const Product& of = layer.product();
    const auto period = period_of(of, kFirstOperand);
    if (period && values(layer.inputs[0]) % *period == 0) {
      const std::int64_t step = of.first.row;
      need(layer.inputs[0],
           {*period, rows.first / of.output.row * step, rows.end / of.output.row * step});
    } else {
      need_all(layer.inputs[0]);
    }
    if (!has_weights(layer)) need_all(layer.inputs[1]);
  }

  /// Whether a Broadcast that gives some rows reads the same rows of an operand.
  bool reads_rows(const Layer& layer, const BroadcastOperand& operand, const Rows& rows) const {
    const auto& broadcast = layer.get<BroadcastParams>();
    const std::size_t input = layer.inputs[operand.input];
    const auto place = static_cast<std::size_t>(&operand - broadcast.operands.data());
    return reads_same_places(broadcast, place) && values(input) == values(layer.output) &&
           network_.tensors[input].layout == Layout::Order && shape_of_rows(input, rows);
  }

  /// \param rows by value: cut() adds to ``needed_``, which moves what that holds
  void rewrite_broadcast(Layer& layer, Rows rows) {
    auto& broadcast = layer.get<BroadcastParams>();
    const std::size_t loop = *loop_of_rows(broadcast, rows);
    std::int64_t row = rows.period;
    for (std::size_t i = 0; i <= loop; ++i) row /= broadcast.loops[i].count;
    // Operands that share an input may read different rows of it: each gets an input of its own.
    std::vector<std::size_t> inputs;
    for (BroadcastOperand& operand : broadcast.operands) {
      if (operand.input == kNone) continue;
      inputs.push_back(layer.inputs[operand.input]);
      operand.input = inputs.size() - 1;
    }
    layer.inputs = std::move(inputs);
    for (std::size_t o = 0; o < broadcast.operands.size(); ++o) {
      BroadcastOperand& operand = broadcast.operands[o];
      if (operand.input == kNone) continue;
      if (reads_rows(layer, operand, rows)) {
        layer.inputs[operand.input] = cut(layer.inputs[operand.input], rows, layer);
      } else {
        operand.begin += rows.first / row * broadcast.loops[loop].steps[o];
      }
    }
    broadcast.loops[loop].count = rows.count() / row;
  }

  /// Adds a layer that gives what is needed.
  void rewrite(Layer layer) {
    const bool gives_rows = is_cut(layer.output);
    if (layer.kind == LayerKind::Copy && is_cut(layer.inputs[0])) {
      for (Box& box : layer.get<CopyParams>().boxes) {
        box.from = needed_[layer.inputs[0]]->place(box.from);
      }
    }
    if (layer.kind == LayerKind::MatMul) {
      Product& of = layer.product();
      if (gives_rows) {
        const Rows& rows = *needed_[layer.output];
        of.first.begin += rows.first / of.output.row * of.first.row;
        of.rows = rows.count() / of.output.row;
        for (Product::Loop& loop : of.matrices) loop.output = rows.step(loop.output);
      }
      if (is_cut(layer.inputs[0])) {
        const Rows& rows = *needed_[layer.inputs[0]];
        of.first.begin = rows.place(of.first.begin);
        for (Product::Loop& loop : of.matrices) loop.first = rows.step(loop.first);
      }
    } else if (gives_rows && layer.kind == LayerKind::Broadcast) {
      rewrite_broadcast(layer, *needed_[layer.output]);
    } else if (gives_rows) {
      for (std::size_t& input : layer.inputs) input = cut(input, *needed_[layer.output], layer);
    }
    network_.layers.push_back(std::move(layer));
  }

  /// The rows of a tensor alone, of which others may need more.
  /// \param rows by value, as it adds to ``needed_``
  std::size_t cut(std::size_t tensor, Rows rows, const Layer& reader) {
    if (*needed_[tensor] == rows) return tensor;
    const std::size_t made = network_.add_tensor(*shape_of_rows(tensor, rows));
    network_.tensors[made].layout = Layout::Order;
    needed_.emplace_back(all_of(made));
    Box box;
    const Rows& there = *needed_[tensor];
    box.from = there.place(rows.first);
    box.add({values(tensor) / rows.period, there.step(rows.period), rows.count()});
    box.add({rows.count(), 1, 1});
    Layer& copy = network_.add_layer(LayerKind::Copy, "rows for " + reader.name, {tensor}, made);
    copy.params = CopyParams{{box}};
    return made;
  }

  Network& network_;
  std::vector<std::optional<Rows>> needed_;  ///< by tensor; nothing: by no layer so far
};

}  // namespace

void leave_out_rows(Network& network) { Rewriting(network).run(); }

}  // namespace lenet::native
