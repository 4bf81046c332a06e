/// \file
/// Convolutions of 3 x 3 by Winograd's minimal filtering, F(4 x 4, 3 x 3): sixteen outputs of a
/// channel for 36 multiplications instead of 144. Images in blocks of channels; the points and the
/// transform of the input are those of winograd.h.
///
/// Each of the 36 products of a tile is a matrix product over the input channels, of some tiles and
/// two vectors of output channels: a plane. The weights are transformed when they are needed, into
/// a panel that stays in the cache: the nine values have a quarter of the bytes of the 36. What
/// Lagrange's interpolation divides by is left to the transform of the output.
///
/// Where the image ends with fewer than four rows or columns, a tile needs fewer of the points. The
/// transformed weights are the same, so that it has a part in some of the planes only.
///
/// Part of implementation.h.

constexpr int kTile3x3 = 4;    // outputs of a direction
constexpr int kPoints3x3 = 6;  // and inputs, and products
constexpr int kPlanes3x3 = kPoints3x3 * kPoints3x3;
constexpr int kTaps3x3 = 9;
constexpr int kGroup3x3 = kWinograd3x3Group;
/// The tiles whose sums are in registers, with those of kGroup3x3 vectors of output channels.
constexpr int kRows3x3 = kRegisters >= 32 ? 14 : 6;
constexpr int kMaxTiles3x3 = 64;
/// Input channels of a panel. Their products are added up before they are added to the others: one
/// sum of all would be less accurate.
constexpr int kPanelChannels3x3 = 64;
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

/// Whether a direction of a tile with so many outputs does without a point.
constexpr bool lacks_point(int outputs, int point) {
  return (point == 4 && outputs < 4) || (point == 3 && outputs < 3);
}

/// A tile: its image and its first output.
struct TilePlace {
  std::int64_t image;
  std::int32_t y;
  std::int32_t x;
  int rows;  ///< of outputs
  int columns;
};

/// The tiles of all images: first the short ones at the bottom, then those of 4 x 4, then the short
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
                  task.height / kTile3x3,
                  task.width % kTile3x3,
                  task.height % kTile3x3,
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
  return {tile / (across * down), static_cast<std::int32_t>(y * kTile3x3),
          static_cast<std::int32_t>(x * kTile3x3), bottom ? order.last_rows : kTile3x3,
          right ? order.last_columns : kTile3x3};
}

// ---- transforms

/// Both directions of a transform that makes `To` values of `From`.
/// \param load_at gives the value of a row and column, and `store_at` takes those of the result
template <int From, int To, class Load, class Store>
inline __attribute__((always_inline)) void transform_square(
    void (&transform)(const Vector (&)[From], Vector (&)[To]), const Load& load_at,
    const Store& store_at) {
  Vector half[To][From];
  unrolled<From>([&](int x) {
    Vector column[From];
    unrolled<From>([&](int y) { column[y] = load_at(y, x); });
    Vector values[To];
    transform(column, values);
    unrolled<To>([&](int y) { half[y][x] = values[y]; });
  });
  unrolled<To>([&](int y) {
    Vector values[To];
    transform(half[y], values);
    unrolled<To>([&](int x) { store_at(y, x, values[x]); });
  });
}

/// One direction of the transform of the weights.
inline void transform_weights(const Vector (&from)[3], Vector (&to)[kPoints3x3]) {
  constexpr float kA = kWinogradNear;
  constexpr float kB = kWinogradFar;
  const Vector even_a = from[0] + from[2] * (kA * kA);
  const Vector even_b = from[0] + from[2] * (kB * kB);
  to[0] = from[0];
  to[1] = even_a + from[1] * kA;
  to[2] = even_a - from[1] * kA;
  to[3] = even_b + from[1] * kB;
  to[4] = even_b - from[1] * kB;
  to[5] = from[2];
}

/// The weights of some input channels.
/// \param from [channel][3][3][Vectors]
/// \param to [plane][channel][Vectors]
template <int Vectors>
void transform_panel(const float* from, std::int64_t channels, float* to) {
  constexpr int kWidth = Vectors * kLanes;
  for (std::int64_t i = 0; i < channels * Vectors; ++i, to += kLanes) {
    const float* at = from + i / Vectors * kTaps3x3 * kWidth + i % Vectors * kLanes;
    transform_square(
        transform_weights, [&](int y, int x) { return load(at + (3 * y + x) * kWidth); },
        [&](int y, int x, Vector value) { store(to + (y * kPoints3x3 + x) * kPanelPlane, value); });
  }
}

