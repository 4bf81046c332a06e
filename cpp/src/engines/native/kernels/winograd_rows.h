/// \file
/// Convolutions of 5 x 5 of few channels by Winograd's minimal filtering along the rows, F(4, 5):
/// four outputs of a channel for 8 multiplications with each row of the kernel instead of 20. The
/// rows of the kernel are added up as by the definition: with few channels, a second direction of
/// the transforms would cost more than the multiplications that it saves.
///
/// The points are kWinogradRowPoints: of those with eight, these have the smallest rounding errors,
/// two to three times those of the direct method. The products of a pair of points are added to the
/// outputs before those of the next pair, so that all sums of two channels fit the registers.
///
/// Both layouts use the same functions: the same bits.
///
/// Part of implementation.h.

constexpr int kRowPoints = 8;   // and inputs of a tile in a row
constexpr int kRowOutputs = 4;  // of a tile in a row
constexpr int kRowTaps = 5;
constexpr int kRowGroup = kWinogradRowGroup;
constexpr int kRowsOfPair = 2 + kRowTaps - 1;  // of the input, for two rows of outputs

/// Evaluates the polynomials of the input transform: of a point, the product of x minus each other
/// point. The two points of a pair share the even and the odd terms.
/// \param to [point][lanes]
inline void transform_row(const Vector (&from)[kRowPoints], float* to) {
  const auto give = [&](int i, Vector value) { store(to + i * kLanes, value); };
  const Vector even_1 = multiply_add(from[4], -4.25F, from[6] + from[2]);
  const Vector odd_1 = multiply_add(from[3], -4.25F, from[5] + from[1]);
  give(0, even_1 + odd_1);
  give(1, even_1 - odd_1);
  give(2, multiply_add(from[2] - from[4], 5.25F, from[6] - from[0]));
  give(3, multiply_add(from[3] - from[5], 5.25F, from[7] - from[1]));
  const Vector even_half = multiply_add(from[2], 4.0F, multiply_add(from[4], -5.0F, from[6]));
  const Vector odd_half = multiply_add(from[1], 4.0F, multiply_add(from[3], -5.0F, from[5]));
  give(4, multiply_add(odd_half, 0.5F, even_half));
  give(5, multiply_add(-odd_half, 0.5F, even_half));
  const Vector even_2 = multiply_add(from[2], 0.25F, multiply_add(from[4], -1.25F, from[6]));
  const Vector odd_2 = multiply_add(from[1], 0.25F, multiply_add(from[3], -1.25F, from[5]));
  give(6, multiply_add(odd_2, 2.0F, even_2));
  give(7, multiply_add(-odd_2, 2.0F, even_2));
}

/// [point of a pair][row of outputs][channel of a group]
using PairSums = Vector[2][2][kRowGroup];

/// Calls `work(row, channel)` for both rows of outputs and all channels of a group.
template <class Work>
inline __attribute__((always_inline)) void each_sum(const Work& work) {
  expanded<2 * kRowGroup>([&](int i) { work(i / kRowGroup, i % kRowGroup); });
}

/// Adds the products of a pair of points.
/// \param values at these points: [row of the input][input channel][point][lanes]
/// \returns the weights of the next pair
inline __attribute__((always_inline)) const float* add_pair(const WinogradTask& task,
                                                            const float* values,
                                                            const float* weights, PairSums& sums) {
  const std::int64_t row = std::int64_t{kRowPoints} * task.in_channels * kLanes;
  const float* const end = values + row;
  do {  // for each input channel; there is one
    Vector upper[2] = {load(values), load(values + kLanes)};
    expanded<kRowTaps>([&](int tap) {
      const float* const at = values + (tap + 1) * row;
      Vector lower[2] = {load(at), load(at + kLanes)};
      expanded<2 * kRowGroup>([&](int i) {
        const int p = i / kRowGroup;
        const int o = i % kRowGroup;
        const Vector weight = all(weights[2 * kRowGroup * tap + i]);
        add_product(sums[p][0][o], upper[p], weight);
        add_product(sums[p][1][o], lower[p], weight);
      });
      upper[0] = lower[0];
      upper[1] = lower[1];
    });
    weights += 2 * kRowGroup * kRowTaps;
    values += kRowPoints * kLanes;
  } while (values < end);
  return weights;
}

