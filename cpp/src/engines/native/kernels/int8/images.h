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

#if LENET_LANES == 16
template <class Tiles>
void conv_tiles(const ConvTask& task) {
  const auto finish = [&](int, int row, int column, int count, int vector, const char* sums) {
    const auto at = [&](std::int64_t of_row, std::int64_t of_column) {
      return row * of_row + column * of_column;
    };
    finish_tile<true>(task, reinterpret_cast<const Ints*>(sums), 1, count, 1, vector * kLanes,
                      {nullptr, 0, at(task.output_row, task.output_column), 0,
                       at(task.residual_row, task.residual_column), 0});
  };
  for_tiles_of<Tiles>(
      {static_cast<const char*>(task.input), task.input_column, task.input_row, 0, task.offsets, 1,
       task.groups / kTileRows, reinterpret_cast<const char*>(task.weights),
       reinterpret_cast<const char*>(task.start), task.columns, task.rows, 1,
       (task.channels + kLanes - 1) / kLanes},
      finish);
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
  if constexpr (Block == kMaxBlock) {
    finish(task, tile, channel, sums);
    return;
  }
#endif
  finish_in_memory(task, tile, channel, sums);
}

struct Extent {
  int rows;
  int columns;
};
/// The windows of a task, as one row where each row of windows follows the other.
inline Extent merged_rows(const ConvTask& task) {
  const int columns = task.columns;
  const bool follow =
      task.input_row == columns * task.input_column &&
      task.output_row == columns * task.output_column &&
      (task.residual == nullptr || task.residual_row == columns * task.residual_column);
  return follow ? Extent{1, task.rows * columns} : Extent{task.rows, columns};
}

#if LENET_LANES == 16
// Short tiles, of a few windows side by side. The sums of one are finished between the taps of the
// next, so that products and what finishing takes, most of which other units of the processor
// compute, go on at the same time.

/// Adds groups of taps, and goes on behind them.
template <int Block, int Columns>
inline __attribute__((always_inline)) void add_taps(const Element* input, std::int64_t column,
                                                    const std::int32_t*& offset,
                                                    const std::int32_t* end,
                                                    const std::int32_t*& weights,
                                                    Ints (&sums)[Columns][Block]) {
  for (; offset < end; ++offset, weights += Block * kLanes) {
    const Element* const at = input + *offset;
    Ints weight[Block];
    unrolled<Block>([&](int b) { weight[b] = in_register(load(weights + b * kLanes)); });
    unrolled<Columns>([&](int c) {
      const Ints value = group(at + c * column);
      unrolled<Block>([&](int b) { sums[c][b] = dot(sums[c][b], value, weight[b]); });
    });
  }
}

/// Short tiles side by side.
struct ShortTiles {
  const Element* input;
  Element* output;  ///< and the residual: at the first channel
  const Element* residual;
  int count;
  const std::int32_t* next;  ///< weights to bring into the second-level cache
  int lines;                 ///< of the cache, with each tile
};

template <int Block, int Columns, bool Adds, bool Whole>
void short_tiles(const ConvTask& task, const std::int32_t* weights, int channel,
                 const ShortTiles& of_row) {
  constexpr int kWindows = 4 / Block;                              // finished at once
  constexpr int kParts = (Columns + kWindows - 1) / kWindows + 1;  // of the taps
  const std::int64_t column = task.input_column;
  const Rounding rounding(task);
  const Element* input = of_row.input;
  Element* output = of_row.output;
  const Element* residual = of_row.residual;
  const int tiles = of_row.count;
  const std::int32_t* next = of_row.next;
  Ints done[Columns][Block] = {};
  for (int i = 0; i <= tiles; ++i) {
    for (int line = 0; line < of_row.lines; ++line, next += kLanes) {
      __builtin_prefetch(next, 0, kIntoSecondLevel);
    }
    Ints sums[Columns][Block];
    unrolled<Columns, Block>(
        [&](int c, int b) { sums[c][b] = load(task.start + channel + b * kLanes); });
    const std::int32_t* from = weights;
    const std::int32_t* offset = task.offsets;
    const int groups = i < tiles ? task.groups : 0;
    add_taps(input, column, offset, task.offsets + groups / kParts, from, sums);
    if (i > 0) finish_part<Adds, Whole, 0>(task, rounding, channel, done, residual, output);
    if (kParts > 2) add_taps(input, column, offset, task.offsets + groups * 2 / kParts, from, sums);
    if (i > 0) finish_part<Adds, Whole, kWindows>(task, rounding, channel, done, residual, output);
    if (kParts > 3) add_taps(input, column, offset, task.offsets + groups * 3 / kParts, from, sums);
    if (i > 0) {
      finish_part<Adds, Whole, 2 * kWindows>(task, rounding, channel, done, residual, output);
    }
    add_taps(input, column, offset, task.offsets + groups, from, sums);
    input += Columns * column;
    unrolled<Columns, Block>([&](int c, int b) { done[c][b] = sums[c][b]; });
  }
}

/// All windows of some vectors of channels by short tiles.
template <int Block>
void for_short_tiles(const ConvTask& task, const std::int32_t* weights, int channel) {
  // Ten sums of two vectors: Intel's processors begin two products in each of the five cycles that
  // one takes. AMD's would do with eight.
  constexpr int kColumns = 5;
  const Extent windows = merged_rows(task);
  const int tiles = (windows.columns + kColumns - 1) / kColumns;
  const int width = windows.columns / tiles;
  const int wider = windows.columns % tiles;  // of the tiles, by one, which come first
  const bool adds = task.residual != nullptr || task.stage_count > 1;
  const bool whole = Block * kLanes <= task.channels - channel;
  const int lines = (task.groups * Block + windows.rows * tiles - 1) / (windows.rows * tiles);
  const std::int32_t* const next = weights + std::int64_t{task.groups} * Block * kLanes;
  for (int y = 0; y < windows.rows; ++y) {
    const auto compute = [&](int x, int columns, int first, int count) {
      const auto at = [&](std::int64_t row, std::int64_t column) { return y * row + x * column; };
      const auto compute_tiles = for_count<kColumns>(columns, [&](auto of_tile) {
        return !whole ? short_tiles<Block, of_tile.value, true, false>
               : adds ? short_tiles<Block, of_tile.value, true, true>
                      : short_tiles<Block, of_tile.value, false, true>;
      });
      compute_tiles(
          task, weights, channel,
          {static_cast<const Element*>(task.input) + at(task.input_row, task.input_column),
           static_cast<Element*>(task.output) + at(task.output_row, task.output_column) + channel,
           residual_at(task, at(task.residual_row, task.residual_column) + channel), count,
           next + std::int64_t{y * tiles + first} * lines * kLanes, lines});
    };
    if (wider > 0) compute(0, width + 1, 0, wider);
    compute(wider * (width + 1), width, wider, tiles - wider);
  }
}
#endif

/// Computes a tile of a convolution that takes each channel by itself.
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
  const Sides& padded = task.padded;
  const bool is_padded = is_any(padded);
  const Extent windows = is_padded ? Extent{task.rows, task.columns} : merged_rows(task);
  const int rows = windows.rows;
  const int columns = windows.columns;
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
#if LENET_LANES == 16
    } else if (!is_any(task.padded) && !task.floats) {
      (block == 2 ? for_short_tiles<2> : for_short_tiles<1>)(task, weights, channel);
#endif
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
