#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "model/evaluate.h"
#include "model/images.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

using std::string_literals::operator""s;

/// For which numbers of images shapes are inferred: one, two, and a prime of at least this size
/// that divides no size and no number of the program, so that it is no product of them. No program
/// is made for it, so that it shows what is rounded, or no longer grows from some number on.
constexpr std::int64_t kLeastPrime = 1009;

/// What a program declares of a value that an operator gives: shape, dtype, has_shape.
using Declared = std::tuple<Shape, int, bool>;

/// What is inferred of it for one number of images.
struct Inferred {
  Shape shape;
  std::string_view data;
  OpenNumbers open;
};

/// What later inferences begin with.
struct KeptProgram {
  Graph graph;
  std::string path;
  std::vector<InferRule> rules;
  std::vector<bool> read;
};

class ShapeInference {
 public:
  ShapeInference(Graph& graph, const std::string& path, const std::vector<InferRule>& rules,
                 const std::vector<bool>& read)
      : graph_(graph), path_(path), rules_(rules), read_(read) {}

  void run() {
    const Shape& input = graph_.values[graph_.inputs[0]].shape;
    if (has_open_sizes(input)) {
      keep_for_sizes();
      if (graph_.fixes_parameters) {  // shapes may be computed from the sizes that are open
        graph_.joins_images = joins_images_of_some_size();
        return;
      }
    }
    if (!input.empty() && input[0] == kUnknown) return infer_for_numbers();
    infer();
    follow_images();
  }

  /// Infers the shapes for an input of exactly this shape.
  void infer_exactly(const Shape& input) {
    each_given([](std::size_t, Value& value) { forget(value); });
    images_ = input.empty() ? 1 : std::max<std::int64_t>(input[0], 1);
    graph_.values[graph_.inputs[0]].shape = input;
    require_dimensions(graph_.values[graph_.inputs[0]], 1, images_, path_);
    infer();
  }

  void infer_room() {
    if (graph_.inputs.size() != 1) return;
    const Shape& input = graph_.values[graph_.inputs[0]].shape;
    if (std::find(input.begin(), input.end(), kUnknown) != input.end()) {
      graph_.require_room = [program = kept()](const Shape& images) {
        require_room(*program, images);
      };
    }
    if (has_open_sizes(input)) return;
    Graph graph = graph_;
    ShapeInference inference(graph, path_, rules_, read_);
    try {
      inference.infer_operators();
    } catch (const TooSmall&) {
      throw;
    } catch (const Error&) {  // the engine judges whether it runs the program
    }
  }

 private:
  void infer() {
    work_ = 0;
    refusal_.reset();
    infer_operators();
    if (refusal_) throw *refusal_;
    if (graph_.with_sizes) return;
    const Shape& input = graph_.values[graph_.inputs[0]].shape;
    const std::int64_t fixed = input.empty() ? 1 : input[0];
    graph_.multiply_adds = work_ / static_cast<double>(std::max({images_, fixed, std::int64_t{1}}));
  }

  /// Whether somebody needs each operator.
  std::vector<bool> checked() const {
    std::vector<bool> needed(rules_.size());
    for (std::size_t i = 0; i < rules_.size(); ++i) needed[i] = rules_[i] != nullptr;
    return needed;
  }

