// Operators of constants that compute each number of several: products of matrices, reductions,
// sums so far and normalizations along an axis.

#include <limits>

#include "model/boxes.h"
#include "model/evaluation.h"

namespace lenet {
namespace {

// ---- products of matrices

/// Matrices that lie one behind the other, and for which of the result's each is.
template <typename T>
struct Matrices {
  std::vector<T> numbers;
  Shape batch;
  std::int64_t rows = 1;
  std::int64_t columns = 1;
};

/// \param transposed whether each is stored by columns
template <typename T>
Matrices<T> read_matrices(const Value& value, const Shape& shape, bool transposed) {
  Matrices<T> made{
      numbers_of<T>(value), {shape.begin(), shape.end() - 2}, *(shape.end() - 2), shape.back()};
  if (!transposed) return made;
  const std::vector<T> stored = made.numbers;
  const auto rows = static_cast<std::size_t>(made.rows);
  const auto columns = static_cast<std::size_t>(made.columns);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const std::size_t row = i / columns % rows;
    const std::size_t first = i - i % (rows * columns);
    made.numbers[first + i % columns * rows + row] = stored[i];
  }
  std::swap(made.rows, made.columns);
  return made;
}

/// Adds the product of two matrices to sums, row by row.
template <typename T, typename Sum>
void add_product(const T* left, const T* right, std::int64_t rows, std::int64_t terms,
                 std::int64_t columns, Sum* sums) {
  for (std::int64_t row = 0; row < rows; ++row, sums += columns) {
    for (std::int64_t k = 0; k < terms; ++k) {
      const auto factor = static_cast<Sum>(left[row * terms + k]);
      const T* const numbers = right + k * columns;
      for (std::int64_t i = 0; i < columns; ++i) {
        sums[i] = add(sums[i], multiply(factor, static_cast<Sum>(numbers[i])));
      }
    }
  }
}

/// The shape of the left or right matrix, of an operator that flattens, and of a vector.
Shape matrix_shape(const Evaluation& given, const Value& value, bool left) {
  const OperatorView& op = given.op();
  const Shape& shape = value.shape;
  if (op.kind() == "FlatMatMul") {
    const std::int64_t axes = op.integer(left ? "x_num_col_dims" : "y_num_col_dims");
    const auto rows = static_cast<std::size_t>(axes);
    return {product(shape, 0, rows), product(shape, rows, shape.size())};
  }
  if (shape.size() == 1) return left ? Shape{1, shape[0]} : Shape{shape[0], 1};
  return shape;
}

/// Gemm's: alpha times the product, and beta times what is repeated along it.
template <typename T, typename Sum>
bool add_factors(const Evaluation& given, std::int64_t columns, std::vector<Sum>& sums) {
  const OperatorView& op = given.op();
  const double factors[] = {op.number("alpha", 1), op.number("beta", 1)};
  for (const double factor : factors) {
    if (std::is_integral_v<Sum> && !(is_whole(factor) && converts<Sum>(factor))) return false;
  }
  const auto alpha = static_cast<Sum>(factors[0]);
  const auto beta = static_cast<Sum>(factors[1]);
  for (Sum& sum : sums) sum = multiply(sum, alpha);
  if (!op.has("Bias")) return true;
  const Value* const bias = given.numeric("Bias");
  if (bias == nullptr || bias->shape.size() > 2 || has_open(*bias)) return false;
  const Shape sizes = aligned(bias->shape, 2);
  const auto rows = static_cast<std::int64_t>(sums.size()) / columns;
  if ((sizes[0] != 1 && sizes[0] != rows) || (sizes[1] != 1 && sizes[1] != columns)) return false;
  const std::vector<T> numbers = numbers_of<T>(*bias);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t row = sizes[0] == 1 ? 0 : at / columns;
    const std::int64_t column = sizes[1] == 1 ? 0 : at % columns;
    const T number = numbers[static_cast<std::size_t>(row * sizes[1] + column)];
    sums[i] = add(sums[i], multiply(static_cast<Sum>(number), beta));
  }
  return true;
}

