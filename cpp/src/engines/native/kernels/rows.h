/// \file
/// Rows of values, of any length: what goes along an axis, norms, and values computed from several.
///
/// A sum of floats is cut into blocks of some vectors, whose sums are added in double: rounding
/// errors do not grow with the length of a row. It depends on the row alone, not on where it lies.
///
/// Part of implementation.h.

constexpr std::int64_t kBlockVectors = 64;  // whose sum is in float32

/// The first `count` values, below kLanes, and `other` in the lanes behind. Reads no more.
inline Vector load_some(const float* from, int count, float other) {
#if LENET_LANES == 16 && defined(__AVX512F__)
  const auto lanes = static_cast<__mmask16>((1U << count) - 1);
  return Vector(_mm512_mask_loadu_ps(__m512(all(other)), lanes, from));
#elif LENET_LANES == 8 && defined(__AVX__)
  const Ints lanes = Ints{0, 1, 2, 3, 4, 5, 6, 7} < count;
  const auto values = Vector(_mm256_maskload_ps(from, reinterpret_cast<__m256i>(lanes)));
  return lanes ? values : all(other);
#else
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) values[i] = i < count ? from[i] : other;
  return load(values);
#endif
}

/// Writes the first `count` lanes, below kLanes, and no more.
inline void store_some(float* to, int count, Vector values) {
#if LENET_LANES == 16 && defined(__AVX512F__)
  const auto lanes = static_cast<__mmask16>((1U << count) - 1);
  _mm512_mask_storeu_ps(to, lanes, __m512(values));
#elif LENET_LANES == 8 && defined(__AVX__)
  const Ints lanes = Ints{0, 1, 2, 3, 4, 5, 6, 7} < count;
  _mm256_maskstore_ps(to, reinterpret_cast<__m256i>(lanes), __m256(values));
#else
  for (int i = 0; i < count; ++i) to[i] = values[i];
#endif
}

/// \param count of values, from 1 on; what is beyond a vector does not matter
inline Vector load_up_to(const float* from, std::int64_t count, float other = 0) {
  return count >= kLanes ? load(from) : load_some(from, static_cast<int>(count), other);
}
inline void store_up_to(float* to, std::int64_t count, Vector values) {
  if (count >= kLanes) return store(to, values);
  store_some(to, static_cast<int>(count), values);
}

/// One value of all lanes, which `of` gives of two.
template <int Half = kLanes / 2, class Of>
inline float folded(Vector values, const Of& of) {
  if constexpr (Half > 0) {
    Ints places{};
    expanded<kLanes>([&](int i)
                         __attribute__((always_inline)) { places[i] = (i + Half) % kLanes; });
    return folded<Half / 2>(of(values, shuffled(values, values, places)), of);
  } else {
    return values[0];
  }
}
inline float sum_of_lanes(Vector values) {
  return folded(values, [](Vector a, Vector b) { return a + b; });
}

/// Adds up the vectors that `of(i, left)` gives of the values from `i` on, of which so many are
/// left; what it gives for lanes behind the last must be 0.
template <class Of>
inline double summed(std::int64_t count, const Of& of) {
  double total = 0;
  std::int64_t i = 0;
  while (i < count) {
    const std::int64_t block = i + kBlockVectors * kLanes;
    const std::int64_t end = block < count ? block : count;
    Vector sums[2] = {};
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      sums[0] += of(i, std::int64_t{kLanes});
      sums[1] += of(i + kLanes, std::int64_t{kLanes});
    }
    for (; i < end; i += kLanes) sums[0] += of(i, end - i);
    total += static_cast<double>(sum_of_lanes(sums[0] + sums[1]));
  }
  return total;
}

/// A sum of vectors, with what its rounding has left out.
struct ExactSum {
  Vector sum = {};
  Vector rest = {};

  void add(Vector value) {
    const Vector next = sum + value;
    const Vector added = next - sum;
    rest += (sum - (next - added)) + (value - added);
    sum = next;
  }
};

// ---- sums in double

constexpr int kDoubles = most(1, kLanes / 2);  // of a vector
using Doubles __attribute__((vector_size(kDoubles * sizeof(double)))) = double;

inline Doubles load_doubles(const float* from) {
  using Part __attribute__((vector_size(kDoubles * sizeof(float)))) = float;
  using Unaligned __attribute__((aligned(alignof(float)), may_alias)) = Part;
  return __builtin_convertvector(*reinterpret_cast<const Unaligned*>(from), Doubles);
}