/// A tile with 4 x 4 outputs, of a block of channels.
/// \param to of the first plane; the others are `plane` apart
__attribute__((noinline)) void transform_whole(const float* from, std::int64_t row,
                                               std::int64_t plane, float* to) {
  transform_square(
      transform_input, [&](int y, int x) { return load(from + y * row + x * kLanes); },
      [&](int y, int x, Vector value) { store(to + (y * kPoints3x3 + x) * plane, value); });
}

/// One direction of a tile with any number of outputs, in its place.
inline void transform_line(int outputs, Vector* line, int step) {
  constexpr float kA = kWinogradNear;
  constexpr float kB = kWinogradFar;
  Vector from[kPoints3x3];
  Vector to[kPoints3x3]{};
  for (int i = 0; i < kPoints3x3; ++i) from[i] = line[i * step];
  if (outputs == kTile3x3) {
    transform_input(from, to);
  } else if (outputs == 3) {  // the points 0, a, -a, b and infinity
    Vector inner[4];
    for (int i = 0; i < 4; ++i) inner[i] = from[i + 1] - from[i] * kB;
    to[0] = inner[2] - inner[0] * (kA * kA);
    to[1] = inner[2] + inner[1] * kA;
    to[2] = inner[2] - inner[1] * kA;
    to[3] = from[3] - from[1] * (kA * kA);
    to[5] = inner[3] - inner[1] * (kA * kA);
  } else {  // 0, a, -a and infinity
    to[0] = from[2] - from[0] * (kA * kA);
    to[1] = from[2] + from[1] * kA;
    to[2] = from[2] - from[1] * kA;
    to[5] = from[3] - from[1] * (kA * kA);
  }
  for (int i = 0; i < kPoints3x3; ++i) line[i * step] = to[i];
}

/// A tile of a block of channels. What lies outside of the image is 0.
/// \param image the first pixel of the block
/// \param to of the first plane
inline void transform_tile(const Winograd3x3Task& task, const TilePlace& place, const float* image,
                           std::int64_t plane, float* to) {
  const std::int32_t top = place.y - task.padding_top;
  const std::int32_t left = place.x - task.padding_left;
  const int first_row = most(0, -top);
  const int last_row = least(kPoints3x3, task.in_height - top);
  const int first_column = most(0, -left);
  const int last_column = least(kPoints3x3, task.in_width - left);
  const bool whole = place.rows == kTile3x3 && place.columns == kTile3x3;
  if (whole && first_row == 0 && last_row == kPoints3x3 && first_column == 0 &&
      last_column == kPoints3x3) {
    const float* from = image + top * task.input_row + left * kLanes;
    return transform_whole(from, task.input_row, plane, to);
  }
  Vector copy[kPlanes3x3]{};
  for (int y = first_row; y < last_row; ++y) {
    for (int x = first_column; x < last_column; ++x) {
      copy[y * kPoints3x3 + x] = load(image + (top + y) * task.input_row + (left + x) * kLanes);
    }
  }
  if (whole) {
    const auto* from = reinterpret_cast<const float*>(copy);
    return transform_whole(from, kPoints3x3 * kLanes, plane, to);
  }
  for (int x = 0; x < kPoints3x3; ++x) transform_line(place.rows, copy + x, kPoints3x3);
  for (int y = 0; y < kPoints3x3; ++y) {
    transform_line(place.columns, copy + y * kPoints3x3, 1);
  }
  for (int p = 0; p < kPlanes3x3; ++p) store(to + p * plane, copy[p]);
}