template <typename T>
Outputs product_of(const Evaluation& given) {
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
  const OperatorView& op = given.op();
  const Value* const x = given.numeric("X");
  const Value* const y = given.numeric("Y");
  if (x == nullptr || y == nullptr || !given.knows_size()) return std::nullopt;
  if (has_open(*x) || has_open(*y)) return std::nullopt;
  const Shape left_shape = matrix_shape(given, *x, true);
  const Shape right_shape = matrix_shape(given, *y, false);
  if (left_shape.size() < 2 || right_shape.size() < 2) return std::nullopt;
  const bool turns_left = op.flag("transA", false);
  const bool turns_right = op.flag("transB", false);
  const std::int64_t terms = left_shape[left_shape.size() - (turns_left ? 2 : 1)];
  const double count = static_cast<double>(given.count());
  const double read = static_cast<double>(count_values(*x) + count_values(*y)) * sizeof(Sum);
  if (given.count() == 0 ||
      !given.reserve(given.count() * sizeof(Sum), read + count * static_cast<double>(terms))) {
    return std::nullopt;
  }
  const Matrices<T> left = read_matrices<T>(*x, left_shape, turns_left);
  const Matrices<T> right = read_matrices<T>(*y, right_shape, turns_right);
  const std::size_t rank = std::max(left.batch.size(), right.batch.size());
  const Shape sizes = aligned(left.batch, rank);
  const Shape others = aligned(right.batch, rank);
  Shape batch(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    if (sizes[i] != others[i] && sizes[i] != 1 && others[i] != 1) return std::nullopt;
    batch[i] = std::max(sizes[i], others[i]);
  }
  const std::int64_t matrices = product(batch, 0, rank);
  const std::int64_t values = left.rows * right.columns;
  const bool fits =
      left.columns == right.rows && matrices * values == static_cast<std::int64_t>(given.count());
  if (!fits) return std::nullopt;
  std::vector<Sum> sums(given.count());
  Integers left_steps = steps_of(sizes);
  Integers right_steps = steps_of(others);
  for (std::size_t i = 0; i < rank; ++i) {
    if (sizes[i] == 1) left_steps[i] = 0;
    if (others[i] == 1) right_steps[i] = 0;
  }
  const Integers steps = steps_of(batch);
  for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
    std::int64_t of_left = 0;
    std::int64_t of_right = 0;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::int64_t place = matrix / steps[i] % batch[i];
      of_left += place * left_steps[i];
      of_right += place * right_steps[i];
    }
    add_product(left.numbers.data() + of_left * left.rows * left.columns,
                right.numbers.data() + of_right * right.rows * right.columns, left.rows,
                left.columns, right.columns, sums.data() + matrix * values);
  }
  if (!add_factors<T>(given, right.columns, sums)) return std::nullopt;
  Contents made{op.in("X").dtype, std::string(sums.size() * sizeof(T), '\0')};
  for (std::size_t i = 0; i < sums.size(); ++i) store(made.bytes, i, static_cast<T>(sums[i]));
  return one_output(std::move(made));
}

Outputs multiplied(const Evaluation& given) {
  return with_type(given.op().in("X").dtype,
                   [&](auto number) { return product_of<decltype(number)>(given); });
}

// ---- reductions

/// How a kind reduces numbers to one: all it takes of one, how that joins the others, and what
/// becomes of it.
template <typename T>
struct Reduction {
  std::string_view kind;
  T first;
  T (*of_one)(T number);
  T (*join)(T so_far, T number);
  T (*finish)(T joined, std::size_t count);
};

template <typename T>
T itself(T number) {
  return number;
}

template <typename T>
T finished(T joined, std::size_t) {
  return joined;
}

template <typename T>
T absolute(T number) {
  return number < 0 ? subtract(T{0}, number) : number;
}

template <typename T>
T squared(T number) {
  return multiply(number, number);
}

