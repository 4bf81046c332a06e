#include "engines/paddle/program_traits.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "io/printable.h"
#include "model/graph.h"
#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// One operator of a graph that may not have been checked, for which OperatorView is too strict: a
/// part that is missing equals nothing.
class View {
 public:
  View(const Graph& graph, const Operator& op)
      : graph_(graph), op_(op), type_(plain_type(graph.dialect, op)) {}

  /// An input that is one value; null when it is not.
  const Value* input(const char* name, std::size_t place = 0) const {
    if (graph_.dialect != Dialect::Pir) return one(op_.inputs.find(name), op_.inputs);
    if (place >= op_.inputs.size()) return nullptr;
    return one(std::next(op_.inputs.begin(), static_cast<std::ptrdiff_t>(place)), op_.inputs);
  }

  /// An output that is one value, of the format before PIR; null when it is not.
  const Value* output(const char* name) const { return one(op_.outputs.find(name), op_.outputs); }

  template <typename Type>
  const Type* attribute(std::string_view name) const {
    return op_.attribute<Type>(name);
  }

  /// An attribute, or in PIR the input at a place, where the check has found it constant.
  Integers integers(const char* name, std::optional<std::size_t> place = {}) const {
    const bool pir = graph_.dialect == Dialect::Pir;
    const Value* value = pir && place ? input(name, *place) : nullptr;
    const auto known = value == nullptr ? std::nullopt : known_list(*value);
    if (known) return *known;
    const auto* values = attribute<Integers>(name);
    return values == nullptr ? Integers() : *values;
  }

  /// An attribute such as "[1, 1]".
  std::string text(std::string_view name) const {
    const auto found = op_.attributes.find(name);
    return found == op_.attributes.end() ? "" : to_text(found->second);
  }

  /// Such as "pool2d with ceil_mode=1".
  std::string with(const std::string& name) const {
    return printable(type_) + " with " + name + "=" + text(name);
  }

  std::string with_shape(const char* name, std::size_t place = 0) const {
    const Value* value = input(name, place);
    return printable(type_) + " with an input " + name +
           (value == nullptr ? " that is missing" : " of shape " + to_string(value->shape));
  }

  /// The first attribute that has none of its values in `settings`, such as "axis=-1 axis=1" or
  /// "strides=[1,1]", as with() says it; empty when there is none.
  std::string other_than(std::string_view settings) const {
    const std::string_view name = find_other(settings);
    return name.empty() ? "" : with(std::string(name));
  }
  bool is(std::string_view settings) const { return find_other(settings).empty(); }

  /// The type as both formats have it, without the marks of PIR: "1." in front, and "_" behind what
  /// works in place. Types are compared in this form alone, because a fault of a kernel is the same
  /// whichever format calls the kernel.
  const std::string& type() const { return type_; }

  /// Whether the type is one of these words.
  bool is_one_of(std::string_view types) const { return has_word(types, type_); }

  Dialect dialect() const { return graph_.dialect; }

  /// The first of these names that the operator has an attribute of; the first of all when it has
  /// none.
  std::string named(std::initializer_list<const char*> names) const {
    const auto* const found = std::find_if(names.begin(), names.end(), [this](const char* name) {
      return op_.attributes.count(name) > 0;
    });
    return found == names.end() ? *names.begin() : *found;
  }

 private:
  static std::string plain_type(Dialect dialect, const Operator& op) {
    std::string_view type = op.plain_type();
    if (dialect == Dialect::Pir && !type.empty() && type.back() == '_') type.remove_suffix(1);
    return std::string(type);
  }

  /// The name that other_than tells.
  std::string_view find_other(std::string_view settings) const {
    for (std::string_view left = settings; !left.empty();) {
      const std::string_view name = left.substr(0, left.find('='));
      left.remove_prefix(std::min(left.find(' '), left.size() - 1) + 1);
      std::string setting = text(name);
      setting.erase(std::remove(setting.begin(), setting.end(), ' '), setting.end());
      setting.insert(0, 1, '=').insert(0, name);
      if (!has_word(settings, setting)) return name;
    }
    return {};
  }

