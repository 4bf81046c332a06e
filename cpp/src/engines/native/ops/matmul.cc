#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "engines/native/ops/bf16.h"
#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// The number of products that a tile of pairs adds up at once: those of its 16 taps.
constexpr std::int64_t kSumsOfChunk = TileTaps::kChunkBytes / 2;

/// Runs of so many taps side by side.
std::vector<TapRun> runs_of(std::int64_t taps) {
  std::vector<TapRun> runs;
  for (std::int64_t first = 0; first < taps; first += kMaxRun) {
    runs.push_back({static_cast<std::int32_t>(first),
                    static_cast<std::int32_t>(std::min<std::int64_t>(kMaxRun, taps - first))});
  }
  return runs;
}

/// Whether rows that lie so many floats apart evict each other from the first-level cache, while
/// the kernel goes along as many of them as a tile has.
bool collides(std::int64_t step) {
  constexpr std::int64_t kSets = 64;  // of the first-level caches of most processors
  constexpr std::int64_t kLine = kCacheLine / std::int64_t{sizeof(float)};
  constexpr std::int64_t kRows = 14;
  constexpr int kMost = 4;  // half of the ways of such a set, and of some all
  std::array<int, kSets> lines{};
  for (std::int64_t row = 0; row < kRows; ++row) {
    if (++lines[static_cast<std::size_t>(row * step / kLine % kSets)] > kMost) return true;
  }
  return false;
}

/// Products of matrices, of tensors in the order of the program, by the kernels of convolutions: a
/// row of the first operand is a window, a column of the second one is a channel of the output.
/// Each value is one chain of multiply-adds that starts with the bias, whoever computes it. In
/// bf16, by constant weights, each adds the products of two sums: a pair (kernels.h) of a row and
/// one of the weights.
class MatMul final : public Op {
 public:
  explicit MatMul(const PlacedLayer& source)
      : kernels_(source.kernels),
        kernel_(source.kernel),
        bf16_(source.method == Method::ProductBf16 || source.method == Method::ProductTilesBf16
                  ? source.bf16
                  : nullptr),
        tiles_(source.method == Method::ProductTilesBf16),
        of_(source.layer.product().joined(has_weights(source.layer))),
        matrices_(of_.count()),
        inputs_(source.inputs),
        is_constant_(has_weights(source.layer)),
        to_(source.output),
        is_dense_(source.method == Method::ProductRow),
        turned_(of_.is_turned()) {
    if (source.sum != nullptr) residual_ = source.inputs.back();
    const Activation activation = source.activation();
    const bool is_bound =
        activation.kind == ActivationKind::Relu || activation.kind == ActivationKind::Clip;
    (is_bound ? bound_ : function_) = activation;
    choose_sizes();
    runs_ = runs_of(taps_of(sums_at_once_));
    last_runs_ = runs_of(taps_of((of_.sums - 1) % sums_at_once_ + 1));
    for (std::int64_t sum = 0; tiles_ && sum < of_.sums; sum += kSumsOfChunk) {
      offsets_.push_back(tap_offset(sum, source.layer));
    }
    pack_constants(source);
  }

