#include "model/translate.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "io/printable.h"
#include "model/output_meanings.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// What PaddleSlim notes of an argument, such as "Filter0_threshold", and no kernel reads.
bool is_threshold(std::string_view name, const Attribute& attribute) {
  const auto is_letter = [](char byte) { return std::isalpha(static_cast<unsigned char>(byte)); };
  const auto is_digit = [](char byte) { return std::isdigit(static_cast<unsigned char>(byte)); };
  const auto number = std::find_if_not(name.begin(), name.end(), is_letter);
  const auto rest = std::find_if_not(number, name.end(), is_digit);
  return attribute.type == AttributeType::Float && number != name.begin() && rest != number &&
         std::string(rest, name.end()) == "_threshold";
}

/// Of the format before PIR: the values that an attribute may have whatever the operator. What
/// Paddle's passes for oneDNN have made of two operators, or of an int8 one, is not what the rules
/// say of one; and of oneDNN's fused kernels some read their attributes without a fusion.
bool has_common_value(std::string_view name, const Attribute& attribute) {
  struct Common {
    std::string_view names;
    std::string_view texts;  ///< besides an empty one
    double least = 0;        ///< of numbers, each of a list
    double most = least;
  };
  static constexpr Common kCommon[] = {
      {"fuse_relu fuse_with_relu fuse_brelu fuse_activation fuse_alpha fuse_beta "
       "fuse_residual_connection fuse_relu_before_depthwise_conv force_fp32_output use_quantizer "
       "fused_reshape_X fused_reshape_Y fused_reshape_Out fused_transpose_X fused_transpose_Y "
       "fused_transpose_Out",
       ""},
      {"Scale_in Scale_in_eltwise Scale_weights Scale_x Scale_y Scale_out scale_x scale_y "
       "scale_out head_number",
       "", 1},
      {"fuse_brelu_threshold", "", 6},
      {"data_format", "AnyLayout NCHW"},
      {"op_device", "cpu"},
      {"mkldnn_data_type onednn_data_type", "float32"},
      {"workspace_size_MB", "", 0, 1 << 14},
  };
  const auto* const common =
      std::find_if(std::begin(kCommon), std::end(kCommon),
                   [&](const Common& each) { return has_word(each.names, name); });
  if (common == std::end(kCommon)) return true;
  const auto in_range = [&](double number) {
    return number >= common->least && number <= common->most;
  };
  if (const auto* integer = std::get_if<std::int64_t>(&attribute.value)) {
    return in_range(static_cast<double>(*integer));
  }
  if (const auto* number = std::get_if<double>(&attribute.value)) return in_range(*number);
  if (const auto* numbers = std::get_if<Numbers>(&attribute.value)) {
    return std::all_of(numbers->begin(), numbers->end(), in_range);
  }
  if (const auto* integers = std::get_if<Integers>(&attribute.value)) return integers->empty();
  const auto* text = std::get_if<std::string>(&attribute.value);
  return text != nullptr && (text->empty() || has_word(common->texts, *text));
}

void require_common_value(const OperatorView& view, std::string_view name,
                          const Attribute& attribute) {
  if (!has_common_value(name, attribute)) {
    view.unsupported("has " + std::string(name) + "=" + to_text(attribute) +
                     ", which no engine here computes rightly; export the model again, without "
                     "passes that prepare it for another device or arithmetic");
  }
}

/// Operators of older Paddles, for pictures and their features, that Paddle 3.3 has no more.
constexpr std::string_view kGone =
    "linear_interp bicubic_interp trilinear_interp pad2d pad_constant_like spp soft_relu minus fsp "
    "cos_sim conv_shift similarity_focus space_to_depth bilateral_slice data_norm isnan isinf "
    "iou_similarity density_prior_box polygon_box_transform multiclass_nms2 fill_zeros_like";

/// Operators of a .pdmodel that end the process in Paddle 3.3.
constexpr std::string_view kCrashes = "nanmedian";

/// Gives arguments and its own attributes the names that rules and engines know.
void name_by_us(const OperatorView& view, const ParsedRule& rule, Operator& op) {
  for (std::size_t i = 0; i < op.inputs.size(); ++i) op.inputs[i].first = rule.inputs[i].given;
  for (std::size_t i = 0; i < op.outputs.size(); ++i) op.outputs[i].first = rule.outputs[i].given;
  Attributes own;
  for (auto& [name, attribute] : op.attributes) {
    const ParsedRule::Attribute& wanted = rule.attributes.find(name)->second;
    if (!wanted.own) continue;
    if (own.count(wanted.given) > 0)
      view.unsupported("says twice what " + std::string(name) + " is");
    own.emplace_back(wanted.given, std::move(attribute));
  }
  for (const auto& [name, attribute] : rule.fixed) own.emplace_back(name, attribute);
  op.attributes = std::move(own);
}

}  // namespace

