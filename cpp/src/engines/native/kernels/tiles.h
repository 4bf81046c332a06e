/// \file
/// Convolutions by products of tiles, as the AMX instructions multiply them, of bytes (int8) or,
/// with LENET_BF16, of pairs of bf16.
///
/// A tile has 16 rows of 64 bytes. The inputs of 16 windows, a row of 64 bytes for each, which is a
/// chunk of its taps, are multiplied by the weights of 16 channels: [group of 4 bytes][channel].
/// The sums are a tile too: 16 numbers of 32 bits for each window. Two tiles of windows by two of
/// channels are computed together, so that each tile that is read is multiplied twice.
///
/// For vectors of 16 lanes. Included by the implementations of float32 and of integers.
#pragma once

#include "engines/native/kernels/vectors.h"

namespace lenet::native {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileBytes = 64;  ///< of a row
constexpr int kTileSize = kTileRows * kTileBytes;
constexpr int kTilesTogether = 2;  ///< of windows, and of channels

constexpr std::int64_t least_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// What multiplies: the instructions, or the loops which they are defined by, for tests on other
// processors. Both have eight tiles, and as many rows as they are made with, but of weights 16:
//   load<Tile>: rows so many bytes apart; store<Tile>;
//   add<Sums, Inputs, Weights>: adds the products to the sums.

/// Tiles of sums: of each tile of windows those of both tiles of channels.
constexpr int kSumTile = 0;
constexpr int kInputTile = 4;   ///< of two tiles of windows
constexpr int kWeightTile = 6;  ///< of two tiles of channels

/// Configures the tiles of the thread that makes it, for as long as it lives. It is written in
/// assembly, because older compilers have other functions for this.
class AmxTiles {
 public:
  explicit AmxTiles(int rows) {
    struct {
      std::uint8_t palette = 1;
      std::uint8_t start_row = 0;
      std::uint8_t reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shapes;
    static_assert(sizeof(shapes) == 64);
    for (int t = 0; t < 8; ++t) {
      shapes.row_bytes[t] = kTileBytes;
      shapes.rows[t] = static_cast<std::uint8_t>(t < kWeightTile ? rows : kTileRows);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
  }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
  /// So that what is in the tiles is not saved when threads change places.
  ~AmxTiles() { __asm__ volatile("tilerelease"); }

  template <int Tile>
  void load(const void* from, std::int64_t step) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(from), "r"(step), "i"(Tile)
                     : "memory");
  }
  template <int Tile>
  void store(void* to, std::int64_t step) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(step), "i"(Tile) : "memory");
  }
  template <int Sums, int Inputs, int Weights>
  void add() {
#ifdef LENET_BF16
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(Sums), "i"(Inputs), "i"(Weights));
#else
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(Sums), "i"(Inputs), "i"(Weights));
#endif
  }
};

class PlainTiles {
 public:
  explicit PlainTiles(int rows) : rows_(rows) {}

  template <int Tile>
  void load(const void* from, std::int64_t step) {
    for (int r = 0; r < rows_of(Tile); ++r) {
      __builtin_memcpy(tiles_[Tile][r], static_cast<const char*>(from) + r * step, kTileBytes);
    }
  }
  template <int Tile>
  void store(void* to, std::int64_t step) {
    for (int r = 0; r < rows_of(Tile); ++r) {
      __builtin_memcpy(static_cast<char*>(to) + r * step, tiles_[Tile][r], kTileBytes);
    }
  }
  template <int Sums, int Inputs, int Weights>
  void add() {
    for (int r = 0; r < rows_; ++r) {
      for (int o = 0; o < kTileRows; ++o) add(Sums, tiles_[Inputs][r], Weights, r, o);
    }
  }

 private:
  int rows_of(int tile) const { return tile < kWeightTile ? rows_ : kTileRows; }
  template <class Number>
  static Number at(const char* row, int i) {
    Number value;
    __builtin_memcpy(&value, row + i * static_cast<int>(sizeof(value)), sizeof(value));
    return value;
  }
  void add(int sums, const char* inputs, int weights, int row, int channel) {
    char* const place = tiles_[sums][row] + 4 * channel;
#ifdef LENET_BF16
    // The first numbers of all pairs, and the second ones, are summed apart, and then both.
    float products[2] = {};
    for (int i = 0; i < 2 * kTileRows; ++i) {
      products[i % 2] =
          __builtin_fmaf(of_bf16(inputs, i), of_bf16(tiles_[weights][i / 2], 2 * channel + i % 2),
                         products[i % 2]);
    }
    const float sum = at<float>(place, 0) + (products[0] + products[1]);
#else
    auto sum = at<std::int32_t>(place, 0);
    for (int i = 0; i < kTileBytes; ++i) {
      sum += at<std::uint8_t>(inputs, i) *
             at<std::int8_t>(tiles_[weights][i / 4], 4 * channel + i % 4);
    }
#endif
    __builtin_memcpy(place, &sum, sizeof(sum));
  }
  static float of_bf16(const char* row, int i) {
    const auto bits = static_cast<std::uint32_t>(at<std::uint16_t>(row, i)) << 16U;
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    const bool denormal = (bits & 0x7f800000U) == 0;
    return denormal ? 0 : value;
  }

