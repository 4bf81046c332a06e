#include "engines/native/ops/product_operands.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "engines/native/ops/bf16.h"
#include "engines/native/ops/copy_runs.h"

namespace lenet::native {
namespace {

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

/// Columns of the block that begins at one of so many, of which those that are not a whole vector
/// are a block by themselves.
std::int64_t block_width(std::int64_t column, std::int64_t columns, std::int64_t block,
                         std::int64_t lanes) {
  const std::int64_t whole = columns / lanes * lanes;
  return column < whole ? std::min(block, whole - column) : lanes;
}

}  // namespace

std::vector<TapRun> tap_runs(std::int64_t taps) {
  std::vector<TapRun> runs;
  for (std::int64_t first = 0; first < taps; first += kMaxRun) {
    runs.push_back({static_cast<std::int32_t>(first),
                    static_cast<std::int32_t>(std::min<std::int64_t>(kMaxRun, taps - first))});
  }
  return runs;
}

void pack_columns(const Kernels& kernels, const Product::Matrix& matrix, const float* from,
                  std::int64_t sums, std::int64_t columns, std::int64_t of_blocks,
                  std::int64_t block, float* to) {
  const std::int64_t lanes = kernels.lanes;
  if (columns == 1 || matrix.column == 1) {
    for (std::int64_t c = 0, width = 0; c < of_blocks; c += width) {
      width = block_width(c, of_blocks, block, lanes);
      float* const packed = to + c * sums;
      const std::int64_t real = std::clamp<std::int64_t>(columns - c, 0, width);
      copy_runs({real, sums, matrix.row, width}, from + c, packed);
      for (std::int64_t k = 0; real < width && k < sums; ++k) {
        std::fill(packed + k * width + real, packed + (k + 1) * width, 0.0F);
      }
    }
    return;
  }
  std::array<const float*, 16> lines{};
  for (std::int64_t c = 0, width = 0; c < of_blocks; c += width) {
    width = block_width(c, of_blocks, block, lanes);
    for (std::int64_t v = 0; v < width; v += lanes) {
      for (std::int64_t l = 0; l < lanes; ++l) {
        const std::int64_t line = std::min(c + v + l, columns - 1);  // behind the last, any
        lines[static_cast<std::size_t>(l)] = from + line * matrix.column;
      }
      kernels.interleave(lines.data(), sums, to + c * sums + v, width);
    }
  }
}

void pair_row(const Bf16Kernels& bf16, std::int64_t lanes, const float* from, std::int64_t count,
              float* to) {
  const std::int64_t pairs = lanes / 2;  // of a vector
  const std::int64_t whole = count / lanes * lanes;
  bf16.pair_neighbours(from, whole, to, pairs);
  if (whole == count) return;
  std::array<float, 16> rest{};
  std::copy(from + whole, from + count, rest.begin());
  bf16.pair_neighbours(rest.data(), lanes, to + whole / 2, pairs);
}

std::int64_t pack_pairs_floats(std::int64_t lanes, std::int64_t sums) {
  return lanes * round_up(sums, lanes) / 2;
}

void pack_pairs(const Kernels& kernels, const Bf16Kernels& bf16, const Product::Matrix& matrix,
                const float* from, std::int64_t sums, std::int64_t columns, std::int64_t of_blocks,
                std::int64_t block, float* scratch, float* to) {
  const std::int64_t lanes = kernels.lanes;
  const std::int64_t pairs = (sums + 1) / 2;
  const bool side_by_side = columns == 1 || matrix.column == 1;
  static constexpr std::array<float, 16> kZeros{};
  std::array<const float*, 16> lines{};
  for (std::int64_t c = 0, width = 0; c < of_blocks; c += width) {
    width = block_width(c, of_blocks, block, lanes);
    for (std::int64_t v = c; v < c + width; v += lanes) {
      float* const packed = to + c * pairs + v - c;
      const std::int64_t real = std::clamp<std::int64_t>(columns - v, 0, lanes);
      if (!side_by_side) {
        const std::int64_t line_step = round_up(sums, lanes) / 2;
        for (std::int64_t l = 0; l < lanes; ++l) {
          float* const line = scratch + l * line_step;
          lines[static_cast<std::size_t>(l)] = line;
          const std::int64_t column = std::min(v + l, columns - 1);  // behind the last, any
          pair_row(bf16, lanes, from + column * matrix.column, sums, line);
        }
        kernels.interleave(lines.data(), pairs, packed, width);
        continue;
      }
      for (std::int64_t p = 0; p < pairs; ++p) {
        const float* low = from + 2 * p * matrix.row + v;
        const float* high = 2 * p + 1 < sums ? low + matrix.row : kZeros.data();
        std::array<float, 32> rest{};
        if (real < lanes) {
          std::copy_n(low, real, rest.begin());
          std::copy_n(high, real, rest.begin() + 16);
          low = rest.data();
          high = low + 16;
        }
        bf16.pair_rows(low, high, lanes, packed + p * width, 1);
      }
    }
  }
}

ProductOperands::ProductOperands(const PlacedLayer& source)
    : kernels_(source.kernels),
      bf16_(source.method == Method::ProductBf16 || source.method == Method::ProductTilesBf16
                ? source.bf16
                : nullptr),
      tiles_(source.method == Method::ProductTilesBf16),
      of_(source.layer.product().joined(has_weights(source.layer))),
      is_constant_(has_weights(source.layer)),
      is_dense_(source.method == Method::ProductRow),
      turned_(of_.is_turned()) {
  choose_sizes();
  pack_constants(source);
}

std::int64_t ProductOperands::taps_of(std::int64_t sums) const {
  return bf16_ == nullptr ? sums : (tiles_ ? round_up(sums, kSumsOfChunk) : sums + 1) / 2;
}

void ProductOperands::choose_sizes() {
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
    at_once_ = of_.count() == 1;
  }
  if (is_dense_) at_once_ = true;
}

