/// \file
/// What becomes of sums: scaled, added to, clipped, rounded, stored. Part of implementation.h.

inline Ints signed_of(Ints bits) {
  constexpr int kUnused = 32 - 8 * sizeof(Element);
  return kZero > 0 ? bits : (bits << kUnused) >> kUnused;
}
/// What a stage adds.
inline Floats residual_of(const ConvTask& task, const Stage& stage, const Element* from) {
  const Ints elements = signed_of(widened(from));
  return floats(elements - task.residual_zero) * all(stage.residual);
}
/// Elements of the residual; null where there is none.
inline const Element* residual_at(const ConvTask& task, std::int64_t place) {
  const auto* const first = static_cast<const Element*>(task.residual);
  return first == nullptr ? nullptr : first + place;
}

#if LENET_LANES == 16
/// What becomes of the values of the last stage: read from a task once, as the compiler must take
/// it that elements which are stored might change it.
struct Rounding {
  explicit Rounding(const ConvTask& task)
      : last(task.stages + task.stage_count - 1),
        shift(kZero - task.shift),
        lowest(static_cast<int>(last->least) + shift) {}
  const Stage* last;
  int shift;
  int lowest;
};

/// Gives the elements of up to four vectors of sums, of windows side by side.
/// \param residual, output of the first window and channel
/// \tparam Adds whether there may be a residual, or several stages
/// \tparam Whole whether all channels of the vectors are given, not only those that there are
template <bool Adds, bool Whole = true, int Windows, int Block>
inline __attribute__((always_inline)) void finish_windows(const ConvTask& task,
                                                          const Rounding& rounding, int channel,
                                                          const Ints (&sums)[Windows][Block],
                                                          const Element* residual,
                                                          Element* output) {
  static_assert(Windows * Block <= 4);
  const Stage* const last = rounding.last;
  Floats values[Windows][Block];
  unrolled<Windows, Block>([&](int w, int b) { values[w][b] = floats(sums[w][b]); });
  for (const Stage* stage = task.stages;; ++stage) {
    unrolled<Block>([&](int b) {
      const Floats factor = load(stage->factor + channel + b * kLanes);
      const Floats addend = load(stage->addend + channel + b * kLanes);
      unrolled<Windows>([&](int w) { values[w][b] = values[w][b] * factor + addend; });
    });
    if (!Adds) break;
    if (stage->residual != 0) {
      unrolled<Windows, Block>([&](int w, int b) {
        values[w][b] += residual_of(task, *stage, residual + w * task.residual_column + b * kLanes);
      });
    }
    if (stage == last) break;
    const Floats smallest = all(stage->least);
    const Floats largest = all(stage->most);
    unrolled<Windows, Block>([&](int w, int b) {
      values[w][b] = whole_floats(smaller(larger(values[w][b], smallest), largest));
    });
  }
  if (last->exceeds) {
    const Floats highest = all(last->most);
    unrolled<Windows, Block>([&](int w, int b) { values[w][b] = smaller(highest, values[w][b]); });
  }
  const auto vector = [&](int v) {
    return rounded(values[least(v / Block, Windows - 1)][v % Block]);
  };
  const __m512i four =
      in_order(vector(0), vector(1), vector(2), vector(3), rounding.shift, rounding.lowest);
  const std::int64_t column = task.output_column;
  if constexpr (Whole && Block == 2) {
    store_halves(four, output, output + (Windows - 1) * column);
  } else {
    const Elements quarters[] = {quarter<0>(four), quarter<1>(four), quarter<2>(four),
                                 quarter<3>(four)};
    unrolled<Windows, Block>([&](int w, int b) {
      const int count = Whole ? kLanes : task.channels - channel - b * kLanes;
      store_some(output + w * column + b * kLanes, quarters[w * Block + b], count);
    });
  }
}

/// Does what finish_windows does with sums that are in memory.
template <int Windows, int Block, bool Whole>
void finish_stored(const ConvTask& task, int channel, const Ints* from, std::int64_t residual,
                   std::int64_t output) {
  Ints sums[Windows][Block];
  unrolled<Windows, Block>([&](int w, int b) { sums[w][b] = from[w * Block + b]; });
  finish_windows<true, Whole>(task, Rounding(task), channel, sums,
                              residual_at(task, residual + channel),
                              static_cast<Element*>(task.output) + output + channel);
}

template <int Block>
void finish_rows(const ConvTask& task, const Ints* sums, int rows, int columns, int channel,
                 const Tile& tile) {
  constexpr int kAtOnce = 4 / Block;
  const bool whole = Block * kLanes <= task.channels - channel;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; c += kAtOnce) {
      const auto finish = for_count<kAtOnce>(least(kAtOnce, columns - c), [whole](auto windows) {
        return whole ? finish_stored<windows.value, Block, true>
                     : finish_stored<windows.value, Block, false>;
      });
      finish(task, channel, sums + (r * columns + c) * Block,
             tile.residual + r * tile.residual_apart + c * task.residual_column,
             tile.output + r * tile.output_apart + c * task.output_column);
    }
  }
}
#endif