/// Two rows of a tile, of a group of channels.
/// \param values transformed: [kRowsOfPair][input channel][point][lanes]
/// \param give called as give(channel of the group, its outputs)
template <class Give>
__attribute__((flatten)) void row_tile(const WinogradTask& task, const float* values,
                                       const float* weights, const float* bias, const Give& give) {
  Vector outputs[kRowGroup][2][kRowOutputs];
  // The point 1, to which the bias is added, has the same part in all outputs.
  PairSums ones{};
  each_sum([&](int r, int o) { ones[0][r][o] = all(bias[o]); });
  weights = add_pair(task, values, weights, ones);
  each_sum([&](int r, int o) {
    outputs[o][r][0] = outputs[o][r][2] = ones[0][r][o] + ones[1][r][o];
    outputs[o][r][1] = outputs[o][r][3] = ones[0][r][o] - ones[1][r][o];
  });
  PairSums ends{};  // 0 and infinity, in the first and the last output only
  weights = add_pair(task, values + 2 * kLanes, weights, ends);
  each_sum([&](int r, int o) {
    outputs[o][r][0] += ends[0][r][o];
    outputs[o][r][3] += ends[1][r][o];
  });
  const auto add = [&](int first, float point) {
    PairSums pair{};
    weights = add_pair(task, values + first * kLanes, weights, pair);
    each_sum([&](int r, int o) {
      const Vector sum = pair[0][r][o] + pair[1][r][o];
      const Vector difference = pair[0][r][o] - pair[1][r][o];
      outputs[o][r][0] += sum;
      add_product(outputs[o][r][1], difference, all(point));
      add_product(outputs[o][r][2], sum, all(point * point));
      add_product(outputs[o][r][3], difference, all(point * point * point));
    });
  };
  add(4, 0.5F);
  add(6, 2.0F);
  expanded<kRowGroup>([&](int o) { give(o, outputs[o]); });
}

/// All tiles below each other.
/// \param pairs rows of outputs, two by two
/// \param transform called as transform(row of the input, input channel, where its values go)
/// \param give called as give(pair of rows, channel, its outputs)
template <class Transform, class Give>
inline void winograd_strip(const WinogradTask& task, int pairs, const Transform& transform,
                           const Give& give) {
  constexpr int kPoints = kRowPoints * kLanes;
  const std::int64_t row = std::int64_t{kPoints} * task.in_channels;
  for (int first = 0; first < pairs; first += kWinogradRowPairs) {
    float* values = task.scratch;
    for (int y = first; y < least(pairs, first + kWinogradRowPairs); ++y, values += 2 * row) {
      // Each pair needs two rows that the one above it did not.
      for (int r = y == first ? 0 : kRowTaps - 1; r < kRowsOfPair; ++r) {
        for (int c = 0; c < task.in_channels; ++c) {
          transform(2 * y + r, c, values + r * row + c * kPoints);
        }
      }
      for (int o = 0; o < task.channels; o += kRowGroup) {
        const float* weights =
            task.weights + std::int64_t{kRowPoints * kRowTaps} * task.in_channels * o;
        const auto give_channel = [&](int i, const Vector(&outputs)[2][kRowOutputs])
            __attribute__((always_inline)) {
          if (o + i < task.channels) give(y, o + i, outputs);
        };
        row_tile(task, values, weights, task.bias + o, give_channel);
      }
    }
  }
}

/// The largest of each 2 x 2 outputs.
inline void pool_tile(const Vector (&outputs)[2][kRowOutputs], Vector (&largest)[2]) {
  unrolled<2>([&](int i) {
    largest[i] = larger(larger(outputs[0][2 * i], outputs[0][2 * i + 1]),
                        larger(outputs[1][2 * i], outputs[1][2 * i + 1]));
  });
}

// ---- interleaved images

void winograd_rows_interleaved(const WinogradTask& task) {
  for (int x = 0; x < task.tiles_across; ++x) {
    const float* const input = task.input + kRowOutputs * x * task.input_column;
    const auto transform = [&](int row, int channel, float* to) {
      const float* const at = input + row * task.input_row + channel * task.input_channel;
      Vector from[kRowPoints];
      unrolled<kRowPoints>([&](int i) { from[i] = load(at + i * task.input_column); });
      transform_row(from, to);
    };
    float* const output = task.output + x * (task.pool ? 2 : kRowOutputs) * task.output_column;
    const auto give = [&](int pair, int channel, const Vector(&outputs)[2][kRowOutputs])
        __attribute__((always_inline)) {
      float* const to = output + channel * task.output_channel;
      if (task.pool) {
        Vector largest[2];
        pool_tile(outputs, largest);
        unrolled<2>([&](int i) {
          store(to + pair * task.output_row + i * task.output_column,
                rectified(largest[i], task.relu));
        });
        return;
      }
      unrolled<2, kRowOutputs>([&](int r, int i) {
        store(to + (2 * pair + r) * task.output_row + i * task.output_column,
              rectified(outputs[r][i], task.relu));
      });
    };
    winograd_strip(task, task.tiles_down, transform, give);
  }
}

// ---- one image, vectors of tiles side by side