/// \param add gives a sum with one more value, of doubles and vectors of them
template <class Add>
inline double summed_in_double(const float* from, std::int64_t count, const Add& add) {
  Doubles sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kDoubles <= count; i += 4 * kDoubles) {
    unrolled<4>([&](int s) { sums[s] = add(sums[s], load_doubles(from + i + s * kDoubles)); });
  }
  for (; i + kDoubles <= count; i += kDoubles) sums[0] = add(sums[0], load_doubles(from + i));
  double rest = 0;
  for (; i < count; ++i) rest = add(rest, static_cast<double>(from[i]));
  const Doubles all_sums = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int l = 0; l < kDoubles; ++l) total += all_sums[l];
  return total + rest;
}

// ---- softmax

inline void softmax_row(const float* from, std::int64_t count, float* to) {
  constexpr float kLeast = -__builtin_inff();
  Vector largest = all(kLeast);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    largest = larger(load_up_to(from + i, count - i, kLeast), largest);
  }
  const Vector top = all(folded(largest, [](Vector a, Vector b) { return larger(a, b); }));
  const double sum = summed(count, [&](std::int64_t i, std::int64_t left) {
    const Vector power = exp(load_up_to(from + i, left, kLeast) - top);  // of kLeast: 0
    store_up_to(to + i, left, power);
    return power;
  });
  const Vector factor = all(static_cast<float>(1 / sum));
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store_up_to(to + i, count - i, load_up_to(to + i, count - i) * factor);
  }
}

/// Axes of up to a vector.
inline void softmax_columns(const AxisTask& task, std::int64_t first, std::int64_t width) {
  const auto at = [&](std::int64_t k) { return load_up_to(task.from + first + k, width); };
  const std::int64_t end = task.count * task.inner;
  Vector largest = at(0);
  for (std::int64_t k = 0; k < end; k += task.inner) largest = larger(at(k), largest);
  ExactSum total;
  const std::int64_t block = kBlockVectors * task.inner;
  for (std::int64_t begin = 0; begin < end; begin += block) {
    const std::int64_t block_end = begin + block < end ? begin + block : end;
    Vector sum{};
    for (std::int64_t k = begin; k < block_end; k += task.inner) {
      const Vector power = exp(at(k) - largest);
      store_up_to(task.to + first + k, width, power);
      sum += power;
    }
    total.add(sum);
  }
  const Vector factor = 1 / (total.sum + total.rest);
  for (std::int64_t k = 0; k < end; k += task.inner) {
    float* const to = task.to + first + k;
    store_up_to(to, width, load_up_to(to, width) * factor);
  }
}

void softmax(const AxisTask& task) {
  if (task.inner == 1) return softmax_row(task.from, task.count, task.to);
  std::int64_t i = 0;
  for (; i + kLanes <= task.width; i += kLanes) softmax_columns(task, i, kLanes);
  if (i < task.width) softmax_columns(task, i, task.width - i);
}

// ---- one value of each axis

/// \param better gives one of two vectors, and the second where the first is NaN
template <class Better>
inline void extreme(const AxisTask& task, float first, const Better& better) {
  if (task.inner == 1) {
    Vector found = all(first);
    for (std::int64_t i = 0; i < task.count; i += kLanes) {
      found = better(load_up_to(task.from + i, task.count - i, first), found);
    }
    *task.to = folded(found, better);
    return;
  }
  const std::int64_t end = task.count * task.inner;
  for (std::int64_t i = 0; i < task.width; i += kLanes) {
    const std::int64_t left = task.width - i;
    Vector found = all(first);
    for (std::int64_t k = 0; k < end; k += task.inner) {
      found = better(load_up_to(task.from + i + k, left, first), found);
    }
    store_up_to(task.to + i, left, found);
  }
}

