// Operators of constants that move numbers: as boxes (boxes.h), or to and from places that other
// constants name. Numbers stay stored as they are, where all are stored alike.

#include "model/boxes.h"
#include "model/evaluation.h"

namespace lenet {
namespace {

/// Copies `values` numbers that lie side by side, by their places.
class Copier {
 public:
  /// All are to outlive it. \param to as StoredAlike::zeros gives them
  Copier(const StoredAlike& alike, std::size_t input, Contents& to, std::int64_t values)
      : from_(alike.contents(input)),
        to_(to),
        size_(alike.size()),
        values_(static_cast<std::size_t>(values)),
        open_(alike.is_open() ? &alike.open(input) : nullptr) {}
  /// \param from numbers that are stored alike, none of which is open
  Copier(const StoredAlike& alike, const std::string& from, Contents& to, std::int64_t values)
      : from_(from.data()),
        to_(to),
        size_(alike.size()),
        values_(static_cast<std::size_t>(values)) {}
  void operator()(std::int64_t from, std::int64_t to) const {
    const auto first = static_cast<std::size_t>(from);
    const auto place = static_cast<std::size_t>(to);
    std::memcpy(to_.bytes.data() + place * size_, from_ + first * size_, values_ * size_);
    if (open_ == nullptr && to_.open.none()) return;
    for (std::size_t i = 0; i < values_; ++i) {
      to_.open[place + i] = open_ != nullptr && (*open_)[first + i];
    }
  }

 private:
  const char* from_;
  Contents& to_;
  std::size_t size_;
  std::size_t values_;
  const OpenNumbers* open_ = nullptr;  ///< of what is copied; null: none
};

Outputs rearranged(const Evaluation& given) {
  const Value* const x = given.known("X");
  if (x == nullptr) return std::nullopt;
  const auto held = static_cast<std::int64_t>(count_values(*x));
  const Shape result = given.result();
  given.op().supports(product(result, 0, result.size()) == held,
                      "change of a parameter's shape to another number of values");
  return one_output(Contents{x->data_dtype, "", x});
}

/// What a pad puts around numbers. \returns whether it is known and fits the type
bool fill(const Evaluation& given, Contents& made) {
  return with_type(made.dtype, [&](auto type) {
    using T = decltype(type);
    const auto value = given.attribute_or_input<T>("value");
    if (!value) return false;
    for (std::size_t i = 0; i < made.bytes.size() / sizeof(T); ++i) store(made.bytes, i, *value);
    return true;
  });
}

Outputs boxed(const Evaluation& given) {
  const OperatorView& op = given.op();
  const bool fills = op.kind() == "Pad" && op.is_given("value");
  std::vector<const Value*> inputs;
  for (std::size_t i = 0; i < op.count("X"); ++i) {
    inputs.push_back(given.whole("X", i));
    if (inputs.back() == nullptr) return std::nullopt;
  }
  const auto alike = StoredAlike::of(inputs, op.in("X").dtype, fills);
  if (!alike) return std::nullopt;
  std::vector<Contents> outputs;
  bool empty = false;
  for (std::size_t i = 0; i < op.outputs("Out"); ++i) {
    const Shape shape = image_of(op.declared("Out", i));
    const std::int64_t count = product(shape, 0, shape.size());
    if (count < 0 || !alike->reserve(given, static_cast<std::size_t>(count))) return std::nullopt;
    empty = empty || count == 0;
    outputs.push_back(alike->zeros(static_cast<std::size_t>(count)));
    if (fills && !fill(given, outputs.back())) return std::nullopt;
  }
  if (empty) return outputs.size() == 1 ? Outputs(std::move(outputs)) : std::nullopt;
  const std::vector<Boxes> boxes = read_boxes(op);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const Box& box : boxes[i]) {
      each_place(box, Copier(*alike, box.input, outputs[i], 1));
    }
  }
  return outputs;
}

