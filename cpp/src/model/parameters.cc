#include "model/parameters.h"

#include <algorithm>
#include <climits>

#include "finite.h"
#include "io/byte_reader.h"
#include "model/element_types.h"
#include "model/protobuf.h"

namespace lenet {
namespace {

/// Of shapes whose sizes of 1 do not matter.
bool same_count(Shape a, Shape b) {
  for (Shape* shape : {&a, &b}) {
    shape->erase(std::remove(shape->begin(), shape->end(), 1), shape->end());
  }
  return a == b;
}

}  // namespace

std::vector<ParameterSpec> list_parameters(const Graph& graph, const std::string& path) {
  // How operators take each value.
  enum : unsigned char { kWeight = 1, kScale = 2, kOther = 4 };
  std::vector<unsigned char> uses(graph.values.size());
  for (const Operator& op : graph.operators) {
    const bool dequantizes = op.type == "dequantize_linear";
    const bool quantizes = op.type == "quantize_linear";
    for (const auto& [name, argument] : op.inputs) {
      const bool scale = (dequantizes || quantizes) && (name == "Scale" || name == "ZeroPoint");
      const auto use = dequantizes && name == "X" ? kWeight : scale ? kScale : kOther;
      for (const std::size_t value : argument) {
        if (value != kNone) uses[value] |= use;
      }
    }
  }
  const std::vector<bool> masks = masks_of(graph);
  std::vector<ParameterSpec> specs;
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (!value.parameter) continue;
    specs.push_back({value.name, value.dtype, value.shape});
    specs.back().quantized = uses[i] == kWeight;
    specs.back().scale = uses[i] == kScale;
    specs.back().mask = masks[i];
    specs.back().value = i;
  }
  std::sort(specs.begin(), specs.end(),
            [](const ParameterSpec& a, const ParameterSpec& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      specs.begin(), specs.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != specs.end())
    refuse_program(path, "is damaged: it declares '" + twice->name + "' twice");
  return specs;
}

void set_parameters(Graph& graph, const std::vector<ParameterSpec>& expected,
                    const std::vector<ParameterSpec>& found) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    Value& value = graph.values[expected[i].value];
    value.data = found[i].data;
    value.data_dtype = found[i].dtype;
  }
}

std::vector<ParameterSpec> read_parameter_records(std::string_view bytes, const std::string& path) {
  std::vector<ParameterSpec> specs;
  ByteReader reader(bytes);
  const auto damaged = [&](const std::string& what) {
    refuse_program(path, "is damaged: " + what + " in tensor " + std::to_string(specs.size()) +
                             "; export the model again");
  };
  while (!reader.at_end()) {
    if (reader.read<std::uint32_t>() != 0 && reader.ok()) damaged("unknown format version");
    const auto levels = reader.read<std::uint64_t>();
    for (std::uint64_t level = 0; level < levels && reader.ok(); ++level) {
      reader.take(reader.read<std::uint64_t>());
    }
    if (reader.read<std::uint32_t>() != 0 && reader.ok()) damaged("unknown tensor version");
    const auto desc_bytes = reader.read<std::int32_t>();
    if (desc_bytes < 0) damaged("a negative length");
    const std::string_view desc = reader.take(static_cast<std::uint64_t>(desc_bytes));
    if (!reader.ok()) damaged("the file ends in a header");
    ParameterSpec spec;
    spec.dtype = -1;
    // A TensorDesc, which has to say the type.
    each_field(desc, path, kPaddleProgram, [&](const Field& field) {
      if (field.number == 1 && field.wire == Wire::Number) {
        spec.dtype = static_cast<int>(std::min<std::uint64_t>(field.value, INT_MAX));
      }
      if (field.number == 2) append_integers(field, spec.shape);
    });
    if (element_size(spec.dtype) == 0) damaged("an unknown element type");
    const auto data_bytes = size_in_bytes(element_size(spec.dtype), spec.shape, reader.remaining());
    if (!data_bytes) {
      damaged("a negative dimension, or fewer values than its shape " + to_string(spec.shape) +
              " asks for,");
    }
    spec.data = reader.take(*data_bytes);
    if (!reader.ok()) damaged("the file ends in the values");
    specs.push_back(std::move(spec));
  }
  return specs;
}

void require_parameters(const std::vector<ParameterSpec>& expected,
                        const std::vector<ParameterSpec>& found, const std::string& path,
                        bool check_finite) {
  if (expected.size() != found.size()) {
    refuse_program(path, "holds " + std::to_string(found.size()) +
                             " parameters, the program needs " + std::to_string(expected.size()) +
                             "; the two files are not of one model");
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ParameterSpec& want = expected[i];
    const ParameterSpec& have = found[i];
    const bool same_shape =
        want.scale ? same_count(want.shape, have.shape) : want.shape == have.shape;
    const bool weight = want.quantized && want.dtype == kFloat32 && have.dtype == kInt8;
    const bool same_type = want.dtype == have.dtype || want.dtype < 0 || weight;
    if (!same_shape || !same_type) {
      refuse_program(path, "has " + to_string(have.shape) + " where the program needs '" +
                               want.name + "' of shape " + to_string(want.shape) +
                               "; the two files are not of one model");
    }
    if (!check_finite || all_finite(have.data, have.dtype)) continue;
    if (want.mask && all_below_infinity(have.data, have.dtype)) continue;
    refuse_program(path,
                   "holds NaN or infinity in the parameter '" + want.name +
                       "'; export the model again from a sound checkpoint, or set check_finite "
                       "to false to let it through");
  }
}

}  // namespace lenet
