#include "model/evaluate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <type_traits>
#include <utility>

#include "model/boxes.h"
#include "model/evaluation.h"
#include "model/functions.h"
#include "model/resampling.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

// ---- what is computed of one or two numbers

template <typename T>
T negate(T x) {
  if constexpr (std::is_floating_point_v<T>) return -x;
  return subtract(T{0}, x);
}

/// Of integers rounded towards 0.
template <typename T>
T divide(T x, T y) {
  if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    if (y == -1) return negate(x);
  }
  return static_cast<T>(x / y);
}

/// What a quotient that is rounded towards 0 leaves: it has the sign of x.
template <typename T>
T rest_of(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return std::fmod(x, y);
  return subtract(x, multiply(divide(x, y), y));
}

/// Rounded downwards. Floating-point numbers as by NumPy and Paddle: what is left over is taken off
/// first, so that a quotient that is rounded to an integer is not taken for it.
template <typename T>
T divide_floor(T x, T y) {
  const bool below = (x < 0) != (y < 0) && rest_of(x, y) != 0;
  if constexpr (std::is_floating_point_v<T>) {
    if (y == 0) return x / y;
    const T quotient = std::round((x - rest_of(x, y)) / y);
    return below ? quotient - 1 : quotient;
  }
  const T quotient = divide(x, y);
  return below ? static_cast<T>(quotient - 1) : quotient;
}

/// What a quotient that is rounded downwards leaves: it has the sign of y.
template <typename T>
T modulo(T x, T y) {
  const T rest = rest_of(x, y);
  return rest == 0 || (rest < 0) == (y < 0) ? rest : add(rest, y);
}

/// Of integers rounded towards 0.
template <typename T>
T power(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::pow(x, y);
  } else {
    const bool minus_one = std::is_signed_v<T> && x == static_cast<T>(-1);
    if (y < 0) return minus_one && y % 2 != 0 ? x : T{x == 1 || minus_one};
    T made{1};
    for (; y > 0; y = static_cast<T>(y / 2), x = multiply(x, x)) {
      if (y % 2 != 0) made = multiply(made, x);
    }
    return made;
  }
}

template <typename T>
struct Binary {
  std::string_view kinds;
  T (*compute)(T x, T y);
};

/// Null for a kind that does not compute with such numbers.
template <typename T>
T (*find_binary(const OperatorView& op))
(T, T) {
  static constexpr Binary<T> kArithmetic[] = {
      {"Add Sum Mean", add<T>},      {"Sub", subtract<T>},
      {"Mul", multiply<T>},          {"Div", divide<T>},
      {"Maximum Max", maximum<T>},   {"Minimum Min", minimum<T>},
      {"FloorDiv", divide_floor<T>},
  };
  for (const Binary<T>& each : kArithmetic) {
    if (has_word(each.kinds, op.kind())) return each.compute;
  }
  if (op.kind() == "Mod") return op.flag("fmod", false) ? rest_of<T> : modulo<T>;
  const bool counts = std::is_floating_point_v<T> || (op.has("Y") && !is_real(op.in("Y").dtype));
  return op.kind() == "Pow" && counts ? power<T> : nullptr;
}

template <typename T>
struct Unary {
  std::string_view kind;
  T (*compute)(T x);
};

template <typename T>
T (*find_unary(std::string_view kind))
(T) {
  static constexpr Unary<T> kAny[] = {
      {"Neg", negate<T>},
      {"Abs", [](T x) { return x < 0 || x == 0 ? subtract(T{0}, x) : x; }},
  };
  for (const Unary<T>& each : kAny) {
    if (each.kind == kind) return each.compute;
  }
  if constexpr (std::is_floating_point_v<T>) {
    static constexpr Unary<T> kReal[] = {
        {"Sqrt", [](T x) { return std::sqrt(x); }},
        {"Rsqrt", [](T x) { return 1 / std::sqrt(x); }},
        {"Square", [](T x) { return x * x; }},
        {"Reciprocal", [](T x) { return 1 / x; }},
        {"Exp", [](T x) { return std::exp(x); }},
        {"Log", [](T x) { return std::log(x); }},
        {"Erf", [](T x) { return std::erf(x); }},
        {"Tanh", [](T x) { return std::tanh(x); }},
        {"Sigmoid", [](T x) { return 1 / (1 + std::exp(-x)); }},
        {"Relu", [](T x) { return maximum(x, T{0}); }},
    };
    for (const Unary<T>& each : kReal) {
      if (each.kind == kind) return each.compute;
    }
  }
  return nullptr;
}