/// Parts of an axis. A part that padding_idx names counts as zeros.
Outputs gathered(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.whole("X");
  const auto indices = given.indices("Indices");
  if (x == nullptr || !indices) return std::nullopt;
  const Shape& shape = x->shape;
  const std::size_t axis = op.axis(op.integer("axis", 0), shape.size());
  const std::int64_t outer = product(shape, 0, axis);
  const std::int64_t inner = product(shape, axis + 1, shape.size());
  const auto parts = static_cast<std::int64_t>(indices->size());
  const auto alike = StoredAlike::of({x}, x->dtype);
  const bool fits = static_cast<std::int64_t>(given.count()) == outer * parts * inner;
  if (!alike || !fits || !alike->reserve(given, given.count())) return std::nullopt;
  Contents made = alike->zeros(given.count());
  if (given.count() == 0) return one_output(std::move(made));
  const Copier copy(*alike, 0, made, inner);
  const std::int64_t zeros = op.integer("padding_idx", -1);
  for (std::int64_t i = 0; i < parts; ++i) {
    const std::int64_t index = (*indices)[static_cast<std::size_t>(i)];
    const std::int64_t place = place_of(op, index, shape[axis]);
    for (std::int64_t o = 0; o < outer && (zeros < 0 || index != zeros); ++o) {
      copy((o * shape[axis] + place) * inner, (o * parts + i) * inner);
    }
  }
  return one_output(std::move(made));
}

Outputs gathered_elements(const Evaluation& given) {
  const Value* const x = given.whole("X");
  const auto indices = given.indices("Indices");
  if (x == nullptr || !indices || indices->size() != given.count()) return std::nullopt;
  const auto alike = StoredAlike::of({x}, x->dtype);
  if (!alike || !alike->reserve(given, given.count())) return std::nullopt;
  Contents made = alike->zeros(given.count());
  if (given.count() == 0) return one_output(std::move(made));
  const Copier copy(*alike, 0, made, 1);
  const bool fits =
      each_element(given.op(), x->shape, given.known("Indices")->shape, *indices, copy);
  return fits ? one_output(std::move(made)) : std::nullopt;
}

/// How many values of X one part has that indices along the last axis name.
std::int64_t part_values(const OperatorView& op, const Value& x, const Value& places) {
  const std::int64_t axes = places.shape.empty() ? 0 : places.shape.back();
  const std::int64_t first = op.integer("batch_dims", 0) + axes;
  const auto rank = static_cast<std::int64_t>(x.shape.size());
  return product(x.shape, static_cast<std::size_t>(std::clamp<std::int64_t>(first, 0, rank)),
                 x.shape.size());
}

Outputs gathered_parts(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.whole("X");
  const auto indices = given.indices("Indices");
  if (x == nullptr || !indices || !given.knows_size()) return std::nullopt;
  const auto alike = StoredAlike::of({x}, x->dtype);
  if (!alike || !alike->reserve(given, given.count())) return std::nullopt;
  Contents made = alike->zeros(given.count());
  if (given.count() == 0) return one_output(std::move(made));
  const Value& places = *given.known("Indices");
  const std::int64_t values = part_values(op, *x, places);
  const std::int64_t parts = product(places.shape, 0, places.shape.size() - 1);
  if (parts * values != static_cast<std::int64_t>(given.count())) return std::nullopt;
  const Copier copy(*alike, 0, made, values);
  const bool fits = each_part(op, x->shape, places.shape, *indices,
                              [&](std::int64_t at, std::int64_t part) { copy(at, part * values); });
  return fits ? one_output(std::move(made)) : std::nullopt;
}

