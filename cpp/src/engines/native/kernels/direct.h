/// \file
/// Convolutions by their definition, with vectors of output channels.
///
/// A tile is some windows by one or two vectors of channels, whose sums stay in registers while all
/// taps are added: for each tap the weights, and each window's value in all lanes. The weights of
/// two vectors are read again for each tile, from the second-level cache; meanwhile the next ones
/// are brought there.
///
/// Part of implementation.h.

/// Windows of a tile with `vectors` of channels. A value and the weights need registers too, and so
/// does a product where there are no multiply-adds, unless it takes the place of the value.
constexpr int most_windows(int vectors) {
  const int others = vectors + (vectors > 1 ? 2 : 1);
  return most(1, least(14, (kRegisters - others) / vectors));
}

constexpr int kLineFloats = 16;      ///< of a cache line
constexpr int kIntoSecondLevel = 2;  ///< of __builtin_prefetch

/// What the tiles of some vectors of channels have in common, beside the task.
struct Channels {
  const float* input;
  const TapRun* runs;
  std::int32_t run_count;
  const float* weights;
  std::int64_t weights_step;  ///< floats from a tap's to the next one's
  const float* bias;          ///< null: the output has the sums of other taps already
  float* output;
  std::int64_t output_row;
  std::int64_t output_vector;
  const float* residual;  ///< or null
  Activation activation;
  /// Weights to bring into the second-level cache, some with each tap.
  const float* next = nullptr;
  std::int64_t next_step = 0;  ///< floats from those of a tap to those of the next one

  void move(std::int64_t from, std::int64_t to, std::int64_t added) {
    input += from;
    output += to;
    if (residual != nullptr) residual += added;
  }
};

/// How far columns are from the first one, as an address has it: 1, 2, 4 or 8 times a register.
/// There are not as many registers as columns.
template <int Columns>
struct Spread {
  static constexpr int kOdd = most(1, Columns / 2);
  std::int64_t odd[kOdd];  ///< bytes of 1, 3, 5 and so on columns

  explicit Spread(std::int64_t floats) {
    expanded<kOdd>([&](int i) { odd[i] = (2 * i + 1) * floats * std::int64_t{sizeof(float)}; });
  }
  /// Has the compiler take the registers for others: it would keep their multiples in further ones.
  void renew() {
    expanded<kOdd>([&](int i) { __asm__("" : "+r"(odd[i])); });
  }
  Vector at(const char* first, int column) const {
    const int shift = column == 0 ? 0 : __builtin_ctz(static_cast<unsigned>(column));
    const std::int64_t bytes = column == 0 ? 0 : odd[column >> shift >> 1] << shift;
    return broadcast(reinterpret_cast<const float*>(first + bytes));
  }
};