template <typename T>
struct Comparison {
  std::string_view kind;
  bool (*compute)(T x, T y);
};

template <typename T>
bool (*find_comparison(std::string_view kind))(T, T) {
  static constexpr Comparison<T> kComparisons[] = {
      {"Equal", [](T x, T y) { return x == y; }},
      {"NotEqual", [](T x, T y) { return x != y; }},
      {"Less", [](T x, T y) { return x < y; }},
      {"LessOrEqual", [](T x, T y) { return x <= y; }},
      {"Greater", [](T x, T y) { return x > y; }},
      {"GreaterOrEqual", [](T x, T y) { return x >= y; }},
      {"And", [](T x, T y) { return x != 0 && y != 0; }},
      {"Or", [](T x, T y) { return x != 0 || y != 0; }},
      {"Xor", [](T x, T y) { return (x != 0) != (y != 0); }},
  };
  for (const Comparison<T>& each : kComparisons) {
    if (each.kind == kind) return each.compute;
  }
  return nullptr;
}

// ---- inputs and outputs

/// An input as numbers of one type, and how it is repeated along the result.
template <typename T>
struct Operand {
  std::vector<T> numbers;
  OpenNumbers open = {};
  Integers steps = {};  ///< by axis of the result; 0: it is repeated
};

template <typename T>
std::optional<Operand<T>> read_operand(const Value* value, const Shape& result, std::int64_t axis) {
  if (value == nullptr || !holds_numbers(*value)) return std::nullopt;
  const std::size_t count = count_values(*value);
  if (count != 1 && value->shape.size() > result.size()) return std::nullopt;
  const Shape sizes =
      count == 1 ? Shape(result.size(), 1) : aligned(value->shape, result.size(), axis);
  Operand<T> made;
  made.steps = steps_of(sizes);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != 1 && sizes[i] != result[i]) return std::nullopt;
    if (sizes[i] == 1) made.steps[i] = 0;
  }
  made.numbers = numbers_of<T>(*value);
  made.open = value->open;
  return made;
}

/// Refers to a function of the numbers of all operands at one place, such as a lambda, which must
/// outlive it. What walks through the places is much code, which is compiled once for all
/// functions.
template <typename Result, typename T>
class Combining {
 public:
  template <typename Function>
  Combining(const Function& function)
      : function_(&function), call_([](const void* of, const T* numbers) -> Result {
          return (*static_cast<const Function*>(of))(numbers);
        }) {}
  Result operator()(const T* numbers) const { return call_(function_, numbers); }

 private:
  const void* function_;
  Result (*call_)(const void* of, const T* numbers);
};

/// Computes number by number.
class Evaluator {
 public:
  explicit Evaluator(const Evaluation& given) : given_(given), op_(given.op()) {}

  Outputs run() const {
    const std::string_view kind = op_.kind();
    if (!op_.has("X") || !given_.knows_size()) return std::nullopt;
    if (kind == "Cast") return cast();
    if (kind == "QuantizeLinear") return quantized();
    if (kind == "DequantizeLinear") return dequantized();
    return with_type(op_.in("X").dtype, [this](auto number) { return computed(number); });
  }

 private:
  const Value* known(std::string_view name, std::size_t index = 0) const {
    return given_.known(name, index);
  }
  Shape result() const { return given_.result(); }
  std::size_t count() const { return given_.count(); }

  Outputs cast() const {
    const Value* const x = known("X");
    if (x == nullptr || !holds_numbers(*x)) return std::nullopt;
    const int to = op_.declared("Out").dtype;
    const int from = x->data_dtype;
    const bool real = to == kFloat32 || to == kFloat64;
    const bool holds = computed_dtype(from) == kFloat32 || from == kUint8 || from == kInt8;
    if (real && holds) return one_output(Contents{from, "", x});
    return with_type(computed_dtype(from), [&](auto number) { return cast_from(number, *x, to); });
  }

  template <typename From>
  Outputs cast_from(From, const Value& x, int to) const {
    return with_type(to, [&](auto number) -> Outputs {
      using To = decltype(number);
      if (!given_.reserve(count() * sizeof(To))) return std::nullopt;
      const auto operand = read_operand<From>(&x, result(), -1);
      if (!operand) return std::nullopt;
      for (std::size_t i = 0; i < operand->numbers.size(); ++i) {
        const bool open = operand->open.any() && operand->open[i];
        if (!open && to != kBool && !converts<To>(operand->numbers[i])) return std::nullopt;
      }
      return one_output(combined<To, From>(to, std::vector{*operand}, [to](const From* numbers) {
        if (to == kBool) return static_cast<To>(numbers[0] != 0);
        return static_cast<To>(numbers[0]);
      }));
    });
  }

