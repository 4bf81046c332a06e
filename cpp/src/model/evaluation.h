/// \file
/// What the parts of the evaluator of constants share (evaluate.h): one operator and its inputs,
/// and how numbers are stored. Nothing else includes it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/evaluate.h"
#include "model/rules/support.h"

namespace lenet {

/// What an operator gives; nothing where it is not evaluated.
using Outputs = std::optional<std::vector<Contents>>;

/// Calls `action` with a number of the type that a value of this type is computed in.
/// \returns what it returns; by itself made of nothing for a type that has none, such as int16
template <typename Action>
auto with_type(int dtype, const Action& action) -> decltype(action(float{})) {
  switch (dtype) {
    case kFloat32:
      return action(float{});
    case kFloat64:
      return action(double{});
    case kInt32:
      return action(std::int32_t{});
    case kInt64:
      return action(std::int64_t{});
    case kInt8:
      return action(std::int8_t{});
    case kUint8:
    case kBool:
      return action(std::uint8_t{});
    default:
      return {};
  }
}

// ---- arithmetic

/// Integers wrap around.
template <typename T>
T add(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return x + y;
  return static_cast<T>(static_cast<std::uint64_t>(x) + static_cast<std::uint64_t>(y));
}

template <typename T>
T subtract(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return x - y;
  return static_cast<T>(static_cast<std::uint64_t>(x) - static_cast<std::uint64_t>(y));
}

template <typename T>
T multiply(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return x * y;
  return static_cast<T>(static_cast<std::uint64_t>(x) * static_cast<std::uint64_t>(y));
}

/// What is no number stays so.
template <typename T>
T maximum(T x, T y) {
  return x > y || x != x ? x : y;
}

template <typename T>
T minimum(T x, T y) {
  return x < y || x != x ? x : y;
}

/// Whether a number has a value in another type: one that is out of an integer's range is another
/// in each program.
template <typename To, typename From>
bool converts(From number) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    const double whole = std::trunc(static_cast<double>(number));
    constexpr auto kLeast = static_cast<double>(std::numeric_limits<To>::min());
    constexpr double kBehind = 2.0 * static_cast<double>(std::numeric_limits<To>::max() / 2 + 1);
    return whole >= kLeast && whole < kBehind;
  }
  return true;
}

// ---- what values hold

/// Whether lists of such numbers may be stored as integers.
inline bool is_listed(int dtype) { return dtype == kBool || dtype == kInt32 || dtype == kInt64; }

/// Whether its shape is known and it has a number for each place.
inline bool holds_all(const Value& value) {
  const bool sizes_known =
      std::all_of(value.shape.begin(), value.shape.end(), [](auto size) { return size >= 0; });
  return sizes_known && static_cast<std::int64_t>(count_values(value)) ==
                            product(value.shape, 0, value.shape.size());
}

/// Whether the numbers are those of the type, not integers that stand for them.
inline bool holds_numbers(const Value& value) {
  return holds_all(value) && (value.data_dtype != kInt8 || value.dtype == kInt8);
}

/// Numbers of a value that holds_numbers. \returns truths as 0 and 1
template <typename T>
std::vector<T> numbers_of(const Value& value) {
  std::vector<T> numbers(count_values(value));
  const bool truth = value.data_dtype == kBool;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const T number = number_as<T>(value, i);
    numbers[i] = truth ? static_cast<T>(number != 0) : number;
  }
  return numbers;
}

template <typename T>
void store(std::string& bytes, std::size_t at, T number) {
  std::memcpy(bytes.data() + at * sizeof(T), &number, sizeof(T));
}

/// One operator, what is known of what it takes, and what it may give.
class Evaluation {
 public:
  Evaluation(const OperatorView& op, const KnownInputs& known, const Reserve& reserve)
      : op_(op), known_(known), reserve_(reserve) {}

