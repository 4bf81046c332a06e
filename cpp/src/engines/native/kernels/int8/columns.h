/// \file
/// Convolutions of an image of one channel: vectors of columns.
///
/// Part of implementation.h.

constexpr int kPerGroup = sizeof(std::int32_t) / sizeof(Element);
constexpr int kBits = 8 * sizeof(Element);
using Groups = Lanes<std::uint32_t>::Vector;

inline Groups lowest(const Element* from) { return reinterpret_cast<Groups>(widened(from)); }

void fill_planes(const ConvTask& task) {
  const auto* input = static_cast<const Element*>(task.input);
  auto* planes = reinterpret_cast<std::uint32_t*>(task.planes);
  for (std::int32_t x = 0; x < task.plane_columns; x += kLanes) {
    if (task.tall_rows > 0) {
      const Element* at = input + x;
      Groups group{};
      for (int k = 0; k < kPerGroup - 1; ++k, at += task.input_row) {
        group = group >> kBits | lowest(at) << (32 - kBits);
      }
      for (std::int32_t y = 0; y < task.tall_rows; ++y, at += task.input_row) {
        group = group >> kBits | lowest(at) << (32 - kBits);
        store(planes + y * task.plane_row + x, group);
      }
    }
    for (std::int32_t y = 0; y < task.wide_rows; ++y) {
      const Element* at = input + (task.first_wide_row + y) * task.input_row + x;
      Groups group = lowest(at);
      unrolled<kPerGroup - 1>([&](int k) { group |= lowest(at + k + 1) << ((k + 1) * kBits); });
      store(planes + (task.tall_rows + y) * task.plane_row + x, group);
    }
  }
}

/// Channels of `count` pixels, from vectors of pixels.
template <int Channels>
__attribute__((noinline)) void give_pixels(const ConvTask& task, const Ints (&sums)[Channels],
                                           int channel, Element* output, int count) {
  Ints values[Channels];
  unrolled<Channels>([&](int o) { values[o] = sums[o]; });
  for (const Stage* stage = task.stages; stage < task.stages + task.stage_count; ++stage) {
    const Stage now = *stage;
    unrolled<Channels>([&](int o) {
      const Floats scaled = floats(values[o]) * all(now.factor[channel + o]);
      values[o] = whole(scaled + all(now.addend[channel + o]), now.least, now.most);
    });
  }
  constexpr int kGroups = (Channels + kPerGroup - 1) / kPerGroup;
  std::int32_t pixels[kGroups][kLanes];
  unrolled<kGroups>([&](int g) {
    Groups group{};
    unrolled<kPerGroup>([&](int k) {
      const int o = g * kPerGroup + k;
      if (o >= Channels) return;
      const auto element = reinterpret_cast<Groups>(values[o] + (kZero - task.shift));
      group |= (element & ((1U << kBits) - 1)) << (k * kBits);
    });
    store(pixels[g], reinterpret_cast<Ints>(group));
  });
  constexpr int kRest = Channels % kPerGroup;
  for (int i = 0; i < count; ++i, output += task.output_column) {
    unrolled<Channels / kPerGroup>([&](int g) {
      __builtin_memcpy(output + g * kPerGroup, &pixels[g][i], sizeof(std::int32_t));
    });
    if constexpr (kRest > 0) {
      __builtin_memcpy(output + Channels - kRest, &pixels[kGroups - 1][i], kRest * sizeof(Element));
    }
  }
}

template <int Channels, int Rows>
void columns_tile(const ConvTask& task, const std::int32_t* weights, int channel,
                  const std::int32_t* planes, Element* output, int count) {
  Ints sums[Channels][Rows][2];
  unrolled<Channels, Rows, 2>(
      [&](int o, int r, int half) { sums[o][r][half] = all(task.start[channel + o]); });
  for (std::int32_t g = 0; g < task.groups; ++g, weights += Channels) {
    const std::int32_t* at = planes + task.offsets[g];
    Ints taps[Rows][2];
    unrolled<Rows, 2>(
        [&](int r, int half) { taps[r][half] = load(at + r * task.plane_row + half * kLanes); });
    unrolled<Channels>([&](int o) {
      const Ints weight = all(weights[o]);
      unrolled<Rows, 2>([&](int r, int half) {
        sums[o][r][half] = dot(sums[o][r][half], taps[r][half], weight);
      });
    });
  }
  unrolled<2 / Rows>([&](int part) {
    Ints found[Channels];
    unrolled<Channels>([&](int o) {
      found[o] = sums[o][0][part];
      if constexpr (Rows == 2) {
        found[o] = larger_of_pairs(larger(sums[o][0][0], sums[o][1][0]),
                                   larger(sums[o][0][1], sums[o][1][1]));
      }
    });
    give_pixels(task, found, channel, output + part * kLanes * task.output_column,
                least(count / Rows - part * kLanes, kLanes));
  });
}

std::int32_t columns_tile_of(std::int32_t channels) {
  constexpr int kMaxChannels = kRegisters >= 32 ? 6 : 2;
  return channels == 5 ? least(4, kMaxChannels)
                       : least(channels == 7 || channels == 8 ? 4 : channels, kMaxChannels);
}

template <int Channels>
void columns_rows(const ConvTask& task, const std::int32_t* weights, int channel) {
  const int rows = task.pool ? 2 : 1;
  auto* output = static_cast<Element*>(task.output) + channel;
  for (std::int32_t y = 0; y < task.rows; y += rows) {
    for (std::int32_t x = 0; x < task.columns; x += 2 * kLanes) {
      (task.pool ? columns_tile<Channels, 2>
                 : columns_tile<Channels, 1>)(task, weights, channel,
                                              task.planes + y * task.plane_row + x,
                                              output + y / rows * task.output_row +
                                                  x / rows * task.output_column,
                                              task.columns - x);
    }
  }
}

void conv_columns(const ConvTask& task) {
  fill_planes(task);
  const std::int32_t* weights = task.weights;
  for (int channel = 0; channel < task.channels;) {
    const int tile = columns_tile_of(task.channels - channel);
    const auto compute =
        for_one_of<6, 4, 3, 2, 1>(tile, [](auto of) { return columns_rows<of.value>; });
    compute(task, weights, channel);
    weights += task.groups * tile;
    channel += tile;
  }
}