  Outputs quantized() const {
    const Value* const x = known("X");
    const auto how = quantization();
    const int dtype = op_.declared("Out").dtype;
    if (!how || !holds_numbers(*x) || (dtype != kInt8 && dtype != kUint8) || count() == 0 ||
        count() != count_values(*x) || !given_.reserve(count())) {
      return std::nullopt;
    }
    const double least = dtype == kInt8 ? -128 : 0;
    Contents made{dtype, std::string(count(), '\0')};
    for (std::size_t i = 0; i < made.bytes.size(); ++i) {
      const auto number = number_as<float>(*x, i);
      const double whole = std::nearbyint(number / how->scales[how->channel(i)]) + how->zero(i);
      op_.require(!std::isnan(whole), "it quantizes what is no number");
      const double bounded = std::clamp(whole, least, least + 255);
      made.bytes[i] = static_cast<char>(static_cast<std::int32_t>(bounded));
    }
    return one_output(std::move(made));
  }

  Outputs dequantized() const {
    const Value* const x = known("X");
    const auto how = quantization();
    if (!how || !holds_all(*x) || op_.declared("Out").dtype != kFloat32 ||
        count() != count_values(*x) || !given_.reserve(count() * sizeof(float))) {
      return std::nullopt;
    }
    Contents made{kFloat32, std::string(count() * sizeof(float), '\0')};
    for (std::size_t i = 0; i < count(); ++i) {
      const double scale = double{how->scales[how->channel(i)]};
      const auto number = static_cast<float>((number_at(*x, i) - how->zero(i)) * scale);
      std::memcpy(made.bytes.data() + i * sizeof(number), &number, sizeof(number));
    }
    return one_output(std::move(made));
  }

  std::optional<Quantization> quantization() const {
    const Value* const x = known("X");
    const Value* const scales = known("Scale");
    const Value* const zeros = known("ZeroPoint");
    if (x == nullptr || scales == nullptr || (zeros == nullptr && op_.has("ZeroPoint"))) {
      return std::nullopt;
    }
    return read_quantization(op_, *x, *scales, zeros);
  }

  // ---- element by element

  /// \param combine of the numbers of all operands at one place
  /// \param chooses whether it gives, by the first operand, the second or the third as it is
  template <typename Result, typename T>
  std::optional<Contents> combined(int dtype, const std::vector<Operand<T>>& operands,
                                   const Combining<Result, T>& combine,
                                   bool chooses = false) const {
    const Shape& shape = result();
    const std::size_t total = count();
    Contents made{dtype, std::string(total * sizeof(Result), '\0')};
    const bool some_open = std::any_of(operands.begin(), operands.end(),
                                       [](const auto& operand) { return operand.open.any(); });
    if (some_open && total > kMaxListed) return std::nullopt;
    std::vector<std::int64_t> at(operands.size());
    std::vector<T> numbers(operands.size());
    Integers place(shape.size());
    const auto is_open = [&](std::size_t k) {
      return operands[k].open.any() && operands[k].open[static_cast<std::size_t>(at[k])];
    };
    for (std::size_t i = 0; i < total; ++i) {
      for (std::size_t k = 0; k < operands.size(); ++k) {
        numbers[k] = operands[k].numbers[static_cast<std::size_t>(at[k])];
      }
      for (std::size_t k = 0; some_open && k < operands.size(); ++k) {
        const bool counts = !chooses || k == 0 || k == (numbers[0] != 0 ? 1U : 2U);
        if (counts && is_open(k)) made.open[i] = true;
      }
      // What stands in the place of an open number may be a divisor of 0.
      if (!some_open || !made.open[i]) store(made.bytes, i, combine(numbers.data()));
      for (std::size_t axis = shape.size(); axis-- > 0;) {
        for (std::size_t k = 0; k < operands.size(); ++k) at[k] += operands[k].steps[axis];
        if (++place[axis] < shape[axis]) break;
        place[axis] = 0;
        for (std::size_t k = 0; k < operands.size(); ++k) {
          at[k] -= operands[k].steps[axis] * shape[axis];
        }
      }
    }
    return made;
  }