/// Tiles side by side, each of `Rows` of `Columns` windows, by `Vectors` of channels.
/// \param channels of the first tile; becomes those of the last
/// \tparam Step floats from a window to the next, where the outputs lie side by side and begin with
///   the bias: most tiles of most networks, with addresses that the compiler knows; 0: of any
///   task, one tile
template <int Vectors, int Rows, int Columns, int Step = 0>
__attribute__((flatten)) void channels_tiles(const ConvTask& task, Channels& channels, int tiles) {
  Vector sums[Rows][Columns][Vectors];
  const auto for_places = [](auto* first, std::int64_t row, std::int64_t column, auto work) {
    expanded<Rows>([&](int r) {
      auto* at = first + r * row;
      expanded<Columns>([&](int c) {
        work(at, r, c);
        at += Step > 0 ? kLanes : column;
      });
    });
  };
  const auto for_outputs = [&](auto work) {
    for_places(
        channels.output, channels.output_row, task.output_column, [&](float* at, int r, int c) {
          expanded<Vectors>([&](int v) { work(at + v * channels.output_vector, sums[r][c][v]); });
        });
  };
  const auto for_residuals = [&](auto work) {
    for_places(channels.residual, task.epilogue.residual_row, task.output_column,
               [&](const float* at, int r, int c) {
                 expanded<Vectors>(
                     [&](int v) { work(at + v * task.epilogue.residual_block, sums[r][c][v]); });
               });
  };
  const auto for_sums = [&](auto work) {
    expanded<Rows * Columns * Vectors>([&](int i) {
      work(sums[i / (Columns * Vectors)][i / Vectors % Columns][i % Vectors], i % Vectors);
    });
  };
  if constexpr (Step == 0) {
    const bool begins = channels.bias != nullptr;
    const float* start = begins ? channels.bias : channels.output;
    std::int64_t start_column = begins ? 0 : task.output_column;
    std::int64_t start_vector = begins ? kLanes : channels.output_vector;
    // GCC would make two paths of it, and keep the sums in memory.
    __asm__("" : "+r"(start), "+r"(start_column), "+r"(start_vector));
    for_places(start, begins ? 0 : channels.output_row, start_column,
               [&](const float* at, int r, int c) {
                 expanded<Vectors>([&](int v) { sums[r][c][v] = load(at + v * start_vector); });
               });
  }
  Spread<Columns> spread(task.input_column);
  const std::int64_t row_bytes = task.input_row * std::int64_t{sizeof(float)};
  const float* next = channels.next;
  const std::int64_t step = channels.next_step;
  const TapRun* const end = channels.runs + channels.run_count;
  const auto bring_next = [&] {
    __builtin_prefetch(next, 0, kIntoSecondLevel);
    if (step > kLineFloats) __builtin_prefetch(next + kLineFloats, 0, kIntoSecondLevel);
    next += step;
  };
  // Meanwhile the lines come into the first-level cache to which the sums will go and, of vectors
  // of input channels, those which the next run reads, or the next tile. With fewer registers the
  // taps have no time for it: the latter come before a run.
  constexpr bool kAhead = Step > 0 && kRegisters >= 32;
  int begun = 0;  // taps of the first run that have been added
  for (;;) {
    if (Step > 0 && begun == 0) {
      for_sums([&](Vector& sum, int v) { sum = load(channels.bias + v * kLanes); });
    }
    if (channels.residual != nullptr) {
      for_residuals([](const float* at, const Vector&) { __builtin_prefetch(at); });
    }
    // Else each store would wait for its own line. With fewer registers a tile has too few products
    // for so many prefetches, as measured with AVX2.
    if constexpr (Step == 0 && kRegisters >= 32) {
      for_outputs([](float* at, const Vector&) { __builtin_prefetch(at, 1); });
    }
    const TapRun* run = channels.runs;
    const float* weights = channels.weights + begun * channels.weights_step;
    const float* output = channels.output;
    do {  // there is a run, and a tap in each
      const float* const taps = channels.input + run->offset;
      const char* values = reinterpret_cast<const char*>(taps + begun);
      const char* const behind = reinterpret_cast<const char*>(taps + run->count);
      begun = 0;
      const float* input = channels.input;
      input += run + 1 < end ? run[1].offset : channels.runs->offset + Columns * Step;
      if (output >= channels.output + Columns * kLanes) output = channels.output;
      if constexpr (!kAhead && Step == kFactors) {
        for (int i = 0; i < Columns * Step; i += kLineFloats) __builtin_prefetch(input + i);
      }
      do {
        if constexpr (Step == 0) spread.renew();
        if constexpr (kAhead) {
          __builtin_prefetch(output, 1);
          __builtin_prefetch(output + channels.output_vector, 1);
          output += kLanes;
        }
        if constexpr (kAhead && Step == kFactors) {
          __builtin_prefetch(input);
          input += kLanes;
        }
        bring_next();
        Vector row[Vectors];
        expanded<Vectors>([&](int v) { row[v] = load(weights + v * kLanes); });
        expanded<Rows>([&](int r) {
          const char* const first = values + r * row_bytes;
          expanded<Columns>([&](int c) {
            const Vector value = Step > 0
                                     ? broadcast(reinterpret_cast<const float*>(first) + c * Step)
                                     : spread.at(first, c);
            expanded<Vectors>([&](int v) { add_product(sums[r][c][v], value, row[v]); });
          });
        });
        values += sizeof(float);
        weights += channels.weights_step;
      } while (values < behind);
    } while (++run < end);
    if (channels.residual != nullptr) {
      for_residuals([](const float* at, Vector& sum) { sum += load(at); });
    }
    if (is_bound(channels.activation)) {
      const Vector low = all(channels.activation.alpha);
      for_sums([&](Vector& sum, int) { sum = larger(sum, low); });
    }
    if (channels.activation.kind == ActivationKind::Clip) {
      const Vector high = all(channels.activation.beta);
      for_sums([&](Vector& sum, int) { sum = smaller(sum, high); });
    }
    const bool goes_on = Step > 0 && --tiles > 0;
    if (!kAhead || !goes_on) for_outputs([](float* at, const Vector& sum) { store(at, sum); });
    if (!goes_on) break;
    float* const stored = channels.output;
    channels.move(Columns * Step, Columns * kLanes, Columns * kLanes);
    if constexpr (!kAhead) continue;
    // To store a long vector takes longer than to add a product: the first tap of the next tile is
    // added meanwhile.
    bring_next();
    const float* const values = channels.input + channels.runs->offset;
    Vector row[Vectors];
    expanded<Vectors>([&](int v) { row[v] = load(channels.weights + v * kLanes); });
    expanded<Columns>([&](int c) {
      const Vector value = broadcast(values + c * Step);
      expanded<Vectors>([&](int v) {
        store(stored + c * kLanes + v * channels.output_vector, sums[0][c][v]);
        sums[0][c][v] = load(channels.bias + v * kLanes);
        add_product(sums[0][c][v], value, row[v]);
      });
    });
    begun = 1;
  }
}