template <typename T>
const Reduction<T>* find_reduction(std::string_view kind) {
  using Limits = std::numeric_limits<T>;
  static constexpr T kLeast = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  static constexpr T kMost = Limits::has_infinity ? Limits::infinity() : Limits::max();
  static constexpr Reduction<T> kAny[] = {
      {"ReduceSum", 0, itself<T>, add<T>, finished<T>},
      {"ReduceProd", 1, itself<T>, multiply<T>, finished<T>},
      {"ReduceMax", kLeast, itself<T>, maximum<T>, finished<T>},
      {"ReduceMin", kMost, itself<T>, minimum<T>, finished<T>},
      {"ReduceL1", 0, absolute<T>, add<T>, finished<T>},
      {"ReduceSumSquare", 0, squared<T>, add<T>, finished<T>},
  };
  for (const Reduction<T>& each : kAny) {
    if (each.kind == kind) return &each;
  }
  if constexpr (std::is_floating_point_v<T>) {
    static constexpr Reduction<T> kReal[] = {
        {"ReduceMean", 0, itself<T>, add<T>,
         [](T sum, std::size_t count) { return sum / static_cast<T>(count); }},
        {"ReduceL2", 0, squared<T>, add<T>, [](T sum, std::size_t) { return std::sqrt(sum); }},
        {"ReduceLogSum", 0, itself<T>, add<T>, [](T sum, std::size_t) { return std::log(sum); }},
    };
    for (const Reduction<T>& each : kReal) {
      if (each.kind == kind) return &each;
    }
  }
  return nullptr;
}

/// Which axes go.
std::vector<bool> reduced_axes(const OperatorView& op, std::size_t rank) {
  const Integers axes = op.integers("axes", Integers());
  const bool none = axes.empty() && op.flag("noop_with_empty_axes", false);
  std::vector<bool> gone(rank, !none && (axes.empty() || op.flag("reduce_all", false)));
  for (const std::int64_t given : axes) {
    const std::size_t axis = op.axis(given, std::max<std::size_t>(rank, 1));
    if (axis < rank) gone[axis] = true;
  }
  return gone;
}

/// Calls `work(place of X, place of the result)`.
void each_reduced(const Shape& shape, const std::vector<bool>& gone,
                  const std::function<void(std::int64_t, std::int64_t)>& work) {
  Shape kept = shape;
  for (std::size_t i = 0; i < shape.size(); ++i) kept[i] = gone[i] ? 1 : shape[i];
  Integers to = steps_of(kept);
  for (std::size_t i = 0; i < shape.size(); ++i) to[i] = gone[i] ? 0 : to[i];
  each_place(box_of(shape, steps_of(shape), to), work);
}

/// The logarithms of sums of exponential functions, and sums of powers: by a number of each sum.
template <typename T>
bool reduce_further(const Evaluation& given, const Value& x, const std::vector<bool>& gone,
                    const std::vector<double>& numbers, std::vector<double>& results) {
  const OperatorView& op = given.op();
  if (op.kind() == "ReduceLogSumExp") {
    std::vector<double> most(results.size(), -std::numeric_limits<double>::infinity());
    each_reduced(x.shape, gone, [&](std::int64_t from, std::int64_t to) {
      double& so_far = most[static_cast<std::size_t>(to)];
      so_far = maximum(so_far, numbers[static_cast<std::size_t>(from)]);
    });
    each_reduced(x.shape, gone, [&](std::int64_t from, std::int64_t to) {
      const double top = most[static_cast<std::size_t>(to)];
      const double number = numbers[static_cast<std::size_t>(from)];
      results[static_cast<std::size_t>(to)] += number == top ? 1 : std::exp(number - top);
    });
    for (std::size_t i = 0; i < results.size(); ++i) results[i] = std::log(results[i]) + most[i];
    return true;
  }
  const double p = op.kind() == "ReduceLp" ? op.number("p") : 0;
  if (!(p > 0) || std::isinf(p)) return false;
  each_reduced(x.shape, gone, [&](std::int64_t from, std::int64_t to) {
    const double size = std::abs(numbers[static_cast<std::size_t>(from)]);
    results[static_cast<std::size_t>(to)] += p == 2 ? size * size : std::pow(size, p);
  });
  for (double& result : results) result = p == 2 ? std::sqrt(result) : std::pow(result, 1 / p);
  return true;
}

