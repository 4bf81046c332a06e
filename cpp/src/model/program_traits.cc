#include "model/program_traits.h"

#include <algorithm>

#include "io/file.h"
#include "model/graph.h"
#include "model/onnx_model.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

namespace lenet {
namespace {

bool is_transposed_convolution(const std::string& type) {
  return type == "conv2d_transpose" || type == "depthwise_conv2d_transpose";
}

bool pads_output(const Operator& op) {
  const auto found = op.attributes.find("output_padding");
  if (found == op.attributes.end()) return false;
  const auto* values = std::get_if<Integers>(&found->second.value);
  return values != nullptr &&
         std::any_of(values->begin(), values->end(), [](std::int64_t value) { return value != 0; });
}

bool has_double_slope(const Operator& op) {
  const auto found = op.attributes.find("negative_slope");
  return found != op.attributes.end() && found->second.type == AttributeType::Double;
}

}  // namespace

ProgramTraits read_program_traits(const std::string& program, bool pir) {
  ProgramTraits traits;
  try {
    const std::string bytes = read_file(program);
    const Graph graph = pir ? read_pir_program(bytes, program) : read_program_desc(bytes, program);
    for (const Operator& op : graph.operators) {
      traits.openvino_differs |= is_transposed_convolution(op.type) && pads_output(op);
      traits.onednn_fails |= op.type == "1.bilinear_interp" || op.type == "1.nearest_interp";
      traits.quantized |= op.type == "dequantize_linear" || op.type == "1.dequantize_linear";
      traits.activation_fusing_faults |= op.type == "1.leaky_relu" && has_double_slope(op);
    }
  } catch (const Error&) {
    return {};
  }
  return traits;
}

ProgramTraits read_onnx_traits(const std::string& program) {
  ProgramTraits traits;
  traits.quantized = read_onnx_model(read_file(program), program).quantized;
  return traits;
}

}  // namespace lenet