  const OperatorView& op() const { return op_; }
  /// Null: it is not known, or left out.
  const Value* known(std::string_view name, std::size_t index = 0) const {
    return index < op_.count(name) ? known_(name, index) : nullptr;
  }
  /// An input that is known and holds all of its numbers; null otherwise.
  const Value* whole(std::string_view name, std::size_t index = 0) const {
    const Value* const value = known(name, index);
    return value != nullptr && holds_all(*value) ? value : nullptr;
  }
  /// So too, and they are of the type that the program says.
  const Value* numeric(std::string_view name) const {
    const Value* const value = known(name);
    return value != nullptr && holds_numbers(*value) ? value : nullptr;
  }
  /// Indices, none of which is open; nothing where they are not known.
  std::optional<Integers> indices(std::string_view name) const;
  /// One number; nothing where it is not known, or is none of such a type.
  template <typename T>
  std::optional<T> attribute_or_input(std::string_view name) const {
    const bool is_attribute = op_.has_attribute(name);
    const Value* const value = is_attribute ? nullptr : known(name);
    const bool is_number = value != nullptr && count_values(*value) == 1 && !has_open(*value);
    if (!is_attribute && !is_number) return std::nullopt;
    if (is_attribute || is_real(value->data_dtype)) {
      const double number = is_attribute ? op_.number(name) : number_at(*value, 0);
      const bool fits = !std::is_integral_v<T> || is_whole(number);
      if (!fits || !converts<T>(number)) return std::nullopt;
      return static_cast<T>(number);
    }
    return number_as<T>(*value, 0);
  }

  Shape result() const { return image_of(op_.declared("Out")); }
  bool knows_size() const { return size() >= 0; }
  int result_dtype() const { return op_.declared("Out").dtype; }
  /// \pre its sizes are known
  std::size_t count() const { return static_cast<std::size_t>(size()); }
  /// \param work besides the bytes: the multiply-adds, and bytes that are read
  bool reserve(std::size_t bytes, double work = 0) const {
    return reserve_(bytes + static_cast<std::size_t>(work));
  }

 private:
  std::int64_t size() const {
    const Shape shape = result();
    return product(shape, 0, shape.size());
  }

  const OperatorView& op_;
  const KnownInputs& known_;
  const Reserve& reserve_;
};

inline Outputs one_output(std::optional<Contents> contents) {
  if (!contents) return std::nullopt;
  std::vector<Contents> made;
  made.push_back(*std::move(contents));
  return made;
}

/// \returns whether the type is one that is computed in
bool stored_as(const Value& value, int dtype, std::string& bytes);

/// The contents of inputs, stored in one way.
class StoredAlike {
 public:
  /// In the way that they have in common, or the program's.
  /// \param dtype the program's
  /// \param computed whether it has to be a type that is computed in
  static std::optional<StoredAlike> of(const std::vector<const Value*>& inputs, int dtype,
                                       bool computed = false);

  const char* contents(std::size_t input) const {
    return converted_[input].empty() ? inputs_[input]->data.data() : converted_[input].data();
  }
  int dtype() const { return dtype_; }
  std::size_t size() const { return element_size(dtype_); }  ///< bytes of one number
  bool is_open() const { return open_; }
  /// Which numbers of an input are open.
  const OpenNumbers& open(std::size_t input) const { return inputs_[input]->open; }
  /// Asks for so many numbers. Where some are open, only a list of few may be given.
  bool reserve(const Evaluation& given, std::size_t count, double read = 0) const {
    return (!open_ || count <= kMaxListed) && given.reserve(count * size(), read);
  }
  /// Contents of that many zeros, stored alike.
  Contents zeros(std::size_t count) const { return {dtype_, std::string(count * size(), '\0')}; }

 private:
  std::vector<const Value*> inputs_;
  std::vector<std::string> converted_;  ///< empty where they are stored so
  int dtype_ = -1;
  bool open_ = false;  ///< some numbers are open
};

using Evaluate = Outputs (*)(const Evaluation&);

// ---- how operators of a kind are evaluated; null for other kinds

/// Those that move numbers without computing with them (evaluate_moves.cc).
Evaluate find_move(std::string_view kind);
/// Products of matrices, reductions and normalizations (evaluate_sums.cc).
Evaluate find_sum(std::string_view kind);
/// Those that make numbers out of a few (evaluate_fills.cc).
Evaluate find_fill(std::string_view kind);

/// A row of the tables of kinds.
struct EvaluatedKinds {
  std::string_view kinds;
  Evaluate evaluate;
};

template <std::size_t Count>
Evaluate find_evaluated(const EvaluatedKinds (&rows)[Count], std::string_view kind) {
  for (const EvaluatedKinds& row : rows) {
    if (has_word(row.kinds, kind)) return row.evaluate;
  }
  return nullptr;
}

}  // namespace lenet
