/// \file
/// Convolutions of groups that are not whole vectors of channels, depthwise ones among them.
///
/// A vector of output channels takes of each place among the input channels of a group what its
/// lanes' groups have there: one vector, of which each value serves as many outputs as windows
/// overlap. Each weight is used for all windows of a tile.
///
/// Part of implementation.h.

/// What lanes take, from a pixel on.
/// \tparam Sources vectors that they take it from; 0: one, and each lane its own channel
template <int Sources>
struct GroupedPixels {
  const float* first;
  const float* second;
  Ints places;

  Vector operator[](std::int64_t at) const {
    if constexpr (Sources == 0 || kLanes == 1) return load(first + at);
    if constexpr (Sources == 2) return shuffled(load(first + at), load(second + at), places);
    const Vector found = load(first + at);
    return shuffled(found, found, places);
  }
  void move(std::int64_t by) {
    first += by;
    second += by;
  }
};

/// Adds a row of `Width` windows side by side. \param weights of the columns of a window
template <int Stride, int Kernel, int Width, class Pixels>
inline __attribute__((always_inline)) void add_window_row(Vector (&sums)[Width],
                                                          const Pixels& pixels,
                                                          const Vector (&weights)[Kernel]) {
#pragma GCC unroll 32
  for (int x = 0; x < (Width - 1) * Stride + Kernel; ++x) {
    Vector value = pixels[x * kLanes];
    keep(value);
#pragma GCC unroll 8
    for (int i = 0; i < Width; ++i) {
      const int tap = x - i * Stride;
      if (tap >= 0 && tap < Kernel) add_product(sums[i], value, weights[tap]);
    }
  }
}

/// All windows, `Width` of them side by side at once. Where the last would reach beyond the
/// columns, they begin before.
/// \tparam Kernel rows and columns of a window that slides by `Stride` values; 0: of any window
template <int Kernel, int Stride, int Sources, int Width>
void grouped_windows(const GroupedTask& task) {
  // Those of a depthwise window of 3 x 3 fit the registers beside the sums.
  constexpr bool kKeeps = Kernel == 3 && Sources == 0 && kRegisters >= 32;
  constexpr int kRow = most(Kernel, 1);
  const Vector bias = load(task.epilogue.bias);
  const bool bounds = is_bound(task.epilogue.activation);
  // Others are not computed in registers; HardSwish is in the tiles that most classifiers have.
  constexpr bool kHardSwish = Sources == 0 && Width == 7;
  const bool swishes = kHardSwish && task.epilogue.activation.kind == ActivationKind::HardSwish;
  const bool other = is_other(task.epilogue.activation) && !swishes;
  const Vector low = all(task.epilogue.activation.alpha);
  const Vector high = all(task.epilogue.activation.beta);
  Vector kept[kKeeps ? 3 : 1][kRow];
  if constexpr (kKeeps) {
    unrolled<3, 3>([&](int y, int x) {
      kept[y][x] = load(task.weights + (y * 3 + x) * kLanes);
      keep(kept[y][x]);
    });
  }
  const std::int32_t tiles = (task.columns + Width - 1) / Width;
  for (std::int32_t tile = 0; tile < tiles * task.rows; ++tile) {
    const std::int32_t row = tile / tiles;
    const std::int32_t column = least(tile % tiles * Width, task.columns - Width);
    const float* input = task.input + row * task.input_row + column * task.input_column;
    float* output = task.output + row * task.output_row + column * kLanes;
    Vector sums[Width];
    unrolled<Width>([&](int i) { sums[i] = bias; });
    const float* weights = task.weights;
    for (std::int32_t t = 0; t < task.terms; ++t) {
      const GroupedTerm& term = task.term[t];
      GroupedPixels<Sources> pixels = {input + term.first, input + term.second,
                                       Sources > 0 ? load(term.places) : Ints{}};
      if constexpr (kKeeps) {
#pragma GCC unroll 3
        for (int y = 0; y < 3; ++y) {
          add_window_row<Stride>(sums, pixels, kept[y]);
          pixels.move(task.tap_row);
        }
      } else if constexpr (Kernel > 0) {
        for (int y = 0; y < Kernel; ++y, weights += Kernel * kLanes) {
          Vector of_row[Kernel];
#pragma GCC unroll 8
          for (int k = 0; k < Kernel; ++k) {
            of_row[k] = load(weights + k * kLanes);
            keep(of_row[k]);
          }
          add_window_row<Stride>(sums, pixels, of_row);
          pixels.move(task.tap_row);
        }
      } else {
        for (std::int32_t y = 0; y < task.height; ++y) {
          for (std::int32_t x = 0; x < task.width; ++x, weights += kLanes) {
            const Vector weight = load(weights);
            const std::int64_t at = y * task.tap_row + x * task.tap_column;
            unrolled<Width>(
                [&](int i) { add_product(sums[i], pixels[at + i * task.input_column], weight); });
          }
        }
      }
    }
    if (bounds) {
      unrolled<Width>([&](int i) { sums[i] = bounded(sums[i], low, high); });
    }
    if constexpr (kHardSwish) {
      if (swishes) {
        unrolled<Width>([&](int i) { sums[i] = hard_swish(sums[i], task.epilogue.activation); });
      }
    }
    // What is loaded again must not wait for memory.
    float buffer[Width * kLanes];
    float* const to = other ? buffer : output;
    unrolled<Width>([&](int i) { store(to + i * kLanes, sums[i]); });
    if (other) activate(task.epilogue.activation, buffer, output, Width * kLanes);
  }
}

/// Images of classifiers are 7 x 7 in the end, and multiples of it before.
template <int Kernel, int Stride, int Sources>
void grouped_windows_by(const GroupedTask& task) {
  const int columns = task.columns;
  const int sevens = (columns + 6) / 7 * (7 + 2);  // about what tiles cost
  const int fours = (columns + 3) / 4 * (4 + 2);
  (columns >= 7 && sevens <= fours ? grouped_windows<Kernel, Stride, Sources, 7>
   : columns >= 4                  ? grouped_windows<Kernel, Stride, Sources, 4>
                                   : grouped_windows<Kernel, Stride, Sources, 1>)(task);
}

template <int Sources>
void grouped(const GroupedTask& task) {
  const std::int64_t stride = task.input_column / kLanes;
  const bool slides = task.width == task.height && task.tap_column == kLanes && stride <= 2;
  const int kernel = slides ? task.width : 0;
  // With few registers the compiler would keep sums in memory.
  if constexpr (kLanes >= 8 || kRegisters >= 32) {
    if (kernel == 3) {
      return (stride == 1 ? grouped_windows_by<3, 1, Sources>
                          : grouped_windows_by<3, 2, Sources>)(task);
    }
    if constexpr (Sources == 0) {
      if (kernel == 5) {
        return (stride == 1 ? grouped_windows_by<5, 1, 0> : grouped_windows_by<5, 2, 0>)(task);
      }
      if (kernel == 7 && stride == 1) return grouped_windows_by<7, 1, 0>(task);
    }
  }
  grouped_windows_by<0, 1, Sources == 0 ? 0 : 2>(task);
}

void conv_grouped(const GroupedTask& task) {
  (task.sources == 0 ? grouped<0> : task.sources == 1 ? grouped<1> : grouped<2>)(task);
}
