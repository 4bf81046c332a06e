#include "model/rules/rules.h"

#include <algorithm>

namespace lenet {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

/// Takes a mark off the end of a word; says whether it was there.
bool take_mark(std::string_view& word, char mark) {
  if (word.empty() || word.back() != mark) return false;
  word.remove_suffix(1);
  return true;
}

/// \param text of one number, a text, or nothing for a list without elements
Attribute attribute_of(AttributeType type, const std::string& text) {
  if (type == AttributeType::Text) return {type, text};
  if (is_array(type)) return {type, Integers()};
  const double number = text == "true" ? 1 : text == "false" ? 0 : std::stod(text);
  const bool real = type == AttributeType::Float || type == AttributeType::Double;
  if (real) return {type, number};
  return {type, static_cast<std::int64_t>(number)};
}

/// What a word with `+` says without that.
std::pair<std::string_view, Attribute> fixed_attribute(std::string_view word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) return {word, {AttributeType::Bool, std::int64_t{1}}};
  const std::string value(word.substr(equals + 1));
  const bool number = value.find_first_not_of("-0123456789") == std::string::npos;
  return {word.substr(0, equals),
          attribute_of(number ? AttributeType::Long : AttributeType::Text, value)};
}

AttributeType type_named(std::string_view name) {
  static const std::map<std::string_view, AttributeType> types = {
      {"bool", AttributeType::Bool},       {"int", AttributeType::Int},
      {"long", AttributeType::Long},       {"float", AttributeType::Float},
      {"double", AttributeType::Double},   {"str", AttributeType::Text},
      {"bools", AttributeType::Bools},     {"ints", AttributeType::Ints},
      {"longs", AttributeType::Longs},     {"floats", AttributeType::Floats},
      {"doubles", AttributeType::Doubles}, {"strs", AttributeType::Texts},
      {"dims", AttributeType::Dims},       {"dtype", AttributeType::Dtype},
      {"place", AttributeType::Place},     {"tensor", AttributeType::Tensor},
      {"block", AttributeType::Block},
  };
  return types.at(name);
}

/// The attributes that any operator may have besides its own; it has no others. Of the format
/// before PIR those that Paddle from 2.0 on writes: of training, of its passes and of quantization.
std::string_view common_attributes(Dialect dialect) {
  if (dialect == Dialect::Onnx) return "";
  return dialect == Dialect::Pir
             ? "struct_name:str? op_role:int? chunk_id:int? op_callstack:strs?"
             : "op_role:int? op_role_var:strs? op_namescope:str? op_callstack:strs? "
               "op_device:str? with_quant_attr:bool? use_mkldnn:bool? use_onednn:bool? "
               "use_cudnn:bool? use_quantizer:bool? mkldnn_data_type:str? "
               "onednn_data_type:str? is_test:bool? use_addto:bool? force_fp32_output:bool? "
               "exhaustive_search:bool? workspace_size_MB:int? Scale_out:float? Scale_x:float? "
               "Scale_y:float? Scale_in:float? Scale_in_eltwise:float? Scale_weights:floats? "
               "fuse_relu:bool? fuse_with_relu:bool? fuse_brelu:bool? fuse_brelu_threshold:float? "
               "fuse_activation:str? fuse_alpha:float? fuse_beta:float? "
               "fuse_residual_connection:bool? fuse_relu_before_depthwise_conv:bool? "
               "data_format:str? x_data_format:str? y_data_format:str? moving_rate:float? "
               "quantization_type:str? out_threshold:float? skip_quant:bool|int?";
}