  void run(const Frame& frame) const override {
    const std::int64_t items = (at_once_ ? 1 : frame.count) * matrices_;
    const std::int64_t images = at_once_ ? frame.count : 1;
    const std::int64_t blocks = (of_.columns + block_ - 1) / block_;
    const auto slices = frame.cut(items * of_.rows, blocks, [&](auto rows, auto some) {
      return work_of(rows * images, some);
    });
    frame.each(slices[0] * slices[1], [&](std::int64_t index) {
      const std::int64_t slice = index % slices[1];
      Part of;
      of.images = images;
      of.column = blocks * slice / slices[1] * block_;
      of.last_column = std::min(of_.columns, blocks * (slice + 1) / slices[1] * block_);
      Frame part = frame;
      part.part = index / slices[1];
      part.parts = slices[0];
      part.each_rows(items, of_.rows, [&](std::int64_t item, std::int64_t row, std::int64_t last) {
        of.row = row;
        of.last_row = last;
        find(frame, item, of);
        is_dense_ ? multiply_rows(frame, of) : multiply(frame, of);
      });
    });
    for (std::int64_t unit = 0; !is_dense_ && frame.part == 0 && unit < frame.count; ++unit) {
      clear_behind(to_, frame.at<float>(to_, unit));
    }
  }
  bool splits() const override { return true; }
  bool halves_weights() const override { return bf16_ != nullptr; }
  std::string kernel() const override { return kernel_; }
  std::int64_t scratch_bytes() const override {
    return (packed_floats() + rows_floats() + last_floats()) * std::int64_t{sizeof(float)};
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

  /// How many numbers the kernel takes for so many sums.
  std::int64_t taps_of(std::int64_t sums) const {
    return bf16_ == nullptr ? sums : (tiles_ ? round_up(sums, kSumsOfChunk) : sums + 1) / 2;
  }

  void choose_sizes() {
    // What the second-level cache should hold, in floats: of rows while the columns go through, of
    // packed columns while the rows do, and of columns that are always packed, all of them.
    constexpr std::int64_t kRows = 1 << 16;
    constexpr std::int64_t kPacked = 1 << 17;
    constexpr std::int64_t kFewWeights = 1 << 17;
    const std::int64_t copied_runs = bf16_ == nullptr ? 4 : 16;
    const std::int64_t copied = copied_runs * kMaxRun;  // sums, of rows in scratch memory
    constexpr std::int64_t kComputed = 64 * kMaxRun;
    constexpr std::int64_t kLeastRows = 56;  // four tiles
    block_ = (tiles_ ? 1 : 2) * kernels_.lanes;
    copies_ = bf16_ != nullptr || turned_ || (of_.rows > 1 && collides(of_.first.row));
    const bool all_at_once = tiles_ || (is_constant_ && !copies_);
    sums_at_once_ = std::min(of_.sums, all_at_once ? of_.sums : copies_ ? copied : kComputed);
    const std::int64_t of_row = copies_ ? copied_step() : sums_at_once_;
    rows_at_once_ = std::clamp(kRows / of_row, std::min(kLeastRows, of_.rows), of_.rows);
    columns_at_once_ = round_up(of_.columns, block_);
    if (!is_constant_) {
      const std::int64_t most = std::max(kPacked / sums_at_once_ / block_ * block_, block_);
      columns_at_once_ = std::min(columns_at_once_, most);
    } else if (!copies_ && of_.sums * of_.columns > kFewWeights) {
      rows_at_once_ = of_.rows;
      at_once_ = matrices_ == 1;
    }
    if (is_dense_) at_once_ = true;
  }

  std::int64_t packed_floats() const { return is_constant_ ? 0 : columns_at_once_ * sums_at_once_; }
  /// Behind each row of a copy there is room for a vector; so they do not collide either.
  std::int64_t copied_step() const {
    return round_up(taps_of(sums_at_once_), kernels_.lanes) + kernels_.lanes;
  }
  /// Floats of a row that is copied before its numbers are paired.
  std::int64_t unpaired_floats() const {
    return bf16_ != nullptr && turned_ ? round_up(sums_at_once_, kernels_.lanes) : 0;
  }
  std::int64_t rows_floats() const {
    return copies_ ? rows_at_once_ * (copied_step() + unpaired_floats()) : 0;
  }
  std::int64_t last_floats() const { return (residual_ ? 2 : 1) * kLastRows * kernels_.lanes; }

  /// Columns of the block of weights that begins at one of so many: those that are not a whole
  /// vector are one by themselves.
  std::int64_t width_at(std::int64_t column, std::int64_t columns) const {
    const std::int64_t whole = columns / kernels_.lanes * kernels_.lanes;
    return column < whole ? std::min(block_, whole - column) : kernels_.lanes;
  }

  void pack_constants(const PlacedLayer& source) {
    std::vector<std::int64_t> blocks;
    const std::int64_t all_vectors = (of_.columns + kernels_.lanes - 1) / kernels_.lanes;
    for (std::int64_t first = 0; first < all_vectors; first += blocks.back() / kernels_.lanes) {
      const auto left = static_cast<int>(std::min<std::int64_t>(all_vectors - first, kMaxRun));
      blocks.push_back(is_dense_ ? kernels_.dense_vectors(left) * kernels_.lanes
                                 : width_at(first * kernels_.lanes, of_.columns));
    }
    block_ = is_dense_ ? blocks.front() : block_;
    const std::int64_t columns = round_up(of_.columns, kernels_.lanes);
    source.memory.add(static_cast<double>(columns) *
                      static_cast<double>(is_constant_ ? taps_of(of_.sums) + 1 : 1) *
                      sizeof(float));
    float* const bias = source.arena.take<float>(columns);
    std::copy(source.layer.bias.begin(), source.layer.bias.end(), bias);
    for (std::int64_t c = 0; bf16_ != nullptr && c < of_.columns; ++c) {  // as in sums of bf16
      if (std::abs(bias[c]) < std::numeric_limits<float>::min()) bias[c] = 0;
    }
    bias_ = bias;
    if (!is_constant_) return;
    const WeightView from = source.layer.view_weights();
    float* const all = source.arena.take<float>(columns * taps_of(of_.sums));
    float* to = all;
    std::int64_t first = 0;
    for (const std::int64_t block : blocks) {
      pack_block(from, first, std::min(block, of_.columns - first), block, to);
      first += block;
      to += block * taps_of(of_.sums);
    }
    weights_ = source.arena.share(all);
  }

  /// Packs [taps][block] of constant weights, of which those behind `columns` are zeros.
  /// \param first the first column
  void pack_block(const WeightView& from, std::int64_t first, std::int64_t columns,
                  std::int64_t block, float* to) const {
    const std::int64_t taps = taps_of(of_.sums);
    if (bf16_ == nullptr && from.scales == nullptr && from.channel == 1) {  // row by row
      for (std::int64_t tap = 0; tap < taps; ++tap, to += block) {
        const auto at = static_cast<std::size_t>(first + tap * static_cast<std::int64_t>(from.tap));
        std::memcpy(to, from.data + at * sizeof(float),
                    static_cast<std::size_t>(columns) * sizeof(float));
      }
      return;
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        to[tap * block + c] = weight_at(from, static_cast<std::size_t>(first + c), tap);
      }
    }
  }

