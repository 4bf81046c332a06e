/// \file
/// Convolutions of images: tiles of windows by vectors of channels, whose sums stay in registers
/// while all taps are added.
///
/// Part of implementation.h.

/// Windows of two rows, or of two halves of one row, or of one row.
constexpr int kRowsOfTile = kRegisters >= 32 ? 2 : 1;
constexpr int kMaxBlock = kLanes == 1 ? 1 : 2;
/// Windows of each of them. Weights, a value and a product need registers too.
constexpr int kMaxColumns = kLanes == 1 ? 4 : kRegisters >= 32 ? 7 : 5;

template <int Rows, int Columns, int Block>
inline void finish_in_memory(const ConvTask& task, const Tile& tile, int first,
                             const Ints (&sums)[Rows][Columns][Block]) {
  Ints copies[Rows][Columns][Block];  // so that the sums need not be in memory
  unrolled<Rows, Columns, Block>([&](int r, int c, int b) { copies[r][c][b] = sums[r][c][b]; });
  finish_tile<true>(task, &copies[0][0][0], Rows, Columns, Block, first, tile);
}

#if LENET_LANES == 16
/// The same of sums that stay in registers, of which there are enough for it. It is large: for the
/// tiles of most work.
template <int Rows, int Columns, int Block>
inline __attribute__((always_inline)) void finish(const ConvTask& task, const Tile& tile, int first,
                                                  Ints (&sums)[Rows][Columns][Block]) {
  const Stage* stage = task.stages;
  Floats values[Rows][Columns][Block];
  unrolled<Rows, Columns, Block>(
      [&](int r, int c, int b) { values[r][c][b] = floats(sums[r][c][b]); });
  const auto scale = [&] {
    unrolled<Block>([&](int b) {
      const Floats factor = load(stage->factor + first + b * kLanes);
      const Floats addend = load(stage->addend + first + b * kLanes);
      unrolled<Rows, Columns>(
          [&](int r, int c) { values[r][c][b] = values[r][c][b] * factor + addend; });
    });
    if (stage->residual == 0) return;
    const std::int64_t column = task.residual_column;
    unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
      const std::int64_t place = tile.residual + r * tile.residual_apart + c * column;
      values[r][c][b] += residual_of(task, *stage, place + first + b * kLanes);
    });
  };
  for (int stages = task.stage_count; scale(), --stages > 0; ++stage) {
    const Stage now = *stage;
    const Floats smallest = all(now.least);
    const Floats largest = all(now.most);
    unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
      values[r][c][b] = whole_floats(smaller(larger(values[r][c][b], smallest), largest));
    });
  }
  // Copies: the compiler must take it that what is stored might change the originals.
  const Stage last = *stage;
  const std::int64_t column = task.output_column;
  const std::int64_t row = tile.output_apart;
  const int left = task.channels - first;
  const auto store_at = [&](auto* to, const auto& vector, int r, int c, int b, bool whole_vectors) {
    store_some(to + r * row + c * column + b * kLanes, vector,
               whole_vectors ? kLanes : left - b * kLanes);
  };
  if (task.floats) {
    float* const to = static_cast<float*>(task.output) + tile.output + first;
    unrolled<Rows, Columns, Block>(
        [&](int r, int c, int b) { store_at(to, clipped(values[r][c][b], last), r, c, b, false); });
    return;
  }
  if (last.exceeds) {
    const Floats highest = all(last.most);
    unrolled<Rows, Columns, Block>(
        [&](int r, int c, int b) { values[r][c][b] = smaller(highest, values[r][c][b]); });
  }
  Element* const to = static_cast<Element*>(task.output) + tile.output + first;
  const int added = kZero - task.shift;
  const int lowest = static_cast<int>(last.least) + added;
  constexpr int kVectors = Rows * Columns * Block;
  const auto vector = [&](int i) {
    const int v = least(i, kVectors - 1);
    return rounded(values[v / (Columns * Block)][v / Block % Columns][v % Block]);
  };
  const auto store_all = [&](auto whole_vectors) {
    unrolled<(kVectors + 3) / 4>([&](int g) {
      const int i = 4 * g;
      const __m512i four =
          in_order(vector(i), vector(i + 1), vector(i + 2), vector(i + 3), added, lowest);
      if constexpr (Block == 2 && whole_vectors.value != 0) {  // those of a window side by side
        const int window = 2 * g;
        const auto at = [&](int w) { return to + w / Columns * row + w % Columns * column; };
        store_halves(four, at(window), at(window + 1));
        return;
      }
      const Elements quarters[] = {quarter<0>(four), quarter<1>(four), quarter<2>(four),
                                   quarter<3>(four)};
      unrolled<4>([&](int k) {
        const int v = i + k;
        if (v >= kVectors) return;
        store_at(to, quarters[k], v / (Columns * Block), v / Block % Columns, v % Block,
                 whole_vectors.value != 0);
      });
    });
  };
  if (left >= Block * kLanes) {
    store_all(Constant<1>{});
  } else {
    store_all(Constant<0>{});
  }
}

