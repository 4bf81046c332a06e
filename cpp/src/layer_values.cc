#include "layer_values.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>

#include "finite.h"
#include "io/printable.h"
#include "model/model.h"
#include "model/rules/support.h"
#include "pixels.h"

namespace lenet {
namespace {

Config with_values(Config config) {
  config.output_name = kEveryValue;
  if (config.precision == Precision::Bf16) config.precision = Precision::Fp32;
  config.self_check = false;
  config.max_batch_size = 0;  // values whose images are not first cannot be given in pieces
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

void NanOrigin::look(const std::string& type, const std::string& name, const TensorView& values) {
  if (!nan_.empty() || values.data == nullptr) return;
  const std::size_t count = element_count(values.shape);
  if (all_finite(values.data, count)) return;
  const float* const end = values.data + count;
  const bool has_nan = std::any_of(values.data, end, [](float value) { return std::isnan(value); });
  std::string& found = has_nan ? nan_ : infinite_;
  if (found.empty()) {
    found = std::string("; the first ") + (has_nan ? "NaN" : "infinity") + " is of " + type + " '" +
            name + "'";
  }
}

std::string NanOrigin::find(const Predictor& predictor, const TensorView& image) noexcept try {
  const Config& config = predictor.config();
  if (failed_ || config.model_file.empty()) return "";
  nan_.clear();
  infinite_.clear();
  Tensor input;
  read_values(image, input);
  look("the input", predictor.input_spec().name, input.view());
  // A model for a fixed number of images takes the image as many times.
  const Shape& taken = predictor.input_spec().shape;
  const std::size_t size = input.data.size();
  const std::int64_t copies =
      taken.empty() || input.shape.empty() ? 1 : std::max<std::int64_t>(taken[0], 1);
  for (std::int64_t i = 1; i < copies; ++i) {
    input.data.insert(input.data.end(), input.data.begin(),
                      input.data.begin() + static_cast<std::ptrdiff_t>(size));
  }
  if (copies > 1) input.shape[0] = copies;
  if (layers_ == nullptr) {
    failed_ = true;
    Config showing = config;
    showing.check_finite = false;
    showing.time_limit_ms = 0;
    layers_ = std::make_unique<LayerValues>(
        std::move(showing), [this](const std::string& type, const std::string& name,
                                   const TensorView& values) { look(type, name, values); });
    failed_ = false;
  }
  layers_->run(input.view());
  return !nan_.empty() ? nan_ : infinite_;
} catch (const std::exception&) {  // the values are not known: the error does without them
  return "";
}

}  // namespace lenet