  const Value* one(Arguments::const_iterator argument, const Arguments& arguments) const {
    if (argument == arguments.end() || argument->second.size() != 1) return nullptr;
    const std::size_t index = argument->second[0];  // of what feeds and fetches, none of a tensor
    return index < graph_.values.size() ? &graph_.values[index] : nullptr;
  }

  const Graph& graph_;
  const Operator& op_;
  std::string type_;
};

// ---- OpenVINO: what was compared, and nothing else. These are the operators of the networks in
// lenet_cpp.models, with the attributes that they have there.

/// Of vectors, some outputs are empty.
std::string refuse_feed(const View& op) {
  const Value* given = op.output("Out");
  return given != nullptr && given->shape.size() == 4 ? "" : "an input that is no image";
}

std::string refuse_convolution(const View& op) {
  const Integers strides = op.integers("strides");
  if (strides.size() != 2 || strides[0] != strides[1]) return op.with("strides");
  const Value* filter = op.input("Filter");
  if (filter == nullptr || !filter->parameter || filter->shape.size() != 4 ||
      filter->shape[2] != filter->shape[3]) {
    return op.with_shape("Filter");
  }
  const Integers paddings = op.integers("paddings");
  // A 1x1 convolution with padding is wrong.
  const bool fits =
      paddings.size() == 2 && paddings[0] == paddings[1] && paddings[0] <= filter->shape[2] / 2;
  return fits ? "" : op.with("paddings");
}

std::string refuse_pool(const View& op) {
  if (op.is("adaptive=1")) return op.other_than("pooling_type=avg ksize=[1,1]");
  if (op.is("pooling_type=avg")) {
    return op.other_than("ksize=[2,2] strides=[2,2] padding_algorithm=SAME");
  }
  if (op.is("ksize=[3,3] paddings=[1,1]")) {
    return op.other_than("strides=[2,2] padding_algorithm=EXPLICIT");
  }
  return op.other_than(
      "ksize=[2,2] ksize=[3,3] strides=[2,2] padding_algorithm=EXPLICIT paddings=[0,0]");
}

std::string refuse_matrix(const View& op) {
  const Value* y = op.input("Y");
  return y != nullptr && y->parameter && y->shape.size() == 2 ? "" : op.with_shape("Y");
}

/// A bias for each channel or feature, or the sum of two branches.
std::string refuse_sum(const View& op) {
  const Shape& x = op.input("X")->shape;
  const Value* y = op.input("Y");
  const Shape bias = x.size() == 2 ? Shape{x[1]} : Shape{1, x[1], 1, 1};
  return y != nullptr && (y->shape == bias || y->shape == x) ? "" : op.with_shape("Y");
}

/// Of a convolution's bias.
std::string refuse_reshape(const View& op) {
  if (!op.input("X")->parameter) return op.with_shape("X");
  const Integers shape = op.integers("shape");
  const bool channel = shape.size() == 4 && shape[0] == 1 && shape[2] == 1 && shape[3] == 1;
  return channel ? "" : op.with("shape");
}

std::string refuse_plain_normalization(const View& op) {
  const bool whole = op.input("Scale", 3) != nullptr && op.input("Bias", 4) != nullptr;
  return whole ? "" : printable(op.type()) + " without scale or bias";
}

struct Compared {
  std::string_view type;
  std::string_view settings;  ///< of attributes
  std::string_view ranks;     ///< of the input X; empty: any
  std::string (*refuse)(const View&) = [](const View&) { return std::string(); };
};

constexpr Compared kCompared[] = {
    {"feed", "", "", refuse_feed},
    {"fetch", "", ""},
    {"conv2d", "data_format=NCHW padding_algorithm=EXPLICIT groups=1 dilations=[1,1]", "",
     refuse_convolution},
    {"pool2d", "data_format=NCHW ceil_mode=0 exclusive=1 global_pooling=0", "", refuse_pool},
    {"matmul_v2", "trans_x=0 trans_y=0", "2", refuse_matrix},
    {"elementwise_add", "axis=-1", "2 4", refuse_sum},
    {"relu", "", "2 4"},
    {"batch_norm", "data_layout=NCHW", "4", refuse_plain_normalization},
    {"flatten_contiguous_range", "start_axis=1 stop_axis=3 stop_axis=-1", "4"},
    {"reshape2", "", "1", refuse_reshape},
    {"softmax", "axis=-1 axis=1", "2"},
    {"dropout", "is_test=1", "2"},
};

