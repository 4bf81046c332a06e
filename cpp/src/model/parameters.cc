#include "model/parameters.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "finite.h"
#include "io/byte_reader.h"
#include "io/json.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/protobuf.h"

namespace lenet {
namespace {

[[noreturn]] void bad_model(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadModel, "'" + path + "' " + printable(problem));
}

// VarType.Type of framework.proto: element type -> bytes.
const std::map<int, std::size_t>& element_sizes() {
  static const std::map<int, std::size_t> sizes = {
      {0, 1},  {1, 2},  {2, 4},  {3, 8},  {4, 2},   {5, 4},  {6, 8},
      {20, 1}, {21, 1}, {22, 2}, {23, 8}, {24, 16}, {32, 1}, {33, 1},
  };
  return sizes;
}

constexpr int kVarTypeDenseTensor = 7;
constexpr int kFloat32 = 5;
constexpr int kInt8 = 21;

/// Of shapes whose sizes of 1 do not matter.
bool same_count(Shape a, Shape b) {
  for (Shape* shape : {&a, &b}) {
    shape->erase(std::remove(shape->begin(), shape->end(), 1), shape->end());
  }
  return a == b;
}

/// TensorDesc: data_type = 1, dims = 2 (packed or not).
ParameterSpec read_tensor_desc(std::string_view message, const std::string& path) {
  ParameterSpec spec;
  FieldReader fields(message, path);
  for (Field field; fields.next(field);) {
    if (field.number == 1) spec.dtype = static_cast<int>(field.value);
    if (field.number != 2) continue;
    if (field.bytes.empty()) {
      spec.shape.push_back(static_cast<std::int64_t>(field.value));
      continue;
    }
    for (ByteReader packed(field.bytes); !packed.at_end() && packed.ok();) {
      spec.shape.push_back(static_cast<std::int64_t>(packed.read_varint()));
    }
  }
  return spec;
}

/// The first length-delimited field of that number, or nothing.
std::string_view sub_message(std::string_view message, std::uint64_t number,
                             const std::string& path) {
  FieldReader fields(message, path);
  for (Field field; fields.next(field);) {
    if (field.number == number) return field.bytes;
  }
  return {};
}

/// VarDesc: name = 1, type = 2 (VarType: type = 1, dense tensor = 3 {tensor = 1}), persistable = 3.
bool read_persistable(std::string_view message, const std::string& path, ParameterSpec& spec) {
  std::string_view name;
  std::string_view type;
  bool persistable = false;
  FieldReader fields(message, path);
  for (Field field; fields.next(field);) {
    if (field.number == 1) name = field.bytes;
    if (field.number == 2) type = field.bytes;
    if (field.number == 3) persistable = field.value != 0;
  }
  if (!persistable) return false;
  FieldReader type_fields(type, path);
  for (Field field; type_fields.next(field);) {
    if (field.number == 1 && field.value != kVarTypeDenseTensor) return false;  // feed, fetch, raw
    if (field.number == 3) spec = read_tensor_desc(sub_message(field.bytes, 1, path), path);
  }
  spec.name = std::string(name);
  return true;
}

/// How the operators of a program take its variables.
struct Uses {
  std::set<std::string_view> weights;  ///< by dequantize_linear
  std::set<std::string_view> scales;   ///< by it or quantize_linear
  std::set<std::string_view> others;
};

/// OpDesc: inputs = 1 (Var: parameter = 1, arguments = 2), type = 3.
void read_uses(std::string_view message, const std::string& path, Uses& uses) {
  const std::string_view type = sub_message(message, 3, path);
  const bool dequantizes = type == "dequantize_linear";
  const bool quantizes = type == "quantize_linear";
  FieldReader fields(message, path);
  for (Field field; fields.next(field);) {
    if (field.number != 1) continue;
    const std::string_view argument = sub_message(field.bytes, 1, path);
    const bool scale =
        (dequantizes || quantizes) && (argument == "Scale" || argument == "ZeroPoint");
    auto& used = dequantizes && argument == "X" ? uses.weights : scale ? uses.scales : uses.others;
    FieldReader variables(field.bytes, path);
    for (Field variable; variables.next(variable);) {
      if (variable.number == 2) used.insert(variable.bytes);
    }
  }
}

/// Each once: separate files would be read again for each declaration.
void sort_by_name(std::vector<ParameterSpec>& specs, const std::string& path) {
  std::sort(specs.begin(), specs.end(),
            [](const ParameterSpec& a, const ParameterSpec& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      specs.begin(), specs.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != specs.end()) bad_model(path, "is damaged: it declares '" + twice->name + "' twice");
}

}  // namespace

// The types of PIR's JSON that have a counterpart in framework.proto.
int dtype_of_json(const std::string& name) {
  static const std::map<std::string, int> types = {
      {"t_bool", 0}, {"t_i16", 1},  {"t_i32", 2}, {"t_i64", 3},   {"t_f16", 4},  {"t_f32", 5},
      {"t_f64", 6},  {"t_ui8", 20}, {"t_i8", 21}, {"t_bf16", 22}, {"t_c64", 23}, {"t_c128", 24},
  };
  const auto found = types.find(name.substr(name.find('.') + 1));
  return found == types.end() ? -1 : found->second;
}

std::vector<ParameterSpec> read_pdmodel_parameters(std::string_view bytes,
                                                   const std::string& path) {
  if (bytes.empty()) bad_model(path, "is empty");
  std::vector<ParameterSpec> specs;
  bool has_operators = false;
  Uses uses;
  FieldReader program(bytes, path);
  for (Field block; program.next(block);) {
    if (block.number != 1) continue;  // ProgramDesc: blocks = 1
    FieldReader variables(block.bytes, path);
    for (Field field; variables.next(field);) {  // BlockDesc: vars = 3, ops = 4
      ParameterSpec spec;
      if (field.number == 3 && read_persistable(field.bytes, path, spec)) specs.push_back(spec);
      has_operators |= field.number == 4;
      if (field.number == 4) read_uses(field.bytes, path, uses);
    }
  }
  if (!has_operators) bad_model(path, "holds no operators: it is not a Paddle program");
  for (ParameterSpec& spec : specs) {
    const bool weight = uses.weights.count(spec.name) > 0;
    const bool scale = uses.scales.count(spec.name) > 0;
    const bool other = uses.others.count(spec.name) > 0;
    spec.quantized = weight && !scale && !other;
    spec.scale = scale && !weight && !other;
  }
  sort_by_name(specs, path);
  return specs;
}

std::vector<ParameterSpec> read_json_parameters(std::string_view bytes, const std::string& path) {
  std::vector<ParameterSpec> specs;
  try {
    const auto root = parse_json(bytes);
    if (root.at("base_code").at("magic") != "pir") bad_model(path, "is not a PIR program");
    for (const auto& region : root.at("program").at("regions")) {
      for (const auto& block : region.at("blocks")) {
        for (const auto& op : block.at("ops")) {
          if (op.at("#") != "p") continue;  // builtin.parameter
          ParameterSpec spec;
          spec.name = op.at("A").at(3).get<std::string>();
          const auto& type = op.at("O").at("TT").at("D");
          spec.dtype = dtype_of_json(type.at(0).at("#").get<std::string>());
          for (const auto& size : type.at(1)) {
            if (!size.is_number_integer()) bad_model(path, "has a size that is no integer");
            spec.shape.push_back(size.get<std::int64_t>());
          }
          specs.push_back(std::move(spec));
        }
      }
    }
  } catch (const InvalidJson& error) {
    bad_model(path, std::string("is not a whole PIR program (") + error.what() + ")");
  } catch (const nlohmann::json::exception& error) {
    bad_model(path, std::string("is not a whole PIR program (") + error.what() + ")");
  }
  sort_by_name(specs, path);
  return specs;
}

std::vector<ParameterSpec> read_parameter_records(std::string_view bytes, const std::string& path) {
  std::vector<ParameterSpec> specs;
  ByteReader reader(bytes);
  const auto damaged = [&](const std::string& what) {
    bad_model(path, "is damaged: " + what + " in tensor " + std::to_string(specs.size()) +
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
    ParameterSpec spec = read_tensor_desc(desc, path);
    const auto size = element_sizes().find(spec.dtype);
    if (size == element_sizes().end()) damaged("an unknown element type");
    std::uint64_t data_bytes = size->second;
    for (const std::int64_t dimension : spec.shape) {
      if (dimension < 0) damaged("a negative dimension");
      if (dimension != 0 &&
          data_bytes > reader.remaining() / static_cast<std::uint64_t>(dimension)) {
        damaged("fewer values than its shape " + to_string(spec.shape) + " asks for");
      }
      data_bytes *= static_cast<std::uint64_t>(dimension);
    }
    spec.data = reader.take(data_bytes);
    if (!reader.ok()) damaged("the file ends in the values");
    specs.push_back(std::move(spec));
  }
  return specs;
}

bool has_float_weights(const std::vector<ParameterSpec>& expected,
                       const std::vector<ParameterSpec>& found) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].quantized && found[i].dtype != kInt8) return true;
  }
  return false;
}