template <typename T>
Outputs reduced_to(const Evaluation& given) {
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
  const OperatorView& op = given.op();
  const Value* const x = given.numeric("X");
  const bool keeps =
      op.flag("noop_with_empty_axes", false) && op.integers("axes", Integers()).empty();
  // Whether powers and such are taken all the same, definitions do not say.
  const bool plain = has_word("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd", op.kind());
  if (keeps && !plain) return std::nullopt;
  const bool cuts_off = std::is_integral_v<T> && x != nullptr && is_real(x->data_dtype);
  if (x == nullptr || cuts_off) return std::nullopt;
  const std::vector<bool> gone = reduced_axes(op, x->shape.size());
  std::int64_t kept = 1;
  for (std::size_t i = 0; i < gone.size(); ++i) kept *= gone[i] ? 1 : x->shape[i];
  const std::size_t total = count_values(*x);
  const bool fits = kept == static_cast<std::int64_t>(given.count()) && total > 0;
  const double read = static_cast<double>(total) * sizeof(Sum);
  if (!fits || !given.reserve(given.count() * sizeof(Sum), read)) return std::nullopt;
  const std::vector<Sum> numbers = numbers_of<Sum>(*x);
  const Reduction<Sum>* const how = find_reduction<Sum>(op.kind());
  std::vector<Sum> results(given.count(), how == nullptr ? Sum{0} : how->first);
  Contents made{given.result_dtype(), std::string(results.size() * sizeof(T), '\0')};
  if (how != nullptr) {
    each_reduced(x->shape, gone, [&](std::int64_t from, std::int64_t to) {
      const auto at = static_cast<std::size_t>(from);
      Sum& result = results[static_cast<std::size_t>(to)];
      result = how->join(result, how->of_one(numbers[at]));
      if (has_open(*x) && x->open[at]) made.open[static_cast<std::size_t>(to)] = true;
    });
    const std::size_t count = total / results.size();
    for (Sum& result : results) result = how->finish(result, count);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (has_open(*x) || !reduce_further<T>(given, *x, gone, numbers, results)) return std::nullopt;
  } else {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < results.size(); ++i) store(made.bytes, i, static_cast<T>(results[i]));
  return one_output(std::move(made));
}

/// In the type of the result: sums of truths are numbers.
Outputs reduced(const Evaluation& given) {
  if (given.result_dtype() == kBool) return std::nullopt;
  return with_type(given.result_dtype(),
                   [&](auto number) { return reduced_to<decltype(number)>(given); });
}

// ---- along an axis

/// The numbers along one axis: so many, each `step` behind the one before.
struct Line {
  std::size_t first;
  std::size_t count;
  std::size_t step;

  std::size_t at(std::size_t i) const { return first + i * step; }
};

/// Computes the numbers along an axis from one another.
/// \param inner values that lie between two of a line \param count of a line
/// \param compute takes the numbers, which it changes, and a line of them
template <typename T, typename Compute>
Outputs by_line(const Evaluation& given, const Value& x, std::int64_t count, std::int64_t inner,
                const Compute& compute) {
  const std::size_t total = count_values(x);
  if (total != given.count() || has_open(x) || !given.reserve(total * sizeof(T))) {
    return std::nullopt;
  }
  std::vector<T> numbers = numbers_of<T>(x);
  const auto length = static_cast<std::size_t>(count);
  const auto step = static_cast<std::size_t>(inner);
  for (std::size_t i = 0; total > 0 && i < total / length; ++i) {
    compute(numbers, Line{i / step * step * length + i % step, length, step});
  }
  Contents made{given.result_dtype(), std::string(total * sizeof(T), '\0')};
  if (total > 0) std::memcpy(made.bytes.data(), numbers.data(), made.bytes.size());
  return one_output(std::move(made));
}