std::string refuse_for_openvino(const View& op) {
  if (op.dialect() != Dialect::ProgramDesc) return "the format of a .json";
  for (const Compared& row : kCompared) {
    if (row.type != op.type()) continue;
    std::string refusal = op.other_than(row.settings);
    if (!refusal.empty()) return refusal;
    const Value* x = op.input("X");
    const std::string rank = x == nullptr ? "" : std::to_string(x->shape.size());
    return row.ranks.empty() || has_word(row.ranks, rank) ? row.refuse(op) : op.with_shape("X");
  }
  return printable(op.type());
}

// ---- oneDNN: what is known to be wrong, or to fail.

/// Whether these are as many sizes, which can be added up and multiplied: that is not known of a
/// graph that was not checked.
bool are_small(const Integers& sizes, std::size_t count) {
  constexpr std::int64_t kSmall = std::int64_t{1} << 30;
  return sizes.size() == count && std::all_of(sizes.begin(), sizes.end(), [](std::int64_t size) {
           return size >= -kSmall && size <= kSmall;
         });
}

/// Of the top, bottom, left and right; of another number when they make no sense.
Integers paddings_of(const View& op) {
  Integers paddings = op.integers("paddings");
  if (paddings.size() == 2) paddings = {paddings[0], paddings[0], paddings[1], paddings[1]};
  return paddings;
}

/// Mixes up memory where the only channel of an image is read in wider steps along its width than
/// along its height, but not in int8; and faults at times where it is padded by a whole window.
std::string refuse_convolution_for_onednn(const View& op) {
  const Value* filter = op.input("Filter", 1);
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  const Integers paddings = paddings_of(op);
  if (filter == nullptr || !are_small(filter->shape, 4)) return op.with_shape("Filter", 1);
  if (strides.size() != 2) return op.with("strides");
  if (!are_small(dilations, 2)) return op.with("dilations");
  if (paddings.size() != 4) return op.with("paddings");
  if (op.is("groups=1") && filter->parameter && filter->shape[1] == 1 && strides[1] > strides[0]) {
    return op.with("strides") + " and one channel";
  }
  if (!op.is("padding_algorithm=EXPLICIT")) return "";
  for (std::size_t i = 0; i < 4; ++i) {
    const std::int64_t window = dilations[i / 2] * (filter->shape[i / 2 + 2] - 1) + 1;
    if (paddings[i] >= window) return op.with("paddings") + ", as wide as the window";
  }
  return "";
}

/// Takes wrong values for the padding where an image is padded at its sides alone: there is none
/// above, and the windows end with its last row. This affects windows that see one channel, except
/// those of groups with one output each.
std::string refuse_convolution_in_int8(const View& op) {
  const Value* filter = op.input("Filter", 1);
  const Value* image = op.input("Input", 0);
  const auto* groups = op.attribute<std::int64_t>("groups");
  const Integers strides = op.integers("strides");
  const Integers paddings = paddings_of(op);
  if (!op.is_one_of("conv2d depthwise_conv2d") || filter == nullptr || image == nullptr ||
      filter->parameter || !are_small(filter->shape, 4) || !are_small(image->shape, 4) ||
      !are_small(strides, 2) || !are_small(paddings, 4)) {
    return "";  // with a parameter, it stays in float32
  }
  const bool one =
      filter->shape[1] == 1 && (groups == nullptr || *groups == 1 || filter->shape[0] > *groups);
  const bool strided = strides[0] > 0 && strides[1] > 0;
  if (!one || !strided || filter->shape[2] == 1 || !op.is("dilations=[1,1]")) return "";
  const bool same = op.is("padding_algorithm=SAME");
  if (!same && (paddings[0] != 0 || !op.is("padding_algorithm=EXPLICIT"))) return "";
  // How far the windows go beyond the end, of the rows or the columns.
  const auto beyond = [&](std::size_t axis, std::int64_t padding) {
    const std::int64_t size = image->shape[2 + axis];
    const std::int64_t step = strides[axis];
    const std::int64_t kernel = filter->shape[2 + axis];
    const std::int64_t steps = same ? (size - 1) / step : (size + padding - kernel) / step;
    return steps * step + kernel - size;
  };
  const bool open = image->shape[2] < 1;
  const bool ends = open ? (same ? filter->shape[2] <= strides[0] : paddings[1] < strides[0])
                         : beyond(0, paddings[1]) == 0;
  const bool sides = !same                 ? paddings[2] + paddings[3] > 0
                     : image->shape[3] < 1 ? filter->shape[3] > 1
                                           : beyond(1, 0) > 0;
  const char* const named = same ? "padding_algorithm" : "paddings";
  return ends && sides ? op.with(named) + ", at the sides alone" : "";
}

