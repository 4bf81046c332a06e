#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "model/graph.h"
#include "model/rules/rules.h"
#include "model/translate.h"

namespace lenet {
namespace {

class Checker {
 public:
  Checker(Graph& graph, const std::string& path)
      : graph_(graph), path_(path), translator_(graph, path) {}

  void check() {
    if (graph_.operators.size() > kMaxOperators) {
      unsupported("has more than " + std::to_string(kMaxOperators) + " operators");
    }
    for (Value& value : graph_.values) value.defined = value.parameter;
    try {
      check_operators(translator_.begin());
    } catch (const Error&) {
      if (!graph_.runs_in_paddle) infer_room(graph_, path_, rules_, translator_.read());
      throw;
    }
    take_fetched();
    infer_shapes(graph_, path_, rules_, translator_.read());
  }

 private:
  [[noreturn]] void unsupported(const std::string& problem) const {
    lenet::unsupported(path_, problem);
  }

  /// Checks all but the shapes.
  void check_operators(const std::vector<bool>& needed) {
    rules_.resize(graph_.operators.size());
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
      if (!needed[i]) continue;
      const InferRule infer = translator_.translate(i).infer;
      const Operator& op = graph_.operators[i];
      const OperatorView view(graph_, i, path_);
      require_given(view, op);
      require_chosen(view, op);
      require_free(view, op);
      rules_[i] = infer;
      each_value(op.outputs, [&](std::size_t index) { graph_.values[index].defined = true; });
      forget_unset(op);
      if (op.kind == "Fetch") {
        const std::int64_t column = view.integer("col");
        const std::size_t value = op.inputs.at("X").at(0);
        view.require(column >= 0 && fetched_.emplace(column, value).second, "col");
      }
    }
  }

  /// Sets the outputs of a program whose operators say what they are.
  void take_fetched() {
    if (fetched_.empty()) return;  // of an .onnx, or where one was chosen
    if (fetched_.rbegin()->first != static_cast<std::int64_t>(fetched_.size()) - 1) {
      refuse_program(path_, "is damaged: the numbers of its outputs");
    }
    graph_.outputs.clear();
    for (const auto& [column, value] : fetched_) graph_.outputs.push_back(value);
  }

  /// Refuses an operator that takes a value which no operator before it gives.
  [[noreturn]] void refuse_order(const OperatorView& view, const Value& value) const {
    const bool is_sorted = !graph_.runs_in_paddle;  // what is left then are cycles
    const std::string_view why = value.producer == kNone ? "', which nothing gives"
                                 : is_sorted             ? "', which is computed from what it gives"
                                                         : "' before anything gave it";
    view.fail("it uses '" + value.name, why);
  }

  void require_given(const OperatorView& view, const Operator& op) const {
    for (const auto& [name, values] : op.inputs) {
      for (const std::size_t index : values) {
        if (index == kNone || graph_.values[index].defined) continue;
        const Value& value = graph_.values[index];
        if (!value.unset) refuse_order(view, value);
        if (op.kind == "rnn" && name == "DropoutState") continue;  // read by training alone
        view.unsupported("takes '" + value.name +
                         "', which neither a file nor an operator fills; export the "
                         "model again");
      }
    }
  }

  /// What a recurrent layer gives for training alone.
  void forget_unset(const Operator& op) {
    if (op.kind != "rnn") return;
    for (const char* name : {"DropoutState", "Reserve"}) {
      for (const std::size_t index : op.outputs.at(name)) {
        graph_.values[index].defined = false;
        graph_.values[index].unset = true;
      }
    }
  }

  const Operator* giver_of(std::size_t value) const {
    const std::size_t producer = graph_.values[value].producer;
    return producer == kNone ? nullptr : &graph_.operators[producer];
  }
  bool is_given_by(std::size_t value, std::string_view kind) const {
    const Operator* const giver = giver_of(value);
    return giver != nullptr && giver->kind == kind;
  }

  /// Before PIR a branch that does not run leaves what it gives empty: only the choice that has
  /// the same condition may take it.
  void require_chosen(const OperatorView& view, const Operator& op) const {
    if (graph_.blocks.size() < 2) return;
    const bool chooses = op.kind == "Choice";
    each_value(op.inputs, [&](std::size_t value) {
      if (chooses || !is_given_by(value, "Branch")) return;
      view.unsupported("takes '" + graph_.values[value].name +
                       "', which only one branch of control flow gives" + remedy_unchecked(graph_));
    });
    if (!chooses) return;
    const Argument& choices = op.inputs.at("X");
    const std::size_t mask = op.inputs.at("Mask")[0];
    const std::size_t condition =
        is_given_by(mask, "Cast") ? giver_of(mask)->inputs.at("X")[0] : kNone;
    bool sound =
        choices.size() == 2 && condition != kNone && graph_.values[condition].dtype == kBool;
    for (std::size_t i = 0; sound && i < choices.size(); ++i) {
      if (!is_given_by(choices[i], "Branch")) continue;
      std::size_t runs = giver_of(choices[i])->inputs.at("Cond")[0];
      if (i == 0) runs = is_given_by(runs, "Not") ? giver_of(runs)->inputs.at("X")[0] : kNone;
      sound = runs == condition;
    }
    if (!sound) {
      view.unsupported("chooses between branches by another condition than theirs" +
                       remedy_unchecked(graph_));
    }
  }

  /// Where a value has several users, Paddle quantizes it again for each, into the same variable.
  /// \returns whether `op`, which gives that variable, does what the operator before it did.
  bool repeats_quantization(const Operator& op, std::size_t given) {
    if (op.kind != "QuantizeByRange" && op.kind != "DequantizeByRange") return false;
    const std::tuple how(op.kind, op.inputs.at("X"), op.inputs.at("Scale"));
    if (!graph_.values[given].defined) quantized_.emplace(given, how);
    const auto before = quantized_.find(given);
    return before != quantized_.end() && before->second == how;
  }

  /// What an operator gives must be new, but for the statistics of a normalization, which stay, and
  /// values quantized again.
  void require_free(const OperatorView& view, const Operator& op) {
    std::set<std::size_t> given;
    for (const auto& [name, values] : op.outputs) {
      const std::string_view kept = name == "MeanOut"       ? "Mean"
                                    : name == "VarianceOut" ? "Variance"
                                                            : "";
      for (const std::size_t index : values) {
        if (index == kNone) continue;
        const Value& value = graph_.values[index];
        const bool in_place = !kept.empty() && view.count(kept) == 1 && &view.in(kept) == &value;
        const bool again = repeats_quantization(op, index);
        if (!given.insert(index).second || (value.defined && !in_place && !again)) {
          view.fail("it overwrites '" + value.name, "'");
        }
      }
    }
  }

  Graph& graph_;
  const std::string& path_;
  Translator translator_;
  std::vector<InferRule> rules_;                 ///< of each operator; null: it is not needed
  std::map<std::int64_t, std::size_t> fetched_;  ///< values, by `col`
  /// What gave each value that was quantized or dequantized by a range: the operator, its input and
  /// its scale.
  std::map<std::size_t, std::tuple<std::string_view, Argument, Argument>> quantized_;
};

}  // namespace

void check_graph(Graph& graph, const std::string& path) try {
  Checker(graph, path).check();
} catch (const Error& error) {
  const bool may_run = graph.half.empty() || !graph.runs_in_paddle;
  if (may_run || error.code() != ErrorCode::Unsupported) throw;
  throw Error(error.code(), error.what() + ("; the model computes in " + std::string(graph.half)) +
                                ", which Paddle does not run on a processor: export it in float32");
}

}  // namespace lenet