/// Of sums in memory: windows side by side, of one vector of channels.
template <int Windows>
void finish_stored(const ConvTask& task, const Tile& tile, int channel, const std::int32_t* from) {
  Ints sums[1][Windows][1];
  unrolled<Windows>([&](int i) { sums[0][i][0] = load(from + i * kLanes); });
  finish(task, tile, channel, sums);
}

template <class Tiles>
void conv_tiles(const ConvTask& task) {
  constexpr int kMaxWindows = 4;  // that are finished together
  const auto finish_some = [&](int, int row, int column, int count, int vector, const char* first) {
    const auto* sums = reinterpret_cast<const std::int32_t*>(first);
    for_even_parts(count, kMaxWindows, [&](int begin, int size) {
      const int x = column + begin;
      const Tile tile{nullptr,
                      0,
                      row * task.output_row + x * task.output_column,
                      0,
                      row * task.residual_row + x * task.residual_column,
                      0};
      const auto finish_sums =
          for_count<kMaxWindows>(size, [](auto windows) { return finish_stored<windows.value>; });
      finish_sums(task, tile, vector * kLanes, sums + begin * kLanes);
    });
  };
  for_tiles_of<Tiles>(
      {static_cast<const char*>(task.input), task.input_column, task.input_row, 0, task.offsets, 1,
       task.groups / kTileRows, reinterpret_cast<const char*>(task.weights),
       reinterpret_cast<const char*>(task.start), task.columns, task.rows, 1,
       (task.channels + kLanes - 1) / kLanes},
      finish_some);
}

double amx_multiply_adds(std::int64_t steps) { return tile_multiply_adds(steps, kPerGroup); }
#endif

constexpr int kIntoSecondLevel = 2;  ///< of __builtin_prefetch
/// Groups from those that are added to those whose weights are brought into the first-level cache,
/// which saves 1 to 2 % where a block's weights do not stay there.
constexpr int kAhead = 16;

inline bool is_any(const Sides& sides) {
  return sides.top || sides.bottom || sides.left || sides.right;
}

/// Adds some groups of taps.
template <Side LeftOut, int Block, int Rows, int Columns>
inline __attribute__((always_inline)) void add_groups(const Element* input,
                                                      const std::int32_t* offsets, int groups,
                                                      std::int64_t row, std::int64_t column,
                                                      const std::int32_t* weights,
                                                      const std::int32_t* next,
                                                      Ints (&sums)[Rows][Columns][Block]) {
  for (int g = 0; g < groups; ++g, weights += Block * kLanes, next += kLanes) {
    __builtin_prefetch(next, 0, kIntoSecondLevel);
    unrolled<Block>([&](int b) { __builtin_prefetch(weights + (kAhead * Block + b) * kLanes); });
    add_products<LeftOut>(input + offsets[g], row, column, weights, sums);
  }
}

/// Adds what taps add that read the border to the sums of the windows at a side.
template <Side At, int Block, int Rows, int Columns>
inline __attribute__((always_inline)) void add_border(const std::int32_t* border,
                                                      Ints (&sums)[Rows][Columns][Block]) {
  unrolled<Block>([&](int b) {
    const Ints of_tap = load(border + b * kLanes);
    unrolled<Rows, Columns>([&](int r, int c) {
      if (is_at<At, Rows, Columns>(r, c)) sums[r][c][b] += of_tap;
    });
  });
}

/// Adds the taps of a tile at a side of the image, without those that read the border.
template <int Block, int Rows, int Columns>
inline __attribute__((always_inline)) void add_padded(const ConvTask& task,
                                                      const std::int32_t* weights, int channel,
                                                      const Tile& tile,
                                                      Ints (&sums)[Rows][Columns][Block]) {
  const Sides padded = tile.padded;
  const bool halves = Rows == 1 || !tile.pairs;
  const Element* const input = tile.input;
  const std::int64_t row = tile.input_apart;
  const std::int64_t column = task.input_column;
  const std::int32_t tap_rows = task.tap_rows;
  const std::int32_t tap_columns = task.tap_columns;
  const std::int32_t of_tap = task.groups / (tap_rows * tap_columns);
  const std::int32_t* border = task.border + std::int64_t{channel} * tap_rows * tap_columns;
  const std::int32_t* offsets = task.offsets;
  const std::int32_t* next = tile.next;
  for (std::int32_t i = 0; i < tap_rows; ++i) {
    const bool top = padded.top && i == 0;
    const bool bottom = padded.bottom && i == tap_rows - 1;
    for (std::int32_t j = 0; j < tap_columns; ++j) {
      const auto add = [&](auto left_out) __attribute__((always_inline)) {
        constexpr Side kSide = decltype(left_out)::value;
        add_groups<kSide>(input, offsets, of_tap, row, column, weights, next, sums);
        if constexpr (kSide != Side::None) add_border<kSide>(border, sums);
      };
      if ((top || bottom) && halves) {
        add_border<Side::All>(border, sums);
      } else if (Rows > 1 && top) {
        add(Without<Side::Top>{});
      } else if (Rows > 1 && bottom) {
        add(Without<Side::Bottom>{});
      } else if (padded.left && j == 0) {
        add(Without<Side::Left>{});
      } else if (padded.right && j == tap_columns - 1) {
        add(Without<Side::Right>{});
      } else {
        add(Without<Side::None>{});
      }
      offsets += of_tap;
      weights += std::int64_t{of_tap} * Block * kLanes;
      next += std::int64_t{of_tap} * kLanes;
      border += Block * kLanes;
    }
  }
}