/// A tile with an activation that is not computed in registers. The sums go through a buffer: what
/// is loaded again must not wait for memory.
/// \param channels of the tile; they become those of the buffer
template <int Vectors>
void activated_tile(void (*tile)(const ConvTask&, Channels&, int), const ConvTask& task,
                    Channels& channels, int rows, int columns) {
  constexpr int kMax = most_windows(Vectors);
  float buffer[Vectors * kMax * kLanes];
  float* const output = channels.output;
  const std::int64_t output_row = channels.output_row;
  const std::int64_t output_vector = channels.output_vector;
  channels.output = buffer;
  channels.output_row = columns * kLanes;
  channels.output_vector = kMax * kLanes;
  tile(task, channels, 1);
  for (int v = 0; v < Vectors; ++v) {
    for (int r = 0; r < rows; ++r) {
      activate(channels.activation, buffer + (v * kMax + r * columns) * kLanes,
               output + v * output_vector + r * output_row, columns * kLanes);
    }
  }
}

/// The most windows of a tile that is not full: with more of them, tiles take as long as full ones,
/// as measured on Zen 4.
constexpr int most_of_rest(int most_windows) { return (most_windows + least(4, most_windows)) / 2; }

/// Returns how many windows the next tile has when so many are left.
constexpr int tile_size(int left, int most_windows) {
  const int rest = most_of_rest(most_windows);
  return left == most_windows || left >= 2 * rest ? most_windows
         : left > rest                            ? (left + 1) / 2
                                                  : left;
}

/// The tile of so many windows in each of `Rows` rows.
template <int Vectors, int Rows>
auto tile_of(int columns) {
  constexpr int kMax = most_windows(Vectors) / Rows;
  const auto tile = [](auto count) { return channels_tiles<Vectors, Rows, count.value>; };
  return columns == kMax ? channels_tiles<Vectors, Rows, kMax>
                         : for_count<most_of_rest(kMax)>(columns, tile);
}