/// X with other numbers at places that indices name. Where a place is named twice, the last counts.
Outputs scattered(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.whole("X");
  const Value* const updates = given.whole("Updates");
  const auto indices = given.indices("Indices");
  const bool replaces = op.text("reduction", "none") == "none";
  if (x == nullptr || updates == nullptr || !indices || !replaces) return std::nullopt;
  const auto alike = StoredAlike::of({x, updates}, x->dtype);
  const std::size_t count = count_values(*x);
  if (!alike || count != given.count()) return std::nullopt;
  const double read = static_cast<double>(indices->size() * sizeof(std::int64_t)) +
                      static_cast<double>(count_values(*updates) * alike->size());
  if (!alike->reserve(given, count, read)) return std::nullopt;
  Contents made = alike->zeros(count);
  if (count == 0) return one_output(std::move(made));
  Copier(*alike, 0, made, static_cast<std::int64_t>(count))(0, 0);
  const Value& places = *given.known("Indices");
  const auto given_updates = static_cast<std::int64_t>(count_values(*updates));
  bool fits = false;
  if (op.kind() == "ScatterND") {
    const std::int64_t values = part_values(op, *x, places);
    const std::int64_t parts =
        places.shape.empty() ? 0 : product(places.shape, 0, places.shape.size() - 1);
    const Copier copy(*alike, 1, made, values);
    fits = parts * values == given_updates &&
           each_part(op, x->shape, places.shape, *indices,
                     [&](std::int64_t at, std::int64_t part) { copy(part * values, at); });
  } else {
    const Copier copy(*alike, 1, made, 1);
    fits = static_cast<std::int64_t>(indices->size()) == given_updates &&
           each_element(op, x->shape, places.shape, *indices,
                        [&](std::int64_t at, std::int64_t place) { copy(place, at); });
  }
  return fits ? one_output(std::move(made)) : std::nullopt;
}

/// Numbers of an attribute, in the type that X is stored in.
bool read_values(const Evaluation& given, int dtype, std::string& bytes) {
  const Numbers numbers = given.op().numbers("values");
  return with_type(dtype, [&](auto type) {
    using T = decltype(type);
    bytes.resize(numbers.size() * sizeof(T));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const bool fits = !std::is_integral_v<T> || is_whole(numbers[i]);
      if (!fits || !converts<T>(numbers[i])) return false;
      store(bytes, i, static_cast<T>(numbers[i]));
    }
    return true;
  });
}

/// X with other numbers in a part, along which they are repeated.
Outputs overwritten(const Evaluation& given) {
  const OperatorView& op = given.op();
  const bool computed = op.has("Values");
  const Value* const x = given.whole("X");
  const Value* const values = computed ? given.whole("Values") : nullptr;
  if (x == nullptr || (computed && values == nullptr)) return std::nullopt;
  std::vector<const Value*> inputs = {x};
  if (computed) inputs.push_back(values);
  const auto alike = StoredAlike::of(inputs, x->dtype, !computed);
  const std::size_t count = count_values(*x);
  std::string listed;
  if (!alike || count != given.count() || !alike->reserve(given, count) ||
      (!computed && !read_values(given, alike->dtype(), listed))) {
    return std::nullopt;
  }
  // As the rule has checked them.
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  const Integers steps = op.integers("steps");
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes"), x->shape.size());
  Shape part = x->shape;
  Integers to = steps_of(x->shape);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = axes[i];
    const auto [begin, many, step] = strided_slice(starts[i], ends[i], steps[i], part[axis]);
    part[axis] = std::max<std::int64_t>(many, 0);
    first += begin * to[axis];
    to[axis] *= step;
  }
  Contents made = alike->zeros(count);
  if (count == 0) return one_output(std::move(made));
  Copier(*alike, 0, made, static_cast<std::int64_t>(count))(0, 0);
  if (product(part, 0, part.size()) == 0) return one_output(std::move(made));
  std::vector<bool> dropped(part.size());
  for (const std::size_t axis : distinct_axes(op, op.integers("decrease_axes"), part.size())) {
    dropped[axis] = true;
  }
  const Shape kept_sizes = computed ? values->shape : op.integers("shape");
  const auto kept_axes =
      static_cast<std::size_t>(std::count(dropped.begin(), dropped.end(), false));
  if (kept_sizes.size() > kept_axes) return std::nullopt;
  const Shape sizes = aligned(kept_sizes, kept_axes);
  const Integers kept_steps = steps_of(sizes);
  Integers from(part.size());
  for (std::size_t i = 0, k = 0; i < part.size(); ++i) {
    if (dropped[i]) continue;
    if (sizes[k] != 1 && sizes[k] != part[i]) return std::nullopt;
    from[i] = sizes[k] == 1 ? 0 : kept_steps[k];
    ++k;
  }
  Box box = box_of(part, from, to);
  box.to = first;
  each_place(box, computed ? Copier(*alike, 1, made, 1) : Copier(*alike, listed, made, 1));
  return one_output(std::move(made));
}