/// \tparam Padded whether the tile is at a side of the image where the taps read the border
template <int Block, int Rows, int Columns, bool Padded>
void image_tile(const ConvTask& task, const std::int32_t* weights, int channel, const Tile& tile) {
  Ints sums[Rows][Columns][Block];
  unrolled<Block>([&](int b) {
    const Ints start = load(task.start + channel + b * kLanes);
    unrolled<Rows, Columns>([&](int r, int c) { sums[r][c][b] = start; });
  });
  if constexpr (Padded) {
    add_padded(task, weights, channel, tile, sums);
  } else {
    add_groups<Side::None>(tile.input, task.offsets, task.groups, tile.input_apart,
                           task.input_column, weights, tile.next, sums);
  }
#if LENET_LANES == 16
  finish(task, tile, channel, sums);
#else
  finish_in_memory(task, tile, channel, sums);
#endif
}

/// Of each channel by itself.
template <int Block, int Rows, int Columns>
void depthwise_tile(const ConvTask& task, const std::int32_t* weights, int channel,
                    const Tile& tile) {
  Ints sums[Rows][Columns][Block];
  unrolled<Block>([&](int b) {
    const Ints start = load(task.start + channel + b * kLanes);
    unrolled<Rows, Columns>([&](int r, int c) { sums[r][c][b] = start; });
  });
  const std::int32_t taps = task.groups;
  const Element* const input = tile.input + channel;
  for (std::int32_t t = 0; t < taps; ++t, weights += Block * kLanes) {
    const Element* const at = input + task.offsets[t];
    unrolled<Block>([&](int b) {
      const Ints weight = load(weights + b * kLanes);
      unrolled<Rows, Columns>([&](int r, int c) {
        const Ints value = widened(at + r * tile.input_apart + c * task.input_column + b * kLanes);
        sums[r][c][b] = dot(sums[r][c][b], value, weight);
      });
    });
  }
  finish_in_memory(task, tile, channel, sums);
}

using TileFunction = void(const ConvTask&, const std::int32_t*, int, const Tile&);

/// Calls the tile of `choose(columns, at_padded_side)` for all windows.
template <class Choose>
inline void for_tiles(const ConvTask& task, const std::int32_t* weights, int channel,
                      const Choose& choose) {
  int rows = task.rows;
  int columns = task.columns;
  const Sides& padded = task.padded;
  const bool is_padded = is_any(padded);
  if (!is_padded && task.input_row == columns * task.input_column &&
      task.output_row == columns * task.output_column &&
      (task.residual == nullptr || task.residual_row == columns * task.residual_column)) {
    columns *= rows;  // one follows the other
    rows = 1;
  }
  // The first tiles bring the weights that come behind this block's, which may be as many.
  const std::int64_t vector = std::int64_t{task.groups} * kLanes;
  const std::int32_t* const end = weights + task.tile * vector;
  const std::int32_t* next = end;
  for (int y = 0; y < rows;) {
    const bool pairs = kRowsOfTile == 2 && (columns <= kMaxColumns || is_padded) && rows - y > 1;
    const bool whole = pairs || kRowsOfTile == 1;  // rows, not halves of one
    const int height = pairs ? 2 : 1;
    for_even_parts(columns, pairs ? kMaxColumns : kRowsOfTile * kMaxColumns, [&](int x, int size) {
      const int width = pairs ? size : (size + kRowsOfTile - 1) / kRowsOfTile;
      const auto at = [&](std::int64_t row, std::int64_t column) { return y * row + x * column; };
      const auto apart = [&](std::int64_t row, std::int64_t column) {
        return pairs ? row : (size - width) * column;
      };
      const Sides sides = {padded.top && y == 0, padded.bottom && y + height == rows,
                           whole && padded.left && x == 0,
                           whole && padded.right && x + size == columns};
      choose(width, is_any(sides))(
          task, weights, channel,
          {static_cast<const Element*>(task.input) + at(task.input_row, task.input_column),
           apart(task.input_row, task.input_column), at(task.output_row, task.output_column),
           apart(task.output_row, task.output_column), at(task.residual_row, task.residual_column),
           apart(task.residual_row, task.residual_column), next, pairs, sides});
      next = next < end + task.tile * vector ? next + vector : weights;
    });
    y += height;
  }
}