/// One direction of an output tile with four, divided by what kOutputScale has.
inline void transform_sums(const Vector (&from)[kPoints3x3], Vector (&to)[kTile3x3]) {
  constexpr double kA = kWinogradNear;
  constexpr double kB = kWinogradFar;
  const Vector sum_a = from[1] + from[2];
  const Vector sum_b = from[3] + from[4];
  const Vector difference_a = from[1] - from[2];
  const Vector difference_b = from[3] - from[4];
  const Vector even = sum_a - sum_b * static_cast<float>(kA * kA / (kB * kB));
  const Vector odd = difference_a - difference_b * static_cast<float>(kB / kA);
  to[0] = from[0] + even * static_cast<float>(kB * kB / (2 * (kA * kA - kB * kB)));
  to[1] = difference_a - difference_b * static_cast<float>(kA / kB);
  to[2] = sum_a - sum_b;
  to[3] = from[5] + odd * static_cast<float>(kA / (2 * (kA * kA - kB * kB)));
}

constexpr double square(double value) { return value * value; }
constexpr double kSquares = square(kWinogradNear) - square(kWinogradFar);
constexpr double kOutputScale[kTile3x3] = {1 / square(double{kWinogradNear} * kWinogradFar),
                                           1 / (2 * kWinogradNear * kSquares), 1 / (2 * kSquares),
                                           1};

/// What is added to an output, whose epilogue has the residual of the first; or null.
inline const float* residual_at(const Epilogue& epilogue, int y, int x) {
  if (epilogue.residual == nullptr) return nullptr;
  return epilogue.residual + y * epilogue.residual_row + x * kLanes;
}

/// A tile with 4 x 4 outputs, of a vector of channels.
/// \param sums of the first plane
__attribute__((noinline)) void finish_whole(const float* sums, Vector bias,
                                            const Epilogue& epilogue, float* output,
                                            std::int64_t output_row) {
  transform_square(
      transform_sums, [&](int y, int x) { return load(sums + (y * kPoints3x3 + x) * kSumsPlane); },
      [&](int y, int x, Vector value) {
        const float scale = static_cast<float>(kOutputScale[y] * kOutputScale[x]);
        store(output + y * output_row + x * kLanes,
              finished(bias + value * scale, epilogue, residual_at(epilogue, y, x)));
      });
}

/// One direction of any output tile, in its place.
inline void finish_line(int outputs, Vector* line, int step) {
  constexpr double kA = kWinogradNear;
  constexpr double kB = kWinogradFar;
  Vector from[kPoints3x3];
  Vector to[kTile3x3]{};
  for (int i = 0; i < kPoints3x3; ++i) from[i] = line[i * step];
  if (outputs == kTile3x3) {
    transform_sums(from, to);
    for (int i = 0; i < kTile3x3; ++i) to[i] *= all(static_cast<float>(kOutputScale[i]));
  } else if (outputs == 3) {
    const Vector plus = from[1] * static_cast<float>(1 / (2 * kA * kA * (kA - kB)));
    const Vector minus = from[2] * static_cast<float>(-1 / (2 * kA * kA * (kA + kB)));
    const Vector far = from[3] * static_cast<float>(-1 / (kB * kSquares));
    to[0] = from[0] * static_cast<float>(1 / (kA * kA * kB)) + plus + minus + far;
    to[1] = (plus - minus) * kWinogradNear + far * kWinogradFar;
    to[2] =
        from[5] + (plus + minus) * static_cast<float>(kA * kA) + far * static_cast<float>(kB * kB);
  } else {
    const Vector inner = (from[1] + from[2]) * 0.5F - from[0];
    to[0] = inner * static_cast<float>(1 / (kA * kA));
    to[1] = from[5] + (from[1] - from[2]) * static_cast<float>(1 / (2 * kA));
  }
  for (int i = 0; i < kTile3x3; ++i) line[i * step] = to[i];
}