  /// \param names arguments; of the first one all values
  template <typename T>
  std::optional<std::vector<Operand<T>>> operands(std::initializer_list<std::string_view> names,
                                                  std::int64_t axis = -1) const {
    std::vector<Operand<T>> found;
    for (const std::string_view name : names) {
      for (std::size_t i = 0; i < op_.count(name); ++i) {
        auto operand = read_operand<T>(known(name, i), result(), axis);
        if (!operand) return std::nullopt;
        found.push_back(*std::move(operand));
      }
    }
    return found;
  }

  template <typename Result, typename T>
  Outputs of_operands(int dtype, const std::optional<std::vector<Operand<T>>>& operands,
                      const Combining<Result, T>& combine, bool chooses = false) const {
    if (!operands) return std::nullopt;
    return one_output(combined<Result, T>(dtype, *operands, combine, chooses));
  }

  template <typename T>
  Outputs computed(T) const {
    const std::string_view kind = op_.kind();
    const int dtype = op_.in("X").dtype;
    const int given = op_.declared("Out").dtype;
    if (!given_.reserve(count() * element_size(given))) return std::nullopt;
    if (kind == "Where") {
      return of_operands<T, T>(
          dtype, operands<T>({"Condition", "X", "Y"}),
          [](const T* numbers) { return numbers[numbers[0] != 0 ? 1 : 2]; }, true);
    }
    const bool is_logic = has_word("And Or Xor Not", kind);
    if (is_logic != (dtype == kBool) && !has_word("Equal NotEqual", kind)) return std::nullopt;
    if (kind == "Not") {
      return of_operands<std::uint8_t, T>(kBool, operands<T>({"X"}),
                                          [](const T* x) { return std::uint8_t{x[0] == 0}; });
    }
    if (const auto compare = find_comparison<T>(kind); compare != nullptr) {
      return of_operands<std::uint8_t, T>(
          kBool, operands<T>({"X", "Y"}, op_.integer("axis", -1)),
          [compare](const T* both) { return std::uint8_t{compare(both[0], both[1])}; });
    }
    if (kind == "Clip") return clipped<T>(dtype);
    if (kind == "Scale") return scaled<T>(dtype);
    if constexpr (std::is_floating_point_v<T>) {
      if (kind == "Resize") return resized<T>(dtype);
      if (kind == "BatchNormalization") return normalized<T>(dtype);
    }
    const bool has_function = std::is_floating_point_v<T> || kind == "Sign";
    if (const auto function = has_function ? read_function(op_) : std::nullopt) {
      const auto number = [&](const T* x) { return (*function)(static_cast<double>(x[0])); };
      if (given == kBool) {
        return of_operands<std::uint8_t, T>(kBool, operands<T>({"X"}), [&](const T* x) {
          return static_cast<std::uint8_t>(number(x));
        });
      }
      return of_operands<T, T>(dtype, operands<T>({"X"}),
                               [&](const T* x) { return static_cast<T>(number(x)); });
    }
    if (const auto function = find_unary<T>(kind); function != nullptr) {
      return of_operands<T, T>(dtype, operands<T>({"X"}),
                               [function](const T* x) { return function(x[0]); });
    }
    const auto function = find_binary<T>(op_);
    if (function == nullptr) return std::nullopt;
    if (has_word("Sum Mean Max Min", kind)) return several<T>(dtype, function);
    auto both = operands<T>({"X", "Y"}, op_.integer("axis", -1));
    if (both && both->size() == 1) {  // Paddle's pow, whose exponent is an attribute
      const auto exponent = given_.attribute_or_input<T>("Y");
      if (!exponent) return std::nullopt;
      both->push_back({{*exponent}, {}, Integers(result().size())});
    }
    const bool divides = std::is_integral_v<T> && has_word("Div FloorDiv Mod", kind);
    if (both && divides && count() > 0) {
      const auto& [divisors, open, steps] = both->back();
      for (std::size_t i = 0; i < divisors.size(); ++i) {
        op_.require(divisors[i] != 0 || (open.any() && open[i]), "a division by 0");
      }
    }
    return of_operands<T, T>(dtype, both,
                             [function](const T* two) { return function(two[0], two[1]); });
  }

  template <typename T>
  Outputs several(int dtype, T (*function)(T, T)) const {
    const std::size_t inputs = op_.count("X");
    const bool averages = op_.kind() == "Mean";
    if (averages && std::is_integral_v<T>) return std::nullopt;
    return of_operands<T, T>(dtype, operands<T>({"X"}), [=](const T* numbers) {
      T so_far = numbers[0];
      for (std::size_t i = 1; i < inputs; ++i) so_far = function(so_far, numbers[i]);
      return averages ? static_cast<T>(so_far / static_cast<T>(inputs)) : so_far;
    });
  }