template <int Block>
TileFunction* image_tile_of(int columns, bool padded) {
  return for_count<kMaxColumns>(columns, [padded](auto width) -> TileFunction* {
    // Tiles of most work leave out what reads the border, in the sets that multiply bytes.
    if constexpr (kPerGroup == 4 && Block == kMaxBlock && width.value >= kMaxColumns - 1) {
      if (padded) return image_tile<Block, kRowsOfTile, width.value, true>;
    }
    return image_tile<Block, kRowsOfTile, width.value, false>;
  });
}

TileFunction* depthwise_tile_of(int columns, bool) {
  return for_count<kMaxColumns>(columns, [](auto width) -> TileFunction* {
    return depthwise_tile<1, kRowsOfTile, width.value>;
  });
}

void conv_channels(const ConvTask& task) {
  for_blocks(task, [&](int block, const std::int32_t* weights, int channel) {
    if (task.pool) {
      (block == 2 ? channels_block<2, 2> : channels_block<1, 2>)(task, weights, channel);
    } else {
      for_tiles(task, weights, channel, block == 2 ? image_tile_of<kMaxBlock> : image_tile_of<1>);
    }
  });
}

void depthwise(const ConvTask& task) {
  for_blocks(task, [&](int, const std::int32_t* weights, int channel) {
    for_tiles(task, weights, channel, depthwise_tile_of);
  });
}

#if LENET_LANES == 16
/// 64 channels of windows side by side.
template <int Stride, int Columns>
void depthwise3x3_tile(const ConvTask& task, const std::int32_t* weights, int place,
                       const Element* input, Element* output) {
  const std::int64_t pixel = task.offsets[1];
  Ints sums[Columns][4];
  unrolled<Columns, 4>([&](int c, int v) { sums[c][v] = load(task.start + place + v * kLanes); });
  unrolled<(Columns - 1) * Stride + 3>([&](int i) {
    const Element* const at = input + i * pixel;
    const FourOfTaps taps = interleaved(at, at + task.offsets[3], at + task.offsets[6]);
    unrolled<3, 4>([&](int t, int v) {
      const int c = (i - t) / Stride;
      if (i < t || (i - t) % Stride != 0 || c >= Columns) return;
      sums[c][v] =
          dot(sums[c][v], taps.vectors[v], load(weights + t * kDepthwiseBlock + v * kLanes));
    });
  });
  const Stage* stage = task.stages;
  for (; stage + 1 < task.stages + task.stage_count; ++stage) {
    unrolled<Columns, 4>([&](int c, int v) {
      sums[c][v] = whole(scaled(sums[c][v], *stage, place + v * kLanes), stage->least, stage->most);
    });
  }
  const Floats highest = all(stage->most);
  const int added = kZero - task.shift;
  const int lowest = static_cast<int>(stage->least) + added;
  unrolled<Columns>([&](int c) {
    const auto of = [&](int v) {
      return rounded(smaller(highest, scaled(sums[c][v], *stage, place + v * kLanes)));
    };
    _mm512_storeu_si512(output + c * task.output_column,
                        mixed(of(0), of(1), of(2), of(3), added, lowest));
  });
}

template <int Stride>
void depthwise3x3_rows(const ConvTask& task) {
  constexpr int kColumns = 4;
  for (std::int32_t y = 0; y < task.rows; ++y) {
    const std::int32_t* weights = task.weights;
    for (int place = 0; place < task.channels; place += kDepthwiseBlock) {
      const int channel = least(place, task.channels - kDepthwiseBlock);
      const auto* input = static_cast<const Element*>(task.input) + y * task.input_row + channel;
      auto* output = static_cast<Element*>(task.output) + y * task.output_row + channel;
      for_even_parts(task.columns, kColumns, [&](int x, int width) {
        const auto tile = for_count<kColumns>(
            width, [](auto columns) { return depthwise3x3_tile<Stride, columns.value>; });
        tile(task, weights, place, input + x * task.input_column, output + x * task.output_column);
      });
      weights += 3 * kDepthwiseBlock;
    }
  }
}

void depthwise3x3(const ConvTask& task) {
  (task.input_column == task.offsets[1] ? depthwise3x3_rows<1> : depthwise3x3_rows<2>)(task);
}
#else
constexpr void (*depthwise3x3)(const ConvTask&) = nullptr;
#endif