void require_same_parameters(const std::vector<ParameterSpec>& expected,
                             const std::vector<ParameterSpec>& found, const std::string& path) {
  if (expected.size() != found.size()) {
    bad_model(path, "holds " + std::to_string(found.size()) + " parameters, the program needs " +
                        std::to_string(expected.size()) + "; the two files are not of one model");
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ParameterSpec& want = expected[i];
    const ParameterSpec& have = found[i];
    const bool same_shape =
        want.scale ? same_count(want.shape, have.shape) : want.shape == have.shape;
    const bool weight = want.quantized && want.dtype == kFloat32 && have.dtype == kInt8;
    const bool same_type = want.dtype == have.dtype || want.dtype < 0 || weight;
    if (same_shape && same_type) continue;
    bad_model(path, "has " + to_string(have.shape) + " where the program needs '" + want.name +
                        "' of shape " + to_string(want.shape) +
                        "; the two files are not of one model");
  }
}

void require_finite_parameters(const std::vector<ParameterSpec>& expected,
                               const std::vector<ParameterSpec>& found, const std::string& path) {
  static const std::map<int, FloatFormat> formats = {
      {4, FloatFormat::Float16},
      {5, FloatFormat::Float32},
      {6, FloatFormat::Float64},
      {22, FloatFormat::BFloat16},
  };
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto format = formats.find(found[i].dtype);
    if (format == formats.end() || all_finite(found[i].data, format->second)) continue;
    bad_model(path, "holds NaN or infinity in the parameter '" + expected[i].name +
                        "'; export the model again from a sound checkpoint, or set check_finite "
                        "to false to let it through");
  }
}

}  // namespace lenet
