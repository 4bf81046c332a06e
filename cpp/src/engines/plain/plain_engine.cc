#include "engines/plain/plain_engine.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "engines/plain/call.h"
#include "io/printable.h"
#include "model/element_types.h"
#include "model/rules/support.h"
#include "pixels.h"

namespace lenet {
namespace {

using plain::Array;
using plain::Arrays;

/// Operators by which a program takes and gives tensors.
constexpr std::string_view kOfProgram = "Feed Fetch";

/// Which operators compute the given values. Unlike needed_operators this does not stop at what the
/// check has computed.
std::vector<bool> find_needed(const Graph& graph, const std::vector<std::size_t>& wanted) {
  std::vector<bool> is_wanted(graph.values.size());
  for (const std::size_t value : wanted) is_wanted[value] = true;
  std::vector<bool> needed(graph.operators.size());
  for (std::size_t i = graph.operators.size(); i-- > 0;) {
    const Operator& op = graph.operators[i];
    if (has_word(kOfProgram, op.kind)) continue;
    each_value(op.outputs, [&](std::size_t value) { needed[i] = needed[i] || is_wanted[value]; });
    if (!needed[i]) continue;
    each_value(op.inputs, [&](std::size_t value) { is_wanted[value] = true; });
  }
  return needed;
}

/// An output of the engine.
struct Given {
  std::size_t value;  ///< by index into Graph::values
  TensorSpec spec;
};

/// What is known of a program before it runs, which clones share.
struct Program {
  std::shared_ptr<const Model> model;
  TensorSpec input;
  std::vector<Given> outputs;
  std::vector<bool> needed;           ///< operators
  std::vector<std::size_t> last_use;  ///< of each value: the last operator that reads it
};

class PlainEngine final : public Engine {
 public:
  explicit PlainEngine(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  TensorSpec input_spec() const override { return program_->input; }
  std::vector<TensorSpec> output_specs() const override {
    std::vector<TensorSpec> specs;
    for (const Given& output : program_->outputs) specs.push_back(output.spec);
    return specs;
  }
  std::int64_t largest_batch(int /*threads*/) const override {
    return std::numeric_limits<std::int64_t>::max();  // it judges where images go in a batch
  }
  bool reads_numbers() const override { return true; }
  bool is_fastest() const override { return false; }
  std::unique_ptr<Engine> clone() const override { return std::make_unique<PlainEngine>(program_); }

  void run(const TensorView& input, Outputs& outputs, RunControl& control) override {
    const Model& model = *program_->model;
    if (graph_ == nullptr || shape_ != input.shape) {
      graph_ = infer_for_input(model.graph, model.path, input.shape, program_->needed);
      shape_ = input.shape;
    }
    Arrays values(graph_->values.size());
    values[graph_->inputs[0]] = read_input(input);
    for (std::size_t i = 0; i < graph_->operators.size(); ++i) {
      if (!program_->needed[i]) continue;
      control.require_running();
      compute(i, values);
    }
    for (std::size_t i = 0; i < program_->outputs.size(); ++i) {
      if (outputs.wants(i)) write(program_->outputs[i], values, i, outputs);
    }
  }

 private:
  Array read_input(const TensorView& input) const {
    Value value = graph_->values[graph_->inputs[0]];
    const auto count = static_cast<std::size_t>(plain::count_of(input.shape));
    value.data_dtype = input.numbers != nullptr ? declared_dtype(value) : kFloat32;
    const void* const numbers = input.numbers != nullptr ? input.numbers : input.data;
    value.data = {static_cast<const char*>(numbers), count * element_size(value.data_dtype)};
    return plain::read_array(value, input.shape);
  }

  void compute(std::size_t at, Arrays& values) const {
    const Operator& op = graph_->operators[at];
    each_value(op.inputs, [&](std::size_t index) {
      const Value& value = graph_->values[index];
      const bool has_contents = value.parameter && !value.unset && !values[index];
      if (has_contents) values[index] = plain::read_array(value, value.shape);
    });
    const plain::Call call(*graph_, at, program_->model->path, values);
    plain::compute(*plain::find_definition(op.kind), call);
    each_value(op.inputs, [&](std::size_t index) {
      if (program_->last_use[index] == at) values[index].reset();
    });
  }

  void write(const Given& output, const Arrays& values, std::size_t index, Outputs& outputs) const {
    const Value& declared = graph_->values[output.value];
    std::optional<Array> parameter;  // or an input that is given as it is
    if (!values[output.value]) parameter = plain::read_array(declared, declared.shape);
    const Array& array = parameter ? *parameter : *values[output.value];
    float* const to = outputs.place(index, array.shape);
    for (std::size_t i = 0; i < array.count(); ++i) to[i] = static_cast<float>(array.number(i));
    require_exact(output.spec, to, array.count());
  }

  std::shared_ptr<const Program> program_;
  Shape shape_;                         // of the input that ran last
  std::unique_ptr<const Graph> graph_;  // with the shapes for that
};

/// The names under which a program gives its outputs, which PIR has apart from its values'.
std::vector<std::string> output_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const std::size_t output : graph.outputs)
    names.push_back(printable(graph.values[output].name));
  for (const Operator& op : graph.operators) {
    const auto* const column = op.attribute<std::int64_t>("col");
    const auto* const name = op.attribute<std::string>("name");
    if (op.kind != "Fetch" || column == nullptr || name == nullptr) continue;
    const auto place = static_cast<std::size_t>(*column);
    if (graph.output_name.empty() && place < names.size()) names[place] = *name;
  }
  const bool is_named = !graph.output_name.empty() && graph.output_name != kFeatures;
  if (is_named) names[0] = graph.output_name;
  return names;
}

TensorSpec input_spec_of(const Graph& graph) {
  const Value& value = graph.values[graph.inputs[0]];
  std::string name = printable(value.name);
  if (value.producer != kNone) {
    const auto* const fed = graph.operators[value.producer].attribute<std::string>("name");
    if (fed != nullptr) name = *fed;
  }
  return {name, value.shape, element_type(declared_dtype(value)).name};
}

/// A program with images of any size, for sizes that it takes. Null: it takes none that was tried.
std::unique_ptr<const Graph> find_sized(const Graph& graph) {
  if (!graph.with_sizes) return nullptr;
  for (const Shape& sizes : sizes_to_try(graph.values[graph.inputs[0]].shape)) {
    try {
      return graph.with_sizes(sizes);
    } catch (const Error&) {  // others may fit
    }
  }
  return nullptr;
}

/// The outputs: floating-point numbers first, and then integers and bools. With `shows_all` also
/// every value that is computed.
std::vector<Given> find_outputs(const Graph& graph) {
  const std::vector<std::string> names = output_names(graph);
  const std::unique_ptr<const Graph> sized = find_sized(graph);
  const Graph& known = sized != nullptr ? *sized : graph;  // has ranks and types
  std::vector<Given> outputs;
  const auto add = [&](std::size_t index, const std::string& name) {
    const Value& value = known.values[index];
    TensorSpec spec{name, value.shape,
                    is_real(value.dtype) ? "float32" : element_type(value.dtype).name};
    // Where no size depends on the number of images, the predictor compares the sizes.
    const Images& images = value.images;
    spec.by_image = images.axis == kNone || (images.axis == 0 && images.per_image == 1);
    // Which sizes depend on those of the image is not known.
    for (std::int64_t& size : spec.shape) {
      if (graph.with_sizes) size = -1;
    }
    outputs.push_back({index, std::move(spec)});
  };
  for (const bool real : {true, false}) {
    for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
      if (is_real(known.values[graph.outputs[i]].dtype) == real) add(graph.outputs[i], names[i]);
    }
  }
  if (!graph.shows_all) return outputs;
  std::set<std::size_t> given(graph.outputs.begin(), graph.outputs.end());
  given.insert(graph.inputs[0]);
  for (const Operator& op : known.operators) {
    if (has_word(kOfProgram, op.kind)) continue;
    each_value(op.outputs, [&](std::size_t index) {
      const Value& value = known.values[index];
      const bool shown = value.images.axis != kNone && !value.unset && value.defined;
      if (shown && is_output(value.dtype) && given.insert(index).second) {
        add(index, printable(value.name));
      }
    });
  }
  return outputs;
}

