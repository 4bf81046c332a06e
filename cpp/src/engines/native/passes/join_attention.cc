#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"
#include "engines/native/runtime/views.h"

namespace lenet::native {
namespace {

/// A loop over scores: over matrices, over the rows of one, or along a row. How far each goes in
/// the tensors, in values.
struct ScoreLoop {
  std::int64_t count = 1;
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t scores = 0;
  std::int64_t values = 0;
  std::int64_t output = 0;
  std::array<std::int64_t, AttentionParams::kTerms> terms = {};

  /// Cuts off so many of its innermost turns, which are a loop inside it then.
  ScoreLoop cut(std::int64_t inner) {
    ScoreLoop made = *this;
    made.count = inner;
    count /= inner;
    for (std::int64_t* const step : {&queries, &keys, &scores, &values, &output}) *step *= inner;
    for (std::int64_t& step : terms) step *= inner;
    return made;
  }
};

/// A loop over the same scores in another layer.
struct OtherLoop {
  std::int64_t count = 1;
  std::array<std::int64_t, 3> steps = {};
};

/// Cuts the loops of both so that they have the same counts.
/// \param loops the outermost first, of which the last two, along rows and values, stay whole
/// \param others the same
/// \returns whether it could
bool align(std::vector<ScoreLoop>& loops, std::vector<OtherLoop>& others) {
  std::vector<OtherLoop> aligned;  // the innermost first
  std::size_t l = loops.size();
  while (l > 0 && !others.empty()) {
    OtherLoop& other = others.back();
    if (other.count == 1) {
      others.pop_back();
      continue;
    }
    const std::size_t at = l - 1;
    const bool is_whole = at + 2 >= loops.size();
    if (loops[at].count == 1) {
      aligned.push_back({});
      --l;
    } else if (other.count % loops[at].count == 0) {
      const std::int64_t count = loops[at].count;
      aligned.push_back({count, other.steps});
      other.count /= count;
      for (std::int64_t& step : other.steps) step *= count;
      --l;
    } else if (!is_whole && loops[at].count % other.count == 0) {
      ScoreLoop inner = loops[at].cut(other.count);
      loops.insert(loops.begin() + static_cast<std::ptrdiff_t>(l), std::move(inner));
      aligned.push_back(other);
      others.pop_back();
      // The outer part of the loop is at the place where the whole one was.
    } else {
      return false;
    }
  }
  const auto is_one = [](const auto& loop) { return loop.count == 1; };
  if (!std::all_of(others.begin(), others.end(), is_one) ||
      !std::all_of(loops.begin(), loops.begin() + static_cast<std::ptrdiff_t>(l), is_one)) {
    return false;
  }
  aligned.resize(loops.size());
  others.assign(aligned.rbegin(), aligned.rend());
  return true;
}

/// The loops of a product, with the steps in its operands and in what it gives.
/// \param outermost the side by whose steps they are put in order
std::vector<OtherLoop> loops_of(const Product& product, std::size_t outermost) {
  std::vector<OtherLoop> loops;
  for (const Product::Loop& loop : product.matrices) {
    if (loop.count > 1) loops.push_back({loop.count, {loop.first, loop.second, loop.output}});
  }
  std::stable_sort(loops.begin(), loops.end(), [&](const OtherLoop& a, const OtherLoop& b) {
    return a.steps[outermost] > b.steps[outermost];
  });
  return loops;
}

/// Finds a softmax of products, which others multiply, and what is added to its scores.
class AttentionFinder {
 public:
  explicit AttentionFinder(Network& network) : network_(network), links_(network) {}

  /// Makes an Attention of the last product, if there is one; the other layers stay, and nothing
  /// reads what they give. \param at the place of a Softmax
  void join(std::size_t at) {
    const Layer& softmax = network_.layers[at];
    const auto& [axis, logarithm] = softmax.get<SoftmaxParams>();
    if (axis.inner != 1 || logarithm || !has_only(softmax, 0) || !is_read_once(softmax)) return;
    Layer& values = network_.layers[links_.readers[softmax.output]];
    if (!multiplies_tensors(values) || values.inputs[0] != softmax.output ||
        values.inputs[1] == softmax.output) {
      return;
    }
    std::vector<const Layer*> sums;  // the last first
    const Layer* before = producer(softmax.inputs[0]);
    while (before != nullptr && is_sum(*before)) {
      sums.push_back(before);
      before = producer(before->inputs[scores_of(*before)]);
    }
    scale_ = 1;
    if (before != nullptr && factor_of(*before) && scores_of(*before) != kNone) {
      scale_ = *factor_of(*before);
      before = producer(before->inputs[scores_of(*before)]);
    }
    if (before == nullptr || !multiplies_tensors(*before) || !is_read_once(*before)) return;
    inputs_ = {before->inputs[0], before->inputs[1], values.inputs[1]};
    terms_.clear();
    add_bias(before->bias);
    Product scores = before->product();
    take_factor(scores, 0, kFirstOperand);
    take_factor(scores, 1, kSecondOperand);
    const bool has_scale = std::isfinite(scale_) && scale_ > 0;
    if (!has_scale || axis.count != scores.columns || !find_loops(scores, values.product())) return;
    for (auto sum = sums.rbegin(); sum != sums.rend(); ++sum) {
      if (!add_term(**sum)) return;
    }
    std::string name = before->name + ", " + softmax.name + ", " + values.name;
    AttentionParams made = params(scores, values.product());
    std::vector<float> bias = std::move(values.bias);
    values.set_kind(LayerKind::Attention);
    values.name = std::move(name);
    values.params = std::move(made);
    values.bias = std::move(bias);
    values.inputs = inputs_;
  }