/// \param add as summed_in_double has it
/// \param finish gives what becomes of a sum
template <class Add, class Finish>
inline void reduce_sums(const AxisTask& task, const Add& add, const Finish& finish) {
  if (task.inner == 1) {
    *task.to = static_cast<float>(finish(summed_in_double(task.from, task.count, add)));
    return;
  }
  const std::int64_t end = task.count * task.inner;
  std::int64_t i = 0;
  const auto columns = [&](auto vectors) {
    constexpr int kVectors = vectors.value;
    for (; i + kVectors * kDoubles <= task.width; i += kVectors * kDoubles) {
      Doubles sums[kVectors] = {};
      for (std::int64_t k = 0; k < end; k += task.inner) {
        const float* const from = task.from + i + k;
        unrolled<kVectors>(
            [&](int v) { sums[v] = add(sums[v], load_doubles(from + v * kDoubles)); });
      }
      for (int l = 0; l < kVectors * kDoubles; ++l) {
        task.to[i + l] = static_cast<float>(finish(sums[l / kDoubles][l % kDoubles]));
      }
    }
  };
  columns(Constant<4>{});
  columns(Constant<1>{});
  for (; i < task.width; ++i) {
    double sum = 0;
    for (std::int64_t k = 0; k < end; k += task.inner) {
      sum = add(sum, static_cast<double>(task.from[i + k]));
    }
    task.to[i] = static_cast<float>(finish(sum));
  }
}

void reduce(ReduceKind kind, const AxisTask& task) {
  constexpr float kInfinity = __builtin_inff();
  const auto sum = [](auto all_before, auto value) { return all_before + value; };
  const auto squares = [](auto all_before, auto value) { return all_before + value * value; };
  const auto as_it_is = [](double found) { return found; };
  switch (kind) {
    case ReduceKind::Sum:
      return reduce_sums(task, sum, as_it_is);
    case ReduceKind::Mean: {
      const auto count = static_cast<double>(task.count);
      return reduce_sums(task, sum, [count](double found) { return found / count; });
    }
    case ReduceKind::SumOfSquares:
      return reduce_sums(task, squares, as_it_is);
    case ReduceKind::L2:
      return reduce_sums(task, squares, [](double found) { return __builtin_sqrt(found); });
    case ReduceKind::Max:
      return extreme(task, -kInfinity, [](Vector a, Vector b) { return larger(a, b); });
    case ReduceKind::Min:
      return extreme(task, kInfinity, [](Vector a, Vector b) { return smaller(a, b); });
    default:
      return;  // in double, one value after the other: ops/reduce.cc
  }
}

// ---- norms

/// The distances from the mean, which may be far larger, are computed with a mean in two floats.
void normalize(const NormalizeTask& task) {
  const auto count = static_cast<double>(task.count);
  double mean = 0;
  if (task.subtracts_mean) {
    mean =
        summed_in_double(task.from, task.count, [](auto sum, auto value) { return sum + value; }) /
        count;
  }
  const Vector near_mean = all(static_cast<float>(mean));
  const Vector rest = all(static_cast<float>(mean - static_cast<double>(near_mean[0])));
  float rests[kLanes];
  store(rests, rest);
  // Lanes behind the last value have no distance.
  const auto distance = [&](const float* from, std::int64_t left) {
    return load_up_to(from, left, near_mean[0]) - near_mean - load_up_to(rests, left);
  };
  const double squares = summed(task.count, [&](std::int64_t i, std::int64_t left) {
    const Vector found = distance(task.from + i, left);
    return found * found;
  });
  const double variance = squares / count + static_cast<double>(task.epsilon);
  const Vector factor = all(static_cast<float>(1 / __builtin_sqrt(variance)));
  for (std::int64_t i = 0; i < task.count; i += kLanes) {
    const std::int64_t left = task.count - i;
    Vector found = distance(task.from + i, left) * factor;
    if (task.scale != nullptr) found *= load_up_to(task.scale + i, left);
    if (task.bias != nullptr) found += load_up_to(task.bias + i, left);
    store_up_to(task.to + i, left, found);
  }
}

// ---- values of several

inline Vector raised(Vector base, Vector exponent) {
  for (int i = 0; i < kLanes; ++i) base[i] = __builtin_powf(base[i], exponent[i]);
  return base;
}

/// 1 where it holds, else 0. \param holds of a comparison
template <class Holds>
inline Vector truth(Holds holds) {
  return holds ? all(1.0F) : Vector{};
}