/// Takes what is added to a convolution for a bias of its channels, or fails when it has another
/// number of values. A fully connected layer keeps its own shape where that is repeated.
bool is_wrong_sum(const View& op, const Shape* x, const Shape* y) {
  if (x->size() < y->size()) std::swap(x, y);
  if (*x == *y) return false;
  if (x->size() != 4) return x->size() == y->size() && x->back() != y->back();
  Shape shape = *y;
  const auto* axis = op.attribute<std::int64_t>("axis");
  if (axis != nullptr && *axis >= 1 && *axis < 4) {
    shape.resize(static_cast<std::size_t>(4 - *axis), 1);
  }
  shape.insert(shape.begin(), 4 - shape.size(), 1);
  const std::int64_t channels = std::max(shape[1], x->at(1));
  const auto spreads = [&](std::size_t i) { return x->at(i) == 1 && shape[i] != 1; };
  const Shape& smaller = spreads(2) || spreads(3) ? *x : shape;
  return smaller[1] != channels || smaller[2] != 1 || smaller[3] != 1;
}

/// Exchanges the two where the first must be repeated: of a quotient whenever it must, of others
/// when it has fewer dimensions.
bool repeats_first(const Shape& x, const Shape& y, bool quotient) {
  if (x.size() < y.size() || !quotient) return x.size() < y.size();
  return !std::equal(y.begin(), y.end(), x.end() - static_cast<std::ptrdiff_t>(y.size()),
                     [](auto to, auto from) { return from != 1 || to == 1; });
}

std::string refuse_pair(const View& op) {
  const Value* x = op.input("X", 0);
  const Value* y = op.input("Y", 1);
  if (x == nullptr || y == nullptr) return op.with_shape(x == nullptr ? "X" : "Y");
  if (op.is_one_of("elementwise_add add")) {
    return is_wrong_sum(op, &x->shape, &y->shape) ? op.with_shape("Y", 1) : "";
  }
  const bool quotient = op.is_one_of("elementwise_div divide");
  return repeats_first(x->shape, y->shape, quotient) ? op.with_shape("X", 0) : "";
}

/// Counts the zeros around an image among the averaged values, but not as many of them as Paddle:
/// only where they are the same before and after, and no window is larger than the padded image.
/// Fails where the last window, which ceil_mode adds, begins behind the image.
std::string refuse_pool_for_onednn(const View& op) {
  const bool ceil = op.is("ceil_mode=1");
  const bool counts_zeros = op.is("pooling_type=avg exclusive=0");
  const bool valid = op.is("padding_algorithm=VALID");
  if (op.is("adaptive=1") || op.is("global_pooling=1")) return "";
  if (!counts_zeros && !(ceil && op.is("padding_algorithm=EXPLICIT"))) return "";
  const std::string also = counts_zeros ? ", exclusive=0" : "";
  if (op.is("padding_algorithm=SAME")) return op.with("padding_algorithm") + also;
  if (counts_zeros && ceil && !valid) return op.with("ceil_mode") + also;
  const Value* image = op.input("X");
  const Integers kernel = op.integers("ksize", 1);
  const Integers strides = op.integers("strides");
  const Integers paddings = valid ? Integers(4) : paddings_of(op);
  if (image == nullptr || !are_small(image->shape, 4)) return op.with_shape("X") + also;
  if (!counts_zeros && kernel.empty()) return "";  // of PIR, where nothing checks the program
  if (!are_small(kernel, 2)) return op.with("ksize") + also;
  if (!are_small(paddings, 4)) return op.with("paddings") + also;
  if (!are_small(strides, 2) || strides[0] < 1 || strides[1] < 1) return op.with("strides") + also;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t size = image->shape[i + 2];  // channels that come last are refused before
    const std::int64_t before = paddings[2 * i];
    const std::int64_t room = size + before + paddings[2 * i + 1] - kernel[i];
    if (counts_zeros && before != paddings[2 * i + 1]) return op.with("paddings") + also;
    if (counts_zeros && room < 0) {
      return printable(op.type()) + " with a window larger than the image" + also;
    }
    const std::int64_t last = (room + strides[i] - 1) / strides[i] * strides[i] - before;
    if (!counts_zeros && size > 0 && last >= size) return op.with("ceil_mode");
  }
  return "";
}