Translator::Translator(Graph& graph, const std::string& path)
    : graph_(graph), path_(path), rules_(graph), read_(graph.values.size()) {
  for (const Operator& op : graph_.operators) {
    if (op.kind == "Concat") continue;  // it takes empty ones too
    each_value(op.inputs, [this](std::size_t index) { read_[index] = true; });
  }
}

void Translator::unsupported(const std::string& problem) const {
  lenet::unsupported(path_, problem);
}

std::vector<bool> Translator::begin() {
  widen();
  if (is_onnx()) {
    begin_onnx();
    return needed_operators(graph_);
  }
  graph_.opset = kMaxOpset;
  if (graph_.outputs.empty()) refuse("has no output");
  std::vector<bool> needed = choose_output(graph_, path_);
  require_one_input(graph_, path_);
  require_input_type();
  for (const Value& value : graph_.values) {
    require_dimensions(value, value.parameter ? 1 : 0, 1, path_);
  }
  return needed;
}

/// A parameter may be stored in 16 bits and be cast before anything computes with it: such a
/// program computes in float32 already, as Graph::half says.
void Translator::widen() {
  for (Value& value : graph_.values) {
    if (is_half(value.dtype)) value.half_dtype = std::exchange(value.dtype, kFloat32);
  }
  const auto computes_in = [this](int dtype) {
    if (graph_.half.empty() && is_half(dtype)) graph_.half = element_type(dtype).name;
  };
  for (const Operator& op : graph_.operators) {
    const bool casts = op.kind == "Cast";
    each_value(casts ? op.outputs : op.inputs,
               [&](std::size_t index) { computes_in(graph_.values[index].half_dtype); });
    const auto* const to = casts ? op.attribute<std::int64_t>("to") : nullptr;  // of ONNX
    if (to != nullptr) computes_in(onnx_element_type(*to).dtype);
  }
}

void Translator::require_input_type() const {
  for (const std::size_t index : graph_.inputs) {
    const Value& input = graph_.values[index];
    if (is_number(input.dtype)) continue;
    unsupported("has an input '" + input.name +
                "' that is no tensor of float32, float64, uint8, int32, int64, float16 or bfloat16 "
                "values");
  }
}

void Translator::drop_integers() {
  std::vector<std::size_t>& outputs = graph_.outputs;
  const auto is_float = [this](std::size_t index) {
    return graph_.values[index].dtype == kFloat32;
  };
  if (!graph_.output_name.empty() || std::all_of(outputs.begin(), outputs.end(), is_float)) return;
  const std::vector<NamedMeaning> found = describe_outputs(graph_, outputs);
  const auto has = [](const OutputMeaning& meaning, std::initializer_list<OutputRole> roles) {
    return std::find(roles.begin(), roles.end(), meaning.role) != roles.end();
  };
  const auto has_all_scores = [&](const NamedMeaning& one) {
    return !one.meaning.picked &&
           has(one.meaning, {OutputRole::Logits, OutputRole::Probabilities, OutputRole::Scores});
  };
  const bool tells_all = std::any_of(found.begin(), found.end(), has_all_scores);
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const bool tells_classes =
        !tells_all && has(found[i].meaning,
                          {OutputRole::Indices, OutputRole::ClassNumbers, OutputRole::MultiHot});
    if (tells_classes || is_float(outputs[i])) kept.push_back(outputs[i]);
  }
  outputs = std::move(kept);
}