/// All windows of an image.
/// \param taps of the runs
/// \param next how many weights to prefetch with all images
template <int Vectors>
void channels_windows(const ConvTask& task, Channels& channels, std::int64_t taps,
                      std::int64_t next) {
  constexpr int kMax = most_windows(Vectors);
  constexpr int kTwo = kRegisters >= 32 ? least(2, kMax) : 1;  // rows of a tile
  constexpr int kMaxOfTwo = kMax / kTwo;
  const std::int64_t residual_row = task.epilogue.residual_row;
  const auto follows = [&](std::int64_t row, std::int64_t column) {
    return row == task.columns * column;
  };
  int rows = task.rows;
  int columns = task.columns;
  if (follows(task.input_row, task.input_column) &&
      follows(channels.output_row, task.output_column) &&
      (channels.residual == nullptr || follows(residual_row, task.output_column))) {
    columns *= rows;
    rows = 1;
  }
  const auto tiles_of = [&](int most_columns) {
    return (columns + most_columns - 1) / most_columns;
  };
  const bool pairs = kTwo == 2 && rows > 1 && 2 * tiles_of(kMax) > tiles_of(kMaxOfTwo);
  const int most_columns = pairs ? kMaxOfTwo : kMax;
  const std::int64_t tiles =
      std::int64_t{task.images} * tiles_of(most_columns) * (pairs ? (rows + 1) / 2 : rows);
  const std::int64_t next_step = (next + tiles * taps - 1) / (tiles * taps);
  const float* next_weights = channels.next;
  // Sums that are in the output already go on there.
  const bool buffers =
      is_other(channels.activation) && channels.bias != nullptr && task.output_column == kLanes;
  void (*full_tiles)(const ConvTask&, Channels&, int) = nullptr;
  if constexpr (Vectors == 2 && kLanes >= 8) {
    constexpr int kStride = 2;  // of a planar image's first layer
    const bool goes_on = channels.bias != nullptr && channels.runs->count > 1;
    if (goes_on && task.output_column == kLanes && !pairs) {
      full_tiles = task.input_column == kFactors  ? channels_tiles<2, 1, kMax, kFactors>
                   : task.input_column == kStride ? channels_tiles<2, 1, kMax, kStride>
                                                  : nullptr;
    }
  }
  for (int y = 0, height = 1; y < rows; y += height) {
    height = pairs ? least(2, rows - y) : 1;
    for (int x = 0, width = 0; x < columns; x += width) {
      width = tile_size(columns - x, most_columns);
      auto tile = height == 1 ? tile_of<Vectors, 1>(width) : tile_of<Vectors, kTwo>(width);
      // The copy would wait for all that the last tile stored, if a part of `channels` were stored
      // after it.
      Channels at = channels;
      at.next = next_weights;
      at.next_step = next_step;
      at.move(y * task.input_row + x * task.input_column,
              y * channels.output_row + x * task.output_column,
              y * residual_row + x * task.output_column);
      int together = 1;
      if (full_tiles != nullptr && width == kMax) {
        tile = full_tiles;
        while (!buffers && tile_size(columns - x - width, kMax) == kMax) {
          x += kMax;
          ++together;
        }
      }
      if (buffers) {
        activated_tile<Vectors>(tile, task, at, height, width);
      } else {
        tile(task, at, together);
        for (int r = 0; r < height; ++r) {
          activate_stored(channels.activation, at.output + r * channels.output_row, width,
                          task.output_column, Vectors, channels.output_vector);
        }
      }
      next_weights += together * taps * next_step;
    }
    for (int r = 0; r < height; ++r) {
      float* const gap = channels.output + (y + r) * channels.output_row + columns * kLanes;
      for (std::int64_t i = 0; i < task.output_gap; i += kLanes) {
        for (int v = 0; v < Vectors; ++v) store(gap + i + v * channels.output_vector, Vector{});
      }
    }
  }
  channels.next = next_weights;
}

/// So many vectors of channels from the first one on, with the weights of all taps.
inline Channels channels_of(const ConvTask& task, const float* weights, int first, int vectors) {
  const Epilogue& epilogue = task.epilogue;
  const float* residual = epilogue.residual;
  if (residual != nullptr) residual += first * epilogue.residual_block;
  return {task.input,
          task.runs,
          task.run_count,
          weights,
          vectors * kLanes,
          epilogue.bias + first * kLanes,
          task.output + first * task.output_channel,
          task.output_row,
          task.output_channel,
          residual,
          epilogue.activation};
}

void conv_channels(const ConvTask& task) {
  const std::int64_t vector_weights = std::int64_t{task.taps} * kLanes;
  const float* weights = task.weights;
  const int all_vectors = (task.channels + kLanes - 1) / kLanes;
  for (int first = 0, vectors = 2; first < all_vectors; first += vectors) {
    vectors = least(2, all_vectors - first);
    const float* const next = weights + vectors * vector_weights;
    Channels channels = channels_of(task, weights, first, vectors);
    channels.next = next;
    for (std::int32_t image = 0; image < task.images; ++image) {
      // Behind the last weights are those of the next layer.
      (vectors == 2 ? channels_windows<2> : channels_windows<1>)(task, channels, task.taps,
                                                                 vectors * vector_weights);
      channels.move(task.input_image_step, task.image_step, task.image_step);
    }
    weights = next;
  }
}

// ---- fully connected layers: one window an image

/// Bit i: whether value i of a run is not 0, or all.
inline std::uint64_t taps_of(const ConvTask& task, const TapRun& run) {
  std::uint64_t bits = ~std::uint64_t{0};
  if (task.skips_zeros) {
    bits = 0;
    const float* const values = task.input + run.offset;
    for (int i = 0; i < run.count; i += kLanes) bits |= nonzero_factors(load(values + i)) << i;
  }
  return run.count < kMaxRun ? bits & ((std::uint64_t{1} << run.count) - 1) : bits;
}