  template <typename T>
  Outputs clipped(int dtype) const {
    const auto bound = [this](const char* name, T otherwise) {
      return op_.is_given(name) ? given_.attribute_or_input<T>(name) : otherwise;
    };
    using Limits = std::numeric_limits<T>;
    const bool real = Limits::has_infinity;
    const std::optional<T> least = bound("min", real ? -Limits::infinity() : Limits::lowest());
    const std::optional<T> most = bound("max", real ? Limits::infinity() : Limits::max());
    if (!least || !most) return std::nullopt;
    return of_operands<T, T>(dtype, operands<T>({"X"}), [=](const T* x) {
      return std::min(std::max(x[0], *least), *most);  // in this order NaN stays
    });
  }

  /// Paddle's, which scales integers too: only by integers here, where all of its versions agree.
  template <typename T>
  Outputs scaled(int dtype) const {
    const std::optional<T> scale = given_.attribute_or_input<T>("scale");
    const std::optional<T> bias = given_.attribute_or_input<T>("bias");
    if (!scale || !bias) return std::nullopt;
    const bool after = op_.flag("bias_after_scale");
    return of_operands<T, T>(dtype, operands<T>({"X"}), [=](const T* x) {
      if (!after) return multiply(add(x[0], *bias), *scale);
      return add(multiply(x[0], *scale), *bias);
    });
  }

  /// Axis by axis: those first that become smaller, so that nothing between takes more memory than
  /// what the operator takes or gives.
  template <typename T>
  Outputs resized(int dtype) const {
    auto x = operands_of<T>("X");
    if (!x) return std::nullopt;
    Shape sizes = image_of(op_.in("X"));
    double bytes = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) bytes += taps_bytes(sizes[i], result()[i]);
    if (!given_.reserve(static_cast<std::size_t>(bytes))) return std::nullopt;
    const std::vector<Taps> taps = read_resampling(op_);
    std::vector<T> values = *std::move(x);
    for (const bool grows : {false, true}) {
      for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
        if (taps[axis].empty() || (result()[axis] > sizes[axis]) != grows) continue;
        const std::vector<T> before = std::move(values);
        values = resized_along(before, sizes, axis, taps[axis]);
        sizes[axis] = result()[axis];
      }
    }
    if (sizes != result()) return std::nullopt;
    return stored(dtype, values);
  }

  template <typename T>
  static std::vector<T> resized_along(const std::vector<T>& from, const Shape& sizes,
                                      std::size_t axis, const Taps& taps) {
    const std::int64_t inner = product(sizes, axis + 1, sizes.size());
    const std::int64_t outer = product(sizes, 0, axis);
    std::vector<T> to;
    for (std::int64_t o = 0; o < outer; ++o) {
      const T* const row = from.data() + o * sizes[axis] * inner;
      for (std::size_t i = 0; i + 1 < taps.begins.size(); ++i) {
        for (std::int64_t at = 0; at < inner; ++at) {
          T sum = 0;
          for (auto k = static_cast<std::size_t>(taps.begins[i]);
               k < static_cast<std::size_t>(taps.begins[i + 1]); ++k) {
            sum += static_cast<T>(taps.weights[k]) * row[taps.places[k] * inner + at];
          }
          to.push_back(sum);
        }
      }
    }
    return to;
  }

  /// Normalizes by the statistics that are given, or while training by those of the values.
  template <typename T>
  Outputs normalized(int dtype) const {
    const auto x = operands_of<T>("X");
    const auto scale = operands_of<T>("Scale");
    const auto bias = operands_of<T>("Bias");
    if (!x || !scale || !bias || op_.has_attribute("is_test")) return std::nullopt;
    const bool trains = op_.flag("training_mode", op_.outputs("MeanOut") > 0);
    std::optional<std::vector<T>> mean = operands_of<T>("Mean");
    std::optional<std::vector<T>> variance = operands_of<T>("Variance");
    if (!trains && (!mean || !variance)) return std::nullopt;
    const Shape& sizes = op_.in("X").shape;
    const auto channels = static_cast<std::size_t>(sizes[1]);
    if (scale->size() != channels || bias->size() != channels) return std::nullopt;
    const auto inner = static_cast<std::size_t>(product(sizes, 2, sizes.size()));
    const double epsilon = op_.number("epsilon", 1e-5);
    std::vector<T> values(x->size());
    for (std::size_t c = 0; c < channels; ++c) {
      const auto each = [&](const auto& work) {
        for (std::size_t i = c * inner; i < x->size(); i += channels * inner) {
          for (std::size_t k = i; k < i + inner; ++k) work(k);
        }
      };
      double middle = 0;
      double spread = 0;
      if (trains) {
        const auto count = static_cast<double>(x->size() / channels);
        each([&](std::size_t i) { middle += static_cast<double>((*x)[i]) / count; });
        each([&](std::size_t i) {
          const double apart = static_cast<double>((*x)[i]) - middle;
          spread += apart * apart / count;
        });
      } else {
        middle = static_cast<double>((*mean)[c]);
        spread = static_cast<double>((*variance)[c]);
      }
      const double factor = static_cast<double>((*scale)[c]) / std::sqrt(spread + epsilon);
      each([&](std::size_t i) {
        values[i] = static_cast<T>((static_cast<double>((*x)[i]) - middle) * factor +
                                   static_cast<double>((*bias)[c]));
      });
    }
    return stored(dtype, values);
  }

  /// All numbers of an input; nothing where they are not known.
  template <typename T>
  std::optional<std::vector<T>> operands_of(std::string_view name) const {
    const Value* const value = known(name);
    if (value == nullptr || !holds_numbers(*value) || has_open(*value)) return std::nullopt;
    std::vector<T> numbers(count_values(*value));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = number_as<T>(*value, i);
    return numbers;
  }

  template <typename T>
  static Outputs stored(int dtype, const std::vector<T>& values) {
    Contents made{dtype, std::string(values.size() * sizeof(T), '\0')};
    if (!values.empty()) std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
    return one_output(std::move(made));
  }

  const Evaluation& given_;
  const OperatorView& op_;
};

}  // namespace