  /// A weight as the kernel multiplies it: a number, or a pair in its place.
  float weight_at(const WeightView& from, std::size_t column, std::int64_t tap) const {
    if (bf16_ == nullptr) return from.at(column, static_cast<std::size_t>(tap));
    const auto at = [&](std::int64_t sum) {
      return sum < of_.sums ? from.at(column, static_cast<std::size_t>(sum)) : 0;
    };
    const std::uint32_t pair = bf16_pair(at(2 * tap), at(2 * tap + 1));
    float found = 0;
    std::memcpy(&found, &pair, sizeof(found));
    return found;
  }

  /// What a part takes of so many rows and blocks, in multiply-adds of a vector.
  double work_of(std::int64_t rows, std::int64_t blocks) const {
    constexpr double kFetch = 5;  // while a vector is packed, or comes into the second-level cache
    const auto vectors = static_cast<double>(blocks * block_ / kernels_.lanes);
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
    part.second = is_constant_ ? nullptr : frame.at<float>(inputs_[1], unit) + second;
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
    task.weights = weights_ + part.column * of_.sums;
    task.epilogue.bias = bias_ + part.column;
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
      if (part.last_column == of_.columns) {
        clear_behind(to_, part.output + image * task.output_column);
      }
    }
  }

  ConvTask task_of(std::int64_t taps) const {
    ConvTask task{};
    const std::vector<TapRun>& runs = taps == taps_of(sums_at_once_) ? runs_ : last_runs_;
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
    float* const copied = packed + packed_floats();
    float* const last = copied + rows_floats();
    const std::int64_t rows = part.last_row - part.row;
    const std::int64_t strips = (rows + rows_at_once_ - 1) / rows_at_once_;
    Chunk chunk{};
    chunk.images = part.images;
    chunk.image_step = image_step(frame);
    for (std::int64_t column = part.column; column < part.last_column; column += columns_at_once_) {
      chunk.columns = std::min(columns_at_once_, part.last_column - column);
      chunk.bias = bias_ + column;
      for (std::int64_t sum = 0; sum < of_.sums; sum += sums_at_once_) {
        const std::int64_t sums = std::min(sums_at_once_, of_.sums - sum);
        chunk.taps = taps_of(sums);
        chunk.begins = sum == 0;
        chunk.ends = sum + sums == of_.sums;
        if (is_constant_) {
          chunk.packed = taps_of(of_.sums);
          chunk.weights = weights_ + column * chunk.packed;
          chunk.tap = taps_of(sum);
        } else {
          pack(part.second, sum, sums, column, chunk.columns, packed);
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
          if (copies_) {
            copy_rows(part.first, row, chunk.rows, sum, sums, copied);
            chunk.first = copied;
            chunk.first_step = copied_step();
          }
          add(chunk, last);
          if (chunk.ends) apply_function(chunk);
        }
      }
    }
  }

  /// Some rows and sums of the first operand, the sums or their pairs side by side.
  void copy_rows(const float* from, std::int64_t row, std::int64_t rows, std::int64_t sum,
                 std::int64_t sums, float* to) const {
    const std::int64_t step = copied_step();
    if (bf16_ != nullptr) {
      std::int64_t from_step = of_.first.row;
      const float* first = from + row * of_.first.row + sum;
      if (turned_) {
        float* const unpaired = to + rows_at_once_ * step;
        from_step = unpaired_floats();
        turn_rows(from, row, rows, sum, sums, unpaired, from_step);
        first = unpaired;
      }
      for (std::int64_t r = 0; r < rows; ++r) pair(first + r * from_step, sums, to + r * step);
    } else if (turned_) {
      turn_rows(from, row, rows, sum, sums, to, step);
    } else {
      for (std::int64_t r = 0; r < rows; ++r) {
        std::copy_n(from + (row + r) * of_.first.row + sum, sums, to + r * step);
      }
    }
  }

  /// Pairs of neighbours, and behind them zeros for the last taps of tiles. Reads none behind them,
  /// which need not be numbers.
  void pair(const float* from, std::int64_t count, float* to) const {
    if (tiles_) std::fill(to + count / 2, to + taps_of(count), 0.0F);
    const std::int64_t lanes = kernels_.lanes;
    const std::int64_t pairs = lanes / 2;  // of a vector
    const std::int64_t whole = count / lanes * lanes;
    bf16_->pair_neighbours(from, whole, to, pairs);
    if (whole == count) return;
    std::array<float, 16> rest{};
    std::copy(from + whole, from + count, rest.begin());
    bf16_->pair_neighbours(rest.data(), lanes, to + whole / 2, pairs);
  }

  /// Rows of the first operand where the values of its columns lie side by side.
  void turn_rows(const float* from, std::int64_t row, std::int64_t rows, std::int64_t sum,
                 std::int64_t sums, float* to, std::int64_t step) const {
    std::array<const float*, 16> lines{};
    for (std::int64_t k = 0; k < sums; k += kernels_.lanes) {
      for (std::int64_t l = 0; l < kernels_.lanes; ++l) {
        const std::int64_t line = sum + std::min(k + l, sums - 1);  // behind the last, any
        lines[static_cast<std::size_t>(l)] = from + line * of_.first.column + row;
      }
      kernels_.interleave(lines.data(), rows, to + k, step);
    }
  }

  /// Some sums and columns of the second operand, as the kernel reads weights.
  void pack(const float* from, std::int64_t sum, std::int64_t sums, std::int64_t column,
            std::int64_t columns, float* to) const {
    const std::int64_t lanes = kernels_.lanes;
    if (of_.columns == 1 || of_.second.column == 1) {
      for (std::int64_t k = 0; k < sums; ++k) {
        const float* const line = from + (sum + k) * of_.second.row + column;
        for (std::int64_t c = 0, width = 0; c < columns; c += width) {
          width = width_at(c, columns);
          const std::int64_t real = std::min(width, columns - c);
          float* const block = to + c * sums + k * width;
          std::copy_n(line + c, real, block);
          if (real < width) std::fill_n(block + real, width - real, 0.0F);
        }
      }
      return;
    }
    std::array<const float*, 16> lines{};
    for (std::int64_t c = 0, width = 0; c < columns; c += width) {
      width = width_at(c, columns);
      for (std::int64_t v = 0; v < width; v += lanes) {
        for (std::int64_t l = 0; l < lanes; ++l) {
          const std::int64_t line = column + std::min(c + v + l, columns - 1);  // as above
          lines[static_cast<std::size_t>(l)] = from + line * of_.second.column + sum;
        }
        kernels_.interleave(lines.data(), sums, to + c * sums + v, width);
      }
    }
  }

  /// Adds products to what the output has. \param last scratch memory, see kLastRows
  void add(const Chunk& chunk, float* last) const {
    const std::int64_t lanes = kernels_.lanes;
    // A vector that is not whole would go on in the next row.
    const std::int64_t whole = chunk.columns / lanes * lanes;
    const bool at_once = chunk.begins && chunk.packed == chunk.taps;  // all blocks
    const std::int64_t step = at_once ? std::max(whole, block_) : block_;
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
    (bf16_ == nullptr ? kernels_.conv_channels
     : tiles_         ? bf16_->conv_tiles
                      : bf16_->conv_channels)(task);
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
    task.weights =
        chunk.weights + column * chunk.packed + chunk.tap * width_at(column, chunk.columns);
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
  const char* kernel_;       ///< the method's name
  const Bf16Kernels* bf16_;  ///< null: float32
  bool tiles_;               ///< of bf16
  Product of_;               ///< with the matrices that are not one
  std::int64_t matrices_;
  std::vector<Placement> inputs_;
  bool is_constant_;  ///< the second operand
  Placement to_;
  std::optional<Placement> residual_;  ///< what is added, with the steps of the output
  Activation bound_;                   ///< as the kernel applies it; or none
  Activation function_;                ///< any other, afterwards; or none
  bool is_dense_;                      ///< one row of each image
  bool at_once_ = false;               ///< all images, while the caches hold a block of weights
  bool turned_;                        ///< the first operand has rows whose values lie apart
  bool copies_ = false;                ///< rows of the first operand, in scratch memory
  std::int64_t block_ = 0;             ///< columns that the kernel computes together
  std::int64_t sums_at_once_ = 0;      ///< of all columns and rows, before the next ones
  std::int64_t rows_at_once_ = 0;      ///< the same, of all columns
  std::int64_t columns_at_once_ = 0;   ///< that are packed together
  std::vector<TapRun> runs_;           ///< of so many sums
  std::vector<TapRun> last_runs_;      ///< of those that are left
  std::vector<std::int32_t> offsets_;  ///< of tiles: of each chunk of sums
  const float* weights_ = nullptr;     ///< constant ones, packed
  const float* bias_ = nullptr;        ///< of whole vectors; zeros where the layer has none
};