void require_definitions(const Model& model, const std::vector<bool>& needed) {
  for (std::size_t i = 0; i < needed.size(); ++i) {
    const Operator& op = model.graph.operators[i];
    if (!needed[i] || plain::find_definition(op.kind) != nullptr) continue;
    OperatorView(model.graph, i, model.path).no_kernel("definition in the plain engine");
  }
}

}  // namespace

std::unique_ptr<Engine> create_plain_engine(const Config& /*config*/,
                                            const std::shared_ptr<const Model>& model) {
  if (model->refusal) throw *model->refusal;
  const Graph& graph = model->graph;
  auto program = std::make_shared<Program>();
  program->model = model;
  program->input = input_spec_of(graph);
  program->outputs = find_outputs(graph);
  std::vector<std::size_t> wanted;
  for (const Given& output : program->outputs) wanted.push_back(output.value);
  program->needed = find_needed(graph, wanted);
  require_definitions(*model, program->needed);
  program->last_use.resize(graph.values.size(), kNone);
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    if (!program->needed[i]) continue;
    each_value(graph.operators[i].inputs, [&](std::size_t value) { program->last_use[value] = i; });
  }
  for (const std::size_t value : wanted) program->last_use[value] = kNone;
  return std::make_unique<PlainEngine>(std::move(program));
}

}  // namespace lenet