std::optional<Integers> Evaluation::indices(std::string_view name) const {
  const Value* const value = whole(name);
  if (value == nullptr || !is_listed(value->data_dtype) || has_open(*value)) return std::nullopt;
  return numbers_of<std::int64_t>(*value);
}

bool stored_as(const Value& value, int dtype, std::string& bytes) {
  return with_type(dtype, [&](auto type) {
    const std::size_t count = count_values(value);
    bytes.resize(count * sizeof(type));
    for (std::size_t i = 0; i < count; ++i) store(bytes, i, number_as<decltype(type)>(value, i));
    return true;
  });
}

std::optional<std::vector<Contents>> evaluate(const OperatorView& op, const KnownInputs& known,
                                              const Reserve& reserve) {
  const Evaluation given(op, known, reserve);
  if (op.outputs("Out") == 0) return std::nullopt;
  for (const auto find : {find_move, find_sum, find_fill}) {
    if (const Evaluate evaluated = find(op.kind())) return evaluated(given);
  }
  return Evaluator(given).run();
}

NumberCombination read_combining_function(const OperatorView& op) {
  return find_binary<double>(op);
}

Quantization read_quantization(const OperatorView& op, const Value& numbers, const Value& scales,
                               const Value* zeros) {
  const std::size_t rank = numbers.shape.size();
  Quantization found;
  found.scales = floats_of(scales);
  if (found.scales.size() > 1) {
    const std::size_t axis = op.axis(op.integer("axis", 1), rank);
    found.axis = static_cast<std::int64_t>(axis);
    found.inner = static_cast<std::size_t>(product(numbers.shape, axis + 1, rank));
  }
  // Integers of 8 bits, times it, are to be numbers that float32 holds.
  const auto is_scale = [](float scale) { return scale >= 0 && std::isfinite(255 * scale); };
  const bool sound = std::all_of(found.scales.begin(), found.scales.end(), is_scale);
  op.require(sound && !found.scales.empty(),
             "it has a scale that is no positive number, or too large");
  if (zeros == nullptr) return found;
  op.supports(count_values(*zeros) == found.scales.size(),
              "kernel for another number of zero points than of scales");
  for (std::size_t i = 0; i < found.scales.size(); ++i) {
    found.zeros.push_back(number_at(*zeros, i));
  }
  const auto is_0 = [](double zero) { return zero == 0; };
  if (std::all_of(found.zeros.begin(), found.zeros.end(), is_0)) found.zeros.clear();
  return found;
}

}  // namespace lenet