 private:
  bool is_read_once(const Layer& layer) const {
    return links_.uses[layer.output] == 1 && links_.readers[layer.output] != kNone;
  }
  /// Whether a layer multiplies two tensors. Its bias is the first term of scores, and of what the
  /// values give the bias of the attention.
  static bool multiplies_tensors(const Layer& layer) {
    return layer.kind == LayerKind::MatMul && !has_weights(layer) && has_only(layer, kBias);
  }
  /// The layer that gives a tensor; null.
  const Layer* producer(std::size_t tensor) const {
    const std::size_t found = links_.producers[tensor];
    return found == kNone ? nullptr : &network_.layers[found];
  }
  /// Whether a layer adds something to scores.
  bool is_sum(const Layer& layer) const {
    return layer.kind == LayerKind::Broadcast && has_only(layer, 0) &&
           layer.get<BroadcastParams>().kind == BroadcastKind::Add && is_read_once(layer) &&
           scores_of(layer) != kNone;
  }
  /// The place among the inputs of a layer that has the scores: an operand that is computed, and
  /// read value by value; kNone.
  static std::size_t scores_of(const Layer& layer) {
    if (layer.kind != LayerKind::Broadcast) return 0;
    const auto& params = layer.get<BroadcastParams>();
    for (std::size_t o = 0; o < params.operands.size(); ++o) {
      std::int64_t values = 1;
      bool reads_all = params.operands[o].input != kNone && params.operands[o].begin == 0;
      for (auto loop = params.loops.rbegin(); loop != params.loops.rend(); ++loop) {
        reads_all = reads_all && (loop->count == 1 || loop->steps[o] == values);
        values *= loop->count;
      }
      if (reads_all) return params.operands[o].input;
    }
    return kNone;
  }
  /// The number by which a layer multiplies all that it takes, if that is all that it does, and one
  /// layer reads it.
  std::optional<float> factor_of(const Layer& layer) const {
    if (!is_read_once(layer) || !has_only(layer, 0)) return std::nullopt;
    if (layer.kind == LayerKind::ChannelScale && is_alike(layer)) {
      const auto& [scale, bias] = layer.get<ScaleParams>();
      const bool adds = !bias.empty() && bias[0] != 0;
      return adds ? std::nullopt : std::optional(scale[0]);
    }
    if (layer.kind != LayerKind::Broadcast) return std::nullopt;
    const auto& [kind, operands, loops, combine] = layer.get<BroadcastParams>();
    if (kind != BroadcastKind::Multiply) return std::nullopt;
    for (const BroadcastOperand& operand : operands) {
      if (operand.input == kNone && operand.numbers.size() == 1) return operand.numbers[0];
    }
    return std::nullopt;
  }

  /// Has scores read an operand before it is multiplied by a number, which becomes part of their
  /// scale.
  /// \param input its place among the inputs
  void take_factor(Product& scores, std::size_t input, const ProductSide& side) {
    const Layer* const layer = producer(inputs_[input]);
    const auto factor = layer == nullptr ? std::nullopt : factor_of(*layer);
    if (!factor || layer->kind != LayerKind::Broadcast) return;
    const auto& params = layer->get<BroadcastParams>();
    const std::size_t place = params.operands[0].input == kNone ? 1 : 0;
    const std::size_t from = layer->inputs[params.operands[place].input];
    View view = {from, params.operands[place].begin, {}};
    for (const BroadcastLoop& loop : params.loops) {
      if (loop.count > 1 && loop.steps[place] <= 0) return;
      add_run(view.runs, {loop.count, loop.steps[place]});
    }
    auto made = found_through(view, scores, side);
    const bool is_first = &side == &kFirstOperand;
    if (!made || (is_first ? made->sums > 1 && made->first.column != 1
                           : made->second.row != 1 && made->second.column != 1)) {
      return;
    }
    scores = *std::move(made);
    inputs_[input] = from;
    scale_ *= *factor;
  }