/// Misreads a matrix whose dimensions are stored in another order: of images, of what was
/// transposed, and a transposed matrix of one column, where the order cannot be seen in the
/// strides.
std::string refuse_matrices(const View& op) {
  constexpr std::array<const char*, 2> kNames = {"X", "Y"};
  // In a .pdmodel, of Paddle 1, and in a .json.
  const std::array<std::string, 2> transposed = {
      op.named({"trans_x", "transpose_X", "transpose_x"}),
      op.named({"trans_y", "transpose_Y", "transpose_y"})};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const Value* value = op.input(kNames[i], i);
    if (value == nullptr || value->shape.size() < 2 || value->shape.size() > 3) {
      return op.with_shape(kNames[i], i);
    }
    if (op.is(transposed[i] + "=0")) continue;
    const Shape& shape = value->shape;
    // The terms of a sum: rows of a transposed X, columns of a transposed Y.
    const std::int64_t terms = i == 0 ? shape[shape.size() - 2] : shape.back();
    if (terms < 2) return op.with(transposed[i]) + " and one term in each sum";
  }
  return "";
}

/// Takes another pixel for the nearest, but where each is repeated a whole number of times; and
/// where a slice left one pixel, it writes past the end of the memory.
std::string refuse_nearest(const View& op) {
  const Value* x = op.input("X");
  const Value* out = op.output("Out");
  if (x == nullptr || out == nullptr || x->shape.size() != 4 || out->shape.size() != 4) {
    return op.with_shape("X");
  }
  if (x->shape[2] == 1 && x->shape[3] == 1) return op.type() + " of one pixel";
  for (std::size_t i = 2; i < 4; ++i) {
    const bool repeats = x->shape[i] > 0 && out->shape[i] > 0 && out->shape[i] % x->shape[i] == 0;
    if (!repeats) return printable(op.type()) + " to a size that is no multiple of the image's";
  }
  return "";
}

/// Whether an operator with a layout has its channels last.
bool has_channels_last(const View& op) {
  for (const char* name : {"data_format", "data_layout"}) {
    const auto* layout = op.attribute<std::string>(name);
    if (layout != nullptr && *layout == "NHWC") return true;
  }
  return false;
}

/// Writes past the end of the memory.
std::string refuse_pad(const View& op) { return op.with("paddings"); }

/// Leaves out one of the two where the other is missing.
std::string refuse_layer_norm(const View& op) {
  const bool scaled = op.input("Scale", 1) != nullptr;
  const bool biased = op.input("Bias", 2) != nullptr;
  return scaled == biased ? "" : op.type() + " without " + (scaled ? "bias" : "scale");
}

/// Leaves the threshold out, from which on Paddle takes the argument itself. From the default on
/// the two differ by 2e-9.
std::string refuse_softplus(const View& op) {
  constexpr double kDefaultThreshold = 20;
  const auto* threshold = op.attribute<double>("threshold");
  const bool fits = threshold != nullptr && *threshold >= kDefaultThreshold;
  return fits ? "" : op.with("threshold");
}