/// One image. What is multiplied by 0 is not read: behind a relu, about half of the weights.
template <int Vectors>
void one_window(const ConvTask& task, const Channels& channels) {
  constexpr int kStep = Vectors * kLanes;
  Vector sums[Vectors];
  unrolled<Vectors>([&](int v) { sums[v] = load(channels.bias + v * kLanes); });
  const float* weights = channels.weights;
  const TapRun* const end = task.runs + task.run_count;
  std::uint64_t taps = taps_of(task, *task.runs);
  for (const TapRun* run = task.runs; run < end; ++run) {
    const float* const values = task.input + run->offset;
    const float* const next = weights + std::int64_t{run->count} * kStep;
    const std::uint64_t next_taps = run + 1 < end ? taps_of(task, run[1]) : 0;
    std::uint64_t ahead = task.prefetches ? next_taps : 0;
    const auto prefetch = [&] {
      const float* const row = next + __builtin_ctzll(ahead) * kStep;
      for (int i = 0; i < kStep; i += kLineFloats) {
        __builtin_prefetch(row + i, 0, kIntoSecondLevel);
      }
      ahead &= ahead - 1;
    };
    for (; taps != 0; taps &= taps - 1) {
      if (ahead != 0) prefetch();
      const int i = __builtin_ctzll(taps);
      const Vector value = broadcast(values + i);
      const float* const row = weights + i * kStep;
      unrolled<Vectors>([&](int v) { add_product(sums[v], value, load(row + v * kLanes)); });
    }
    while (ahead != 0) prefetch();
    taps = next_taps;
    weights = next;
  }
  unrolled<Vectors>([&](int v) {
    if (channels.residual != nullptr) {
      sums[v] += load(channels.residual + v * task.epilogue.residual_block);
    }
    store(channels.output + v * task.output_channel, activated(sums[v], channels.activation));
  });
  activate_stored(channels.activation, channels.output, 1, kLanes, Vectors, task.output_channel);
}

int dense_vectors(int left) {
  return left >= 8 ? 8 : left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/// Several images. Weights that the caches do not hold are read once, a run after the other, and
/// the sums so far are in the output meanwhile.
void many_windows(const ConvTask& task, const Channels& channels, int vectors) {
  const int most_some = task.columns <= most_windows(8)   ? 8
                        : task.columns <= most_windows(4) ? 4
                                                          : 2;
  const std::int32_t runs = task.prefetches ? 1 : task.run_count;
  const float* weights = channels.weights;
  for (std::int32_t r = 0; r < task.run_count; r += runs) {
    const bool ends = r + runs == task.run_count;
    const std::int64_t taps = task.prefetches ? task.runs[r].count : task.taps;
    const float* const next = weights + taps * channels.weights_step;
    for (int v = 0, some = 0; v < vectors; v += some) {
      some = dense_vectors(least(most_some, vectors - v));
      Channels part = channels;
      part.runs = task.runs + r;
      part.run_count = runs;
      part.weights = weights + v * kLanes;
      part.bias = r == 0 ? channels.bias + v * kLanes : nullptr;
      part.output += v * task.output_channel;
      part.residual = nullptr;
      if (ends && channels.residual != nullptr) {
        part.residual = channels.residual + v * task.epilogue.residual_block;
      }
      if (!ends) part.activation = {};
      part.next = next + taps * v * kLanes;
      (some == 8   ? channels_windows<8>
       : some == 6 ? channels_windows<6>
       : some == 4 ? channels_windows<4>
       : some == 2 ? channels_windows<2>
                   : channels_windows<1>)(task, part, taps, taps * some * kLanes);
    }
    weights = next;
  }
}

void fully_connected(const ConvTask& task) {
  const float* weights = task.weights;
  const int all_vectors = (task.channels + kLanes - 1) / kLanes;
  for (int first = 0, vectors = 0; first < all_vectors; first += vectors) {
    vectors = dense_vectors(all_vectors - first);
    const Channels channels = channels_of(task, weights, first, vectors);
    if (task.columns > 1) {
      many_windows(task, channels, vectors);
    } else {
      (vectors == 8   ? one_window<8>
       : vectors == 6 ? one_window<6>
       : vectors == 4 ? one_window<4>
       : vectors == 2 ? one_window<2>
                      : one_window<1>)(task, channels);
    }
    weights += std::int64_t{task.taps} * vectors * kLanes;
  }
}