  /// Finds the loops that both products have. \returns whether the second one reads what the first
  /// one gives row by row
  bool find_loops(const Product& scores, const Product& values) {
    const bool has_rows = scores.output.begin == 0 && scores.output.row == scores.columns &&
                          (scores.columns == 1 || scores.output.column == 1) &&
                          (scores.sums == 1 || scores.first.column == 1);
    const bool reads_rows = values.first.begin == 0 && values.sums == scores.columns &&
                            values.rows == scores.rows && values.first.row == scores.output.row &&
                            (values.sums == 1 || values.first.column == 1);
    if (!has_rows || !reads_rows) return false;
    loops_.clear();
    for (const OtherLoop& loop : loops_of(scores, 2)) {
      loops_.push_back({loop.count, loop.steps[0], loop.steps[1], loop.steps[2], 0, 0, {}});
    }
    loops_.push_back({scores.rows, scores.first.row, 0, scores.output.row, 0, 0, {}});
    loops_.push_back({scores.columns, 0, scores.second.column, 1, 0, 0, {}});
    std::vector<OtherLoop> others = loops_of(values, 0);
    others.push_back({values.rows, {values.first.row, 0, values.output.row}});
    others.push_back({values.sums, {1, values.second.row, 0}});
    if (!align(loops_, others)) return false;
    for (std::size_t l = 0; l < loops_.size(); ++l) {
      loops_[l].values = others[l].steps[1];
      loops_[l].output = others[l].steps[2];
      if (loops_[l].count > 1 && loops_[l].scores != others[l].steps[0]) return false;
    }
    return true;
  }

  /// Adds the bias of the product that gives the scores, if it has one, which the layer behind it
  /// multiplies as the products. \pre scale_ is its factor alone
  void add_bias(const std::vector<float>& bias) {
    if (bias.empty()) return;
    BroadcastOperand& term = terms_.emplace_back();
    for (const float number : bias) term.numbers.push_back(number * scale_);
  }

  /// Adds what a sum adds to the scores. \returns whether it can
  bool add_term(const Layer& sum) {
    const auto& [kind, operands, loops, combine] = sum.get<BroadcastParams>();
    const std::size_t scores = scores_of(sum);
    const std::size_t place = operands[0].input == scores ? 1 : 0;
    const BroadcastOperand& operand = operands[place];
    if (terms_.size() == AttentionParams::kTerms) return false;
    std::vector<OtherLoop> others;
    for (const BroadcastLoop& loop : loops) {
      others.push_back({loop.count, {loop.steps[place], 0, 0}});
    }
    if (!align(loops_, others)) return false;
    if (loops_.back().count > 1 && others.back().steps[0] != 1) return false;
    for (std::size_t l = 0; l < loops_.size(); ++l) {
      loops_[l].terms[terms_.size()] = others[l].steps[0];
    }
    terms_.push_back(operand);
    if (operand.input != kNone) {
      terms_.back().input = inputs_.size();
      inputs_.push_back(sum.inputs[operand.input]);
    }
    return true;
  }

  AttentionParams params(const Product& scores, const Product& values) const {
    // By all members, so that a new one is not forgotten. The loops are in loops_.
    const auto& [score_loops, rows_of_scores, depth, keys, query, key, score, score_quant] = scores;
    const auto& [value_loops, rows_of_values, sums, width, weight, value, output, value_quant] =
        values;
    AttentionParams made;
    const std::size_t rows = loops_.size() - 2;
    for (std::size_t l = 0; l < rows; ++l) {
      const ScoreLoop& loop = loops_[l];
      made.matrices.push_back(
          {loop.count, loop.queries, loop.keys, loop.values, loop.output, loop.terms});
    }
    made.rows = rows_of_scores;
    made.depth = depth;
    made.keys = keys;
    made.width = width;
    made.query = query;
    made.key = key;
    made.value = value;
    made.output = output;
    made.scale = scale_;
    for (std::size_t t = 0; t < terms_.size(); ++t) {
      made.terms.push_back({terms_[t], loops_[rows].terms[t]});
    }
    return made;
  }

  Network& network_;
  Links links_;
  // What follows belongs to the attention that join() looks at.
  std::vector<std::size_t> inputs_;
  float scale_ = 1;
  std::vector<ScoreLoop> loops_;  ///< the outermost first, then along rows, then along a row
  std::vector<BroadcastOperand> terms_;
};

}  // namespace

void join_attention(Network& network) {
  AttentionFinder finder(network);
  for (std::size_t at = 0; at < network.layers.size(); ++at) {
    if (network.layers[at].kind == LayerKind::Softmax) finder.join(at);
  }
  drop_unused(network);
}

}  // namespace lenet::native
