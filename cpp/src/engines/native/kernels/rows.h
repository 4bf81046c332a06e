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

/// Rows that are computed in turns: what one waits for takes as long as some vectors of another.
constexpr std::int64_t kRowsInTurns = 4;

/// Calls `work(first, count)` for groups of rows.
template <class Work>
inline void for_rows(std::int64_t rows, const Work& work) {
  for (std::int64_t first = 0; first < rows; first += kRowsInTurns) {
    work(first, first + kRowsInTurns < rows ? kRowsInTurns : rows - first);
  }
}

/// Adds up vectors. \param add called as add(i, left, sums), adds what it has of the values from
///   `i` on, of which so many are left; 0 in the lanes behind the last
template <int Sums, class Add>
inline void add_up(std::int64_t count, double (&totals)[Sums], const Add& add) {
  unrolled<Sums>([&](int s) { totals[s] = 0; });
  std::int64_t i = 0;
  while (i < count) {
    const std::int64_t block = i + kBlockVectors * kLanes;
    const std::int64_t end = block < count ? block : count;
    Vector sums[Sums] = {};
    Vector others[Sums] = {};
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      add(i, std::int64_t{kLanes}, sums);
      add(i + kLanes, std::int64_t{kLanes}, others);
    }
    for (; i < end; i += kLanes) add(i, end - i, sums);
    unrolled<Sums>(
        [&](int s) { totals[s] += static_cast<double>(sum_of_lanes(sums[s] + others[s])); });
  }
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

/// So many rows in turns.
template <int Rows>
inline void soften(const ScoresTask& task, std::int64_t first) {
  constexpr float kLeast = -__builtin_inff();
  const float* const from = task.from + first * task.step;
  float* const to = task.to + first * task.step;
  Vector tops[Rows];
  unrolled<Rows>([&](int r) { tops[r] = all(kLeast); });
  for (std::int64_t i = 0; i < task.count; i += kLanes) {
    const std::int64_t left = task.count - i;
    unrolled<Rows>([&](int r) {
      Vector score = load_up_to(from + r * task.step + i, left, kLeast) * task.scale;
      for (int t = 0; t < ScoresTask::kTerms && task.terms[t] != nullptr; ++t) {
        score += load_up_to(task.terms[t] + (first + r) * task.term_steps[t] + i, left);
      }
      store_up_to(to + r * task.step + i, left, score);
      tops[r] = larger(score, tops[r]);
    });
  }
  unrolled<Rows>([&](int r) {
    tops[r] = all(folded(tops[r], [](Vector a, Vector b) { return larger(a, b); }));
  });
  double sums[Rows] = {};
  for (std::int64_t begin = 0; begin < task.count; begin += kBlockVectors * kLanes) {
    const std::int64_t behind = begin + kBlockVectors * kLanes;
    const std::int64_t end = behind < task.count ? behind : task.count;
    Vector parts[Rows] = {};
    for (std::int64_t i = begin; i < end; i += kLanes) {
      unrolled<Rows>([&](int r) {
        float* const at = to + r * task.step + i;
        const Vector power = exp_of_negative(load_up_to(at, end - i, kLeast) - tops[r]);
        store_up_to(at, end - i, power);
        parts[r] += power;  // of kLeast 0
      });
    }
    unrolled<Rows>([&](int r) { sums[r] += static_cast<double>(sum_of_lanes(parts[r])); });
  }
  Vector factors[Rows];
  unrolled<Rows>([&](int r) { factors[r] = all(static_cast<float>(1 / sums[r])); });
  for (std::int64_t i = 0; i < task.count; i += kLanes) {
    const std::int64_t left = task.count - i;
    unrolled<Rows>([&](int r) {
      float* const at = to + r * task.step + i;
      store_up_to(at, left, load_up_to(at, left) * factors[r]);
    });
  }
}

void softmax_scores(const ScoresTask& task) {
  constexpr int kRows = kRegisters >= 32 ? 4 : 2;
  std::int64_t row = 0;
  for (; row + kRows <= task.rows; row += kRows) soften<kRows>(task, row);
  for (; row < task.rows; ++row) soften<1>(task, row);
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
  if (task.inner == 1) {
    ScoresTask rows{};
    rows.from = task.from;
    rows.to = task.to;
    rows.count = rows.step = task.count;
    rows.rows = task.width;
    rows.scale = 1;
    return softmax_scores(rows);
  }
  std::int64_t i = 0;
  for (; i + kLanes <= task.width; i += kLanes) softmax_columns(task, i, kLanes);
  if (i < task.width) softmax_columns(task, i, task.width - i);
}