/// Behind a flatten it reads memory that is not the one weight of all channels.
std::string refuse_prelu(const View& op) {
  const Value* input = op.input("X", 0);
  const Value* weight = op.input("Alpha", 1);
  const bool images = input != nullptr && input->shape.size() == 4;
  const bool of_all = weight != nullptr && weight->shape == Shape{1};
  return of_all && !images ? op.type() + " of vectors with one weight" : "";
}

std::string refuse_any(const View& op) { return op.type(); }

/// Operators for which oneDNN has a kernel with a fault.
struct Faulty {
  /// The names in both formats, as View::type gives them. A test goes through all names of the
  /// rules, so that a fault that is known of one format is not left in the other.
  std::string_view types;
  std::string (*refuse)(const View&);
  unsigned dialects = kPaddle;  ///< fewer where the other format was seen to be right
};

constexpr Faulty kFaulty[] = {
    {"conv2d depthwise_conv2d", refuse_convolution_for_onednn},
    {"elementwise_add elementwise_sub elementwise_mul elementwise_div", refuse_pair},
    {"add subtract multiply divide", refuse_pair},
    {"pool2d", refuse_pool_for_onednn},
    {"matmul_v2 matmul", refuse_matrices},
    {"pad", refuse_pad},
    {"batch_norm", refuse_plain_normalization},  // crashes where one of them is missing
    {"layer_norm", refuse_layer_norm},
    {"softplus", refuse_softplus},
    {"prelu", refuse_prelu},
    // Of its means and maxima of few channels, a matmul behind them misreads the layout.
    {"conv2d_transpose", refuse_any, kPir},
    // In PIR the scales are stored as doubles, of which the arguments of oneDNN's kernels know no
    // arrays.
    {"bilinear_interp nearest_interp", refuse_any, kPir},
    {"nearest_interp_v2", refuse_nearest},
    {"if while conditional_block", refuse_any},  // its passes do not look into the blocks
};

std::string refuse_for_onednn(const View& op, bool channels_last) {
  // Mixes up the channels behind operators of the other layout, and behind none gives wrong shapes.
  if (channels_last) return printable(op.type()) + " of channels that come last (NHWC)";
  for (const Faulty& row : kFaulty) {
    const bool meant = (row.dialects & bit(op.dialect())) != 0 && op.is_one_of(row.types);
    if (!meant) continue;
    std::string refusal = row.refuse(op);
    if (!refusal.empty()) return refusal;
  }
  return "";
}

/// Finds a second activation behind a fully connected layer, or behind anything else: oneDNN puts
/// it in the place of the first. To be asked of each operator in the order of the program.
class StackedActivations {
 public:
  bool found() const { return found_; }

  std::string refuse(const Operator& op, const View& view) {
    constexpr std::string_view kActivations =
        "relu relu6 sigmoid tanh gelu swish mish leaky_relu abs clip hard_swish hardswish "
        "hard_sigmoid sqrt hardsigmoid";
    int depth = view.is_one_of("elementwise_add add") ? 1 : 0;
    if (view.is_one_of(kActivations)) {
      each_value(op.inputs, [&](std::size_t value) {
        const auto found = depths_.find(value);
        if (found != depths_.end()) depth = std::max(depth, found->second + 1);
        found_ = found_ || activated_.count(value) > 0;
      });
      each_value(op.outputs, [&](std::size_t value) { activated_.insert(value); });
    }
    if (depth > 2) return printable(view.type()) + " behind another activation";
    const Value* input = view.input("X");
    const bool vectors = input != nullptr && input->shape.size() != 4;
    if (!vectors || depth == 0) return "";
    each_value(op.outputs, [&](std::size_t value) { depths_[value] = depth; });
    return "";
  }

 private:
  /// 1 of sums of vectors, as at the end of fully connected layers; 2 of their activations.
  std::map<std::size_t, int> depths_;
  std::set<std::size_t> activated_;
  bool found_ = false;
};