template <typename T>
Outputs summed_so_far(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.numeric("X");
  if (x == nullptr || op.flag("flatten", false)) return std::nullopt;
  const std::size_t rank = x->shape.size();
  const std::size_t axis = op.axis(op.integer("axis"), rank);
  const bool exclusive = op.flag("exclusive", false);
  const bool reverse = op.flag("reverse", false);
  return by_line<T>(given, *x, x->shape[axis], product(x->shape, axis + 1, rank),
                    [=](std::vector<T>& numbers, const Line& line) {
                      using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
                      Sum sum{0};
                      for (std::size_t i = 0; i < line.count; ++i) {
                        T& number = numbers[line.at(reverse ? line.count - 1 - i : i)];
                        const auto before = static_cast<T>(sum);
                        sum = add(sum, static_cast<Sum>(number));
                        number = exclusive ? before : static_cast<T>(sum);
                      }
                    });
}

template <typename T>
Outputs softmax(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.numeric("X");
  if (x == nullptr) return std::nullopt;
  const std::size_t rank = x->shape.size();
  const std::size_t axis = op.axis(softmax_axis(op), rank);
  std::int64_t count = x->shape[axis];
  std::int64_t inner = product(x->shape, axis + 1, rank);
  if (op.opset() < 13) count *= std::exchange(inner, 1);  // the axes behind it too
  const bool logarithm = op.kind() == "LogSoftmax";
  return by_line<T>(given, *x, count, inner, [=](std::vector<T>& numbers, const Line& line) {
    T most = numbers[line.first];
    for (std::size_t i = 1; i < line.count; ++i) most = maximum(most, numbers[line.at(i)]);
    double sum = 0;
    const auto part = [&](std::size_t i) { return double{numbers[line.at(i)]} - double{most}; };
    for (std::size_t i = 0; i < line.count; ++i) sum += std::exp(part(i));
    for (std::size_t i = 0; i < line.count; ++i) {
      const double result = logarithm ? part(i) - std::log(sum) : std::exp(part(i)) / sum;
      numbers[line.at(i)] = static_cast<T>(result);
    }
  });
}

/// Divides by a norm along an axis; what has none stays 0.
template <typename T>
Outputs normalized(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.numeric("X");
  const std::int64_t p = op.integer("p", 2);
  if (x == nullptr || (p != 1 && p != 2)) return std::nullopt;
  const std::size_t rank = x->shape.size();
  const std::size_t axis = op.axis(op.integer("axis", -1), rank);
  const double epsilon = op.number("epsilon", 0);
  return by_line<T>(given, *x, x->shape[axis], product(x->shape, axis + 1, rank),
                    [=](std::vector<T>& numbers, const Line& line) {
                      double sum = epsilon;
                      for (std::size_t i = 0; i < line.count; ++i) {
                        const double number = numbers[line.at(i)];
                        sum += p == 1 ? std::abs(number) : number * number;
                      }
                      const double norm = p == 1 ? sum : std::sqrt(sum);
                      for (std::size_t i = 0; i < line.count && norm != 0; ++i) {
                        T& number = numbers[line.at(i)];
                        number = static_cast<T>(number / norm);
                      }
                    });
}

Outputs summed(const Evaluation& given) {
  return with_type(given.op().in("X").dtype, [&](auto number) -> Outputs {
    using T = decltype(number);
    if (given.op().in("X").dtype == kBool) return std::nullopt;
    if (given.op().kind() == "CumSum") return summed_so_far<T>(given);
    if constexpr (std::is_floating_point_v<T>) {
      return given.op().kind() == "LpNormalization" ? normalized<T>(given) : softmax<T>(given);
    }
    return std::nullopt;
  });
}

constexpr EvaluatedKinds kSums[] = {
    {"MatMul Gemm FlatMatMul", multiplied},
    {"ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLp "
     "ReduceSumSquare ReduceLogSum ReduceLogSumExp",
     reduced},
    {"CumSum Softmax LogSoftmax LpNormalization", summed},
};

}  // namespace

Evaluate find_sum(std::string_view kind) { return find_evaluated(kSums, kind); }

}  // namespace lenet
