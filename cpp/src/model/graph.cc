#include "model/graph.h"

#include <iterator>
#include <numeric>

#include "io/printable.h"
#include "lenet/config.h"
#include "model/element_types.h"
#include "model/rules/rules.h"
#include "model/rules/support.h"
#include "model/translate.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxName = 1024;

/// Its first input; kNone when there is none.
std::size_t input_of(const Operator& op) {
  const auto named = op.inputs.find("X");
  const auto argument = named == op.inputs.end() ? op.inputs.begin() : named;
  return argument == op.inputs.end() || argument->second.empty() ? kNone : argument->second[0];
}

/// Operators that give what the model fixes.
constexpr std::string_view kConstants = "Fill Constant ConstantOfShape";

template <typename Number>
Number read_at(const Value& value, std::size_t index) {
  Number number{};
  std::memcpy(&number, value.data.data() + index * sizeof(Number), sizeof(Number));
  return number;
}

float from_bits(std::uint32_t bits) {
  float number = 0;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

/// float16 has five bits of exponent where float32 has eight. Its denormals are normal in float32,
/// and so is what is computed on the way: a thread may flush denormals to 0.
float from_float16(std::uint32_t half) {
  const bool denormal = (half & 0x7c00U) == 0;
  const bool finite = (half & 0x7c00U) != 0x7c00U;
  const std::uint32_t distance = denormal ? 113 : finite ? 112 : 224;
  const float above = from_bits(((half & 0x7fffU) << 13U) + (distance << 23U));
  const float magnitude = denormal ? above - 0x1p-14F : above;
  return (half & 0x8000U) != 0 ? -magnitude : magnitude;
}

bool is_integer(int dtype) { return dtype == kBool || dtype == kInt32 || dtype == kInt64; }

/// The value that a Fetch without a number before it gives; of an .onnx the first that it names.
std::size_t first_output(const Graph& graph) {
  for (const Operator& op : graph.operators) {
    const auto* column = op.attribute<std::int64_t>("col");
    if (op.kind == "Fetch" && column != nullptr && *column == 0) return input_of(op);
  }
  return graph.outputs.at(0);
}

/// What the product takes that the first output comes from.
std::size_t find_features(const Graph& graph, const std::string& path) {
  std::size_t value = first_output(graph);
  std::size_t left = graph.operators.size();  // the order of operators is not checked yet
  while (graph.values[value].producer != kNone && left-- > 0) {
    const Operator& op = graph.operators[graph.values[value].producer];
    std::vector<std::size_t> from;
    each_value(op.inputs, [&](std::size_t input) {
      if (!is_constant(graph, input)) from.push_back(input);
    });
    const auto main = std::find(from.begin(), from.end(), input_of(op));
    if (main != from.end()) std::iter_swap(from.begin(), main);
    const bool product = has_word("MatMul Gemm FlatMatMul fc Conv", op.kind);
    if (from.empty() || (from.size() > 1 && has_word("Add Sub Mul Div Sum Concat", op.kind))) break;
    value = from[0];
    if (product) return value;
  }
  throw Error(ErrorCode::BadInput,
              "'" + path +
                  "' does not give its output by one product of a matrix, so that output_name "
                  "cannot be features: name the value, as --profile prints it");
}

/// The value that Graph::output_name means.
std::size_t find_output(const Graph& graph, const std::string& path) {
  if (graph.output_name == kFeatures) return find_features(graph, path);
  for (const Operator& op : graph.operators) {
    const auto* name = op.attribute<std::string>("name");  // PIR's values have none of their own
    const std::size_t fetched = op.kind == "Fetch" ? input_of(op) : kNone;
    if (name != nullptr && fetched != kNone && *name == graph.output_name) return fetched;
  }
  for (std::size_t i = graph.values.size(); i-- > 0;) {
    const Value& value = graph.values[i];
    const bool computed = value.producer != kNone && !value.parameter;
    if (!computed || printable(value.name) != graph.output_name) continue;
    const Operator& op = graph.operators[value.producer];
    return op.kind == "Fetch" ? input_of(op) : i;  // PIR's has a value of its own
  }
  throw Error(ErrorCode::BadInput, "'" + path + "' has no value '" + graph.output_name +
                                       "' that an operator gives; --profile prints the "
                                       "names, and features is what the classifier takes");
}

}  // namespace