/// Finds a matmul of what was reshaped and then transposed. oneDNN makes one operator of the three,
/// which misreads the values; of four dimensions it is refused anyway. To be asked of each operator
/// in the order of the program.
class TransposedMatrices {
 public:
  std::string refuse(const Operator& op, const View& view) {
    if (view.is_one_of("reshape reshape2")) {
      note(op, reshaped_);
    } else if (view.is_one_of("transpose transpose2") && takes_one_of(op, reshaped_)) {
      note(op, transposed_);
    } else if (view.is_one_of("matmul matmul_v2") && takes_one_of(op, transposed_)) {
      return printable(view.type()) + " of values that were reshaped and then transposed";
    }
    return "";
  }

 private:
  using Values = std::set<std::size_t>;

  static void note(const Operator& op, Values& values) {
    each_value(op.outputs, [&](std::size_t value) { values.insert(value); });
  }

  static bool takes_one_of(const Operator& op, const Values& values) {
    bool found = false;
    each_value(op.inputs, [&](std::size_t value) { found = found || values.count(value) > 0; });
    return found;
  }

  Values reshaped_;
  Values transposed_;
};

/// Paddle's plain kernels compute these activations with the numbers that nearly all programs have,
/// whatever the program says; oneDNN reads the threshold of relu6 alone.
std::string refuse_for_paddle(const View& op) {
  constexpr struct {
    const char* type;
    const char* attribute;
    double computed;
  } kFixed[] = {{"hard_swish", "threshold", 6},
                {"hard_swish", "scale", 6},
                {"hard_swish", "offset", 3},
                {"relu6", "threshold", 6}};
  for (const auto& fixed : kFixed) {
    const auto* told = op.is_one_of(fixed.type) ? op.attribute<double>(fixed.attribute) : nullptr;
    if (told != nullptr && *told != fixed.computed) return op.with(fixed.attribute);
  }
  return "";
}

}  // namespace

ProgramTraits read_program_traits(const Graph& graph) {
  ProgramTraits traits;
  for (const auto& [before, after] : graph.rewritten) {
    traits.openvino_refusal =
        "a variable '" + printable(graph.values[after].name) + "' that is written twice";
    // oneDNN keeps the shape of the first.
    if (graph.values[before].shape != graph.values[after].shape) {
      traits.onednn_refusal = traits.openvino_refusal + ", with two shapes";
    }
  }
  StackedActivations activations;
  TransposedMatrices matrices;
  std::set<const Value*> filters;
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    // Those that were checked have other names now.
    const Operator& op = i < graph.written.size() ? graph.written[i] : graph.operators[i];
    const View view(graph, op);
    if (traits.refusal.empty()) traits.refusal = refuse_for_paddle(view);
    if (traits.openvino_refusal.empty()) traits.openvino_refusal = refuse_for_openvino(view);
    const bool channels_last = has_channels_last(view);
    if (traits.onednn_refusal.empty()) {
      traits.onednn_refusal = refuse_for_onednn(view, channels_last);
    }
    if (traits.int8_refusal.empty()) traits.int8_refusal = refuse_convolution_in_int8(view);
    const std::string stacked = activations.refuse(op, view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = stacked;
    const std::string transposed = matrices.refuse(op, view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = transposed;
    const Value* filter = view.input("Filter", 1);
    const bool convolves = view.type().find("conv2d") != std::string::npos;
    // A bias that is no vector, and is added at an axis, does not go with that of a normalization
    // behind it. A .json has no such axis, and was seen to be right without it.
    const bool sum = graph.dialect == Dialect::ProgramDesc && view.is_one_of("elementwise_add");
    const Value* bias = sum ? view.input("Y") : nullptr;
    const bool folds = bias == nullptr || !bias->parameter || bias->shape.size() == 1;
    traits.folding_is_wrong = traits.folding_is_wrong || channels_last || !folds ||
                              (convolves && !filters.insert(filter).second);
    if (view.is_one_of("dropout")) {
      const auto* mode =
          view.attribute<std::string>(view.named({"dropout_implementation", "mode"}));
      traits.simplifying_faults |= mode == nullptr || *mode == "downgrade_in_infer";
    }
    traits.activation_fusing_faults |=
        graph.dialect == Dialect::Pir && view.is_one_of("leaky_relu");
  }
  traits.activation_fusing_faults |= activations.found();
  return traits;
}

}  // namespace lenet
