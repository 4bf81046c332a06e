/// \file
/// The operands of a product of matrices as its kernels read them: in which chunks, and which of
/// their values are copied, packed or paired before.
#pragma once

#include <cstdint>
#include <vector>

#include "engines/native/kernels/kernels.h"
#include "engines/native/ops/ops.h"
#include "engines/native/ops/tile_taps.h"
#include "engines/native/product.h"

namespace lenet::native {

/// Runs of so many taps side by side, as kernels take them.
std::vector<TapRun> tap_runs(std::int64_t taps);

/// Packs some columns of a second operand, as kernels read weights: blocks of `block` columns, each
/// [sum][column]. \pre the values of its rows, or of its columns, lie side by side
/// \param from the matrix's value of the first sum and the first column
/// \param of_blocks how many columns the blocks are for: `columns`, or as many whole vectors, of
///   which those behind the last one do not matter. Columns that are not a whole vector are a
///   block by themselves.
void pack_columns(const Kernels& kernels, const Product::Matrix& matrix, const float* from,
                  std::int64_t sums, std::int64_t columns, std::int64_t of_blocks,
                  std::int64_t block, float* to);

/// Writes a row of numbers as pairs of neighbours. The partner of the last of an odd number is 0.
/// Reads no value behind them, which need not be a number; writes up to whole vectors of `lanes`
/// numbers, half as many pairs.
void pair_row(const Bf16Kernels& bf16, std::int64_t lanes, const float* from, std::int64_t count,
              float* to);

/// Floats of scratch memory for pack_pairs().
std::int64_t pack_pairs_floats(std::int64_t lanes, std::int64_t sums);

/// Packs columns as pack_columns() does, but in pairs of two sums: each block has [pair][column].
/// The partner of the last of an odd number of sums is 0.
void pack_pairs(const Kernels& kernels, const Bf16Kernels& bf16, const Product::Matrix& matrix,
                const float* from, std::int64_t sums, std::int64_t columns, std::int64_t of_blocks,
                std::int64_t block, float* scratch, float* to);

/// A kernel multiplies some rows of the first operand by some columns of the second one, and adds
/// up some of their sums. In bf16, by constant weights, it adds the products of two sums at once: a
/// pair (kernels.h) of a row and one of the weights. A tap is a sum or such a pair.
class ProductOperands {
 public:
  /// The number of products that a tile of pairs adds up at once: those of its 16 taps.
  static constexpr std::int64_t kSumsOfChunk = TileTaps::kChunkBytes / 2;

  /// Chooses the sizes of chunks, and packs constant weights and the bias.
  /// \throws Error Unsupported: they take too much memory
  explicit ProductOperands(const PlacedLayer& source);

  const Product& product() const { return of_; }     ///< with the matrices that are not one
  bool is_constant() const { return is_constant_; }  ///< whether the second operand is
  bool is_dense() const { return is_dense_; }  ///< whether it multiplies one row of each image
  const Bf16Kernels* bf16() const { return bf16_; }  ///< null: float32
  bool has_tiles() const { return tiles_; }
  /// Whether all images are multiplied at once, while the caches hold a block of weights.
  bool takes_images_at_once() const { return at_once_; }
  /// Whether rows of the first operand are copied to scratch memory.
  bool copies_rows() const { return copies_; }

  std::int64_t block() const { return block_; }  ///< columns that the kernel computes together
  std::int64_t sums_at_once() const { return sums_at_once_; }        ///< of all columns and rows
  std::int64_t rows_at_once() const { return rows_at_once_; }        ///< of all columns
  std::int64_t columns_at_once() const { return columns_at_once_; }  ///< that are packed together

  const float* weights() const { return weights_; }  ///< constant ones, packed; or null
  const float* bias() const { return bias_; }  ///< of whole vectors; zeros where there is none

  /// How many taps so many sums are.
  std::int64_t taps_of(std::int64_t sums) const;
  /// Columns of the block of weights that begins at one of so many: those that are not a whole
  /// vector are a block by themselves.
  std::int64_t width_at(std::int64_t column, std::int64_t columns) const;

  /// Floats of scratch memory for pack().
  std::int64_t packed_floats() const { return is_constant_ ? 0 : columns_at_once_ * sums_at_once_; }
  /// Floats of scratch memory for copy_rows().
  std::int64_t rows_floats() const {
    return copies_ ? rows_at_once_ * (copied_step() + unpaired_floats()) : 0;
  }
  /// Floats from a copied row to the next. Behind each there is room for a vector, so that copies
  /// do not collide either.
  std::int64_t copied_step() const;

  /// Copies some rows and sums of the first operand, the taps of a row side by side.
  /// \param from the first operand's matrix
  void copy_rows(const float* from, std::int64_t row, std::int64_t rows, std::int64_t sum,
                 std::int64_t sums, float* to) const;
  /// Packs some sums and columns of the second operand, as the kernel reads weights.
  /// \param from the second operand's matrix
  void pack(const float* from, std::int64_t sum, std::int64_t sums, std::int64_t column,
            std::int64_t columns, float* to) const;

 private:
  void choose_sizes();
  void pack_constants(const PlacedLayer& source);
  /// Packs [taps][block] of constant weights, of which those behind `columns` are zeros.
  /// \param first the first column
  void pack_block(const WeightView& from, std::int64_t first, std::int64_t columns,
                  std::int64_t block, float* to) const;
  /// A weight as the kernel multiplies it: a number, or a pair in its place.
  float weight_at(const WeightView& from, std::size_t column, std::int64_t tap) const;
  /// Floats of a row that is copied before its numbers are paired.
  std::int64_t unpaired_floats() const;
  /// Writes pairs of neighbours, and behind them zeros for the last taps of tiles.
  void pair(const float* from, std::int64_t count, float* to) const;
  /// Copies rows of the first operand where the values of its columns lie side by side.
  void turn_rows(const float* from, std::int64_t row, std::int64_t rows, std::int64_t sum,
                 std::int64_t sums, float* to, std::int64_t step) const;

  const Kernels& kernels_;
  const Bf16Kernels* bf16_;
  bool tiles_;
  Product of_;
  bool is_constant_;
  bool is_dense_;
  bool turned_;  ///< the first operand has rows whose values lie apart
  bool at_once_ = false;
  bool copies_ = false;
  std::int64_t block_ = 0;
  std::int64_t sums_at_once_ = 0;
  std::int64_t rows_at_once_ = 0;
  std::int64_t columns_at_once_ = 0;
  const float* weights_ = nullptr;
  const float* bias_ = nullptr;
};

}  // namespace lenet::native
