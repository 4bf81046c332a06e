#include "engines/native/load_network.h"

#include <cstring>
#include <string_view>

#include "engines/native/onnx/read_onnx.h"
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

void add_parameters(const std::vector<ParameterSpec>& wanted,
                    const std::vector<ParameterSpec>& found, Parameters& parameters) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& [name, dtype, shape, data, quantized, scale] = found[i];
    if (dtype != kFloat32 && dtype != kInt32 && dtype != kInt8) continue;  // its user says so
    ParameterValues& to = parameters[wanted[i].name];
    to.shape = shape;
    if (dtype == kInt8) {
      to.integers.resize(data.size());
      std::memcpy(to.integers.data(), data.data(), data.size());
    } else if (dtype == kInt32) {
      std::vector<std::int32_t> values(data.size() / sizeof(std::int32_t));
      std::memcpy(values.data(), data.data(), data.size());
      to.values.assign(values.begin(), values.end());
    } else {
      to.values.resize(data.size() / sizeof(float));
      std::memcpy(to.values.data(), data.data(), data.size());
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
  const auto found = read_parameter_records(files.contents.params->contents(), files.params);
  require_same_parameters(wanted, found, files.params);
  add_parameters(wanted, found, parameters);
  return read_network(graph, parameters, files.program);
}

}  // namespace

Network load_network(const ModelFiles& files) {
  Network network = files.format == ModelFormat::Onnx ? read_onnx_file(files) : load_paddle(files);
  simplify(network);
  return network;
}

}  // namespace lenet::native
