#include "layer_values.h"

#include <map>

#include "io/printable.h"
#include "model/model.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

Config with_values(Config config) {
  config.output_name = kEveryValue;
  if (config.precision == Precision::Bf16) config.precision = Precision::Fp32;
  return config;
}

}  // namespace

LayerValues::LayerValues(Config config, LayerCallback callback)
    : predictor_(config = with_values(std::move(config))), callback_(std::move(callback)) {
  const Graph graph = load_model(find_model_files(config, false), config)->graph;
  const std::vector<TensorSpec>& outputs = predictor_.output_specs();
  std::map<std::string, std::size_t> left;
  for (std::size_t i = 0; i < outputs.size(); ++i) left.emplace(outputs[i].name, i);
  std::vector<bool> is_shown(outputs.size());
  const auto add = [&](std::string_view type, std::size_t output) {
    layers_.emplace_back(type, output);
    is_shown[output] = true;
  };
  for (const Operator& op : graph.operators) {
    if (op.kind == "Feed") continue;  // an input may have the name of what is computed of it
    each_value(op.outputs, [&](std::size_t value) {
      const auto found = left.find(printable(graph.values[value].name));
      if (found != left.end() && !is_shown[found->second]) {
        add(op.plain_type(), found->second);
      }
    });
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!is_shown[i]) add("fetch", i);  // has another name there
  }
}

void LayerValues::run(const TensorView& input) {
  const std::vector<Tensor> values = predictor_.run_outputs(input);
  for (const auto& [type, index] : layers_) {
    callback_(type, predictor_.output_specs()[index].name, values[index].view());
  }
}

}  // namespace lenet