  /// Behind a refusal that can wait, only what says the size of the image is wrong counts.
  void infer_operators() try {
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i] != nullptr) infer_operator(i);
    }
  } catch (const TooSmall&) {
    throw;
  } catch (const TooLarge&) {
    throw;
  } catch (const Error&) {
    if (!refusal_) throw;
  }

  void infer_operator(std::size_t at) {
    OperatorView view(graph_, at, path_, &graph_);
    rules_[at](view);
    require_sizes(graph_.operators[at]);
    give_contents(view, graph_.operators[at]);
    refuse_empty(view, graph_.operators[at]);
    if (!refusal_) refusal_ = view.refusal();
    work_ += view.work();
    const double most = static_cast<double>(kMaxMultiplyAdds) * static_cast<double>(images_);
    if (work_ > most && !refusal_) {
      refusal_.emplace(ErrorCode::Unsupported, "'" + path_ + "' asks for more than " +
                                                   std::to_string(kMaxMultiplyAdds) +
                                                   " multiply-adds for one image");
    }
  }

  /// Gives outputs what they hold, where all that the operator takes may be followed: lists that
  /// shapes are computed from, and other few numbers.
  void give_contents(OperatorView& view, const Operator& op) const {
    // The first two take and give no tensors; engines compute with the integers of the others.
    if (has_word("Feed Fetch QuantizeLinear DequantizeLinear", op.kind)) return;
    const auto given = op.outputs.find("Out");
    const bool nothing = given == op.outputs.end() || given->second.empty();
    if (nothing || is_known(graph_.values[given->second[0]])) return;
    const auto follows = [this](const Value& value) {
      return is_known(value) && (graph_.fixes_parameters || !value.parameter);
    };
    std::size_t first = kNone;
    each_value(op.inputs, [&](std::size_t input) { first = first == kNone ? input : first; });
    if (first == kNone || !follows(graph_.values[first])) return;  // as of most operators
    const auto known = [&](std::string_view name, std::size_t index) {
      const Value& value = view.in(name, index);
      return follows(value) ? &value : nullptr;
    };
    const auto is_short = [](std::size_t bytes) { return bytes <= kMaxListed * sizeof(double); };
    auto outputs = evaluate(view, known, is_short);
    if (!outputs) return;
    for (std::size_t i = 0; i < outputs->size(); ++i) {
      Contents& contents = (*outputs)[i];
      if (contents.same != nullptr) {
        view.give_contents("Out", *contents.same, i);
      } else if (const auto list = list_of(contents, view.declared("Out", i).shape)) {
        view.give_contents("Out", *list, i);
      } else {
        view.give_contents("Out", std::move(contents.bytes), contents.dtype, i);
      }
      if (contents.same == nullptr) graph_.values[given->second[i]].open = contents.open;
    }
  }

  /// The numbers of a list as integers, which may be another for each number of images
  /// (join_lists).
  static std::optional<Integers> list_of(const Contents& contents, const Shape& shape) {
    Value value;
    value.data = contents.bytes;
    value.data_dtype = contents.dtype;
    if (auto list = known_list(value)) return list;
    const bool real = contents.dtype == kFloat32 || contents.dtype == kFloat64;
    if (!real || shape.size() > 1) return std::nullopt;
    Integers list;
    for (std::size_t i = 0; i < count_values(value); ++i) {
      const double number = number_at(value, i);
      const bool whole = is_whole(number) && !(number == 0 && std::signbit(number));
      if (!whole) return std::nullopt;
      list.push_back(static_cast<std::int64_t>(number));
    }
    return list;
  }

  /// The program as it is now.
  std::shared_ptr<const KeptProgram> kept() const {
    auto program = std::make_shared<KeptProgram>(KeptProgram{graph_, path_, rules_, read_});
    program->graph.decoded.clear();  // what lies there is kept by the program itself
    program->graph.written.clear();
    return program;
  }

  /// Sets Graph::with_sizes and require_room. \pre nothing has been inferred yet
  void keep_for_sizes() {
    const auto open = kept();
    graph_.with_sizes = [open](const Shape& sizes) { return infer_sized(*open, sizes); };
    graph_.require_room = [open](const Shape& images) { require_room(*open, images); };
  }

  /// What Graph::with_sizes says.
  static std::unique_ptr<const Graph> infer_sized(const KeptProgram& open, const Shape& sizes) {
    auto graph = std::make_unique<Graph>(open.graph);
    Shape& input = graph->values[graph->inputs[0]].shape;
    std::copy(sizes.begin() + 1, sizes.end(), input.begin() + 1);
    ShapeInference inference(*graph, open.path, open.rules, open.read);
    inference.sized_ = true;
    try {
      require_dimensions(graph->values[graph->inputs[0]], 1, 1, open.path);
      inference.run();
    } catch (const Error& error) {
      throw Error(ErrorCode::BadInput, refuse_images(error, open.path, sizes));
    }
    return graph;
  }

  /// What Graph::require_room says.
  static void require_room(const KeptProgram& open, const Shape& images) {
    Graph graph = open.graph;
    graph.values[graph.inputs[0]].shape = images;
    ShapeInference inference(graph, open.path, open.rules, open.read);
    inference.images_ = std::max<std::int64_t>(images[0], 1);
    try {
      inference.infer_operators();
    } catch (const TooSmall& error) {
      throw Error(ErrorCode::BadInput, refuse_images(error, open.path, images));
    } catch (const TooLarge& error) {
      throw Error(ErrorCode::BadInput, refuse_images(error, open.path, images));
    } catch (const Error&) {  // the engine judges whether it takes them
    }
  }

  /// The message on images that a program does not take. \param images the input's shape
  static std::string refuse_images(const Error& error, const std::string& path,
                                   const Shape& images) {
    return "'" + path + "' does not take images of " +
           to_string(Shape(images.begin() + 1, images.end())) + " (" + reason(error, path) + ")";
  }

  bool joins_images_of_some_size() const {
    for (const Shape& sizes : sizes_to_try(graph_.values[graph_.inputs[0]].shape)) {
      try {
        return graph_.with_sizes(sizes)->joins_images;
      } catch (const Error&) {  // it does not take this one
      }
    }
    return true;  // nobody knows
  }

  void infer_for_numbers() {
    each_given([&](std::size_t, const Value& value) {
      declared_.emplace_back(value.shape, value.dtype, value.has_shape);
    });
    numbers_ = {1, 2, choose_prime()};
    Error why(ErrorCode::BadModel, "sizes that are not linear in the number of images");
    try {
      infer_and_join();
    } catch (const TooSmall& error) {
      if (sized_) throw;
      why = error;  // Windows may go over the images, of which more may fit.
      linear_ = false;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::BadModel || sized_) throw;
      why = error;
      linear_ = false;
    }
    if (!linear_ && sized_) {
      unsupported(path_, "takes some numbers of images only, and images of any size");
    }
    if (!linear_) {
      const std::vector<std::int64_t> taken = find_numbers(why);
      numbers_ = {taken[0], taken[taken.size() > 1 ? 1 : 0], taken.back()};
      infer_and_join();
      require_when_run(taken);
    }
    images_ = 1;
    follow_images();
  }

  void follow_images() {
    const Shape& input = graph_.values[graph_.inputs[0]].shape;
    find_images(graph_, path_, checked(), input.empty() ? kUnknown : input[0]);
    for (const Operator& op : graph_.operators) graph_.joins_images |= op.may_mix_images;
  }

  /// The last of the numbers of images. It is larger than the bounds that the program compares
  /// numbers with, unless they are very large.
  std::int64_t choose_prime() const {
    constexpr std::int64_t kLargestBound = 1 << 15;
    constexpr int kMostTried = 64;
    std::int64_t number = kLeastPrime - 1;
    Integers sizes;
    for (const Value& value : graph_.values) {
      sizes.insert(sizes.end(), value.shape.begin(), value.shape.end());
      const std::optional<Integers> list = value.parameter ? known_list(value) : std::nullopt;
      for (const std::int64_t one : list.value_or(Integers())) {
        sizes.push_back(one);
        if (one <= kLargestBound) number = std::max(number, one);
      }
    }
    for (int tried = 0; tried < kMostTried; ++tried) {
      do ++number;
      while (!is_prime(number));
      const auto is_part = [number](std::int64_t size) { return size > 0 && size % number == 0; };
      if (std::none_of(sizes.begin(), sizes.end(), is_part)) break;
    }
    return number;
  }

  static bool is_prime(std::int64_t number) {
    for (std::int64_t by = 2; by * by <= number; ++by) {
      if (number % by == 0) return false;
    }
    return true;
  }

  /// Drops what was inferred for another input, but for the shape.
  static void forget(Value& value) {
    value.images = {};
    value.data = {};
    value.open = {};
  }

  void infer_for(std::int64_t images) {
    auto declared = declared_.begin();
    each_given([&](std::size_t, Value& value) {
      std::tie(value.shape, value.dtype, value.has_shape) = *declared++;
      forget(value);
    });
    images_ = std::max<std::int64_t>(images, 1);
    graph_.values[graph_.inputs[0]].shape[0] = images;
    infer();
  }

  /// Besides, each image is to have an answer.
  void infer_answers_for(std::int64_t images) {
    infer_for(images);
    const Value& answers = graph_.values[graph_.outputs[0]];
    if (answers.shape.empty() || answers.shape[0] != images) refuse_shape(answers);
  }

  [[noreturn]] void refuse_shape(const Value& value) const {
    unsupported(path_, "gives '" + value.name + "' in the shape " + to_string(value.shape));
  }

  /// \param why what the program does not take any number of images for
  std::vector<std::int64_t> find_numbers(Error why) {
    constexpr std::int64_t kSmall = 64;
    constexpr std::size_t kMostTried = 128;
    constexpr std::int64_t kMostImages = 1 << 16;
    std::set<std::int64_t> tried;
    for (std::int64_t images = 1; images <= kSmall; ++images) tried.insert(images);
    tried.insert(numbers_.back());
    for (const Value& value : graph_.values) {  // whose sizes may begin with the number
      const std::optional<Integers> list = value.parameter ? known_list(value) : std::nullopt;
      const Integers& sizes = list ? *list : value.shape;
      const bool may_be = !sizes.empty() && sizes[0] > 0 && sizes[0] <= kMostImages;
      if (may_be && tried.size() < kMostTried) tried.insert(sizes[0]);
    }
    std::vector<std::int64_t> taken;
    std::optional<TooSmall> too_small;
    bool some_may_run = false;
    std::size_t work = 0;  // no more than for the largest program
    for (const std::int64_t images : tried) {
      work += graph_.values.size();
      if (work > kMaxOperators) break;
      try {
        infer_answers_for(images);
        taken.push_back(images);
      } catch (const TooSmall& error) {
        too_small = error;
      } catch (const Error& error) {
        if (error.code() == ErrorCode::BadModel) continue;
        why = error;
        some_may_run = true;
      }
    }
    if (!taken.empty()) return taken;
    if (too_small && !some_may_run) throw *too_small;
    // Damaged is what contradicts itself whatever the number is, so that it need not be known.
    if (why.code() == ErrorCode::BadModel) infer_for(kUnknown);
    unsupported(path_, "takes no number of images that was tried: " + reason(why, path_) +
                           remedy_unchecked(graph_));
  }

  /// Says what went wrong without the name of the model.
  static std::string reason(const Error& error, const std::string& path) {
    std::string why = error.what();
    for (const std::string& part : {"'" + path + "':", "'" + path + "'", " is damaged"s}) {
      const std::size_t at = why.find(part);
      if (at != std::string::npos) why.erase(at, part.size());
    }
    return why.substr(std::min(why.find_first_not_of(' '), why.size()));
  }

  /// Checks each number before it runs. \param taken numbers that are known to fit
  void require_when_run(const std::vector<std::int64_t>& taken) {
    constexpr std::size_t kMostNamed = 8;
    std::string known;
    for (std::size_t i = 0; i < std::min(taken.size(), kMostNamed); ++i) {
      known += (i == 0 ? "" : ", ") + std::to_string(taken[i]);
    }
    if (taken.size() > kMostNamed) known += " and others";
    graph_.require_images = [known, joined = kept(),
                             declared = std::move(declared_)](std::int64_t images) {
      Graph graph = joined->graph;
      ShapeInference inference(graph, joined->path, joined->rules, joined->read);
      inference.declared_ = declared;
      try {
        inference.infer_answers_for(images);
        inference.each_given([&](std::size_t i, const Value& value) {
          if (!fits(value.shape, joined->graph.values[i].shape)) inference.refuse_shape(value);
        });
      } catch (const Error& error) {
        throw Error(ErrorCode::BadInput,
                    "'" + joined->path + "' does not take a batch of " + std::to_string(images) +
                        " (" + reason(error, joined->path) + "); these fit: " + known +
                        "; max_batch_size cuts larger ones into pieces");
      }
    };
  }

  template <typename Action>
  void each_given(const Action& action) {
    for (std::size_t i = 0; i < graph_.values.size(); ++i) {
      if (!graph_.values[i].parameter) action(i, graph_.values[i]);
    }
  }

  void infer_and_join() {
    std::array<std::vector<Inferred>, 2> before;
    for (std::vector<Inferred>& found : before) {
      infer_for(numbers_[static_cast<std::size_t>(&found - before.data())]);
      found.resize(graph_.values.size());
      each_given([&](std::size_t i, const Value& value) {
        found[i] = {value.shape, value.data, value.open};
      });
    }
    infer_for(numbers_.back());
    each_given([&](std::size_t i, Value& value) {
      const Inferred& first = before[0][i];
      const Inferred& second = before[1][i];
      if (first.shape != value.shape || second.shape != value.shape) {
        join_shapes(first.shape, second.shape, value);
      }
      const bool same_data = first.data == value.data && second.data == value.data;
      const bool same_open = first.open == value.open && second.open == value.open;
      if (!same_data || !same_open) join_lists(first, second, value);
    });
  }

  /// Sizes that are another for each number of images become unknown.
  void join_shapes(const Shape& first, const Shape& second, Value& value) {
    const auto [one, two, many] = numbers_;
    if (first.size() != value.shape.size() || second.size() != value.shape.size()) {
      unsupported(path_, "gives '" + value.name +
                             "', whose rank depends on the number of images: " + to_string(first) +
                             " for " + std::to_string(one) + ", " + to_string(second) + " for " +
                             std::to_string(two));
    }
    bool is_open = false;
    for (std::size_t i = 0; i < first.size(); ++i) {
      std::int64_t& size = value.shape[i];
      if (first[i] == size && second[i] == size) continue;
      const bool is_square = std::exchange(is_open, true);  // of each image with each
      if (is_square) {
        linear_ = false;
        graph_.joins_images = true;
      }
      linear_ &= (second[i] - first[i]) * (many - one) == (size - first[i]) * (two - one);
      const std::int64_t of_one = first[i] / one;
      const bool whole = !is_square && first[i] == of_one * one && second[i] == of_one * two &&
                         size == of_one * many;
      value.images = {i, whole ? of_one : 0, 1};
      size = kUnknown;
    }
  }

  /// Integers that are another for each number of images become open.
  static void join_lists(const Inferred& first, const Inferred& second, Value& value) {
    const std::string_view last = std::exchange(value.data, {});
    const bool alike = first.data.size() == last.size() && second.data.size() == last.size();
    constexpr std::size_t kSize = sizeof(std::int64_t);
    if (value.data_dtype != kInt64 || !alike || last.size() > kMaxListed * kSize) {
      value.open = {};  // it is not known
      return;
    }
    value.data = last;
    value.open |= first.open | second.open;
    for (std::size_t i = 0; i < last.size() / kSize; ++i) {
      const auto number = [i](std::string_view list) { return list.substr(i * kSize, kSize); };
      const bool stays = number(first.data) == number(last) && number(second.data) == number(last);
      if (!stays) value.open[i] = true;
    }
  }

  /// Bounds the sizes of what an operator gives, before anything is computed with them.
  void require_sizes(const Operator& op) const {
    each_value(op.outputs, [&](std::size_t index) {
      require_dimensions(graph_.values[index], 0, images_, path_);
    });
  }

  /// Refuses tensors without values, but those that nobody reads and those that are known.
  void refuse_empty(OperatorView& view, const Operator& op) const {
    for (const auto& [name, values] : op.outputs) {
      for (const std::size_t index : values) {
        if (index == kNone) continue;
        const Value& value = graph_.values[index];
        const bool may_be_empty =
            has_word(kUnreadOutputs, name) || op.kind == "Fill" || is_known(value) || !read_[index];
        if (!refusal_ && !may_be_empty && is_empty(value.shape)) {
          view.refuse_later("kernel for a tensor without values");
        }
      }
    }
  }

  Graph& graph_;
  const std::string& path_;
  const std::vector<InferRule>& rules_;
  const std::vector<bool>& read_;
  bool sized_ = false;       ///< for Graph::with_sizes
  std::int64_t images_ = 1;  ///< for which shapes are inferred, where that is open
  double work_ = 0;
  std::optional<Error> refusal_;  ///< the first one that waits for the other operators
  // Where that is open:
  std::vector<Declared> declared_;         ///< as each_given goes
  std::array<std::int64_t, 3> numbers_{};  ///< that are joined, in ascending order
  bool linear_ = true;                     ///< all sizes, in the numbers that are tried first
};

}  // namespace