/// \param of gives a vector of three
template <class Of>
inline void broadcast_each(const BroadcastTask& task, const Of& of) {
  float numbers[3][kLanes] = {};  // of an operand whose values do not lie side by side
  float* to = task.to;
  for (std::int64_t row = 0; row < task.rows; ++row, to += task.count) {
    const float* at[3];
    std::int64_t steps[3];
    bool gathers = false;
    for (int o = 0; o < 3; ++o) {
      at[o] = numbers[o];
      steps[o] = 0;
      if (task.operands[o] == nullptr) continue;
      const float* const first = task.operands[o] + row * task.row_steps[o];
      if (task.steps[o] == 1) {
        at[o] = first;
        steps[o] = kLanes;
      } else if (task.steps[o] == 0) {
        store(numbers[o], all(*first));
      } else {
        gathers = true;
      }
    }
    const std::int64_t whole = task.count / kLanes * kLanes;
    std::int64_t i = 0;
    if (!gathers) {
      for (; i < whole; i += kLanes) {
        store(to + i, of(load(at[0]), load(at[1]), load(at[2])));
        for (int o = 0; o < 3; ++o) at[o] += steps[o];
      }
    }
    for (; i < task.count; i += kLanes) {
      const std::int64_t left = task.count - i;
      Vector values[3];
      for (int o = 0; o < 3; ++o) {
        const std::int64_t step = task.steps[o];
        if (task.operands[o] != nullptr && step > 1) {
          const float* const first = task.operands[o] + row * task.row_steps[o] + i * step;
          for (int l = 0; l < kLanes && l < left; ++l) numbers[o][l] = first[l * step];
        }
        values[o] = load_up_to(at[o], steps[o] == 0 ? kLanes : left, 1);
        at[o] += steps[o];
      }
      store_up_to(to + i, left, of(values[0], values[1], values[2]));
    }
  }
}

/// Of an exponent that all values have, what multiplies and divides instead.
bool raise_each(const BroadcastTask& task) {
  if (task.steps[1] != 0 || task.row_steps[1] != 0) return false;
  const float exponent = *task.operands[1];
  const auto each = [&](const auto& function) {
    broadcast_each(task, [&](Vector a, Vector, Vector) { return function(a); });
    return true;
  };
  if (exponent == 2) return each([](Vector a) { return a * a; });
  if (exponent == 3) return each([](Vector a) { return a * a * a; });
  if (exponent == 0.5F) return each([](Vector a) { return square_root(a); });
  if (exponent == -0.5F) return each([](Vector a) { return 1 / square_root(a); });
  if (exponent == -1) return each([](Vector a) { return 1 / a; });
  return false;
}

void broadcast_rows(const BroadcastTask& task) {
  const auto each = [&task](const auto& function) {
    broadcast_each(task, [&](Vector a, Vector b, Vector) { return function(a, b); });
  };
  switch (task.kind) {
    case BroadcastKind::Add:
      return each([](Vector a, Vector b) { return a + b; });
    case BroadcastKind::Subtract:
      return each([](Vector a, Vector b) { return a - b; });
    case BroadcastKind::Multiply:
      return each([](Vector a, Vector b) { return a * b; });
    case BroadcastKind::Divide:
      return each([](Vector a, Vector b) { return a / b; });
    case BroadcastKind::Maximum:
      return each([](Vector a, Vector b) { return larger(a, b); });
    case BroadcastKind::Minimum:
      return each([](Vector a, Vector b) { return smaller(a, b); });
    case BroadcastKind::PRelu:
      return each([](Vector a, Vector b) { return a < 0 ? a * b : a; });
    case BroadcastKind::Power:
      if (!raise_each(task)) each([](Vector a, Vector b) { return raised(a, b); });
      return;
    case BroadcastKind::Equal:
      return each([](Vector a, Vector b) { return truth(a == b); });
    case BroadcastKind::Less:
      return each([](Vector a, Vector b) { return truth(a < b); });
    case BroadcastKind::LessOrEqual:
      return each([](Vector a, Vector b) { return truth(a <= b); });
    case BroadcastKind::Greater:
      return each([](Vector a, Vector b) { return truth(a > b); });
    case BroadcastKind::GreaterOrEqual:
      return each([](Vector a, Vector b) { return truth(a >= b); });
    case BroadcastKind::And:
      return each([](Vector a, Vector b) { return truth((a != 0) & (b != 0)); });
    case BroadcastKind::Or:
      return each([](Vector a, Vector b) { return truth((a != 0) | (b != 0)); });
    case BroadcastKind::Xor:
      return each([](Vector a, Vector b) { return truth((a != 0) ^ (b != 0)); });
    case BroadcastKind::Where:
      return broadcast_each(task, [](Vector a, Vector b, Vector c) { return a != 0 ? b : c; });
  }
}
