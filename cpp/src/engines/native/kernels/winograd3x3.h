/// \file
/// Convolutions of 3 x 3 by Winograd's minimal filtering, F(4 x 4, 3 x 3): sixteen outputs of a
/// channel for 36 multiplications instead of 144. Images in blocks of channels; the points are
/// those of winograd.h.
///
/// In bf16, F(2 x 4, 3 x 3): eight outputs for 24 multiplications instead of 72. What is multiplied
/// has been transformed in float32, and is rounded once. Of transforms with larger numbers more is
/// rounded away: by those of 4 x 4 a network's outputs are more than twice as far from float64's as
/// by its definition in bf16, by these 1.3 to 1.7 times.
///
/// Each of the products of a tile is a matrix product over the input channels, of some tiles and
/// two vectors of output channels: a plane. The weights are transformed when they are needed, into
/// a panel that stays in the cache: the nine values have a quarter of the bytes of the 36. What
/// Lagrange's interpolation divides by is left to the transform of the output.
///
/// Where the image ends with fewer than four rows or columns, a tile needs fewer of the points. The
/// transformed weights are the same, so that it has a part in some of the planes only.
///
/// Part of implementation.h.

constexpr int kTileRows3x3 = kIsBf16 ? 2 : 4;  // of outputs
constexpr int kTile3x3 = 4;                    // outputs of a row
constexpr int kRowPoints3x3 = kTileRows3x3 + 2;
constexpr int kPoints3x3 = kTile3x3 + 2;  // inputs of a row, and products
constexpr int kPlanes3x3 = kRowPoints3x3 * kPoints3x3;
constexpr int kTaps3x3 = 9;
constexpr int kGroup3x3 = kWinograd3x3Group;
/// The tiles whose sums are in registers, with those of kGroup3x3 vectors of output channels.
constexpr int kRows3x3 = kRegisters >= 32 ? 14 : 6;
constexpr int kMaxTiles3x3 = 64;
/// Input channels of a panel, or pairs of them. Their products are added up before they are added
/// to the others: one sum of all would be less accurate.
constexpr int kPanelChannels3x3 = 64;
/// Vectors of the next panel's weights that are fetched with kWinograd3x3Channels of products.
constexpr int kAhead3x3 = kPaired * kTaps3x3 * kWinograd3x3Channels / kPlanes3x3;
/// The weights of all panels are kept for several blocks of tiles if they are not more floats.
constexpr std::int64_t kMaxKept3x3 = 1 << 20;

