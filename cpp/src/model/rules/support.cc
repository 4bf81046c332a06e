#include "model/rules/support.h"

#include <algorithm>
#include <cmath>

#include "model/graph.h"

namespace lenet {

bool has_word(std::string_view words, std::string_view wanted) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(' '));
    if (word == wanted) return true;
    words.remove_prefix(std::min(word.size() + 1, words.size()));
  }
  return false;
}

std::int64_t product(const Shape& shape, std::size_t from, std::size_t to) {
  std::int64_t result = 1;
  for (std::size_t i = from; i < to; ++i) {
    if (shape[i] == kUnknown) return kUnknown;
    result *= shape[i];  // every shape's product has been bounded
  }
  return result;
}

double volume(const Shape& shape) {
  double result = 1;
  for (const std::int64_t size : shape) result *= size > 1 ? static_cast<double>(size) : 1;
  return result;
}

void require_range(const OperatorView& op, const Integers& values, std::size_t count,
                   std::int64_t least, std::int64_t most, const char* name) {
  op.require(values.size() == count, "the number of ", name);
  for (const std::int64_t value : values) op.require(value >= least && value <= most, name);
}

bool channels_last(const OperatorView& op, std::string_view name) {
  const std::string layout = op.text(name, "NCHW");  // some have no other
  op.require(has_word("NCHW AnyLayout NHWC", layout), name);
  return layout == "NHWC";
}

std::int64_t channels_of(const OperatorView& op, const Shape& shape) {
  op.require(shape.size() >= 2, "the rank");
  return channels_last(op, "data_format") ? shape.back() : shape[1];
}

std::int64_t groups_of(const OperatorView& op, std::int64_t channels) {
  const std::int64_t groups = op.integer("group", 1);
  const bool divides =
      channels == kUnknown || (channels > 0 && channels % std::max<std::int64_t>(groups, 1) == 0);
  op.require(groups >= 1 && groups <= kMaxValuesPerImage && divides, "groups and channels");
  return groups;
}

Layout layout_of(const OperatorView& op, const Shape& shape) {
  op.supports(shape.size() == 4, "kernel but in two dimensions");
  const bool last = channels_last(op, "data_format");
  return last ? Layout{3, 1} : Layout{1, 2};
}

Shape aligned(const Shape& shape, std::size_t rank, std::int64_t axis) {
  if (shape.size() == rank) return shape;
  const std::size_t last = rank - shape.size();
  const std::size_t begin = axis < 0 ? last : std::min(static_cast<std::size_t>(axis), last);
  Shape made(rank, 1);
  std::copy(shape.begin(), shape.end(), made.begin() + static_cast<std::ptrdiff_t>(begin));
  return made;
}

Shape broadcast(const OperatorView& op, const Shape& a, const Shape& b, std::int64_t axis) {
  Shape shape(std::max(a.size(), b.size()));
  const Shape ones = aligned(a, shape.size(), axis);
  const Shape others = aligned(b, shape.size(), axis);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t one = ones[i];
    const std::int64_t other = others[i];
    op.require(one == 1 || other == 1 || fits(one, other), "shapes that do not match");
    shape[i] = one == 1 || (one == kUnknown && other > 1) ? other : one;
  }
  return shape;
}

bool is_whole(double number) { return number == std::floor(number) && std::abs(number) < 1e15; }

std::optional<Numbers> known_numbers(const OperatorView& op, std::string_view name) {
  const Value& value = op.in(name);
  const std::size_t count = op.follows(name) ? count_values(value) : 0;
  if (count == 0 || count > kMaxListed || value.shape.size() > 1) return std::nullopt;
  if (has_open(value)) return std::nullopt;
  Numbers numbers;
  for (std::size_t i = 0; i < count; ++i) numbers.push_back(number_at(value, i));
  return numbers;
}

void require_vector(const OperatorView& op, std::string_view name, std::int64_t size) {
  op.require(!op.has(name) || fits(op.in(name).shape, {size}), "the shape of ", name);
}

void give_rearranged(OperatorView& op, const Shape& shape) {
  op.give_shape(shape);
  if (op.follows("X")) op.give_contents("Out", op.in("X"));
}

std::int64_t softmax_axis(const OperatorView& op) {
  return op.integer("axis", op.opset() < 13 ? 1 : -1);  // left out by ONNX alone
}

void infer_same(OperatorView& op) { op.give_shape(op.in("X").shape); }

std::vector<std::size_t> distinct_axes(const OperatorView& op, const Integers& given,
                                       std::size_t rank) {
  std::vector<std::size_t> axes;
  for (const std::int64_t each : given) {
    const std::size_t axis = op.axis(each, rank);
    op.require(std::count(axes.begin(), axes.end(), axis) == 0, "an axis named twice");
    axes.push_back(axis);
  }
  return axes;
}

StridedSlice strided_slice(std::int64_t start, std::int64_t end, std::int64_t step,
                           std::int64_t size) {
  const std::int64_t length_of_list = std::max<std::int64_t>(size, 1);
  step = std::clamp(step, -length_of_list, length_of_list);
  const std::int64_t before = step < 0 ? -1 : 0;  // what a slice backwards may end at
  const auto place = [&](std::int64_t given) {
    const std::int64_t at = given < 0 ? std::max(given, -size - 1) + size : given;
    return std::clamp(at, before, size + before);
  };
  const std::int64_t length = place(end) - place(start);
  return {place(start), (length + step - (step > 0 ? 1 : -1)) / step, step};
}

int dtype_named(const OperatorView& op, std::string_view name) {
  const ElementType& found = element_type_named(name);
  op.require(found.dtype >= 0, "an element type");
  return computed_dtype(found.dtype);
}

int dtype_numbered(const OperatorView& op, std::string_view attribute,
                   std::optional<std::int64_t> otherwise) {
  return computed_dtype(static_cast<int>(op.integer(attribute, otherwise)));
}

bool has_open_sizes(const Shape& input) {
  return !input.empty() && std::find(input.begin() + 1, input.end(), kUnknown) != input.end();
}

void require_dimensions(const Value& value, std::int64_t least, std::int64_t images,
                        const std::string& path) {
  const Shape& shape = value.shape;
  const auto is_size = [&](std::int64_t size) {
    return size >= least || (size == kUnknown && !value.parameter);
  };
  if (!std::all_of(shape.begin(), shape.end(), is_size)) {
    refuse_program(path, "is damaged: '" + value.name + "' has the shape " + to_string(shape));
  }
  const double most = static_cast<double>(kMaxValuesPerImage) * static_cast<double>(images);
  const auto problem = [&] {
    return "has a tensor larger than any of a classifier: '" + value.name + "' has the shape " +
           to_string(shape);
  };
  if (shape.size() > kMaxRank) unsupported(path, problem());
  if (volume(shape) > most) {
    throw TooLarge(ErrorCode::Unsupported, "'" + path + "' " + problem());
  }
}

}  // namespace lenet