/// The words of a rule, and of those with two sides one.
std::vector<std::string_view> words_of(std::string_view text, bool second) {
  std::vector<std::string_view> words;
  for (std::string_view word : split(text, ' ')) {
    const std::size_t slash = word.find('/');
    if (slash != std::string_view::npos) {
      word = second ? word.substr(slash + 1) : word.substr(0, slash);
    }
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

/// A rule, and the kind of one of its types.
struct Named {
  const OperatorRule* rule = nullptr;
  std::string_view kind;
};

using Names = std::map<std::pair<Dialect, std::string_view>, Named>;

void add_names(Names& names, const OperatorRule& rule, Dialect dialect) {
  if ((rule.dialects & bit(dialect)) == 0) return;
  const std::vector<std::string_view> types = split(rule.types, ' ');
  const std::vector<std::string_view> kinds = split(rule.kinds, ' ');
  for (std::size_t i = 0; i < types.size(); ++i) {
    for (const std::string_view type : words_of(types[i], dialect == Dialect::Pir)) {
      const std::string_view kind = kinds.empty() ? type : kinds.at(kinds.size() == 1 ? 0 : i);
      names.emplace(std::pair(dialect, type), Named{&rule, kind});
    }
  }
}

Named find_named(std::string_view type, Dialect dialect) {
  static const Names names = [] {
    Names made;
    for (const auto family : {constants_rules, control_flow_rules, convolution_rules,
                              elementwise_rules, indexing_rules, normalization_rules, parts_rules,
                              pooling_rules, resize_rules, shape_rules, volume_rules}) {
      const auto [first, last] = family();
      for (const OperatorRule* rule = first; rule != last; ++rule) {
        for (const Dialect each : {Dialect::ProgramDesc, Dialect::Pir, Dialect::Onnx}) {
          add_names(made, *rule, each);
        }
      }
    }
    return made;
  }();
  const bool prefixed = dialect == Dialect::Pir && type.substr(0, 2) == "1.";
  if (prefixed) type.remove_prefix(2);
  const bool known = prefixed || dialect != Dialect::Pir;
  const auto found = known ? names.find({dialect, type}) : names.end();
  return found == names.end() ? Named{nullptr, type} : found->second;
}

/// Takes off a word what comes before the name by us. \returns that, or the whole word
std::string_view take_theirs(std::string_view& word) {
  const std::size_t mark = word.find('>');
  const std::string_view theirs = word.substr(0, mark);
  if (mark != std::string_view::npos) word.remove_prefix(mark + 1);
  return theirs;
}

std::vector<ParsedRule::Argument> parse_arguments(std::string_view text, bool second) {
  std::vector<ParsedRule::Argument> arguments;
  for (std::string_view word : words_of(text, second)) {
    const bool forbidden = take_mark(word, '!');
    const bool optional = take_mark(word, '?') || forbidden;
    const bool list = take_mark(word, '*');
    const std::string_view name = take_theirs(word);
    arguments.push_back({name, word, optional, forbidden, list});
  }
  return arguments;
}

ParsedRule parse(const OperatorRule& rule, Dialect dialect, std::int64_t opset) {
  const bool second =
      dialect == Dialect::Onnx ? opset >= rule.newer_opset : dialect == Dialect::Pir;
  ParsedRule parsed;
  parsed.infer = rule.infer;
  parsed.inputs = parse_arguments(rule.inputs, second);
  parsed.outputs = parse_arguments(rule.outputs, second);
  bool own = true;
  for (const std::string_view text : {rule.attributes, common_attributes(dialect)}) {
    for (std::string_view word : words_of(text, second)) {
      if (word.front() == '+') {
        parsed.fixed.push_back(fixed_attribute(word.substr(1)));
        continue;
      }
      ParsedRule::Attribute attribute;
      attribute.own = own;
      attribute.optional = take_mark(word, '?');
      const std::size_t colon = word.find(':');
      const std::size_t equals = word.find('=');
      if (equals != std::string_view::npos) {
        const std::string_view types = word.substr(colon + 1, equals - colon - 1);
        attribute.value =
            attribute_of(type_named(split(types, '|')[0]), std::string(word.substr(equals + 1)));
        word = word.substr(0, equals);
      }
      for (const std::string_view type : split(word.substr(colon + 1), '|')) {
        const AttributeType named = type_named(type);
        attribute.types |= bit(named);
        if (is_array(named)) attribute.types |= bit(AttributeType::Empty);
      }
      word = word.substr(0, word.find(':'));
      const std::string_view name = take_theirs(word);
      attribute.given = word;
      // An operator's own stays where there is a common one of that name.
      parsed.attributes.emplace(name, attribute);
    }
    own = false;
  }
  return parsed;
}

}  // namespace

std::string_view kind_of(std::string_view type, Dialect dialect) {
  return find_named(type, dialect).kind;
}

std::string_view kind_of(const Operator& op, Dialect dialect) {
  const std::string_view kind = kind_of(op.type, dialect);
  if (dialect == Dialect::Onnx || kind != "MaxPool") return kind;
  const auto is = [&](std::string_view flag) {
    const auto* found = op.attribute<std::int64_t>(flag);
    return found != nullptr && *found == 1;
  };
  const auto* type = op.attribute<std::string>("pooling_type");
  const bool max = type == nullptr || *type == "max";
  if (is("global_pooling")) return max ? "GlobalMaxPool" : "GlobalAveragePool";
  if (is("adaptive")) return max ? "AdaptiveMaxPool" : "AdaptiveAveragePool";
  return max ? "MaxPool" : "AveragePool";
}

const ParsedRule* RuleBook::find(const std::string& type) {
  auto found = parsed_.find(type);
  if (found == parsed_.end()) {
    const OperatorRule* rule = find_named(type, dialect_).rule;
    if (rule == nullptr) return nullptr;
    found = parsed_.emplace(type, parse(*rule, dialect_, opset_)).first;
  }
  return &found->second;
}

}  // namespace lenet
