/// \file
/// Convolutions by their definition, with vectors of output channels.
///
/// A tile is some windows by one or two vectors of channels, whose sums stay in registers while all
/// taps are added: for each tap the weights, and each window's value in all lanes. The weights of
/// two vectors are read again for each tile, from the second-level cache; meanwhile the next ones
/// are brought there.
///
/// Part of implementation.h.

/// Windows of a tile with `vectors` of channels: a value and the weights need registers too.
constexpr int most_windows(int vectors) {
  return most(1, least(14, (kRegisters - vectors - 1) / vectors));
}

constexpr int kLineFloats = 16;      ///< of a cache line
constexpr int kIntoSecondLevel = 2;  ///< of __builtin_prefetch

/// What the tiles of one or two vectors of channels have in common, beside the task.
struct Channels {
  const float* input;
  const TapRun* runs;
  std::int32_t run_count;
  const float* weights;
  std::int64_t weights_step;  ///< floats from a tap's to the next one's
  const float* bias;          ///< null: the output has the sums of other taps already
  float* output;
  const float* residual;  ///< or null
  Activation activation;
  std::int64_t left_out;   ///< floats of the output before the tile's windows
  const float* next;       ///< weights to bring into the second-level cache, some with each tap
  std::int64_t next_step;  ///< floats from those of a tap to those of the next one
};

/// Some windows, counted through all rows, by `Vectors` of channels.
template <int Vectors, int Windows>
void channels_tile(const ConvTask& task, const Channels& channels, int first) {
  const std::int64_t residual_row = task.epilogue.residual_row;
  std::int64_t starts[Windows];
  std::int64_t outputs[Windows];
  std::int64_t residuals[Windows];
  const int y = first / task.columns;
  int x = first % task.columns;
  std::int64_t input = y * task.input_row + x * task.input_column;
  std::int64_t output = y * task.output_row + x * task.output_column - channels.left_out;
  std::int64_t residual = y * residual_row + x * task.output_column;
  for (int w = 0; w < Windows; ++w) {
    starts[w] = input;
    outputs[w] = output;
    residuals[w] = residual;
    input += task.input_column;
    output += task.output_column;
    residual += task.output_column;
    if (++x < task.columns) continue;
    input += task.input_row - x * task.input_column;
    output += task.output_row - x * task.output_column;
    residual += residual_row - x * task.output_column;
    x = 0;
  }
  float* const to = channels.output;
  const std::int64_t to_vector = task.output_channel;
  Vector sums[Windows][Vectors];
  if (channels.bias == nullptr) {
    unrolled<Windows, Vectors>(
        [&](int w, int v) { sums[w][v] = load(to + outputs[w] + v * to_vector); });
  } else {
    unrolled<Windows, Vectors>(
        [&](int w, int v) { sums[w][v] = load(channels.bias + v * kLanes); });
  }
  if (channels.residual != nullptr) {
    unrolled<Windows, Vectors>([&](int w, int v) {
      __builtin_prefetch(channels.residual + residuals[w] + v * task.epilogue.residual_block);
    });
  }
  const float* weights = channels.weights;
  const float* next = channels.next;
  const std::int64_t step = channels.next_step;
  for (const TapRun *run = channels.runs, *end = run + channels.run_count; run < end; ++run) {
    const float* values = channels.input + run->offset;
    for (std::int32_t t = 0; t < run->count; ++t, ++values, weights += channels.weights_step) {
      __builtin_prefetch(next, 0, kIntoSecondLevel);
      if (step > kLineFloats) __builtin_prefetch(next + kLineFloats, 0, kIntoSecondLevel);
      next += step;
      Vector row[Vectors];
      unrolled<Vectors>([&](int v) { row[v] = load(weights + v * kLanes); });
      unrolled<Windows>([&](int w) {
        const Vector value = all(values[starts[w]]);
        unrolled<Vectors>([&](int v) { sums[w][v] += value * row[v]; });
      });
    }
  }
  if (const float* const from = channels.residual; from != nullptr) {
    const std::int64_t from_vector = task.epilogue.residual_block;
    unrolled<Windows, Vectors>(
        [&](int w, int v) { sums[w][v] += load(from + residuals[w] + v * from_vector); });
  }
  if (is_bound(channels.activation)) {
    const Vector low = all(channels.activation.alpha);
    const Vector high = all(channels.activation.beta);
    unrolled<Windows, Vectors>([&](int w, int v) { sums[w][v] = bounded(sums[w][v], low, high); });
  }
  unrolled<Windows, Vectors>(
      [&](int w, int v) { store(to + outputs[w] + v * to_vector, sums[w][v]); });
}