/// Requires that the matrices of a tensor, of which kernels read or write rows or columns, lie in
/// it.
void check_matrices(const LayerCheck& of, const ProductSide& side, std::int64_t values) {
  const char* const outside = "has matrices that lie outside of a tensor";
  const Product& product = of.layer.product();
  const Product::Matrix& matrix = product.*side.matrix;
  const std::int64_t rows = product.*side.rows;
  const std::int64_t columns = product.*side.columns;
  of.require(matrix.begin >= 0 && matrix.row >= 0 && matrix.column >= 0, outside);
  std::int64_t last = matrix.begin + (rows - 1) * matrix.row + (columns - 1) * matrix.column;
  for (const Product::Loop& loop : product.matrices) {
    of.require(loop.*side.step >= 0, outside);
    last += (loop.count - 1) * (loop.*side.step);
  }
  of.require(last < values, outside);
  of.require(rows == 1 || columns == 1 || matrix.row == 1 || matrix.column == 1,
             "has matrices in which no values lie side by side");
}

void check_product(const LayerCheck& of) {
  const Product& product = of.layer.product();
  of.require(product.count() > 0 && product.rows > 0 && product.sums > 0 && product.columns > 0,
             "has empty matrices");
  const std::size_t weights = std::max(of.layer.view_weights().count, of.layer.integers.size());
  const std::int64_t second =
      has_weights(of.layer) ? static_cast<std::int64_t>(weights) : of.input(1).values();
  check_matrices(of, kFirstOperand, of.input().values());
  check_matrices(of, kSecondOperand, second);
  check_matrices(of, kProductOutput, of.output().values());
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

extern const LayerFamily kProducts = {check_product, nullptr};

std::unique_ptr<Op> make_matmul(const PlacedLayer& source) {
  return std::make_unique<MatMul>(source);
}

}  // namespace lenet::native
