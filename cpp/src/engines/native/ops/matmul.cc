#include <algorithm>
#include <optional>
#include <utility>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"
#include "engines/native/ops/product_operands.h"

namespace lenet::native {
namespace {

/// Products of matrices, of tensors in the order of the program, by the kernels of convolutions: a
/// row of the first operand is a window, a column of the second one is a channel of the output.
/// Each value is one chain of multiply-adds that starts with the bias, whoever computes it.
class MatMul final : public Op {
 public:
  explicit MatMul(const PlacedLayer& source)
      : kernels_(source.kernels),
        kernel_(source.kernel),
        operands_(source),
        of_(operands_.product()),
        matrices_(of_.count()),
        inputs_(source.inputs),
        to_(source.output) {
    if (source.sum != nullptr) residual_ = source.inputs.back();
    const Activation activation = source.activation();
    const bool is_bound =
        activation.kind == ActivationKind::Relu || activation.kind == ActivationKind::Clip;
    (is_bound ? bound_ : function_) = activation;
    const std::int64_t sums = operands_.sums_at_once();
    runs_ = tap_runs(operands_.taps_of(sums));
    last_runs_ = tap_runs(operands_.taps_of((of_.sums - 1) % sums + 1));
    constexpr std::int64_t kStep = ProductOperands::kSumsOfChunk;
    for (std::int64_t sum = 0; operands_.has_tiles() && sum < of_.sums; sum += kStep) {
      offsets_.push_back(tap_offset(sum, source.layer));
    }
  }

  void run(const Frame& frame) const override {
    const std::int64_t items = (operands_.takes_images_at_once() ? 1 : frame.count) * matrices_;
    const std::int64_t images = operands_.takes_images_at_once() ? frame.count : 1;
    const std::int64_t blocks = (of_.columns + operands_.block() - 1) / operands_.block();
    const auto slices = frame.cut(items * of_.rows, blocks, [&](auto rows, auto some) {
      return work_of(rows * images, some);
    });
    frame.each(slices[0] * slices[1], [&](std::int64_t index) {
      const std::int64_t slice = index % slices[1];
      Part of;
      of.images = images;
      of.column = blocks * slice / slices[1] * operands_.block();
      of.last_column = std::min(of_.columns, blocks * (slice + 1) / slices[1] * operands_.block());
      Frame part = frame;
      part.part = index / slices[1];
      part.parts = slices[0];
      part.each_rows(items, of_.rows, [&](std::int64_t item, std::int64_t row, std::int64_t last) {
        of.row = row;
        of.last_row = last;
        find(frame, item, of);
        operands_.is_dense() ? multiply_rows(frame, of) : multiply(frame, of);
      });
    });
  }
  bool splits() const override { return true; }
  bool halves_weights() const override { return operands_.bf16() != nullptr; }
  std::string kernel() const override { return kernel_; }
  std::int64_t scratch_bytes() const override {
    return (operands_.packed_floats() + operands_.rows_floats() + last_floats()) *
           std::int64_t{sizeof(float)};
  }

 private:
  /// What is computed of one matrix, or of the same matrix of several images.
  struct Part {
    std::int64_t row;
    std::int64_t last_row;  ///< behind it
    std::int64_t column;
    std::int64_t last_column;
    std::int64_t images;
    const float* first;   ///< the operands, of the first image
    const float* second;  ///< null: constant
    float* output;
    const float* residual;  ///< what is added, with the steps of the output; null: nothing
  };
  /// Some rows and columns of a part, and some of its taps: sums, or pairs of them.
  struct Chunk {
    const float* first;       ///< the values that are multiplied
    std::int64_t first_step;  ///< floats' places from a row to the next
    const float* weights;     ///< of the first column
    std::int64_t packed;      ///< taps that each block of weights has
    std::int64_t tap;         ///< the first, in these
    std::int64_t taps;
    const float* bias;
    float* output;
    const float* residual;  ///< what is added at the end; null: nothing
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t images;
    std::int64_t image_step;
    bool begins;  ///< with the bias; else with the sums that are in the output
    bool ends;
  };