/// A tile with an activation that is not computed in registers. The sums go through a buffer: what
/// is loaded again must not wait for memory.
template <int Vectors>
void activated_tile(void (*tile)(const ConvTask&, const Channels&, int), const ConvTask& task,
                    const Channels& channels, int first, int count) {
  constexpr int kMost = most_windows(Vectors);
  float buffer[Vectors * kMost * kLanes];
  ConvTask buffered = task;
  buffered.output_row = task.columns * kLanes;
  buffered.output_channel = kMost * kLanes;
  Channels sums = channels;
  sums.output = buffer;
  sums.left_out = std::int64_t{first} * kLanes;
  tile(buffered, sums, first);
  for (int done = 0; done < count;) {
    const int y = (first + done) / task.columns;
    const int x = (first + done) % task.columns;
    const int of_row = least(count - done, task.columns - x);
    float* const output = channels.output + y * task.output_row + x * kLanes;
    for (int v = 0; v < Vectors; ++v) {
      activate(channels.activation, buffer + (v * kMost + done) * kLanes,
               output + v * task.output_channel, of_row * kLanes);
    }
    done += of_row;
  }
}

/// All windows of an image.
/// \param taps of the runs
/// \param next how many weights to prefetch with all images
template <int Vectors>
void channels_windows(const ConvTask& task, Channels& channels, std::int64_t taps,
                      std::int64_t next) {
  constexpr int kMost = most_windows(Vectors);
  const int windows = task.rows * task.columns;
  const std::int64_t tiles = std::int64_t{task.images} * ((windows + kMost - 1) / kMost);
  channels.next_step = (next + tiles * taps - 1) / (tiles * taps);
  for_even_parts(windows, kMost, [&](int first, int count) {
    const auto tile =
        for_count<kMost>(count, [](auto number) { return channels_tile<Vectors, number.value>; });
    // Sums that are in the output already go on there.
    const bool begins = channels.bias != nullptr;
    if (is_other(channels.activation) && begins && task.output_column == kLanes) {
      activated_tile<Vectors>(tile, task, channels, first, count);
    } else {
      tile(task, channels, first);
      activate_stored(channels.activation, channels.output + first * task.output_column, count,
                      task.output_column, Vectors, task.output_channel);
    }
    channels.next += taps * channels.next_step;
  });
}

void conv_channels(const ConvTask& task) {
  const Epilogue& epilogue = task.epilogue;
  const std::int64_t vector_weights = std::int64_t{task.taps} * kLanes;
  const float* weights = task.weights;
  const int all_vectors = (task.channels + kLanes - 1) / kLanes;
  for (int first = 0, vectors = 2; first < all_vectors; first += vectors) {
    vectors = least(2, all_vectors - first);
    const float* const next = weights + vectors * vector_weights;
    const int next_vectors = least(2, all_vectors - first - vectors);
    Channels channels{task.input,
                      task.runs,
                      task.run_count,
                      weights,
                      vectors * kLanes,
                      epilogue.bias + first * kLanes,
                      task.output + first * task.output_channel,
                      epilogue.residual,
                      epilogue.activation,
                      0,
                      next,
                      0};
    if (channels.residual != nullptr) channels.residual += first * epilogue.residual_block;
    for (std::int32_t image = 0; image < task.images; ++image) {
      (vectors == 2 ? channels_windows<2> : channels_windows<1>)(task, channels, task.taps,
                                                                 next_vectors * vector_weights);
      channels.input += task.image_step;
      channels.output += task.image_step;
      if (channels.residual != nullptr) channels.residual += task.image_step;
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
    for (int i = 0; i < run.count; i += kLanes) bits |= nonzero_lanes(load(values + i)) << i;
  }
  return run.count < kMostOfRun ? bits & ((std::uint64_t{1} << run.count) - 1) : bits;
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
      const Vector value = all(values[i]);
      const float* const row = weights + i * kStep;
      unrolled<Vectors>([&](int v) { sums[v] += value * load(row + v * kLanes); });
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
  const Epilogue& epilogue = task.epilogue;
  const float* weights = task.weights;
  const int all_vectors = (task.channels + kLanes - 1) / kLanes;
  for (int first = 0, vectors = 0; first < all_vectors; first += vectors) {
    vectors = dense_vectors(all_vectors - first);
    Channels channels{task.input,
                      task.runs,
                      task.run_count,
                      weights,
                      vectors * kLanes,
                      epilogue.bias + first * kLanes,
                      task.output + first * task.output_channel,
                      epilogue.residual,
                      epilogue.activation,
                      0,
                      nullptr,
                      0};
    if (channels.residual != nullptr) channels.residual += first * epilogue.residual_block;
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
