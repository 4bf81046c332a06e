#include "model/ends_in_softmax.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "io/file.h"
#include "model/model_files.h"
#include "model/onnx_program.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

namespace lenet {
namespace {

/// The plain name of an operator: "softmax" of "1.softmax", where PIR numbers the dialects.
std::string_view plain(std::string_view type) {
  const auto dialect = type.find('.');
  return dialect == std::string_view::npos ? type : type.substr(dialect + 1);
}

/// What scales the result, or gives it another name or shape.
bool is_neutral(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNeutral = {"scale",   "assign",  "Identity",
                                                        "Flatten", "Reshape", "Squeeze"};
  return std::find(kNeutral.begin(), kNeutral.end(), name) != kNeutral.end();
}

/// Its first input; kNone when there is none.
std::size_t input_of(const Operator& op) {
  const auto named = op.inputs.find("X");
  const auto argument = named == op.inputs.end() ? op.inputs.begin() : named;
  return argument == op.inputs.end() || argument->second.empty() ? kNone : argument->second[0];
}

Graph read_graph(const ModelFiles& files, const std::string& program) {
  if (files.format == ModelFormat::Onnx) return read_onnx_program(program, files.program).graph;
  return files.format == ModelFormat::Json ? read_pir_program(program, files.program)
                                           : read_program_desc(program, files.program);
}

}  // namespace

bool ends_in_softmax(const Graph& graph) {
  std::size_t value = graph.outputs.empty() ? kNone : graph.outputs[0];
  // At most as many steps as there are operators: a damaged graph may go round.
  for (std::size_t left = graph.operators.size(); left > 0 && value != kNone; --left) {
    const std::size_t producer = graph.values[value].producer;
    if (producer == kNone) return false;
    const std::string_view name = plain(graph.operators[producer].type);
    if (!is_neutral(name)) return name == "softmax" || name == "Softmax";
    value = input_of(graph.operators[producer]);
  }
  return false;
}

bool ends_in_softmax(Config config) {
  config.model_dir.clear();  // a configuration in force names the files
  const ModelFiles files = find_model_files(config);
  const std::string program = read_file(files.program);
  return ends_in_softmax(read_graph(files, program));
}

}  // namespace lenet