void Translator::begin_onnx() {
  if (graph_.opset < kMinOpset || graph_.opset > kMaxOpset) {
    unsupported("uses the operator set " + std::to_string(graph_.opset) + "; those from " +
                std::to_string(kMinOpset) + " to " + std::to_string(kMaxOpset) +
                " are known: export it anew");
  }
  if (!graph_.unsupported.empty()) {
    unsupported("has " + graph_.unsupported + ", which is not supported");
  }
  std::vector<std::size_t>& outputs = graph_.outputs;
  if (outputs.empty()) unsupported("has no output");
  choose_output(graph_, path_);
  require_one_input(graph_, path_);
  require_input_type();
  Value& input = graph_.values[graph_.inputs[0]];
  for (const std::size_t index : outputs) {
    const Value& value = graph_.values[index];
    const bool given = value.producer != kNone || value.parameter || &value == &input;
    if (!given) refuse("is damaged: nothing gives its output '" + value.name + "'");
  }
  drop_integers();
  if (outputs.empty()) unsupported("has no float32 output");
  if (input.shape.empty()) {
    unsupported("does not say the shape of its input '" + input.name + "'");
  }
  if (input.shape.size() < 2 || input.shape.size() > kMaxRank) {
    unsupported("has an input '" + input.name +
                "' that is not [N, channels, height, width] or another tensor for each image");
  }
  require_dimensions(input, 1, 1, path_);
  input.defined = true;
  std::vector<char> given(graph_.values.size());
  for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
    each_value(graph_.operators[i].outputs, [&](std::size_t index) {
      const Value& value = graph_.values[index];
      if (!value.defined && !std::exchange(given[index], 1)) return;
      refuse("is damaged: operator " + std::to_string(i) + " overwrites '" + value.name + "'");
    });
  }
  for (const std::size_t index : outputs) {  // declared for any number of images
    Shape& shape = graph_.values[index].shape;
    if (!shape.empty()) shape[0] = kUnknown;
  }
  for (const std::size_t index : outputs) read_[index] = true;
}

const ParsedRule& Translator::translate(std::size_t at) {
  Operator& op = graph_.operators[at];
  const OperatorView view(graph_, at, path_);
  const ParsedRule* rule = rules_.find(op.type);
  if (rule == nullptr) refuse_operator(view, op.type);
  Arguments& given = op.outputs;
  while (!is_program_desc() && !given.empty() && given.back().second.empty()) given.pop_back();
  const bool lists = !rule->outputs.empty() && rule->outputs.back().list;
  while (is_onnx() && !lists && given.size() > rule->outputs.size() &&
         !read_[given.back().second[0]]) {  // what nobody reads is not computed
    given.pop_back();
  }
  view.supports(!is_onnx() || lists || given.size() <= rule->outputs.size(),
                "kernel that gives a second output");
  op.inputs = bind(view, rule->inputs, op.inputs);
  op.outputs = bind(view, rule->outputs, op.outputs);
  check_attributes(view, *rule, op.attributes);
  if (!is_onnx()) graph_.written.push_back(op);
  name_by_us(view, *rule, op);
  return *rule;
}