std::string to_text(const Attribute& attribute) {
  if (const auto* text = std::get_if<std::string>(&attribute.value)) return printable(*text);
  if (const auto* many = std::get_if<Integers>(&attribute.value)) return to_string(*many);
  if (const auto* one = std::get_if<std::int64_t>(&attribute.value)) return std::to_string(*one);
  if (const auto* real = std::get_if<double>(&attribute.value)) return print("%g", *real);
  std::string list;
  for (const double number : std::get<Numbers>(attribute.value)) {
    list += (list.empty() ? "[" : ", ") + print("%g", number);
  }
  return list + "]";
}

bool may_run_in_paddle(const Graph& graph) {
  // Paddle has no kernels for numbers of 16 bits on a processor.
  const bool has_half =
      !graph.half.empty() || std::any_of(graph.values.begin(), graph.values.end(),
                                         [](const Value& value) { return is_half(value.dtype); });
  if (!graph.runs_in_paddle || graph.inputs.size() != 1 || has_half) return false;
  const int input = declared_dtype(graph.values[graph.inputs[0]]);
  return is_number(input) && !is_half(input);
}

std::string remedy_unchecked(const Graph& graph) {
  return may_run_in_paddle(graph) ? std::string(kUncheckedRemedy) : "";
}

void sort_operators(Graph& graph) {
  const std::size_t count = graph.operators.size();
  std::vector<std::size_t> givers(graph.values.size(), kNone);
  bool is_sorted = true;
  for (std::size_t i = 0; i < count; ++i) {
    each_value(graph.operators[i].outputs, [&](std::size_t value) {
      if (givers[value] == kNone) givers[value] = i;
    });
  }
  for (std::size_t i = 0; i < count && is_sorted; ++i) {
    each_value(graph.operators[i].inputs, [&](std::size_t value) {
      is_sorted = is_sorted && (givers[value] == kNone || givers[value] < i);
    });
  }
  if (is_sorted) return;
  std::deque<Operator> sorted;
  std::vector<bool> entered(count);
  std::vector<bool> taken(count);
  std::vector<std::size_t> waiting;  // the last one is next
  for (std::size_t first = 0; first < count; ++first) {
    waiting.push_back(first);
    while (!waiting.empty()) {
      const std::size_t at = waiting.back();
      if (!entered[at]) {
        entered[at] = true;
        const auto behind = static_cast<std::ptrdiff_t>(waiting.size());
        each_value(graph.operators[at].inputs, [&](std::size_t value) {
          const std::size_t giver = givers[value];
          if (giver != kNone && !entered[giver]) waiting.push_back(giver);
        });
        std::reverse(waiting.begin() + behind, waiting.end());
        continue;
      }
      waiting.pop_back();
      if (taken[at]) continue;
      taken[at] = true;
      sorted.push_back(std::move(graph.operators[at]));
    }
  }
  graph.operators = std::move(sorted);
}

void link_values(Graph& graph) {
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    Operator& op = graph.operators[i];
    op.kind = kind_of(op, graph.dialect);
    const bool fetches = op.kind == "Fetch";
    const bool feeds = op.kind == "Feed";
    each_value(op.inputs, [&](std::size_t index) {
      if (fetches) graph.outputs.push_back(index);
    });
    each_value(op.outputs, [&](std::size_t index) {
      std::size_t& producer = graph.values[index].producer;
      if (producer == kNone) producer = i;
      if (feeds) graph.inputs.push_back(index);
    });
  }
}