  static constexpr std::int64_t kLastRows = 128;  // of a block that is not whole vectors

  std::int64_t last_floats() const { return (residual_ ? 2 : 1) * kLastRows * kernels_.lanes; }

  /// What a part takes of so many rows and blocks, in multiply-adds of a vector.
  double work_of(std::int64_t rows, std::int64_t blocks) const {
    constexpr double kFetch = 5;  // while a vector is packed, or comes into the second-level cache
    const auto vectors = static_cast<double>(blocks * operands_.block() / kernels_.lanes);
    const auto sums = static_cast<double>(of_.sums);
    const auto all_rows = static_cast<double>(rows);
    return sums * (vectors * (all_rows + kFetch) + all_rows / kernels_.lanes * kFetch);
  }

  /// \param item a matrix, or one of a unit
  void find(const Frame& frame, std::int64_t item, Part& part) const {
    const std::int64_t unit = item / matrices_;
    std::int64_t first = of_.first.begin;
    std::int64_t second = of_.second.begin;
    std::int64_t output = of_.output.begin;
    std::int64_t left = item % matrices_;
    for (auto loop = of_.matrices.rbegin(); loop != of_.matrices.rend(); ++loop) {
      const std::int64_t at = left % loop->count;
      first += at * loop->first;
      second += at * loop->second;
      output += at * loop->output;
      left /= loop->count;
    }
    part.first = frame.at<float>(inputs_[0], unit) + first;
    part.second = operands_.is_constant() ? nullptr : frame.at<float>(inputs_[1], unit) + second;
    part.output = frame.at<float>(to_, unit) + output;
    part.residual = residual_ ? frame.at<float>(*residual_, unit) + output : nullptr;
  }

  static std::int64_t image_step(const Frame& frame) {
    return frame.unit_bytes / std::int64_t{sizeof(float)};
  }

  /// One row of each image: a fully connected layer.
  void multiply_rows(const Frame& frame, const Part& part) const {
    constexpr std::int64_t kCached = 1 << 18;  // floats that the caches hold from run to run
    ConvTask task = task_of(of_.sums);
    task.input = part.first;
    task.weights = operands_.weights() + part.column * of_.sums;
    task.epilogue.bias = operands_.bias() + part.column;
    task.epilogue.activation = bound_;
    task.output = part.output + part.column;
    task.columns = static_cast<std::int32_t>(part.images);
    task.rows = 1;
    task.channels = static_cast<std::int32_t>(part.last_column - part.column);
    task.input_column = task.output_column = image_step(frame);
    task.prefetches = of_.sums * of_.columns > kCached;
    kernels_.fully_connected(task);
    for (std::int64_t image = 0; image < part.images; ++image) {
      activate_run(kernels_, function_, task.output + image * task.output_column, task.channels);
    }
  }

  ConvTask task_of(std::int64_t taps) const {
    ConvTask task{};
    const std::vector<TapRun>& runs =
        taps == operands_.taps_of(operands_.sums_at_once()) ? runs_ : last_runs_;
    task.taps = static_cast<std::int32_t>(taps);
    task.runs = runs.data();
    task.run_count = static_cast<std::int32_t>(runs.size());
    task.offsets = offsets_.data();
    task.output_channel = kernels_.lanes;
    task.images = 1;
    return task;
  }