/// Gives the sums [row][column][block] of a tile as float32 numbers to which nothing is added.
inline void finish_floats(const ConvTask& task, const Ints* sums, int rows, int columns, int block,
                          int first, const Tile& tile) {
  const Stage& stage = task.stages[0];
  for (int b = 0; b < block; ++b) {
    const int channel = first + b * kLanes;
    const int count = task.spare ? kLanes : task.channels - channel;
    const Ints* from = sums + b;
    for (int r = 0; r < rows; ++r) {
      float* to = static_cast<float*>(task.output) + tile.output + r * tile.output_apart + channel;
      for (int c = 0; c < columns; ++c, from += block, to += task.output_column) {
        store_some(to, clipped(scaled(*from, stage, channel), stage), count);
      }
    }
  }
}

/// What becomes of the sums [row][column][block] of a tile, vectors of channels from `first` on.
/// Apart from the tiles, of which there are many.
/// \tparam Adds whether stages may add a residual
template <bool Adds>
__attribute__((noinline)) void finish_tile(const ConvTask& task, const Ints* sums, int rows,
                                           int columns, int block, int first, const Tile& tile) {
#if LENET_LANES == 16
  if (!task.floats && block <= 2) {
    (block == 2 ? finish_rows<2> : finish_rows<1>)(task, sums, rows, columns, first, tile);
    return;
  }
#endif
  if (task.floats && task.stage_count == 1 && (!Adds || task.stages[0].residual == 0)) {
    return finish_floats(task, sums, rows, columns, block, first, tile);
  }
  const Stage* const last = task.stages + task.stage_count - 1;
  const auto computed = [&](Ints sum, const Stage& stage, int channel, std::int64_t added) {
    const Floats value = scaled(sum, stage, channel);
    return !Adds || stage.residual == 0
               ? value
               : value + residual_of(task, stage, residual_at(task, added + channel));
  };
  for (int r = 0; r < rows; ++r) {
    std::int64_t pixel = tile.output + r * tile.output_apart;
    std::int64_t added = tile.residual + r * tile.residual_apart;
    for (int c = 0; c < columns; ++c) {
      for (int b = 0; b < block; ++b, ++sums) {
        const int channel = first + b * kLanes;
        const int count = task.spare ? kLanes : task.channels - channel;
        Ints sum = *sums;
        for (const Stage* stage = task.stages; stage < last; ++stage) {
          sum = whole(computed(sum, *stage, channel, added), stage->least, stage->most);
        }
        const Floats value = computed(sum, *last, channel, added);
        if (task.floats) {
          store_some(static_cast<float*>(task.output) + pixel + channel, clipped(value, *last),
                     count);
        } else {
          sum = whole(value, last->least, last->most);
          store_some(static_cast<Element*>(task.output) + pixel + channel,
                     narrowed(sum + (kZero - task.shift)), count);
        }
      }
      pixel += task.output_column;
      added += task.residual_column;
    }
  }
}

template <int Rows, int Columns, int Block>
inline void finish_in_memory(const ConvTask& task, const Tile& tile, int first,
                             const Ints (&sums)[Rows][Columns][Block]) {
  Ints copies[Rows][Columns][Block];  // so that the sums need not be in memory
  unrolled<Rows, Columns, Block>([&](int r, int c, int b) { copies[r][c][b] = sums[r][c][b]; });
  finish_tile<true>(task, &copies[0][0][0], Rows, Columns, Block, first, tile);
}

#if LENET_LANES == 16
/// Finishes as many windows as finish_windows does, from `First` on, and goes on behind them.
template <bool Adds, bool Whole, int First, int Block, int Columns>
inline __attribute__((always_inline)) void finish_part(const ConvTask& task,
                                                       const Rounding& rounding, int channel,
                                                       const Ints (&sums)[Columns][Block],
                                                       const Element*& residual, Element*& output) {
  constexpr int kWindows = least(4 / Block, Columns - First);
  if constexpr (kWindows > 0) {
    Ints of_windows[kWindows][Block];
    unrolled<kWindows, Block>([&](int w, int b) { of_windows[w][b] = sums[First + w][b]; });
    finish_windows<Adds, Whole>(task, rounding, channel, of_windows, residual, output);
    output += kWindows * task.output_column;
    if (Adds) residual += kWindows * task.residual_column;
  }
}

template <int First, int Block, int Columns>
inline __attribute__((always_inline)) void finish_row(const ConvTask& task,
                                                      const Rounding& rounding, int channel,
                                                      const Ints (&sums)[Columns][Block],
                                                      const Element* residual, Element* output) {
  finish_part<true, true, First>(task, rounding, channel, sums, residual, output);
  constexpr int kNext = First + 4 / Block;
  if constexpr (kNext < Columns) {
    finish_row<kNext>(task, rounding, channel, sums, residual, output);
  }
}

/// Finishes sums that are in registers. It is large: for the tiles of most work.
template <int Rows, int Columns, int Block>
inline __attribute__((always_inline)) void finish(const ConvTask& task, const Tile& tile,
                                                  int channel,
                                                  const Ints (&sums)[Rows][Columns][Block]) {
  if (task.floats || Block * kLanes > task.channels - channel) {
    finish_in_memory(task, tile, channel, sums);
    return;
  }
  const Rounding rounding(task);
  auto* const output = static_cast<Element*>(task.output) + tile.output + channel;
  unrolled<Rows>([&](int r) __attribute__((always_inline)) {
    finish_row<0>(task, rounding, channel, sums[r],
                  residual_at(task, tile.residual + r * tile.residual_apart + channel),
                  output + r * tile.output_apart);
  });
}
#endif
