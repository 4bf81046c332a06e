#include "engines/paddle/program_traits.h"

#include <set>

#include "engines/paddle/accelerator_rules.h"

namespace lenet {
namespace {

/// Paddle's plain kernels compute these activations with the numbers that nearly all programs have,
/// whatever the program says; oneDNN reads the threshold of relu6 alone.
std::string refuse_for_paddle(const OperatorInProgram& op) {
  constexpr struct {
    const char* type;
    const char* attribute;
    double computed;
  } kFixed[] = {{"hard_swish", "threshold", 6},
                {"hard_swish", "scale", 6},
                {"hard_swish", "offset", 3},
                {"relu6", "threshold", 6}};
  for (const auto& fixed : kFixed) {
    const auto* told = op.is_one_of(fixed.type) ? op.attribute<double>(fixed.attribute) : nullptr;
    if (told != nullptr && *told != fixed.computed) return op.with(fixed.attribute);
  }
  return "";
}

}  // namespace

ProgramTraits read_program_traits(const Graph& graph) {
  ProgramTraits traits;
  for (const auto& [before, after] : graph.rewritten) {
    traits.openvino_refusal =
        "a variable '" + printable(graph.values[after].name) + "' that is written twice";
    // oneDNN keeps the shape of the first.
    if (graph.values[before].shape != graph.values[after].shape) {
      traits.onednn_refusal = traits.openvino_refusal + ", with two shapes";
    }
  }
  StackedActivations activations;
  TransposedMatrices matrices;
  std::set<const Value*> filters;
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    // Those that were checked have other names now.
    const Operator& op = i < graph.written.size() ? graph.written[i] : graph.operators[i];
    const OperatorInProgram view(graph, op);
    if (traits.refusal.empty()) traits.refusal = refuse_for_paddle(view);
    if (traits.openvino_refusal.empty()) traits.openvino_refusal = refuse_for_openvino(view);
    const bool channels_last = has_channels_last(view);
    if (traits.onednn_refusal.empty()) {
      traits.onednn_refusal = refuse_for_onednn(view, channels_last);
    }
    if (traits.int8_refusal.empty()) traits.int8_refusal = refuse_convolution_in_int8(view);
    const std::string stacked = activations.refuse(op, view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = stacked;
    const std::string transposed = matrices.refuse(op, view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = transposed;
    const Value* filter = view.input("Filter", 1);
    const bool convolves = view.type().find("conv2d") != std::string::npos;
    // A bias that is no vector, and is added at an axis, does not go with that of a normalization
    // behind it. A .json has no such axis, and was seen to be right without it.
    const bool sum = graph.dialect == Dialect::ProgramDesc && view.is_one_of("elementwise_add");
    const Value* bias = sum ? view.input("Y") : nullptr;
    const bool folds = bias == nullptr || !bias->parameter || bias->shape.size() == 1;
    traits.folding_is_wrong = traits.folding_is_wrong || channels_last || !folds ||
                              (convolves && !filters.insert(filter).second);
    if (view.is_one_of("dropout")) {
      const auto* mode =
          view.attribute<std::string>(view.named({"dropout_implementation", "mode"}));
      traits.simplifying_faults |= mode == nullptr || *mode == "downgrade_in_infer";
    }
    traits.activation_fusing_faults |=
        graph.dialect == Dialect::Pir && view.is_one_of("leaky_relu");
  }
  traits.activation_fusing_faults |= activations.found();
  return traits;
}

}  // namespace lenet