std::vector<std::string> class_names(const Graph& graph) {
  if (graph.named_classes.empty()) return {};
  std::vector<const NamedClasses*> named(graph.values.size());
  for (const NamedClasses& classes : graph.named_classes) named[classes.value] = &classes;
  constexpr std::string_view kKeepsOrder = "Identity Cast ai.onnx.ml.Normalizer";
  std::size_t left = graph.operators.size();  // for all outputs; the order is not checked yet
  for (const std::size_t output : graph.outputs) {
    std::size_t value = output;
    while (value != kNone && named[value] == nullptr) {
      if (left == 0) return {};
      --left;
      const std::size_t producer = graph.values[value].producer;
      const bool keeps = producer != kNone && has_word(kKeepsOrder, graph.operators[producer].type);
      value = keeps ? input_of(graph.operators[producer]) : kNone;
    }
    if (value == kNone) continue;
    const NamedClasses& found = *named[value];
    const Shape& shape = graph.values[output].shape;
    const auto classes = static_cast<std::int64_t>(found.names.size());
    if (!shape.empty() && shape.back() >= 0 && shape.back() != classes) continue;
    Integers positions(found.numbers.size());
    std::iota(positions.begin(), positions.end(), 0);
    const bool says_more = found.numbers.empty() || found.numbers != positions;
    return says_more ? found.names : std::vector<std::string>();
  }
  return {};
}

bool is_constant(const Graph& graph, std::size_t value) {
  const std::size_t producer = graph.values[value].producer;
  return is_known(graph.values[value]) ||
         (producer != kNone && has_word(kConstants, graph.operators[producer].kind));
}

std::vector<bool> choose_output(Graph& graph, const std::string& path) {
  if (graph.output_name.empty()) return std::vector<bool>(graph.operators.size(), true);
  graph.outputs = {find_output(graph, path)};
  // An operator that writes a value a second time counts too, so that the check sees it.
  std::vector<std::vector<std::size_t>> writers(graph.values.size());
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    each_value(graph.operators[i].outputs, [&](std::size_t value) { writers[value].push_back(i); });
  }
  std::vector<bool> needed(graph.operators.size());
  std::vector<bool> seen(graph.values.size());
  std::vector<std::size_t> wanted = graph.outputs;
  while (!wanted.empty()) {
    const std::size_t value = wanted.back();
    wanted.pop_back();
    if (seen[value]) continue;
    seen[value] = true;
    for (const std::size_t writer : writers[value]) {
      needed[writer] = true;
      each_value(graph.operators[writer].inputs,
                 [&](std::size_t input) { wanted.push_back(input); });
    }
  }
  std::vector<std::size_t> inputs;
  std::copy_if(graph.inputs.begin(), graph.inputs.end(), std::back_inserter(inputs),
               [&](std::size_t input) { return seen[input]; });
  if (!inputs.empty()) graph.inputs = std::move(inputs);
  return needed;
}

namespace {

/// Lists at most eight names, in quotes.
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 8;
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    list += (i == 0 ? "'" : ", '") + names[i] + "'";
  }
  return list + (names.size() > kShown ? ", ..." : "");
}

/// The one input that each value is computed from. kNone: there is none, or it is not known yet.
class OnlyInput {
 public:
  explicit OnlyInput(const Graph& graph) : of_(graph.values.size(), kNone) {
    for (const std::size_t input : graph.inputs) of_[input] = input;
    for (const Operator& op : graph.operators) {
      if (op.kind == "Feed") continue;
      std::size_t found = kNone;
      each_value(op.inputs, [&](std::size_t value) {
        const std::size_t from = of_[value];
        if (from == kNone) return;
        found = found == kNone || found == from ? from : kSeveral;
      });
      each_value(op.outputs, [&](std::size_t value) { of_[value] = found; });
    }
  }

  bool knows(std::size_t value) const { return of_[value] != kNone && of_[value] != kSeveral; }

 private:
  static constexpr std::size_t kSeveral = kNone - 1;

  std::vector<std::size_t> of_;
};

}  // namespace

