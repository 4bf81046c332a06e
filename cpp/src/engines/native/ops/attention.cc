#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "engines/native/ops/copy_runs.h"
#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"
#include "engines/native/ops/product_operands.h"

namespace lenet::native {
namespace {

/// Attention, of tensors in the order of the program. Some rows of scores at a time are computed,
/// become their softmax and are multiplied by the values, while the first-level cache holds them.
/// Each score and each result is one chain of multiply-adds, from 0 or a bias on, as of a product
/// by itself. In bf16 the products are of pairs (kernels.h), and the softmax is float32: a tap is a
/// number of a row, or two of them.
class Attention final : public Op {
 public:
  explicit Attention(const PlacedLayer& source)
      : Attention(source, source.layer.get<AttentionParams>()) {}

  void run(const Frame& frame) const override {
    constexpr std::int64_t kPacking = 8;  // rows that take as long as to pack keys and values
    const std::int64_t items = frame.count * matrices_;
    const std::int64_t rows = of_.rows;
    const auto slices = frame.cut(items * rows, 1, [&](std::int64_t some, std::int64_t) {
      return static_cast<double>(some + (some + rows - 1) / rows * kPacking);
    });
    frame.each(slices[0], [&](std::int64_t slice) {
      Frame part = frame;
      part.part = slice;
      part.parts = slices[0];
      part.each_rows(items, rows, [&](std::int64_t item, std::int64_t row, std::int64_t last) {
        attend(frame, item, row, last);
      });
    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return bf16_ ? "attention_bf16" : "attention"; }
  std::int64_t scratch_bytes() const override {
    return (packing_floats() + packed_keys() + packed_values() +
            most_rows() * (query_step_ + score_step_ + width_)) *
           std::int64_t{sizeof(float)};
  }

 private:
  Attention(const PlacedLayer& source, const AttentionParams& params)
      : kernels_(source.kernels),
        bf16_(source.bf16),
        inputs_(source.inputs),
        to_(source.output),
        depth_runs_(tap_runs(taps_of(params.depth))),
        key_runs_(tap_runs(taps_of(params.keys))) {
    constexpr std::int64_t kScores = 6144;  // floats of scores at a time
    const std::int64_t lanes = kernels_.lanes;
    of_ = params;
    of_.terms.clear();
    for (const AttentionParams::Loop& loop : of_.matrices) matrices_ *= loop.count;
    keys_ = round_up(of_.keys, lanes);
    width_ = round_up(of_.width, lanes);
    // Behind each row there is room for a vector, so that rows do not evict each other.
    query_step_ = round_up(taps_of(of_.depth), lanes) + lanes;
    score_step_ = keys_ + lanes;
    rows_at_once_ = std::max(kScores / score_step_ / kTwoTiles, std::int64_t{1}) * kTwoTiles;
    rows_at_once_ = std::min(rows_at_once_, of_.rows);
    std::vector<float> numbers(static_cast<std::size_t>(std::max(keys_, width_)));
    zeros_ = bias_ = stored(numbers, source);
    if (!source.layer.bias.empty()) {
      std::copy(source.layer.bias.begin(), source.layer.bias.end(), numbers.begin());
      bias_ = stored(numbers, source);
    }
    for (const AttentionParams::Term& term : params.terms) {
      const BroadcastOperand& operand = term.operand;
      const float* const own = operand.input == kNone ? stored(operand.numbers, source) : nullptr;
      terms_.push_back({operand.input, own, operand.begin, term.row});
    }
  }

  /// Copies numbers to where the weights are.
  static const float* stored(const std::vector<float>& numbers, const PlacedLayer& source) {
    const auto count = static_cast<std::int64_t>(numbers.size());
    source.memory.add(static_cast<double>(count) * sizeof(float));
    auto* const made = source.arena.take<float>(count);
    std::copy(numbers.begin(), numbers.end(), made);
    return source.arena.share(made);
  }

  static constexpr std::int64_t kTwoTiles = 28;  ///< rows: AVX-512 computes 14 of them together

  /// The most rows at a time. Tiles are full but for those of the last rows, which come with the
  /// full ones before them.
  std::int64_t most_rows() const { return std::min(rows_at_once_ + kTwoTiles / 2, of_.rows); }

  std::int64_t taps_of(std::int64_t numbers) const { return bf16_ ? (numbers + 1) / 2 : numbers; }
  std::int64_t packed_keys() const { return taps_of(of_.depth) * keys_; }
  std::int64_t packed_values() const { return taps_of(of_.keys) * width_; }
  std::int64_t packing_floats() const {
    return bf16_ ? pack_pairs_floats(kernels_.lanes, std::max(of_.depth, of_.keys)) : 0;
  }

  /// What is added to scores.
  struct Term {
    std::size_t input;     ///< by its place among the inputs; kNone: numbers
    const float* numbers;  ///< of the layer's own
    std::int64_t begin;    ///< in the tensor
    std::int64_t row;      ///< from the numbers for a row to those for the next
  };
  /// Where the operands of a matrix lie.
  struct Item {
    const float* queries;
    const float* keys;
    const float* values;
    float* output;
    std::array<const float*, ScoresTask::kTerms> terms;
  };

  /// \param item a matrix of one of the units
  Item find(const Frame& frame, std::int64_t item) const {
    const std::int64_t unit = item / matrices_;
    Item found{};
    found.queries = frame.at<float>(inputs_[0], unit) + of_.query.begin;
    found.keys = frame.at<float>(inputs_[1], unit) + of_.key.begin;
    found.values = frame.at<float>(inputs_[2], unit) + of_.value.begin;
    found.output = frame.at<float>(to_, unit) + of_.output.begin;
    for (std::size_t t = 0; t < terms_.size(); ++t) {
      const Term& term = terms_[t];
      found.terms[t] = term.input == kNone
                           ? term.numbers
                           : frame.at<float>(inputs_[term.input], unit) + term.begin;
    }
    std::int64_t left = item % matrices_;
    for (auto loop = of_.matrices.rbegin(); loop != of_.matrices.rend(); ++loop) {
      const std::int64_t at = left % loop->count;
      left /= loop->count;
      found.queries += at * loop->query;
      found.keys += at * loop->key;
      found.values += at * loop->value;
      found.output += at * loop->output;
      for (std::size_t t = 0; t < terms_.size(); ++t) found.terms[t] += at * loop->terms[t];
    }
    return found;
  }

  /// Computes some rows of a matrix.
  void attend(const Frame& frame, std::int64_t item, std::int64_t begin, std::int64_t end) const {
    const Item of = find(frame, item);
    auto* const packing = reinterpret_cast<float*>(frame.scratch);
    float* const keys = packing + packing_floats();
    float* const values = keys + packed_keys();
    float* const queries = values + packed_values();
    float* const scores = queries + most_rows() * query_step_;
    float* const results = scores + most_rows() * score_step_;
    pack(of_.key, of.keys, of_.depth, of_.keys, keys_, packing, keys);
    pack(of_.value, of.values, of_.keys, of_.width, width_, packing, values);
    for (std::int64_t row = begin, rows = 0; row < end; row += rows) {
      rows = end - row;
      if (rows > most_rows()) rows = rows_at_once_;
      copy_queries(of.queries + row * of_.query.row, rows, queries);
      multiply(rows, {queries, query_step_, depth_runs_, keys, keys_, zeros_, scores, score_step_});
      weigh(of, row, rows, scores);
      if (bf16_) pair_weights(rows, scores);
      store_results(of, row, rows,
                    {scores, score_step_, key_runs_, values, width_, bias_, results, width_});
    }
  }

  /// Packs keys or values, of which the products with a row are columns. \param packing scratch
  void pack(const Product::Matrix& matrix, const float* from, std::int64_t sums,
            std::int64_t columns, std::int64_t of_blocks, float* packing, float* to) const {
    const std::int64_t block = 2 * kernels_.lanes;  // columns that the kernel computes together
    if (bf16_) {
      pack_pairs(kernels_, *bf16_, matrix, from, sums, columns, of_blocks, block, packing, to);
    } else {
      pack_columns(kernels_, matrix, from, sums, columns, of_blocks, block, to);
    }
  }

  void copy_queries(const float* from, std::int64_t rows, float* to) const {
    if (!bf16_) return copy_runs({of_.depth, rows, of_.query.row, query_step_}, from, to);
    for (std::int64_t row = 0; row < rows; ++row) {
      pair_row(*bf16_, kernels_.lanes, from + row * of_.query.row, of_.depth,
               to + row * query_step_);
    }
  }

  /// Makes pairs of rows of weights, in their place: a pair lies before the numbers that follow.
  void pair_weights(std::int64_t rows, float* weights) const {
    for (std::int64_t row = 0; row < rows; ++row) {
      float* const at = weights + row * score_step_;
      pair_row(*bf16_, kernels_.lanes, at, of_.keys, at);
    }
  }

  /// Rows that are multiplied by packed columns.
  struct Rows {
    const float* first;
    std::int64_t first_step;
    const std::vector<TapRun>& runs;
    const float* packed;
    std::int64_t columns;  ///< of whole vectors
    const float* bias;     ///< of each column
    float* output;
    std::int64_t output_step;
  };

  void multiply(std::int64_t rows, const Rows& of) const {
    ConvTask task{};
    task.input = of.first;
    task.input_column = of.first_step;
    task.taps = of.runs.back().offset + of.runs.back().count;
    task.runs = of.runs.data();
    task.run_count = static_cast<std::int32_t>(of.runs.size());
    task.weights = of.packed;
    task.epilogue.bias = of.bias;
    task.output = of.output;
    task.output_column = of.output_step;
    task.output_channel = kernels_.lanes;
    task.columns = static_cast<std::int32_t>(rows);
    task.rows = 1;
    task.images = 1;
    task.channels = static_cast<std::int32_t>(of.columns);
    (bf16_ ? bf16_->conv_channels : kernels_.conv_channels)(task);
  }

  /// Adds the terms to rows of scores, which become their softmax.
  void weigh(const Item& of, std::int64_t row, std::int64_t rows, float* scores) const {
    ScoresTask task{};
    task.from = task.to = scores;
    task.count = of_.keys;
    task.step = score_step_;
    task.rows = rows;
    task.scale = of_.scale;
    for (std::size_t t = 0; t < terms_.size(); ++t) {
      task.term_steps[t] = terms_[t].row;
      task.terms[t] = of.terms[t] + row * task.term_steps[t];
    }
    kernels_.softmax_scores(task);
  }

  /// Multiplies rows of weights by the values, and stores what that gives.
  void store_results(const Item& of, std::int64_t row, std::int64_t rows, Rows product) const {
    float* const output = of.output + row * of_.output.row;
    if (of_.width == width_) {
      product.output = output;
      product.output_step = of_.output.row;
      return multiply(rows, product);
    }
    // A vector that is not whole would write over what lies behind the row.
    multiply(rows, product);
    copy_runs({of_.width, rows, width_, of_.output.row}, product.output, output);
  }

  const Kernels& kernels_;
  const Bf16Kernels* bf16_;  ///< null: float32
  AttentionParams of_;       ///< without the terms, which are in terms_
  std::vector<Term> terms_;
  std::int64_t matrices_ = 1;
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<TapRun> depth_runs_;
  std::vector<TapRun> key_runs_;
  std::int64_t keys_ = 0;        ///< in whole vectors
  std::int64_t width_ = 0;       ///< of a row of values, in whole vectors
  std::int64_t query_step_ = 0;  ///< floats from a copied row of queries to the next
  std::int64_t score_step_ = 0;  ///< from a row of scores to the next
  std::int64_t rows_at_once_ = 0;
  const float* zeros_ = nullptr;  ///< the bias of the products that give the scores
  const float* bias_ = nullptr;   ///< of those that give the results
};

void check_attention(const LayerCheck& of) {
  const auto& params = of.layer.get<AttentionParams>();
  const Product scores = params.scores();
  const Product results = params.results();
  of.require(scores.count() > 0 && params.rows > 0 && params.depth > 0 && params.keys > 0 &&
                 params.width > 0,
             "has empty matrices");
  of.require_matrices(scores, kFirstOperand, of.input(0).values());
  of.require_matrices(scores, kSecondOperand, of.input(1).values());
  of.require_matrices(results, kSecondOperand, of.input(2).values());
  of.require_matrices(results, kProductOutput, of.output().values());
  of.require((params.depth == 1 || params.query.column == 1) &&
                 (params.width == 1 || params.output.column == 1),
             "has rows whose values do not lie side by side");
  of.require(results.writes_all(of.output().values()),
             "does not give each value of its output once");
  of.require(std::isfinite(params.scale) && params.scale > 0,
             "multiplies scores by no positive number");
  of.require(
      of.layer.bias.empty() || static_cast<std::int64_t>(of.layer.bias.size()) == params.width,
      "has another number of biases");
  of.require(params.terms.size() <= AttentionParams::kTerms, "adds more to its scores than it can");
  for (std::size_t t = 0; t < params.terms.size(); ++t) {
    const auto& [operand, row] = params.terms[t];
    const std::int64_t given = operand.input == kNone
                                   ? static_cast<std::int64_t>(operand.numbers.size())
                                   : of.input(operand.input).values();
    of.require(operand.begin >= 0 && (operand.begin == 0 || operand.input != kNone) && row >= 0,
               "reads values that there are not");
    std::int64_t last = operand.begin + (params.rows - 1) * row + params.keys - 1;
    for (const AttentionParams::Loop& loop : params.matrices) {
      of.require(loop.terms[t] >= 0, "reads values that there are not");
      last += (loop.count - 1) * loop.terms[t];
    }
    of.require(last < given, "reads values that there are not");
  }
}

}  // namespace

extern const LayerFamily kAttentionFamily = {check_attention, make_op<Attention>};

}  // namespace lenet::native