void infer_shapes(Graph& graph, const std::string& path, const std::vector<InferRule>& rules,
                  const std::vector<bool>& read) {
  ShapeInference(graph, path, rules, read).run();
}

void infer_room(Graph& graph, const std::string& path, const std::vector<InferRule>& rules,
                const std::vector<bool>& read) {
  ShapeInference(graph, path, rules, read).infer_room();
}

std::unique_ptr<const Graph> infer_for_input(const Graph& checked, const std::string& path,
                                             const Shape& input, const std::vector<bool>& needed) {
  auto graph = std::make_unique<Graph>(checked);
  graph->decoded.clear();  // what parameters hold there is kept by the checked graph
  graph->written.clear();
  graph->with_sizes = nullptr;
  RuleBook book(*graph);
  std::vector<InferRule> rules(graph->operators.size());
  std::vector<bool> read(graph->values.size());
  for (const std::size_t output : graph->outputs) read[output] = true;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const ParsedRule* const rule = needed[i] ? book.find(graph->operators[i].type) : nullptr;
    if (rule == nullptr) continue;
    rules[i] = rule->infer;
    each_value(graph->operators[i].inputs, [&](std::size_t value) { read[value] = true; });
  }
  try {
    ShapeInference(*graph, path, rules, read).infer_exactly(input);
  } catch (const Error& error) {
    throw Error(ErrorCode::BadInput, "'" + path + "' does not take an input of the shape " +
                                         to_string(input) + ": " + error.what());
  }
  return graph;
}

}  // namespace lenet