// ---- one value of each axis

/// \param better gives one of two vectors, and the second where the first is NaN
template <class Better>
inline void extreme(const AxisTask& task, float first, const Better& better) {
  if (task.inner == 1) {
    for (std::int64_t r = 0; r < task.width; ++r) {
      Vector found = all(first);
      for (std::int64_t i = 0; i < task.count; i += kLanes) {
        found = better(load_up_to(task.from + r * task.count + i, task.count - i, first), found);
      }
      task.to[r] = folded(found, better);
    }
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
/// \param finish turns a sum into the result
template <class Add, class Finish>
inline void reduce_sums(const AxisTask& task, const Add& add, const Finish& finish) {
  if (task.inner == 1) {
    for (std::int64_t r = 0; r < task.width; ++r) {
      const double sum = summed_in_double(task.from + r * task.count, task.count, add);
      task.to[r] = static_cast<float>(finish(sum));
    }
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

/// The mean may be far larger than the distances from it, which have to be exact: they are taken
/// from a number near the mean first, and tell how far that is from it.
inline void normalize_rows(const NormalizeTask& task, std::int64_t first, std::int64_t rows) {
  const std::int64_t count = task.count;
  const double share = 1 / static_cast<double>(count);
  float means[kRowsInTurns] = {};
  float factors[kRowsInTurns];
  float shifts[kRowsInTurns];
  const auto row_at = [&](std::int64_t r) { return task.from + (first + r) * count; };
  for (std::int64_t r = 0; task.subtracts_mean && r < rows; ++r) {
    double sum[1];
    add_up(count, sum, [&](std::int64_t i, std::int64_t left, Vector(&part)[1]) {
      part[0] += load_up_to(row_at(r) + i, left);
    });
    means[r] = static_cast<float>(sum[0] * share);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    double sums[2];
    add_up(count, sums, [&](std::int64_t i, std::int64_t left, Vector(&part)[2]) {
      const Vector distance = load_up_to(row_at(r) + i, left, means[r]) - means[r];
      part[0] += distance;
      part[1] = multiply_add(distance, distance, part[1]);
    });
    const double rest = task.subtracts_mean ? sums[0] * share : 0;
    const double variance = sums[1] * share - rest * rest;
    const double factor =
        1 / __builtin_sqrt((variance > 0 ? variance : 0) + static_cast<double>(task.epsilon));
    factors[r] = static_cast<float>(factor);
    shifts[r] = static_cast<float>(-rest * factor);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const Vector factor = all(factors[r]);
    const Vector shift = all(shifts[r]);
    float* const to = task.to + (first + r) * count;
    for (std::int64_t i = 0; i < count; i += kLanes) {
      const std::int64_t left = count - i;
      Vector found = multiply_add(load_up_to(row_at(r) + i, left) - means[r], factor, shift);
      if (task.scale != nullptr) {
        const Vector bias = task.bias == nullptr ? Vector{} : load_up_to(task.bias + i, left);
        found = multiply_add(found, load_up_to(task.scale + i, left), bias);
      } else if (task.bias != nullptr) {
        found += load_up_to(task.bias + i, left);
      }
      store_up_to(to + i, left, found);
    }
  }
}

void normalize(const NormalizeTask& task) {
  for_rows(task.rows,
           [&](std::int64_t first, std::int64_t rows) { normalize_rows(task, first, rows); });
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

/// Replaces a power whose exponent is the same for all values by products and a quotient.
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

/// Returns a task of another kind with its first two operands exchanged. The code of each kind is
/// long, so a kind that another one computes with exchanged operands has no code of its own.
inline BroadcastTask exchanged(BroadcastTask task, BroadcastKind kind) {
  const auto exchange = [](auto& pair) {
    const auto first = pair[0];
    pair[0] = pair[1];
    pair[1] = first;
  };
  task.kind = kind;
  exchange(task.operands);
  exchange(task.steps);
  exchange(task.row_steps);
  return task;
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
      return broadcast_rows(exchanged(task, BroadcastKind::Greater));
    case BroadcastKind::LessOrEqual:
      return broadcast_rows(exchanged(task, BroadcastKind::GreaterOrEqual));
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
    case BroadcastKind::Scalar:
      return;  // one value after the other: ops/broadcast.cc
  }
}