std::int64_t ProductOperands::copied_step() const {
  return round_up(taps_of(sums_at_once_), kernels_.lanes) + kernels_.lanes;
}

std::int64_t ProductOperands::unpaired_floats() const {
  return bf16_ != nullptr && turned_ ? round_up(sums_at_once_, kernels_.lanes) : 0;
}

std::int64_t ProductOperands::width_at(std::int64_t column, std::int64_t columns) const {
  return block_width(column, columns, block_, kernels_.lanes);
}

void ProductOperands::pack_constants(const PlacedLayer& source) {
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
                    static_cast<double>(is_constant_ ? taps_of(of_.sums) + 1 : 1) * sizeof(float));
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

void ProductOperands::pack_block(const WeightView& from, std::int64_t first, std::int64_t columns,
                                 std::int64_t block, float* to) const {
  const std::int64_t taps = taps_of(of_.sums);
  if (bf16_ == nullptr && from.channel == 1) {  // row by row
    for (std::int64_t tap = 0; tap < taps; ++tap, to += block) {
      const auto at = static_cast<std::size_t>(first + tap * static_cast<std::int64_t>(from.tap));
      std::memcpy(to, from.data + at * sizeof(float),
                  static_cast<std::size_t>(columns) * sizeof(float));
      if (from.scales == nullptr) continue;
      for (std::int64_t c = 0; c < columns; ++c) to[c] *= from.scales[first + c];
    }
    return;
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      to[tap * block + c] = weight_at(from, static_cast<std::size_t>(first + c), tap);
    }
  }
}

float ProductOperands::weight_at(const WeightView& from, std::size_t column,
                                 std::int64_t tap) const {
  if (bf16_ == nullptr) return from.at(column, static_cast<std::size_t>(tap));
  const auto at = [&](std::int64_t sum) {
    return sum < of_.sums ? from.at(column, static_cast<std::size_t>(sum)) : 0;
  };
  const std::uint32_t pair = bf16_pair(at(2 * tap), at(2 * tap + 1));
  float found = 0;
  std::memcpy(&found, &pair, sizeof(found));
  return found;
}

void ProductOperands::copy_rows(const float* from, std::int64_t row, std::int64_t rows,
                                std::int64_t sum, std::int64_t sums, float* to) const {
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

void ProductOperands::pair(const float* from, std::int64_t count, float* to) const {
  if (tiles_) std::fill(to + count / 2, to + taps_of(count), 0.0F);
  pair_row(*bf16_, kernels_.lanes, from, count, to);
}

void ProductOperands::turn_rows(const float* from, std::int64_t row, std::int64_t rows,
                                std::int64_t sum, std::int64_t sums, float* to,
                                std::int64_t step) const {
  std::array<const float*, 16> lines{};
  for (std::int64_t k = 0; k < sums; k += kernels_.lanes) {
    for (std::int64_t l = 0; l < kernels_.lanes; ++l) {
      const std::int64_t line = sum + std::min(k + l, sums - 1);  // behind the last, any
      lines[static_cast<std::size_t>(l)] = from + line * of_.first.column + row;
    }
    kernels_.interleave(lines.data(), rows, to + k, step);
  }
}

void ProductOperands::pack(const float* from, std::int64_t sum, std::int64_t sums,
                           std::int64_t column, std::int64_t columns, float* to) const {
  const Product::Matrix& matrix = of_.second;
  pack_columns(kernels_, matrix, from + sum * matrix.row + column * matrix.column, sums, columns,
               columns, block_, to);
}

}  // namespace lenet::native