void Translator::refuse_operator(const OperatorView& view, const std::string& type) const {
  const bool of_machine =
      type.rfind("com.microsoft.nchwc.", 0) == 0 || type.rfind("com.microsoft.Fused", 0) == 0;
  if (of_machine) {
    unsupported("was written by onnxruntime for one machine (" + type +
                "): use the file that it was made from");
  }
  if (has_word("DynamicQuantizeLinear ConvInteger MatMulInteger", type)) {
    unsupported("is quantized while it runs (" + type + "), for which there is no kernel");
  }
  if (is_onnx()) view.no_kernel("kernel for this operator");
  refuse_quantization(type);
  const std::int64_t version = graph_.paddle_version;
  const std::string writer = " (it was written by Paddle " + std::to_string(version / 1'000'000) +
                             "." + std::to_string(version / 1'000 % 1'000) + "." +
                             std::to_string(version % 1'000) + ")";
  const std::string which = "has an operator '" + type + "', which ";
  if (is_program_desc() && has_word(kGone, type)) {
    unsupported(which + "Paddle 3 no longer has" + (version > 0 ? writer : "") +
                "; export the model again with Paddle 2.0 or later");
  }
  if (is_program_desc() && has_word(kCrashes, type)) {
    unsupported(which + "ends the process in Paddle 3.3; export the model as .json");
  }
  unsupported(which + "lenet cannot check" + (version > 0 ? writer : "") +
              remedy_unchecked(graph_));
}

/// Kinds of quantized programs that do not run.
void Translator::refuse_quantization(const std::string& type) const {
  if (type == "1.quantize_linear" || type == "1.dequantize_linear") {
    unsupported(
        "is a quantized .json program; quantized models run as .pdmodel, which lenet-cpp "
        "quantize writes");
  }
  // The forms that Paddle writes with onnx_format=False, or while it trains.
  if (type.rfind("fake_quantize_", 0) == 0 || type.rfind("fake_channel_wise_", 0) == 0 ||
      type.rfind("fake_dequantize_", 0) == 0) {
    unsupported("is quantized in an old format (" + type +
                "); quantize it with onnx_format=True, as lenet-cpp quantize does");
  }
}

/// Gives arguments by place their names, and checks that all have as many values as they must.
Arguments Translator::bind(const OperatorView& view, const std::vector<ParsedRule::Argument>& rules,
                           const Arguments& given) {
  Arguments bound;
  bound.reserve(rules.size());
  std::size_t used = 0;
  for (const auto& [name, ours, optional, forbidden, list] : rules) {
    const auto refuse_argument = [&, argument = name](const char* why) {
      view.fail("the argument " + std::string(argument), why);
    };
    Argument values;
    if (is_program_desc()) {
      const auto found = given.find(name);
      used += found == given.end() ? 0 : 1;
      if (found != given.end()) values = found->second;
    } else if (list && is_onnx()) {  // all that are left
      std::vector<std::size_t> left;
      for (; used < given.size(); ++used) {
        if (given[used].second.size() != 1) refuse_argument("");
        left.push_back(given[used].second[0]);
      }
      values = Argument(std::move(left));
    } else if (used < given.size()) {
      values = given[used++].second;
    }
    if (forbidden && !values.empty()) {
      view.not_fixed("a value of " + std::string(name));
    }
    if ((!optional && values.empty()) || (!list && values.size() > 1)) refuse_argument("");
    bound.emplace_back(name, std::move(values));
  }
  if (used < given.size() && !is_program_desc()) view.fail("an argument too many");
  if (used < given.size()) drop_unknown(view, rules, given);
  return bound;
}

/// Arguments of a name that no rule has may be empty: older Paddles wrote them so.
void Translator::drop_unknown(const OperatorView& view,
                              const std::vector<ParsedRule::Argument>& rules,
                              const Arguments& given) {
  graph_.differs = true;
  for (const auto& [name, values] : given) {
    const auto is_named = [key = name](const auto& rule) { return is_same(rule.name, key); };
    if (values.empty() || std::any_of(rules.begin(), rules.end(), is_named)) continue;
    view.unsupported("has an argument " + printable(std::string(name)) + ", which is not known");
  }
}

void Translator::check_attributes(const OperatorView& view, const ParsedRule& rule,
                                  Attributes& attributes) {
  for (const auto& [name, wanted] : rule.attributes) {
    if (wanted.optional || attributes.count(name) > 0) continue;
    view.require(wanted.value.has_value(), "no attribute ", name);
    graph_.differs = true;
    attributes.emplace_back(graph_.decoded.emplace_back(name), *wanted.value);
  }
  // Paddle looks for attributes of some names in every operator, and trusts their types.
  for (const auto& [name, attribute] : attributes) {
    const auto wanted = rule.attributes.find(name);
    if (wanted == rule.attributes.end()) {
      if (is_onnx()) view.no_kernel("kernel for the attribute " + printable(std::string(name)));
      if (!is_program_desc()) {
        view.unsupported("has an attribute " + std::string(name) + ", which is not known");
      }
      require_common_value(view, name, attribute);
      graph_.differs |= !is_threshold(name, attribute);
      continue;
    }
    const auto has_type = [types = wanted->second.types](AttributeType type) {
      return (types & bit(type)) != 0;
    };
    // Paddle 3.0 wrote shorter integers, which later ones convert.
    const bool shorter = !is_program_desc() && !is_onnx() &&
                         attribute.type == AttributeType::Ints && has_type(AttributeType::Longs);
    const bool other =
        attribute.type == AttributeType::Other || attribute.type == AttributeType::Block;
    if (other && !has_type(attribute.type)) {
      view.unsupported("has an attribute " + std::string(name) +
                       " of a type that is not supported");
    }
    view.require(shorter || has_type(attribute.type), "the type of the attribute ", name);
    const bool own_layout = name == "data_format" && wanted->second.own;
    if (is_program_desc() && !own_layout) require_common_value(view, name, attribute);
  }
  const auto is_unknown = [&](const auto& each) { return rule.attributes.count(each.first) == 0; };
  attributes.erase(std::remove_if(attributes.begin(), attributes.end(), is_unknown),
                   attributes.end());
}

}  // namespace lenet
