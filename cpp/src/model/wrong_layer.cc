#include "model/wrong_layer.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "io/printable.h"
#include "lenet/wrong_layer.h"
#include "model/model.h"

namespace lenet {
namespace {

/// Halves the values that may be the first wrong one with each question.
class Search {
 public:
  using IsWrong = std::function<std::optional<bool>(std::size_t)>;

  Search(const Graph& graph, const IsWrong& is_wrong)
      : graph_(graph), is_wrong_(is_wrong), answers_(graph.values.size(), Answer::None) {
    for (std::size_t i = 0; i < graph.values.size(); ++i)
      named_[printable(graph.values[i].name)] = i;
  }

  std::size_t run() {
    std::size_t wrong = graph_.outputs.at(0);
    if (ask(wrong) != Answer::Wrong) return kNone;
    for (;;) {
      const std::vector<std::size_t> left = candidates(wrong);
      if (left.empty()) return wrong;
      const std::size_t middle = left[left.size() / 2];
      if (ask(middle) == Answer::Wrong) wrong = middle;
    }
  }

 private:
  enum class Answer { None, Right, Wrong, Unknown };

  Answer ask(std::size_t value) {
    const std::optional<bool> wrong = is_wrong_(value);
    answers_[value] = !wrong ? Answer::Unknown : *wrong ? Answer::Wrong : Answer::Right;
    return answers_[value];
  }

  /// Whether an engine can be asked for the value: another one may have the same name.
  bool may_ask(std::size_t value) const {
    return answers_[value] == Answer::None &&
           named_.at(printable(graph_.values[value].name)) == value;
  }

  /// The values that nothing is known of, in the order of the program, which `wrong` is computed
  /// of other than by right values alone.
  std::vector<std::size_t> candidates(std::size_t wrong) const {
    std::vector<bool> seen(graph_.values.size());
    std::vector<std::size_t> found;
    std::vector<std::size_t> waiting = {wrong};
    while (!waiting.empty()) {
      const std::size_t giver = graph_.values[waiting.back()].producer;
      waiting.pop_back();
      if (giver == kNone) continue;  // the wrong value is the input itself
      const Operator& op = graph_.operators[giver];
      each_value(op.inputs, [&](std::size_t input) {
        const std::size_t producer = graph_.values[input].producer;
        if (seen[input] || answers_[input] == Answer::Right || producer == kNone ||
            is_constant(graph_, input) || graph_.operators[producer].kind == "Feed") {
          return;
        }
        seen[input] = true;
        waiting.push_back(input);
        if (may_ask(input)) found.push_back(input);
      });
    }
    const auto is_before = [&](std::size_t a, std::size_t b) {
      return graph_.values[a].producer < graph_.values[b].producer;
    };
    std::sort(found.begin(), found.end(), is_before);
    return found;
  }

  const Graph& graph_;
  const IsWrong& is_wrong_;
  std::vector<Answer> answers_;  // of each value
  std::map<std::string, std::size_t>
      named_;  // the last value of each name, as output_name takes it
};

}  // namespace

std::size_t find_wrong_value(const Graph& graph,
                             const std::function<std::optional<bool>(std::size_t)>& is_wrong) {
  return Search(graph, is_wrong).run();
}

std::optional<WrongLayer> find_wrong_layer(
    const Config& config,
    const std::function<std::optional<bool>(const std::string& name)>& is_wrong,
    const ModelBytes* bytes) {
  const ModelFiles files =
      bytes == nullptr ? find_model_files(config, false) : find_model_files(config, *bytes);
  const auto model = load_model(files, config, bytes);
  const std::deque<Value>& values = model->graph.values;
  const std::size_t wrong = find_wrong_value(
      model->graph, [&](std::size_t value) { return is_wrong(printable(values[value].name)); });
  if (wrong == kNone) return std::nullopt;
  const std::size_t producer = values[wrong].producer;
  const std::string type(producer == kNone ? "input"
                                           : model->graph.operators[producer].plain_type());
  return WrongLayer{printable(type), printable(values[wrong].name)};
}

}  // namespace lenet