constexpr int kTilesAcross = 8;
constexpr int kColumnsAcross = kTilesAcross * kRowOutputs;
/// The image is cut into so many parts below each other. A vector has eight tiles of each.
constexpr int kRowParts = kLanes / kTilesAcross;
constexpr int kVectorsOfRow = kColumnsAcross / kLanes;
constexpr int kTilesOfVector = kLanes / kRowOutputs;  // whose four columns fit one

/// The lane that transpose_fours gives to a tile of a part.
constexpr int lane_of(int part, int tile) {
  return tile % kTilesOfVector * 4 + part * kVectorsOfRow + tile / kTilesOfVector;
}

/// Exchanges lane 4k + j of vector i with lane 4k + i of vector j. Of vectors of columns side by
/// side it makes one of all tiles' first columns, one of their second ones and so on, or the other
/// way round.
inline __attribute__((always_inline)) void transpose_fours(Vector (&rows)[4]) {
  Ints low{};    // of each four lanes the first two of both vectors, in turns
  Ints high{};   // the last two
  Ints first{};  // the first two of one vector, then those of the other
  Ints last{};
  expanded<kLanes>([&](int i) __attribute__((always_inline)) {
    const int four = i / 4 * 4;
    low[i] = four + i % 4 / 2 + i % 2 * kLanes;
    high[i] = low[i] + 2;
    first[i] = four + i % 2 + i % 4 / 2 * kLanes;
    last[i] = first[i] + 2;
  });
  const Vector low_a = shuffled(rows[0], rows[1], low);
  const Vector high_a = shuffled(rows[0], rows[1], high);
  const Vector low_b = shuffled(rows[2], rows[3], low);
  const Vector high_b = shuffled(rows[2], rows[3], high);
  rows[0] = shuffled(low_a, low_b, first);
  rows[1] = shuffled(low_a, low_b, last);
  rows[2] = shuffled(high_a, high_b, first);
  rows[3] = shuffled(high_a, high_b, last);
}

/// Vector `Number` of a row's pooled columns, of one part after the other.
/// \param largest the tiles' first and second pooled columns
template <int Number>
inline Vector pooled_columns(const Vector (&largest)[2]) {
  constexpr int kVectors = kVectorsOfRow / 2;
  Ints places{};
  expanded<kLanes>([&](int i) __attribute__((always_inline)) {
    const int tile = (Number % kVectors * kLanes + i) / 2;
    places[i] = lane_of(Number / kVectors, tile) + i % 2 * kLanes;
  });
  return shuffled(largest[0], largest[1], places);
}

void winograd_rows(const WinogradTask& task) {
  const int pairs = (task.tiles_down + kRowParts - 1) / kRowParts;  // of a part
  const int last_row = 2 * task.tiles_down + kRowTaps - 2;
  for (int x = 0; x < task.tiles_across; x += kTilesAcross) {
    const float* const input = task.input + kRowOutputs * x;
    const auto transform = [&](int row, int channel, float* to) {
      const float* const plane = input + channel * task.input_channel;
      Vector from[2][4];
      unrolled<2, 4>([&](int half, int v) {
        // The last part may have fewer rows than the others.
        const int y = least(v / kVectorsOfRow * 2 * pairs + row, last_row);
        from[half][v] =
            load(plane + y * task.input_row + half * kRowOutputs + v % kVectorsOfRow * kLanes);
      });
      unrolled<2>([&](int half) { transpose_fours(from[half]); });
      Vector columns[kRowPoints];
      unrolled<2, 4>([&](int half, int v) { columns[4 * half + v] = from[half][v]; });
      transform_row(columns, to);
    };
    const int across = least(kTilesAcross, task.tiles_across - x);
    const auto give = [&](int pair, int channel, const Vector(&outputs)[2][kRowOutputs])
        __attribute__((always_inline)) {
      const int width = across * (task.pool ? 2 : kRowOutputs);
      float* const to =
          task.output + channel * task.output_channel + x * (task.pool ? 2 : kRowOutputs);
      const auto give_row = [&](int part, int y, int v, Vector values) {
        if (part * pairs + pair >= task.tiles_down || v * kLanes >= width) return;
        store(to + y * task.output_row + v * kLanes, rectified(values, task.relu));
      };
      if (task.pool) {
        Vector largest[2];
        pool_tile(outputs, largest);
        give_row(0, pair, 0, pooled_columns<0>(largest));
        constexpr int kPart = kRowParts - 1;
        give_row(kPart, kPart * pairs + pair, 1 - kPart, pooled_columns<1>(largest));
        return;
      }
      unrolled<2>([&](int r) {
        Vector rows[4];
        unrolled<4>([&](int v) { rows[v] = outputs[r][v]; });
        transpose_fours(rows);
        unrolled<4>([&](int v) {
          const int part = v / kVectorsOfRow;
          give_row(part, 2 * (part * pairs + pair) + r, v % kVectorsOfRow, rows[v]);
        });
      });
    };
    winograd_strip(task, pairs, transform, give);
  }
}