/// The part of matrices above or below a diagonal, and zeros.
Outputs triangle(const Evaluation& given) {
  const OperatorView& op = given.op();
  const Value* const x = given.whole("X");
  if (x == nullptr || x->shape.size() < 2) return std::nullopt;
  const auto alike = StoredAlike::of({x}, x->dtype);
  const std::size_t count = count_values(*x);
  if (!alike || count != given.count() || !alike->reserve(given, count)) return std::nullopt;
  Contents made = alike->zeros(count);
  if (count == 0) return one_output(std::move(made));
  const bool upper = op.has_attribute("lower") ? !op.flag("lower") : op.flag("upper", true);
  const std::int64_t columns = x->shape.back();
  const std::int64_t rows = *(x->shape.end() - 2);
  const std::int64_t diagonal = std::clamp(op.integer("k", 0), -rows, columns);
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(count) / columns; ++row) {
    const std::int64_t at = row % rows + diagonal;
    const std::int64_t begin = upper ? std::clamp<std::int64_t>(at, 0, columns) : 0;
    const std::int64_t end = upper ? columns : std::clamp<std::int64_t>(at + 1, 0, columns);
    const Copier copy(*alike, 0, made, end - begin);
    if (end > begin) copy(row * columns + begin, row * columns + begin);
  }
  return one_output(std::move(made));
}

constexpr EvaluatedKinds kMoves[] = {
    {"Identity Reshape Flatten FlattenRange Squeeze Unsqueeze", rearranged},
    {"Gather", gathered},
    {"GatherElements", gathered_elements},
    {"GatherND", gathered_parts},
    {"ScatterElements ScatterND", scattered},
    {"SetValue", overwritten},
    {"Trilu", triangle},
};

}  // namespace

Evaluate find_move(std::string_view kind) {
  const Evaluate found = find_evaluated(kMoves, kind);
  if (found != nullptr) return found;
  return moves_values(kind) ? boxed : nullptr;
}

std::optional<StoredAlike> StoredAlike::of(const std::vector<const Value*>& inputs, int dtype,
                                           bool computed) {
  StoredAlike made;
  made.inputs_ = inputs;
  made.converted_.resize(inputs.size());
  bool alike = true;
  bool integers = true;
  for (const Value* const input : inputs) {
    if (computed && !holds_numbers(*input)) return std::nullopt;
    alike = alike && input->data_dtype == inputs[0]->data_dtype;
    integers = integers && is_listed(input->data_dtype);
    made.open_ = made.open_ || has_open(*input);
  }
  const int stored = alike ? inputs[0]->data_dtype : integers ? kInt64 : dtype;
  const bool narrow = stored == kFloat16 || stored == kBfloat16;
  const bool stands_for = is_listed(stored) && is_real(dtype) && !made.open_;  // a list of integers
  made.dtype_ = computed && (narrow || stands_for) ? dtype : stored;
  if (made.open_ && made.dtype_ != kInt64) return std::nullopt;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i]->data_dtype == made.dtype_) continue;
    if (!holds_numbers(*inputs[i]) || !stored_as(*inputs[i], made.dtype_, made.converted_[i])) {
      return std::nullopt;
    }
  }
  return made;
}

}  // namespace lenet
