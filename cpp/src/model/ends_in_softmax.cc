#include "model/ends_in_softmax.h"

#include <string>
#include <string_view>

#include "io/file.h"
#include "model/model_files.h"
#include "model/onnx_model.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

namespace lenet {
namespace {

/// The plain name of an operator: "softmax" of "1.softmax", where PIR numbers the dialects.
std::string_view plain(std::string_view type) {
  const auto dialect = type.find('.');
  return dialect == std::string_view::npos ? type : type.substr(dialect + 1);
}

/// What scales or gives the result another name, and the constants of that.
bool is_neutral(std::string_view name) {
  return name == "scale" || name == "assign" || name == "full" || name == "fetch";
}

}  // namespace

bool ends_in_softmax(Config config) {
  config.model_dir.clear();  // a configuration in force names the files
  const ModelFiles files = find_model_files(config);
  const std::string program = read_file(files.program);
  if (files.format == ModelFormat::Onnx) {
    return read_onnx_model(program, files.program).ends_in_softmax;
  }
  const Graph graph = files.format == ModelFormat::Json ? read_pir_program(program, files.program)
                                                        : read_program_desc(program, files.program);
  std::string_view last;
  for (const Operator& op : graph.operators) {
    if (!is_neutral(plain(op.type))) last = plain(op.type);
  }
  return last == "softmax";
}

}  // namespace lenet