void require_one_input(const Graph& graph, const std::string& path) {
  if (graph.inputs.size() == 1) return;
  std::vector<std::string> inputs;
  for (const std::size_t input : graph.inputs) {
    const Value& value = graph.values[input];
    const std::string* name = nullptr;  // PIR's values have none of their own
    if (value.producer != kNone) {
      name = graph.operators[value.producer].attribute<std::string>("name");
    }
    inputs.push_back(printable(name != nullptr ? *name : value.name));
  }
  std::string problem = "has " + std::to_string(inputs.size()) + " inputs";
  if (!inputs.empty()) problem += " (" + listed(inputs) + ")";
  problem += "; models with one are supported";
  const OnlyInput only(graph);
  std::vector<std::string> outputs;
  const auto add = [&](std::size_t value, const std::string* name) {
    if (value == kNone || !only.knows(value)) return;
    outputs.push_back(printable(name != nullptr ? *name : graph.values[value].name));
  };
  bool fetches = false;  // what it gives, as Paddle's programs do
  for (const Operator& op : graph.operators) {
    if (op.kind != "Fetch") continue;
    fetches = true;
    add(input_of(op), op.attribute<std::string>("name"));
  }
  if (!fetches) {
    for (const std::size_t output : graph.outputs) add(output, nullptr);
  }
  const bool several = outputs.size() > 1;
  if (!outputs.empty() && graph.output_name.empty()) {
    problem += std::string("; its output") + (several ? "s " : " ") + listed(outputs) +
               (several ? " need" : " needs") + " one input only: choose " +
               (several ? "one of them" : "it") + " by output_name";
  }
  unsupported(path, problem);
}

std::vector<Shape> sizes_to_try(const Shape& declared) {
  std::vector<Shape> tried;
  for (const std::int64_t channels : {3, 1}) {
    for (const std::int64_t pixels : {224, 32, 64, 48, 96, 128, 256, 299, 384, 512, 28}) {
      Shape sizes = declared;
      for (std::size_t i = 1; i < sizes.size(); ++i) {
        if (sizes[i] < 0) sizes[i] = i == 1 && sizes.size() == 4 ? channels : pixels;
      }
      if (std::find(tried.begin(), tried.end(), sizes) == tried.end()) tried.push_back(sizes);
    }
  }
  return tried;
}

std::optional<std::uint64_t> size_in_bytes(std::uint64_t element_size, const Shape& shape,
                                           std::uint64_t most) {
  std::uint64_t size = element_size;
  for (const std::int64_t dimension : shape) {
    const auto known = static_cast<std::uint64_t>(dimension);
    if (dimension < 0 || (known != 0 && size > most / known)) return std::nullopt;
    size *= known;
  }
  return size;
}

std::size_t count_values(const Value& value) {
  const ElementType& type = element_type(value.data_dtype);
  return type.onnx > 0 ? value.data.size() / type.size : 0;
}

template <typename To>
To number_as(const Value& value, std::size_t index) {
  switch (value.data_dtype) {
    case kBool:
    case kUint8:
      return static_cast<To>(read_at<std::uint8_t>(value, index));
    case kInt8:
      return static_cast<To>(read_at<std::int8_t>(value, index));
    case kInt32:
      return static_cast<To>(read_at<std::int32_t>(value, index));
    case kInt64:
      return static_cast<To>(read_at<std::int64_t>(value, index));
    case kFloat32:
      return static_cast<To>(read_at<float>(value, index));
    case kFloat16:
      return static_cast<To>(from_float16(read_at<std::uint16_t>(value, index)));
    case kBfloat16:
      return static_cast<To>(from_bits(std::uint32_t{read_at<std::uint16_t>(value, index)} << 16U));
    default:
      return static_cast<To>(read_at<double>(value, index));
  }
}

template float number_as(const Value&, std::size_t);
template double number_as(const Value&, std::size_t);
template std::int8_t number_as(const Value&, std::size_t);
template std::uint8_t number_as(const Value&, std::size_t);
template std::int32_t number_as(const Value&, std::size_t);
template std::int64_t number_as(const Value&, std::size_t);

double number_at(const Value& value, std::size_t index) { return number_as<double>(value, index); }

void copy_floats(const Value& value, float* to) {
  const std::size_t count = count_values(value);
  if (value.data_dtype == kFloat32) {
    if (count > 0) std::memcpy(to, value.data.data(), count * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) to[i] = number_as<float>(value, i);
}

std::vector<float> floats_of(const Value& value) {
  std::vector<float> numbers(count_values(value));
  copy_floats(value, numbers.data());
  return numbers;
}

std::optional<OpenIntegers> open_list(const Value& value) {
  const std::size_t count = count_values(value);
  const bool fits = !value.parameter || value.shape.size() <= 1;
  if (!is_integer(value.data_dtype) || !fits || count > kMaxListed) return std::nullopt;
  OpenIntegers list(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!value.open[i]) list[i] = number_as<std::int64_t>(value, i);
  }
  return list;
}

