/// \file
/// Convolutions of 5 x 5 by Winograd's minimal filtering, F(2 x 2, 5 x 5): four outputs of a
/// channel for 36 multiplications instead of 100 (Lavin and Gray, Fast Algorithms for Convolutional
/// Neural Networks, 2016). The points are 0, +-3/4, +-3/2 and infinity, whose rounding errors are
/// hardly larger than those of the sums themselves.
///
/// Both layouts do the same operations in the same order for each value: the same bits.
///
/// Part of implementation.h.

/// One direction of an output tile.
inline void transform_output(const Vector (&from)[6], Vector& first, Vector& second) {
  const Vector sum_a = from[1] + from[2];
  const Vector sum_b = from[3] + from[4];
  const Vector difference_a = from[1] - from[2];
  const Vector difference_b = from[3] - from[4];
  first = from[0] + sum_a + sum_b;
  const Vector inner = multiply_add(difference_b, kWinogradFar, from[5]);
  second = multiply_add(difference_a, kWinogradNear, inner);
}

/// The second direction, the bias, the largest of the four when they are pooled.
inline void finish_tile(const WinogradTask& task, const Vector (&rows)[2][6], Vector bias,
                        float* output) {
  Vector values[2][2];
  unrolled<2>([&](int y) {
    transform_output(rows[y], values[y][0], values[y][1]);
    values[y][0] += bias;
    values[y][1] += bias;
  });
  if (task.pool) {
    const Vector largest =
        larger(larger(values[0][0], values[0][1]), larger(values[1][0], values[1][1]));
    store(output, rectified(largest, task.relu));
    return;
  }
  unrolled<2, 2>([&](int y, int x) {
    store(output + y * task.output_row + x * task.output_column,
          rectified(values[y][x], task.relu));
  });
}

inline float* tile_output(const WinogradTask& task, int y, int x) {
  const int size = task.pool ? 1 : 2;
  return task.output + y * size * task.output_row + x * size * task.output_column;
}

// ---- one image, vectors of output channels

constexpr int kWinogradPitch = kLanes / 2;
constexpr int kWinogradTiles = (kLanes - 4) / 2;  // whose columns fit one vector

/// Some tiles that are side by side, transformed: for each of the six values of the second
/// direction [input channel][six of the first direction][kWinogradPitch tiles].
void transform_tiles(const WinogradTask& task, const float* input) {
  Ints places[6];  // of the six columns of each tile, in two rows of kLanes columns
  for (int j = 0; j < 6; ++j) {
    for (int i = 0; i < kLanes; ++i) {
      const int column = 2 * (i % kWinogradPitch) + j;
      places[j][i] = i / kWinogradPitch * kLanes + (column < kLanes ? column : 0);
    }
  }
  const std::int64_t part = std::int64_t{6} * task.in_channels * kWinogradPitch;
  float* transformed = task.scratch;
  for (std::int32_t c = 0; c < task.in_channels; ++c, input += task.input_channel) {
    Vector from[6];
    Vector half[6];
    Vector to[6];
    unrolled<6>([&](int i) { from[i] = load(input + i * task.input_row); });
    transform_input(from, half);
    unrolled<3>([&](int a) {
      unrolled<6>([&](int j) { from[j] = shuffled(half[2 * a], half[2 * a + 1], places[j]); });
      transform_input(from, to);
      unrolled<6>([&](int b) { store(transformed + b * part + a * kLanes, to[b]); });
    });
    transformed += 3 * kLanes;
  }
}

