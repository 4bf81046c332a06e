#include "model/check_graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "io/printable.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxRank = 9;
constexpr std::int64_t kMaxDimension = 0x7fffffff;

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

AttributeType type_named(std::string_view name) {
  static const std::map<std::string_view, AttributeType> types = {
      {"bool", AttributeType::Bool},       {"int", AttributeType::Int},
      {"long", AttributeType::Long},       {"float", AttributeType::Float},
      {"double", AttributeType::Double},   {"str", AttributeType::Text},
      {"bools", AttributeType::Bools},     {"ints", AttributeType::Ints},
      {"longs", AttributeType::Longs},     {"floats", AttributeType::Floats},
      {"doubles", AttributeType::Doubles}, {"strs", AttributeType::Texts},
      {"dims", AttributeType::Dims},       {"dtype", AttributeType::Dtype},
      {"place", AttributeType::Place},     {"empty", AttributeType::Empty},
  };
  return types.at(name);
}

class Checker {
 public:
  Checker(Graph& graph, const std::string& path) : graph_(graph), path_(path) {}

  void check() {
    if (graph_.operators.size() > kMaxOperators) refuse("has too many operators");
    for (Value& value : graph_.values) value.defined = value.parameter;
    for (const Value& value : graph_.values) require_dimensions(value, value.parameter ? 1 : 0);
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) check_operator(i);
    if (inputs_ != 1) {
      throw Error(ErrorCode::Unsupported, "'" + path_ + "' has " + std::to_string(inputs_) +
                                              " inputs; models with one are supported");
    }
    if (fetched_.empty()) refuse("has no output");
    if (*fetched_.rbegin() != static_cast<std::int64_t>(fetched_.size()) - 1) {
      refuse("is damaged: the numbers of its outputs");
    }
  }

 private:
  bool is_pir() const { return graph_.dialect == Dialect::Pir; }
  [[noreturn]] void refuse(const std::string& problem) const { refuse_program(path_, problem); }

  void require_dimensions(const Value& value, std::int64_t least) const {
    std::int64_t count = 1;
    bool sane = value.shape.size() <= kMaxRank;
    for (std::size_t i = 0; sane && i < value.shape.size(); ++i) {
      const std::int64_t size = value.shape[i];
      const bool open = size == -1 && !value.parameter;
      sane = open || (size >= least && size <= kMaxDimension);
      if (sane && size > 0) {
        sane = count <= kMaxValuesPerImage / size;
        count *= size;
      }
    }
    if (!sane) refuse("is damaged: '" + value.name + "' has the shape " + to_string(value.shape));
  }

  void check_operator(std::size_t at) {
    Operator& op = graph_.operators[at];
    const OperatorRule* rule = find_rule(op.type, graph_.dialect);
    if (rule == nullptr) {
      refuse_quantization(op.type);
      throw Error(ErrorCode::Unsupported, "'" + path_ + "' has an operator '" + printable(op.type) +
                                              "', which lenet cannot check; for a model that you "
                                              "trust set check_program to false");
    }
    const std::string where = "operator " + std::to_string(at) + " (" + op.type + ")";
    const bool feed = op.type == "feed";
    const bool fetch = op.type == "fetch";
    op.inputs = bind(where, rule->inputs, op.positional_inputs, std::move(op.inputs));
    op.outputs = bind(where, rule->outputs, op.positional_outputs, std::move(op.outputs));
    check_attributes(where, *rule, op);
    if (!feed) require_given(where, op);
    OperatorView view(graph_, op, where, path_);
    if (!fetch) require_free(view, where, op);
    rule->infer(view);
    if (!fetch) define(op);
    work_ += view.work();
    if (work_ > static_cast<double>(kMaxMultiplyAdds)) refuse("asks for an absurd amount of work");
    inputs_ += feed || op.type == "1.data" ? 1 : 0;
    if (fetch || op.type == "1.fetch") {
      const std::int64_t column = view.integer("col");
      view.require(column >= 0 && fetched_.insert(column).second, "col");
    }
  }

  /// Kinds of quantized programs that do not run.
  void refuse_quantization(const std::string& type) const {
    if (type == "1.quantize_linear" || type == "1.dequantize_linear") {
      throw Error(ErrorCode::Unsupported, "'" + path_ +
                                              "' is a quantized .json program; quantized "
                                              "models run as .pdmodel, which lenet-cpp quantize "
                                              "writes");
    }
    // The forms that Paddle writes with onnx_format=False, or while it trains.
    if (type.rfind("fake_quantize_", 0) == 0 || type.rfind("fake_channel_wise_", 0) == 0 ||
        type.rfind("fake_dequantize_", 0) == 0) {
      throw Error(ErrorCode::Unsupported, "'" + path_ + "' is quantized in an old format (" +
                                              printable(type) +
                                              "); quantize it with "
                                              "onnx_format=True, as lenet-cpp quantize does");
    }
  }

  /// Gives arguments by place their names, and checks that all have as many values as they must.
  std::map<std::string, Argument> bind(const std::string& where, std::string_view rules,
                                       const std::vector<Argument>& positional,
                                       std::map<std::string, Argument> named) const {
    std::map<std::string, Argument> bound;
    std::size_t place = 0;
    for (std::string_view word : split(rules, ' ')) {
      const bool optional = take_mark(word, '?');
      const bool list = take_mark(word, '*');
      const std::string name(word);
      Argument values;
      if (is_pir()) {
        if (place < positional.size()) values = positional[place];
        ++place;
      } else if (auto found = named.find(name); found != named.end()) {
        values = std::move(found->second);
        named.erase(found);
      }
      const bool enough = optional || !values.empty();
      if (!enough || (!list && values.size() > 1)) {
        refuse(where + " is damaged: the argument " + name);
      }
      bound.emplace(name, std::move(values));
    }
    if (!named.empty() || positional.size() > place) {
      refuse(where + " is damaged: an argument too many");
    }
    return bound;
  }

  void check_attributes(const std::string& where, const OperatorRule& rule,
                        const Operator& op) const {
    std::set<std::string_view> seen;
    for (const std::string_view rules : {rule.attributes, common_attributes(graph_.dialect)}) {
      for (std::string_view word : split(rules, ' ')) {
        const bool optional = take_mark(word, '?');
        const std::size_t colon = word.find(':');
        const std::string_view name = word.substr(0, colon);
        if (!seen.insert(name).second) continue;  // an operator's own before the common one
        const auto found = op.attributes.find(std::string(name));
        const std::string which = "the attribute " + std::string(name);
        if (found == op.attributes.end()) {
          if (!optional) refuse(where + " is damaged: no " + which.substr(4));
          continue;
        }
        bool fits = false;
        for (const std::string_view type : split(word.substr(colon + 1), '|')) {
          fits |= found->second.type == type_named(type);
        }
        if (!fits) refuse(where + " is damaged: the type of " + which);
      }
    }
    // Paddle looks for attributes of some names in every operator, and trusts their types.
    for (const auto& [name, attribute] : op.attributes) {
      if (seen.count(name) == 0) {
        refuse(where + " is damaged: the attribute " + name + ", which it does not have");
      }
    }
    if (!is_pir()) check_common(where, rule, op);
  }

  /// Of the format before PIR, whose types have been checked.
  void check_common(const std::string& where, const OperatorRule& rule, const Operator& op) const {
    const auto text = [&](const char* name) {
      const auto found = op.attributes.find(name);
      return found == op.attributes.end() ? std::string()
                                          : std::get<std::string>(found->second.value);
    };
    // What Paddle's passes have made of two operators is not what the rules say of one.
    for (const char* name : {"fuse_relu", "fuse_with_relu", "fuse_brelu", "fuse_activation",
                             "fuse_residual_connection", "fuse_relu_before_depthwise_conv"}) {
      const auto found = op.attributes.find(name);
      if (found == op.attributes.end()) continue;
      const auto* flag = std::get_if<std::int64_t>(&found->second.value);
      if (flag == nullptr ? !text(name).empty() : *flag != 0) {
        refuse(where + " is damaged: " + name);
      }
    }
    const bool own_layout = rule.attributes.find("data_format:") != std::string_view::npos;
    const std::string layout = own_layout ? "" : text("data_format");
    if (!layout.empty() && layout != "AnyLayout" && layout != "NCHW") {
      refuse(where + " is damaged: data_format");
    }
    if (!text("op_device").empty() && text("op_device") != "cpu") {
      refuse(where + " is damaged: op_device");
    }
    for (const char* name : {"mkldnn_data_type", "onednn_data_type"}) {
      const std::string type = text(name);
      if (!type.empty() && type != "float32" && type != "int8" && type != "bfloat16") {
        refuse(where + " is damaged: " + name);
      }
    }
    const auto workspace = op.attributes.find("workspace_size_MB");
    if (workspace != op.attributes.end()) {
      constexpr std::int64_t kMostMegabytes = 1 << 14;
      const auto size = std::get<std::int64_t>(workspace->second.value);
      if (size < 0 || size > kMostMegabytes) refuse(where + " is damaged: workspace_size_MB");
    }
  }

  void require_given(const std::string& where, const Operator& op) const {
    for (const auto& [name, values] : op.inputs) {
      for (const std::size_t index : values) {
        if (!graph_.values[index].defined) {
          refuse(where + " is damaged: it uses '" + graph_.values[index].name +
                 "' before anything gave it");
        }
      }
    }
  }

  /// Where a value has several users, Paddle quantizes it again for each, into the same variable.
  /// \returns whether `op`, which gives that variable, does what the operator before it did.
  bool repeats_quantization(const Operator& op, std::size_t given) {
    if (op.type != "quantize_linear" && op.type != "dequantize_linear") return false;
    const std::tuple how(op.type, op.inputs.at("X"), op.inputs.at("Scale"));
    if (!graph_.values[given].defined) quantized_.emplace(given, how);
    const auto before = quantized_.find(given);
    return before != quantized_.end() && before->second == how;
  }

  /// What an operator gives must be new, but for the statistics of a normalization, which stay, and
  /// values quantized again.
  void require_free(const OperatorView& view, const std::string& where, const Operator& op) {
    std::set<std::size_t> given;
    for (const auto& [name, values] : op.outputs) {
      const std::string kept = name == "MeanOut" ? "Mean" : name == "VarianceOut" ? "Variance" : "";
      for (const std::size_t index : values) {
        const Value& value = graph_.values[index];
        const bool in_place = !kept.empty() && view.count(kept) == 1 && &view.in(kept) == &value;
        const bool again = repeats_quantization(op, index);
        if (!given.insert(index).second || (value.defined && !in_place && !again)) {
          refuse(where + " is damaged: it overwrites '" + value.name + "'");
        }
      }
    }
  }

  void define(const Operator& op) {
    for (const auto& [name, values] : op.outputs) {
      for (const std::size_t index : values) {
        Value& value = graph_.values[index];
        value.defined = true;
        const bool may_be_empty = name == "XShape" || op.type == "1.full_int_array";
        require_dimensions(value, may_be_empty ? 0 : 1);
      }
    }
  }

  Graph& graph_;
  const std::string& path_;
  int inputs_ = 0;
  double work_ = 0;
  std::set<std::int64_t> fetched_;
  /// Of what quantize_linear and dequantize_linear give: which of them, of what, by which scale.
  std::map<std::size_t, std::tuple<std::string, Argument, Argument>> quantized_;
};

}  // namespace

void check_graph(Graph& graph, const std::string& path) { Checker(graph, path).check(); }

}  // namespace lenet
