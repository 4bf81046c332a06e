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
/// Part of implementation.h, after winograd3x3_tiles.h and winograd3x3_transforms.h.

/// How many tiles have their sums in registers, with those of kGroup3x3 vectors of output channels.
constexpr int kRows3x3 = kRegisters >= 32 ? 14 : 6;
/// Vectors of the next panel's weights that are fetched with kWinograd3x3Channels of products.
constexpr int kAhead3x3 = kPaired * kTaps3x3 * kWinograd3x3Channels / kPlanes3x3;
/// The weights of all panels are kept for several blocks of tiles if they are not more floats.
constexpr std::int64_t kMaxKept3x3 = 1 << 20;

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