/// `Tiles` of the transformed tiles, from `transformed` on; one vector of output channels.
template <int Tiles>
void winograd_channels_tiles(const WinogradTask& task, const float* transformed,
                             const float* weights, Vector bias, float* output) {
  const std::int64_t part = std::int64_t{6} * task.in_channels * kWinogradPitch;
  Vector rows[Tiles][2][6];
  for (int b = 0; b < 6; ++b, transformed += part) {
    Vector sums[Tiles][6]{};
    const float* values = transformed;
    for (std::int32_t c = 0; c < task.in_channels; ++c, weights += 6 * kLanes) {
      unrolled<6>([&](int a) {
        const Vector weight = load(weights + a * kLanes);
        unrolled<Tiles>([&](int t) { add_product(sums[t][a], weight, all(values[t])); });
        values += kWinogradPitch;
      });
    }
    unrolled<Tiles>([&](int t) { transform_output(sums[t], rows[t][0][b], rows[t][1][b]); });
  }
  const std::int64_t apart = task.output_column * (task.pool ? 1 : 2);
  unrolled<Tiles>([&](int t) { finish_tile(task, rows[t], bias, output + t * apart); });
}

void winograd_channels(const WinogradTask& task) {
  constexpr int kMax = least(kWinogradTiles, kRegisters >= 32 ? 5 : 2);
  for (int y = 0; y < task.tiles_down; ++y) {
    for (int x = 0; x < task.tiles_across; x += kWinogradTiles) {
      transform_tiles(task, task.input + 2 * (y * task.input_row + x));
      const int tiles = least(kWinogradTiles, task.tiles_across - x);
      for (std::int32_t o = 0; o < task.channels; o += kLanes) {
        const float* weights = task.weights + std::int64_t{36} * task.in_channels * o;
        for_even_parts(tiles, kMax, [&](int first, int width) {
          const auto compute = for_count<kMax>(
              width, [](auto count) { return winograd_channels_tiles<count.value>; });
          compute(task, task.scratch + first, weights, load(task.bias + o),
                  tile_output(task, y, x + first) + o / kLanes * task.output_channel);
        });
      }
    }
  }
}

// ---- interleaved images

constexpr int kWinogradGroup = kRegisters >= 32 ? 4 : 2;

/// All channels of one tile.
void winograd_interleaved_tile(const WinogradTask& task, const float* input, float* output) {
  const std::int64_t part = std::int64_t{6} * task.in_channels * kLanes;
  float* transformed = task.scratch;
  for (std::int32_t c = 0; c < task.in_channels; ++c, transformed += 6 * kLanes) {
    Vector half[6][6];
    for (int x = 0; x < 6; ++x) {
      const float* at = input + c * task.input_channel + x * task.input_column;
      Vector from[6];
      Vector to[6];
      unrolled<6>([&](int i) { from[i] = load(at + i * task.input_row); });
      transform_input(from, to);
      unrolled<6>([&](int a) { half[a][x] = to[a]; });
    }
    for (int a = 0; a < 6; ++a) {
      Vector to[6];
      transform_input(half[a], to);
      unrolled<6>([&](int b) { store(transformed + b * part + a * kLanes, to[b]); });
    }
  }
  constexpr int kGroup = kWinogradGroup;
  const float* weights = task.weights;
  for (std::int32_t o = 0; o < task.channels; o += kGroup) {
    Vector rows[kGroup][2][6];
    const float* values = task.scratch;
    for (int b = 0; b < 6; ++b) {
      Vector sums[kGroup][6]{};
      for (std::int32_t c = 0; c < task.in_channels; ++c) {
        unrolled<6>([&](int a) {
          const Vector value = load(values + a * kLanes);
          unrolled<kGroup>(
              [&](int g) { add_product(sums[g][a], all(weights[a * kGroup + g]), value); });
        });
        weights += 6 * kGroup;
        values += 6 * kLanes;
      }
      unrolled<kGroup>([&](int g) { transform_output(sums[g], rows[g][0][b], rows[g][1][b]); });
    }
    unrolled<kGroup>([&](int g) {
      if (o + g >= task.channels) return;
      finish_tile(task, rows[g], all(task.bias[o + g]), output + (o + g) * task.output_channel);
    });
  }
}

void winograd_interleaved(const WinogradTask& task) {
  for (int y = 0; y < task.tiles_down; ++y) {
    for (int x = 0; x < task.tiles_across; ++x) {
      winograd_interleaved_tile(task, task.input + 2 * (y * task.input_row + x * task.input_column),
                                tile_output(task, y, x));
    }
  }
}
