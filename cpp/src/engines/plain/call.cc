#include "engines/plain/call.h"

#include "model/rules/support.h"

namespace lenet::plain {

const Array& Call::in(std::string_view name, std::size_t index) const {
  const auto found = op_.inputs.find(name);
  view_.require(found != op_.inputs.end() && index < found->second.size(), "the argument ", name);
  const std::optional<Array>& array = values_[found->second[index]];
  if (!array) view_.no_kernel("value of " + std::string(name) + " in the plain engine");
  return *array;
}

void Call::give(Array made, std::size_t index, std::string_view name) const {
  const Argument& outputs = op_.outputs.at(name);
  const Value& declared = view_.declared(name, index);
  if (made.dtype != plain_dtype(declared.dtype) ||
      static_cast<std::int64_t>(made.count()) != count_of(declared.shape)) {
    contradict(view_.where() + " gives " + std::to_string(made.count()) +
               " values where the shape is " + to_string(declared.shape));
  }
  made.shape = declared.shape;
  values_[outputs[index]] = std::move(made);
}

Integers Call::integers(std::string_view name, std::optional<Integers> otherwise) const {
  if (view_.has_attribute(name)) return view_.integers(name);
  if (count(name) == 0) {
    view_.require(otherwise.has_value(), name);
    return *std::move(otherwise);
  }
  Integers found;
  for (std::size_t i = 0; i < count(name); ++i) {
    const Array& array = in(name, i);
    view_.require(!array.is_real(), name);
    found.insert(found.end(), array.integers.begin(), array.integers.end());
  }
  return found;
}

std::int64_t Call::integer(std::string_view name, std::optional<std::int64_t> otherwise) const {
  const Integers found =
      integers(name, otherwise ? std::optional(Integers{*otherwise}) : std::nullopt);
  view_.require(found.size() == 1, name);
  return found[0];
}

bool Call::flag(std::string_view name, bool otherwise) const {
  return integer(name, otherwise ? 1 : 0) != 0;
}

double Call::number(std::string_view name, std::optional<double> otherwise) const {
  if (otherwise && !view_.is_given(name)) return *otherwise;
  const Numbers found = numbers(name);
  view_.require(found.size() == 1, name);
  return found[0];
}

Numbers Call::numbers(std::string_view name) const {
  if (const auto* one = op_.attribute<std::int64_t>(name)) return {static_cast<double>(*one)};
  if (view_.has_attribute(name)) return view_.numbers(name);
  const Array& array = in(name);
  Numbers found(array.count());
  for (std::size_t i = 0; i < found.size(); ++i) found[i] = array.number(i);
  return found;
}

bool Call::channels_last() const {
  const std::string layout = text("data_format", "NCHW");
  return layout == "NHWC" || layout == "NDHWC" || layout == "NLC";
}

const Definition* find_definition(std::string_view kind) {
  for (const auto family :
       {activation_definitions, constant_definitions, elementwise_definitions, indexing_definitions,
        line_definitions, move_definitions, normalization_definitions, pool_definitions,
        product_definitions, quantization_definitions, reduction_definitions, resize_definitions,
        window_definitions}) {
    const auto [begin, end] = family();
    for (const Definition* row = begin; row != end; ++row) {
      if (has_word(row->kinds, kind)) return row;
    }
  }
  return nullptr;
}

void compute(const Definition& definition, const Call& call) {
  for (const char* const name : {"X", "Filter", "Bias", "Scale", "Mean", "Variance", "Alpha"}) {
    const bool checked = definition.of_reals && call.has(name);
    call.view().supports(!checked || call.in(name).is_real(),
                         "definition in the plain engine for such a type");
  }
  definition.define(call);
}

}  // namespace lenet::plain