  void multiply(const Frame& frame, const Part& part) const {
    auto* const packed = reinterpret_cast<float*>(frame.scratch);
    float* const copied = packed + operands_.packed_floats();
    float* const last = copied + operands_.rows_floats();
    const std::int64_t rows = part.last_row - part.row;
    const std::int64_t strips = (rows + operands_.rows_at_once() - 1) / operands_.rows_at_once();
    Chunk chunk{};
    chunk.images = part.images;
    chunk.image_step = image_step(frame);
    for (std::int64_t column = part.column; column < part.last_column;
         column += operands_.columns_at_once()) {
      chunk.columns = std::min(operands_.columns_at_once(), part.last_column - column);
      chunk.bias = operands_.bias() + column;
      for (std::int64_t sum = 0; sum < of_.sums; sum += operands_.sums_at_once()) {
        const std::int64_t sums = std::min(operands_.sums_at_once(), of_.sums - sum);
        chunk.taps = operands_.taps_of(sums);
        chunk.begins = sum == 0;
        chunk.ends = sum + sums == of_.sums;
        if (operands_.is_constant()) {
          chunk.packed = operands_.taps_of(of_.sums);
          chunk.weights = operands_.weights() + column * chunk.packed;
          chunk.tap = operands_.taps_of(sum);
        } else {
          operands_.pack(part.second, sum, sums, column, chunk.columns, packed);
          chunk.weights = packed;
          chunk.packed = chunk.taps;
        }
        for (std::int64_t strip = 0; strip < strips; ++strip) {
          const std::int64_t row = part.row + rows * strip / strips;
          chunk.rows = part.row + rows * (strip + 1) / strips - row;
          const std::int64_t output = row * of_.output.row + column;
          chunk.output = part.output + output;
          chunk.residual = chunk.ends && residual_ ? part.residual + output : nullptr;
          chunk.first = part.first + row * of_.first.row + sum;
          chunk.first_step = of_.first.row;
          if (operands_.copies_rows()) {
            operands_.copy_rows(part.first, row, chunk.rows, sum, sums, copied);
            chunk.first = copied;
            chunk.first_step = operands_.copied_step();
          }
          add(chunk, last);
          if (chunk.ends) apply_function(chunk);
        }
      }
    }
  }

  /// Adds products to what the output has. \param last scratch memory, see kLastRows
  void add(const Chunk& chunk, float* last) const {
    const std::int64_t lanes = kernels_.lanes;
    // A vector that is not whole would go on in the next row.
    const std::int64_t whole = chunk.columns / lanes * lanes;
    const bool at_once = chunk.begins && chunk.packed == chunk.taps;  // all blocks
    const std::int64_t step = at_once ? std::max(whole, operands_.block()) : operands_.block();
    for (std::int64_t column = 0; column < whole; column += step) {
      ConvTask task = task_of_rows(chunk, column, std::min(step, whole - column));
      task.columns = static_cast<std::int32_t>(chunk.rows);
      task.rows = static_cast<std::int32_t>(chunk.images);
      task.input_column = chunk.first_step;
      task.output_column = of_.output.row;
      task.input_row = task.output_row = chunk.image_step;
      if (task.rows > task.columns) {
        std::swap(task.rows, task.columns);
        std::swap(task.input_row, task.input_column);
        std::swap(task.output_row, task.output_column);
      }
      task.epilogue.residual_row = task.output_row;
      convolve(task);
    }
    if (whole == chunk.columns) return;
    ConvTask task = task_of_rows(chunk, whole, chunk.columns - whole);
    task.input_column = chunk.first_step;
    task.output_column = lanes;
    task.rows = 1;
    task.output = last;
    for (std::int64_t image = 0; image < chunk.images; ++image) {
      for (std::int64_t row = 0; row < chunk.rows; row += kLastRows) {
        const std::int64_t rows = std::min(kLastRows, chunk.rows - row);
        const std::int64_t place = whole + image * chunk.image_step + row * of_.output.row;
        float* const to = chunk.output + place;
        if (!chunk.begins) fetch_last(to, rows, chunk.columns - whole, last);
        if (chunk.residual != nullptr) {
          float* const residual = last + kLastRows * lanes;
          fetch_last(chunk.residual + place, rows, chunk.columns - whole, residual);
          task.epilogue.residual = residual;
        }
        task.input = chunk.first + image * chunk.image_step + row * chunk.first_step;
        task.columns = static_cast<std::int32_t>(rows);
        convolve(task);
        each_of(rows, chunk.columns - whole, [&](std::int64_t r, std::int64_t c) {
          to[r * of_.output.row + c] = last[r * lanes + c];
        });
      }
    }
  }

  /// Copies some columns of rows of the output, or of the residual, to whole vectors.
  void fetch_last(const float* from, std::int64_t rows, std::int64_t columns, float* to) const {
    std::fill_n(to, rows * kernels_.lanes, 0.0F);
    each_of(rows, columns, [&](std::int64_t r, std::int64_t c) {
      to[r * kernels_.lanes + c] = from[r * of_.output.row + c];
    });
  }