  int rows_;
  alignas(kTileBytes) char tiles_[8][kTileRows][kTileBytes] = {};
};

/// Windows of some images, and the channels that are computed of them. All steps are in bytes.
struct TileTask {
  const char* input;  ///< the first tap of the first window
  std::int64_t input_column;
  std::int64_t input_row;
  std::int64_t input_image;
  const std::int32_t* offsets;  ///< of every chunk of taps from the first
  int offset_bytes;             ///< that 1 in `offsets` stands for
  int chunks;
  const char* weights;  ///< [tile of channels][chunk][16 groups of 4 bytes][16 channels]
  const char* start;    ///< of each channel's sum, 32 bits; as many as the tiles have
  int columns;
  int rows;
  int images;
  int tiles;  ///< of channels
};

/// 16 windows, or those that there are, in a row of all those of an image that lie equally far
/// apart. Some may be computed already, and some not be windows of the image.
struct TileOfWindows {
  const char* input;
  int image;
  int row;       ///< of the first window of all in the row
  int first;     ///< window in the row
  int computed;  ///< so many of them
};

/// \param weights of the first tile of channels
/// \param next weights to bring into the second-level cache, so many lines with each chunk
template <int Windows, int Channels, class Tiles>
void sum_tiles(Tiles& tiles, const TileTask& task, const TileOfWindows* windows,
               const char* weights, const char* start, const char* next, int next_lines,
               char* sums) {
  constexpr int kSecondLevel = 2;
  constexpr bool kTwoWindows = Windows == 2;
  constexpr bool kTwoChannels = Channels == 2;
  const std::int64_t tile_bytes = std::int64_t{task.chunks} * kTileSize;
  const std::int64_t step = task.input_column;
  tiles.template load<kSumTile>(start, 0);  // the same in all rows
  if constexpr (kTwoChannels) tiles.template load<kSumTile + 1>(start + kTileBytes, 0);
  if constexpr (kTwoWindows) tiles.template load<kSumTile + 2>(start, 0);
  if constexpr (kTwoWindows && kTwoChannels) {
    tiles.template load<kSumTile + 3>(start + kTileBytes, 0);
  }
  for (int c = 0; c < task.chunks; ++c, weights += kTileSize) {
    const std::int64_t offset = std::int64_t{task.offsets[c]} * task.offset_bytes;
    for (int i = 0; i < next_lines; ++i, next += kTileBytes) {
      __builtin_prefetch(next, 0, kSecondLevel);
    }
    tiles.template load<kInputTile>(windows[0].input + offset, step);
    tiles.template load<kWeightTile>(weights, kTileBytes);
    tiles.template add<kSumTile, kInputTile, kWeightTile>();
    if constexpr (kTwoChannels) {
      tiles.template load<kWeightTile + 1>(weights + tile_bytes, kTileBytes);
      tiles.template add<kSumTile + 1, kInputTile, kWeightTile + 1>();
    }
    if constexpr (kTwoWindows) {
      tiles.template load<kInputTile + 1>(windows[1].input + offset, step);
      tiles.template add<kSumTile + 2, kInputTile + 1, kWeightTile>();
    }
    if constexpr (kTwoWindows && kTwoChannels) {
      tiles.template add<kSumTile + 3, kInputTile + 1, kWeightTile + 1>();
    }
  }
  tiles.template store<kSumTile>(sums, kTileBytes);
  if constexpr (kTwoChannels) tiles.template store<kSumTile + 1>(sums + kTileSize, kTileBytes);
  if constexpr (kTwoWindows) tiles.template store<kSumTile + 2>(sums + 2 * kTileSize, kTileBytes);
  if constexpr (kTwoWindows && kTwoChannels) {
    tiles.template store<kSumTile + 3>(sums + 3 * kTileSize, kTileBytes);
  }
}