std::vector<bool> masks_of(const Graph& graph) {
  constexpr std::string_view kKeepsMask =
      "Add Where Cast Identity Concat Split Slice Gather Expand Tile Transpose Reshape Flatten "
      "FlattenRange Squeeze Unsqueeze";
  // Whether some operator takes a value, and whether one takes it that is no softmax in the end.
  std::vector<bool> is_taken(graph.values.size());
  std::vector<bool> is_other(graph.values.size());
  for (const std::size_t output : graph.outputs) is_other[output] = true;
  for (auto op = graph.operators.rbegin(); op != graph.operators.rend(); ++op) {
    bool is_masking = has_word("Softmax LogSoftmax", op->kind);
    if (has_word(kKeepsMask, op->kind)) {
      // Nothing takes some outputs, such as the XShape of Paddle's reshape2.
      bool has_other = false;
      each_value(op->outputs, [&](std::size_t output) {
        is_masking = is_masking || is_taken[output];
        has_other = has_other || is_other[output];
      });
      is_masking = is_masking && !has_other;
    }
    each_value(op->inputs, [&](std::size_t input) {
      is_taken[input] = true;
      if (!is_masking) is_other[input] = true;
    });
  }
  std::vector<bool> masks(graph.values.size());
  for (std::size_t i = 0; i < masks.size(); ++i) masks[i] = is_taken[i] && !is_other[i];
  return masks;
}

std::optional<Integers> known_list(const Value& value) {
  const auto found = has_open(value) ? std::nullopt : open_list(value);
  if (!found) return std::nullopt;
  Integers list;
  for (const std::optional<std::int64_t>& number : *found) list.push_back(*number);
  return list;
}

std::vector<bool> needed_operators(const Graph& graph) {
  std::vector<bool> needed(graph.operators.size());
  std::vector<std::size_t> wanted = graph.outputs;
  while (!wanted.empty()) {
    const Value& value = graph.values[wanted.back()];
    wanted.pop_back();
    if (value.producer == kNone || needed[value.producer] || is_known(value)) continue;
    needed[value.producer] = true;
    each_value(graph.operators[value.producer].inputs,
               [&](std::size_t input) { wanted.push_back(input); });
  }
  // Where a value is quantized again, into the same variable, that is the value from there on.
  for (std::size_t i = 0; i < needed.size(); ++i) {
    each_value(graph.operators[i].outputs, [&](std::size_t output) {
      const Value& value = graph.values[output];
      const bool again = !value.parameter && value.producer != kNone && value.producer < i;
      if (again && needed[value.producer]) needed[i] = true;
    });
  }
  return needed;
}

void refuse_program(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadModel, "'" + path + "' " + printable(problem));
}

void unsupported(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::Unsupported, "'" + path + "' " + printable(problem));
}

void require_nesting(std::size_t nesting, const std::string& path) {
  if (nesting <= kMaxNesting) return;
  unsupported(path, "has control flow (if, while) that is nested more than " +
                        std::to_string(kMaxNesting) + " deep" + std::string(kUncheckedRemedy));
}

void require_name(std::string_view name, const std::string& what, const std::string& path) {
  const bool sane =
      !name.empty() && name.size() <= kMaxName &&
      std::all_of(name.begin(), name.end(), [](char byte) { return byte > ' ' && byte <= '~'; });
  if (sane) return;
  if (name.empty()) refuse_program(path, "is damaged: " + what + " has no name");
  throw Error(ErrorCode::Unsupported, "'" + path + "': the name of " + what + " is '" +
                                          printable(std::string(name.substr(0, 100))) +
                                          "'; only printable ASCII without blanks, of at most " +
                                          std::to_string(kMaxName) + " characters, is supported");
}

}  // namespace lenet