  void convolve(const ConvTask& task) const {
    const Bf16Kernels* const bf16 = operands_.bf16();
    (bf16 == nullptr         ? kernels_.conv_channels
     : operands_.has_tiles() ? bf16->conv_tiles
                             : bf16->conv_channels)(task);
  }

  /// Few columns: a call to copy those of a row would take longer.
  template <class Work>
  static void each_of(std::int64_t rows, std::int64_t columns, const Work& work) {
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = 0; r < rows; ++r) work(r, c);
    }
  }

  /// \param column of the chunk, that begins a block
  ConvTask task_of_rows(const Chunk& chunk, std::int64_t column, std::int64_t columns) const {
    ConvTask task = task_of(chunk.taps);
    task.input = chunk.first;
    task.weights = chunk.weights + column * chunk.packed +
                   chunk.tap * operands_.width_at(column, chunk.columns);
    task.epilogue.bias = chunk.begins ? chunk.bias + column : nullptr;
    if (chunk.ends) task.epilogue.activation = bound_;
    task.output = chunk.output + column;
    if (chunk.residual != nullptr) task.epilogue.residual = chunk.residual + column;
    task.epilogue.residual_block = kernels_.lanes;
    task.channels = static_cast<std::int32_t>(columns);
    return task;
  }

  void apply_function(const Chunk& chunk) const {
    if (function_.kind == ActivationKind::None) return;
    const bool whole_rows = chunk.columns == of_.output.row;
    for (std::int64_t image = 0; image < chunk.images; ++image) {
      float* const to = chunk.output + image * chunk.image_step;
      if (whole_rows) {
        activate_run(kernels_, function_, to, chunk.rows * chunk.columns);
        continue;
      }
      for (std::int64_t row = 0; row < chunk.rows; ++row) {
        activate_run(kernels_, function_, to + row * of_.output.row, chunk.columns);
      }
    }
  }

  const Kernels& kernels_;
  const char* kernel_;  ///< the method's name
  ProductOperands operands_;
  const Product& of_;  ///< that of the operands
  std::int64_t matrices_;
  std::vector<Placement> inputs_;
  Placement to_;
  std::optional<Placement> residual_;  ///< what is added, with the steps of the output
  Activation bound_;                   ///< as the kernel applies it; or none
  Activation function_;                ///< any other, afterwards; or none
  std::vector<TapRun> runs_;           ///< of the sums that are added up at once
  std::vector<TapRun> last_runs_;      ///< of those that are left
  std::vector<std::int32_t> offsets_;  ///< of tiles: of each chunk of sums
};

void check_product(const LayerCheck& of) {
  const Product& product = of.layer.product();
  of.require(product.count() > 0 && product.rows > 0 && product.sums > 0 && product.columns > 0,
             "has empty matrices");
  const std::size_t weights = std::max(of.layer.view_weights().count, of.layer.integers.size());
  const std::int64_t second =
      has_weights(of.layer) ? static_cast<std::int64_t>(weights) : of.input(1).values();
  of.require_matrices(product, kFirstOperand, of.input().values());
  of.require_matrices(product, kSecondOperand, second);
  of.require_matrices(product, kProductOutput, of.output().values());
  of.require(product.columns == 1 || product.output.column == 1,
             "gives rows whose values do not lie side by side");
  of.require(product.writes_all(of.output().values()),
             "does not give each value of its output once");
  of.require(of.layer.integers.empty() || product.has_plain_rows(),
             "multiplies integers that are not in rows");
  of.require(
      of.layer.bias.empty() || static_cast<std::int64_t>(of.layer.bias.size()) == product.columns,
      "has another number of biases");
}

}  // namespace

extern const LayerFamily kProductFamily = {check_product, nullptr};

std::unique_ptr<Op> make_matmul(const PlacedLayer& source) {
  return std::make_unique<MatMul>(source);
}

}  // namespace lenet::native