/// A tile of a vector of output channels.
void store_tile(const Winograd3x3Task& task, const TilePlace& place, const float* sums,
                std::int32_t block, float* output) {
  Epilogue epilogue = task.epilogue;
  const Vector bias = load(epilogue.bias + block * kLanes);
  if (epilogue.residual != nullptr) {
    epilogue.residual += place.image * task.image_step + block * epilogue.residual_block +
                         place.y * epilogue.residual_row + place.x * kLanes;
  }
  if (place.rows == kTile3x3 && place.columns == kTile3x3) {
    return finish_whole(sums, bias, epilogue, output, task.output_row);
  }
  Vector values[kPlanes3x3];
  for (int y = 0; y < kPoints3x3; ++y) {
    for (int x = 0; x < kPoints3x3; ++x) {
      const int p = y * kPoints3x3 + x;
      const bool lacks = lacks_point(place.rows, y) || lacks_point(place.columns, x);
      values[p] = lacks ? Vector{} : load(sums + p * kSumsPlane);
    }
  }
  for (int x = 0; x < kPoints3x3; ++x) finish_line(place.rows, values + x, kPoints3x3);
  for (int y = 0; y < place.rows; ++y) {
    finish_line(place.columns, values + y * kPoints3x3, 1);
    for (int x = 0; x < place.columns; ++x) {
      store(output + y * task.output_row + x * kLanes,
            finished(bias + values[y * kPoints3x3 + x], epilogue, residual_at(epilogue, y, x)));
    }
  }
}

void finish_tile(const Winograd3x3Task& task, const TilePlace& place, const float* sums,
                 std::int32_t block) {
  float* output = task.output + place.image * task.image_step + block * task.output_block +
                  place.y * task.output_row + place.x * kLanes;
  store_tile(task, place, sums, block, output);
  for (int y = 0; y < place.rows; ++y, output += task.output_row) {
    activate_stored(task.epilogue.activation, output, place.columns, kLanes, 1, 0);
  }
}

// ---- products

/// Adds up the products of some input channels.
/// \param values [block of channels][`stride` tiles], of which the first
/// \param weights [channel][Vectors]
/// \param sums [Vectors][`stride` tiles]; set, rather than added to, where `first`
/// \param ahead what is fetched into the second-level cache on the way
/// \param step floats of it for kWinograd3x3Channels
template <int Tiles, int Vectors>
void add_products(const float* values, const float* weights, std::int32_t channels,
                  std::int64_t stride, bool first, float* sums, const float* ahead,
                  std::int64_t step) {
  constexpr int kWidth = Vectors * kLanes;
  constexpr int kAtOnce = kWinograd3x3Channels;
  constexpr int kLines = most(1, kWidth / kLineFloats);
  Vector total[Tiles][Vectors]{};
  for (std::int32_t left = channels; left > 0; left -= kLanes, values += stride * kLanes) {
    const float* at = values;
    for (int c = least(left, kLanes); c > 0; c -= kAtOnce) {
      unrolled<kLines>(
          [&](int i) { __builtin_prefetch(ahead + i * kLineFloats, 0, kIntoSecondLevel); });
      ahead += step;
      unrolled<kAtOnce>([&](int k) {
        Vector weight[Vectors];
        unrolled<Vectors>([&](int v) { weight[v] = load(weights + k * kWidth + v * kLanes); });
        unrolled<Tiles>([&](int t) {
          const Vector value = all(at[t * kLanes + k]);
          unrolled<Vectors>([&](int v) { total[t][v] += value * weight[v]; });
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
  const std::int64_t channels = (std::int64_t{task.in_channels} + kLanes - 1) / kLanes * kLanes;
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
  const bool bottom = order.last_rows == 0 || !lacks_point(order.last_rows, plane / kPoints3x3);
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
    weights += std::int64_t{count} * kTaps3x3 * Vectors * kLanes;
    // The products of a panel fetch the weights of the next one.
    const float* ahead = weights;
    const std::int64_t step = transforms ? Vectors * kLanes : 0;
    for (int p = 0; p < kPlanes3x3; ++p) {
      std::int64_t left = step;
      for_tiles_of_plane(order, block, p, [&](std::int64_t tile, int size) {
        const auto add = for_count<kRows3x3>(
            size, [](auto tiles) { return add_products<tiles.value, Vectors>; });
        add(block.values + p * block.values_plane + first * block.count + tile * kLanes,
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
  const std::int32_t channels =
      (task.in_channels + kWinograd3x3Channels - 1) / kWinograd3x3Channels * kWinograd3x3Channels;
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
                       values + (b * block.count + i) * kLanes);
      }
    }
    float* panel = panels;
    for (std::int32_t b = task.first_block; b < task.last_block; b += kGroup3x3) {
      const int vectors = least(kGroup3x3, task.last_block - b);
      (vectors == kGroup3x3
           ? add_group<kGroup3x3>
           : add_group<1>)(order, block, channels,
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
