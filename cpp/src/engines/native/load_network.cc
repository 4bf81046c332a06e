#include "engines/native/load_network.h"

#include <cstring>
#include <string_view>

#include "engines/native/onnx/read_onnx.h"
#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

constexpr int kInt32 = 2;
constexpr int kFloat32 = 5;
constexpr int kInt8 = 21;

template <class Number>
std::vector<Number> numbers(std::string_view bytes) {
  std::vector<Number> values(bytes.size() / sizeof(Number));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Number));
  return values;
}

Parameters parameters_of(const Graph& graph) {
  Parameters parameters;
  for (const Value& value : graph.values) {
    if (!value.parameter) continue;
    const int dtype = value.data_dtype;
    if (dtype != kFloat32 && dtype != kInt32 && dtype != kInt8) continue;  // its user says so
    ParameterValues& to = parameters[value.name];
    to.shape = value.shape;
    if (dtype == kInt8) {
      to.integers = numbers<std::int8_t>(value.data);
    } else if (dtype == kInt32) {
      const auto values = numbers<std::int32_t>(value.data);
      to.values = std::vector<float>(values.begin(), values.end());
    } else {
      to.values = numbers<float>(value.data);
    }
  }
  return parameters;
}

Network load_paddle(const Model& model) {
  if (!model.unchecked.empty()) {
    throw Error(ErrorCode::Unsupported,
                model.unchecked + "; the native engine runs checked programs: use engine paddle");
  }
  return read_network(model.graph, parameters_of(model.graph), model.path,
                      static_cast<double>(model.file_bytes));
}

}  // namespace

Network load_network(const Model& model, bool check_finite) {
  Network network =
      model.format == ModelFormat::Onnx ? read_onnx_file(model, check_finite) : load_paddle(model);
  simplify(network);
  return network;
}

}  // namespace lenet::native
