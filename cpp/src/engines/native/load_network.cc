#include "engines/native/load_network.h"

#include <cstring>
#include <string_view>

#include "engines/native/onnx/read_onnx.h"
#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "model/check_graph.h"
#include "model/parameters.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

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

void add_parameters(const std::vector<ParameterSpec>& wanted,
                    const std::vector<ParameterSpec>& found, Parameters& parameters) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [name, dtype, shape, data, quantized, scale] = found[i];
    if (dtype != kFloat32 && dtype != kInt32 && dtype != kInt8) continue;  // its user says so
    ParameterValues& to = parameters[wanted[i].name];
    to.shape = shape;
    if (dtype == kInt8) {
      to.integers = numbers<std::int8_t>(data);
    } else if (dtype == kInt32) {
      const auto values = numbers<std::int32_t>(data);
      to.values = std::vector<float>(values.begin(), values.end());
    } else {
      to.values = numbers<float>(data);
    }
  }
}

Network load_paddle(const ModelFiles& files) {
  const std::string_view program = files.contents.program->contents();
  const bool pir = files.format == ModelFormat::Json;
  Graph graph =
      pir ? read_pir_program(program, files.program) : read_program_desc(program, files.program);
  check_graph(graph, files.program);
  const auto wanted = pir ? read_json_parameters(program, files.program)
                          : read_pdmodel_parameters(program, files.program);
  Parameters parameters;
  const std::string_view params = files.contents.params->contents();
  const auto found = read_parameter_records(params, files.params);
  require_same_parameters(wanted, found, files.params);
  add_parameters(wanted, found, parameters);
  return read_network(graph, parameters, files.program,
                      static_cast<double>(program.size() + params.size()));
}

}  // namespace

Network load_network(const ModelFiles& files, bool check_finite) {
  Network network =
      files.format == ModelFormat::Onnx ? read_onnx_file(files, check_finite) : load_paddle(files);
  simplify(network);
  return network;
}

}  // namespace lenet::native