/// Floats from a plane to the next: an odd number of cache lines, or the same place of many planes
/// would fall into one set of the cache.
constexpr std::int64_t odd_lines(std::int64_t floats) {
  return ((floats + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
}
// Constants, so that addresses of 36 planes need no arithmetic, and no registers that there are
// not.
constexpr std::int64_t kSumsPlane = odd_lines(std::int64_t{kGroup3x3} * kMaxTiles3x3 * kLanes);
constexpr std::int64_t kPanelPlane =
    odd_lines(std::int64_t{kGroup3x3} * kPanelChannels3x3 * kLanes);

// ---- the order of tiles

/// Whether a row of a tile with so many outputs does without a point.
constexpr bool lacks_point(int outputs, int point) {
  return (point == 4 && outputs < 4) || (point == 3 && outputs < 3);
}
/// The same of a column.
constexpr bool lacks_row_point(int outputs, int point) {
  return kTileRows3x3 == 4 && lacks_point(outputs, point);
}

/// A tile: its image and its first output.
struct TilePlace {
  std::int64_t image;
  std::int32_t y;
  std::int32_t x;
  int rows;  ///< of outputs
  int columns;
};

/// The tiles of all images: first the short ones at the bottom, then the whole ones, then the short
/// ones at the right, at last those that are both. The tiles that have a part in a plane are side
/// by side.
struct TileOrder {
  std::int64_t across;  ///< tiles of four columns
  std::int64_t down;
  int last_columns;  ///< columns that are left; 0
  int last_rows;
  std::int64_t ends[4];  ///< of the four kinds
};

TileOrder order_of(const Winograd3x3Task& task) {
  TileOrder order{task.width / kTile3x3,
                  task.height / kTileRows3x3,
                  task.width % kTile3x3,
                  task.height % kTileRows3x3,
                  {}};
  order.ends[0] = order.last_rows > 0 ? task.images * order.across : 0;
  order.ends[1] = order.ends[0] + task.images * order.across * order.down;
  order.ends[2] = order.ends[1] + (order.last_columns > 0 ? task.images * order.down : 0);
  order.ends[3] = order.ends[2] + (order.last_rows > 0 && order.last_columns > 0 ? task.images : 0);
  return order;
}

TilePlace place_of(const TileOrder& order, std::int64_t tile) {
  int kind = 0;
  while (tile >= order.ends[kind]) ++kind;
  if (kind > 0) tile -= order.ends[kind - 1];
  const bool bottom = kind == 0 || kind == 3;
  const bool right = kind >= 2;
  const std::int64_t across = right ? 1 : order.across;
  const std::int64_t down = bottom ? 1 : order.down;
  const std::int64_t y = bottom ? order.down : tile / across % down;
  const std::int64_t x = right ? order.across : tile % across;
  return {tile / (across * down), static_cast<std::int32_t>(y * kTileRows3x3),
          static_cast<std::int32_t>(x * kTile3x3), bottom ? order.last_rows : kTileRows3x3,
          right ? order.last_columns : kTile3x3};
}

#include "engines/native/kernels/winograd3x3_transforms.h"

// ---- products

/// Adds up the products of some input channels.
/// \param values [block of channels][`stride` tiles], of which the first
/// \param weights [channel][Vectors]
/// \param sums [Vectors][`stride` tiles]; set, rather than added to, where `first`
/// \param ahead what is fetched into the second-level cache on the way
/// \param step floats of it for kWinograd3x3Channels
/// In bf16 each of the channels here is a pair of them.
template <int Tiles, int Vectors>
void add_products(const float* values, const float* weights, std::int32_t channels,
                  std::int64_t stride, bool first, float* sums, const float* ahead,
                  std::int64_t step) {
  constexpr int kWidth = Vectors * kLanes;
  constexpr int kAtOnce = kWinograd3x3Channels;
  constexpr int kLines = most(1, kAhead3x3 * kWidth / kLineFloats);
  Vector total[Tiles][Vectors]{};
  for (std::int32_t left = channels; left > 0; left -= kFactors, values += stride * kFactors) {
    const float* at = values;
    for (int c = least(left, kFactors); c > 0; c -= kAtOnce) {
      unrolled<kLines>(
          [&](int i) { __builtin_prefetch(ahead + i * kLineFloats, 0, kIntoSecondLevel); });
      ahead += step;
      unrolled<kAtOnce>([&](int k) {
        Vector weight[Vectors];
        unrolled<Vectors>([&](int v) { weight[v] = load(weights + k * kWidth + v * kLanes); });
        unrolled<Tiles>([&](int t) {
          const Vector value = broadcast(at + t * kFactors + k);
          unrolled<Vectors>([&](int v) { add_product(total[t][v], value, weight[v]); });
        });
      });
      at += kAtOnce;
      weights += kAtOnce * kWidth;
    }
  }
  unrolled<Tiles, Vectors>([&](int t, int v) {
    float* sum = sums + (v * stride + t) * kLanes;
    store(sum, first ? total[t][v] : load(sum) + total[t][v]);
  });
}

/// The scratch memory of a task: the transformed values of a block of tiles, their sums, and panels
/// of transformed weights.
struct Memory3x3 {
  std::int64_t tiles;         ///< of a block, at most
  std::int64_t values_plane;  ///< floats from a plane of the values to the next
  std::int64_t panels;        ///< those of all weights, to be kept; or one
};

Memory3x3 memory_of(const Winograd3x3Task& task) {
  constexpr std::int64_t kFewestTiles = 8;
  constexpr std::int64_t kValues = std::int64_t{kMaxTiles3x3} * 256;  // of a plane; 2.4 MB in all
  const std::int64_t channels = (std::int64_t{task.in_channels} + kLanes - 1) / kLanes * kFactors;
  Memory3x3 memory;
  memory.tiles = kValues / channels;
  if (memory.tiles < kFewestTiles) memory.tiles = kFewestTiles;
  if (memory.tiles > kMaxTiles3x3) memory.tiles = kMaxTiles3x3;
  memory.values_plane = odd_lines(channels * memory.tiles);
  memory.panels = (channels + kPanelChannels3x3 - 1) / kPanelChannels3x3 *
                  ((task.blocks + kGroup3x3 - 1) / kGroup3x3);
  if (memory.panels * kPlanes3x3 * kPanelPlane > kMaxKept3x3) memory.panels = 1;
  return memory;
}

std::int64_t winograd3x3_scratch(const Winograd3x3Task& task) {
  const Memory3x3 memory = memory_of(task);
  return kPlanes3x3 * (memory.values_plane + kSumsPlane + memory.panels * kPanelPlane);
}

/// Tiles that are computed together.
struct Block3x3 {
  std::int64_t first;
  std::int64_t count;
  const float* values;  ///< [plane][block of input channels][tile]
  std::int64_t values_plane;
  float* sums;  ///< [plane][vector of output channels][tile]
};

/// Calls `work(first, count)` for those tiles of a block that have a part in a plane.
template <class Work>
inline void for_tiles_of_plane(const TileOrder& order, const Block3x3& block, int plane,
                               const Work& work) {
  const bool bottom = order.last_rows == 0 || !lacks_row_point(order.last_rows, plane / kPoints3x3);
  const bool right =
      order.last_columns == 0 || !lacks_point(order.last_columns, plane % kPoints3x3);
  std::int64_t first = bottom ? 0 : order.ends[0];
  std::int64_t end = !right ? order.ends[1] : !bottom ? order.ends[2] : order.ends[3];
  if (first < block.first) first = block.first;
  if (end > block.first + block.count) end = block.first + block.count;
  if (first >= end) return;
  for_even_parts(static_cast<int>(end - first), kRows3x3,
                 [&](int tile, int size) { work(first - block.first + tile, size); });
}

/// The products of a group of `Vectors` output channels.
/// \param weights of the group
/// \param panel the next one; moved on by `panel_step`
/// \param transforms whether the panels have not been transformed yet
template <int Vectors>
void add_group(const TileOrder& order, const Block3x3& block, std::int32_t channels,
               const float* weights, bool transforms, float*& panel, std::int64_t panel_step) {
  for (std::int32_t first = 0; first < channels; first += kPanelChannels3x3) {
    const std::int32_t count = least(kPanelChannels3x3, channels - first);
    if (transforms) transform_panel<Vectors>(weights, count, panel);
    weights += std::int64_t{count} * kPaired * kTaps3x3 * Vectors * kLanes;
    // The products of a panel fetch the weights of the next one.
    const float* ahead = weights;
    const std::int64_t step = transforms ? kAhead3x3 * Vectors * kLanes : 0;
    for (int p = 0; p < kPlanes3x3; ++p) {
      std::int64_t left = step;
      for_tiles_of_plane(order, block, p, [&](std::int64_t tile, int size) {
        const auto add = for_count<kRows3x3>(
            size, [](auto tiles) { return add_products<tiles.value, Vectors>; });
        add(block.values + p * block.values_plane + first * block.count + tile * kFactors,
            panel + p * kPanelPlane, count, block.count, first == 0,
            block.sums + p * kSumsPlane + tile * kLanes, ahead, left);
        left = 0;
      });
      ahead += count / kWinograd3x3Channels * step;
    }
    panel += panel_step;
  }
}

void winograd3x3(const Winograd3x3Task& task) {
  const TileOrder order = order_of(task);
  const Memory3x3 memory = memory_of(task);
  float* const values = task.scratch;
  float* const sums = values + kPlanes3x3 * memory.values_plane;
  float* const panels = sums + kPlanes3x3 * kSumsPlane;
  constexpr std::int32_t kMultiple = kWinograd3x3Channels * kPaired;
  const std::int32_t channels = (task.in_channels + kMultiple - 1) / kMultiple * kMultiple;
  const std::int32_t in_blocks = (task.in_channels + kLanes - 1) / kLanes;
  const std::int64_t tiles = task.last_tile - task.first_tile;
  const std::int64_t parts = (tiles + memory.tiles - 1) / memory.tiles;
  const bool keeps = memory.panels > 1 && parts > 1;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t first = task.first_tile + tiles * part / parts;
    const Block3x3 block{first, task.first_tile + tiles * (part + 1) / parts - first, values,
                         memory.values_plane, sums};
    for (std::int64_t i = 0; i < block.count; ++i) {
      const TilePlace place = place_of(order, first + i);
      const float* image = task.input + place.image * task.image_step;
      for (std::int32_t b = 0; b < in_blocks; ++b) {
        transform_tile(task, place, image + b * task.input_block, memory.values_plane,
                       values + (b * block.count + i) * kFactors);
      }
    }
    float* panel = panels;
    for (std::int32_t b = task.first_block; b < task.last_block; b += kGroup3x3) {
      const int vectors = least(kGroup3x3, task.last_block - b);
      (vectors == kGroup3x3
           ? add_group<kGroup3x3>
           : add_group<1>)(order, block, channels / kPaired,
                           task.weights + std::int64_t{b} * channels * kTaps3x3 * kLanes,
                           part == 0 || !keeps, panel, keeps ? kPlanes3x3 * kPanelPlane : 0);
      for (std::int64_t i = 0; i < block.count; ++i) {
        const TilePlace place = place_of(order, first + i);
        for (int v = 0; v < vectors; ++v) {
          finish_tile(task, place, sums + (v * block.count + i) * kLanes, b + v);
        }
      }
    }
  }
}