/// Calls `finish(image, row, column, count, tile, sums)` for windows side by side, of which `sums`
/// has 16 numbers each, those of a tile of channels.
template <class Tiles, class Finish>
void for_tiles_of(const TileTask& task, const Finish& finish) {
  // Windows in rows of the image, or all of an image in one, where that makes fewer tiles: those
  // that begin in its border are computed in vain.
  const auto tiles_of = [](std::int64_t windows) { return (windows + kTileRows - 1) / kTileRows; };
  std::int64_t pitch = task.columns;
  std::int64_t windows = task.columns;
  std::int64_t rows = task.rows;
  if (task.input_row % task.input_column == 0) {
    const std::int64_t whole_pitch = task.input_row / task.input_column;
    const std::int64_t whole = (rows - 1) * whole_pitch + task.columns;
    if (whole_pitch >= task.columns && tiles_of(whole) < rows * tiles_of(windows)) {
      pitch = whole_pitch;
      windows = whole;
      rows = 1;
    }
  }
  const std::int64_t in_row = tiles_of(windows);
  const std::int64_t all = task.images * rows * in_row;
  const auto tile_at = [&](std::int64_t index) {
    const std::int64_t row = index / in_row;
    const std::int64_t begin = index % in_row * kTileRows;
    const std::int64_t first = windows < kTileRows ? 0 : least_of(begin, windows - kTileRows);
    return TileOfWindows{task.input + row / rows * task.input_image + row % rows * task.input_row +
                             first * task.input_column,
                         static_cast<int>(row / rows), static_cast<int>(row % rows),
                         static_cast<int>(first), static_cast<int>(begin - first)};
  };
  const auto finish_tile = [&](const TileOfWindows& tile, int channels, char* sums) {
    const std::int64_t end = least_of(tile.first + kTileRows, windows);
    for (std::int64_t w = tile.first + tile.computed; w < end;) {
      const std::int64_t column = w % pitch;
      const std::int64_t count = least_of(task.columns - column, end - w);
      if (count > 0) {
        finish(tile.image, static_cast<int>(tile.row + w / pitch), static_cast<int>(column),
               static_cast<int>(count), channels, sums + (w - tile.first) * kTileBytes);
      }
      w += column < task.columns ? count : pitch - column;
    }
  };
  Tiles tiles(static_cast<int>(least_of(windows, kTileRows)));
  alignas(kTileBytes) char sums[kTilesTogether * kTilesTogether * kTileSize];
  const std::int64_t tile_bytes = std::int64_t{task.chunks} * kTileSize;
  for (int o = 0; o < task.tiles; o += kTilesTogether) {
    const int channels = least(kTilesTogether, task.tiles - o);
    const char* const weights = task.weights + o * tile_bytes;
    const char* const start = task.start + o * kTileBytes;
    // The tiles bring the weights of the next channels, which are as many.
    const char* next = weights + channels * tile_bytes;
    const std::int64_t steps = (all + 1) / kTilesTogether * task.chunks;
    const bool last = o + channels == task.tiles;
    const std::int64_t lines = last ? 0 : (channels * tile_bytes / kTileBytes + steps - 1) / steps;
    for (std::int64_t t = 0; t < all; t += kTilesTogether) {
      const int count = t + 1 < all ? 2 : 1;
      const TileOfWindows at[kTilesTogether] = {tile_at(t), tile_at(t + count - 1)};
      const auto sum = count == 2 ? channels == 2 ? sum_tiles<2, 2, Tiles> : sum_tiles<2, 1, Tiles>
                       : channels == 2 ? sum_tiles<1, 2, Tiles>
                                       : sum_tiles<1, 1, Tiles>;
      sum(tiles, task, at, weights, start, next, static_cast<int>(lines), sums);
      next += lines * task.chunks * kTileBytes;
      for (int i = 0; i < count * channels; ++i) {
        const int window = i / channels;
        const int channel = i % channels;
        finish_tile(at[window], o + channel,
                    sums + (kTilesTogether * window + channel) * kTileSize);
      }
    }
  }
}

/// What the processor does at most, as `multiply_adds` of the kernels: each sum of 4 bytes of
/// inputs with 4 of weights is as many products as they hold.
inline double tile_multiply_adds(std::int64_t steps, int products) {
  AmxTiles tiles(kTileRows);
  alignas(kTileBytes) const char zeros[kTileSize] = {};
  tiles.load<kInputTile>(zeros, kTileBytes);
  tiles.load<kWeightTile>(zeros, kTileBytes);
  tiles.load<kSumTile>(zeros, kTileBytes);
  tiles.load<kSumTile + 1>(zeros, kTileBytes);
  tiles.load<kSumTile + 2>(zeros, kTileBytes);
  tiles.load<kSumTile + 3>(zeros, kTileBytes);
  const std::int64_t rounds = steps / kTileRows + 1;  // they take 16 times as long
  for (std::int64_t i = 0; i < rounds; ++i) {
    tiles.add<kSumTile, kInputTile, kWeightTile>();
    tiles.add<kSumTile + 1, kInputTile, kWeightTile>();
    tiles.add<kSumTile + 2, kInputTile, kWeightTile>();
    tiles.add<kSumTile + 3, kInputTile, kWeightTile>();
  }
  constexpr int kSums = 4;
  return static_cast<double>(rounds) * kSums * kTileRows * kTileRows * kTileRows * products;
}

}  // namespace
}  // namespace lenet::native
