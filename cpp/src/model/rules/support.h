/// \file
/// What the rules of operators share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/element_types.h"
#include "model/rules/operator_view.h"

namespace lenet {

inline constexpr std::int64_t kUnknown = -1;
inline constexpr std::size_t kMaxRank = 9;
inline constexpr std::int64_t kMaxStep = 1 << 16;  // of strides, dilations, kernels

/// Outputs of training: versions of Paddle differ in the shapes that they declare for them, and no
/// kernel looks at them.
inline constexpr std::string_view kUnreadOutputs =
    "Mask Mean Variance SavedMean SavedVariance MidOut Norm ReserveSpace XShape DropoutState "
    "Reserve InnerCache";

/// Ends the message on an operator that trains.
inline constexpr std::string_view kEvalRemedy = "call model.eval() and export the model again";

/// Whether a text of words separated by blanks has this one.
bool has_word(std::string_view words, std::string_view wanted);

inline bool fits(std::int64_t a, std::int64_t b) {
  return a == kUnknown || b == kUnknown || a == b;
}

/// Whether every size of two shapes fits.
inline bool fits(const Shape& a, const Shape& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](std::int64_t one, std::int64_t other) { return fits(one, other); });
}

/// Of the sizes in [from, to); unknown when one is.
std::int64_t product(const Shape& shape, std::size_t from, std::size_t to);

/// The product of all sizes, an unknown one taken for 1.
double volume(const Shape& shape);

void require_range(const OperatorView& op, const Integers& values, std::size_t count,
                   std::int64_t least, std::int64_t most, const char* name);

/// Whether the channels come last; the layout must be one of the two. ONNX has none.
bool channels_last(const OperatorView& op, std::string_view name);

/// The number of channels of a tensor that has data_layout or data_format.
std::int64_t channels_of(const OperatorView& op, const Shape& shape);

/// The attribute groups, or group of ONNX, which divides the channels where they are known.
std::int64_t groups_of(const OperatorView& op, std::int64_t channels);

/// Where a tensor of four dimensions has its channels, and where its image begins.
struct Layout {
  std::size_t channel;
  std::size_t image;
};
Layout layout_of(const OperatorView& op, const Shape& shape);

/// A shape with as many dimensions as the result of an elementwise operator: of size 1 where it has
/// fewer. Constants and images are repeated by this rule alone.
/// \param axis where its dimensions begin among those of the result, of Paddle; -1: it ends with
/// them
Shape aligned(const Shape& shape, std::size_t rank, std::int64_t axis = -1);

/// The shape of what an elementwise operator gives. \param axis as of aligned
Shape broadcast(const OperatorView& op, const Shape& a, const Shape& b, std::int64_t axis = -1);

/// Whether it is an integer that shapes may be computed from.
bool is_whole(double number);

/// The numbers of an input that may be followed, where they are a few of any type.
std::optional<Numbers> known_numbers(const OperatorView& op, std::string_view name);

/// How many numbers of a value a rule looks at. Many operators may take one large value, and to
/// look at all of it for each would take longer than linear time.
inline constexpr std::size_t kMaxSeen = 4096;

/// Whether the program fixes the integers of a value, at most kMaxSeen, and each passes a test.
template <typename Test>
bool are_known(const Value& value, const Test& test) {
  const std::size_t count = is_known(value) ? count_values(value) : 0;
  if (count == 0 || count > kMaxSeen || has_open(value)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (!test(number_as<std::int64_t>(value, i))) return false;
  }
  return true;
}

/// An optional argument that must be a vector of that size.
void require_vector(const OperatorView& op, std::string_view name, std::int64_t size);

/// The output of an operator that changes the shape alone; with the contents of its input where the
/// model fixes those, but for Paddle's parameters.
void give_rearranged(OperatorView& op, const Shape& shape);

/// Of a softmax, as it is written.
std::int64_t softmax_axis(const OperatorView& op);

/// The rule of operators whose output is like their input X.
void infer_same(OperatorView& op);

/// Axes that a list names, each once.
std::vector<std::size_t> distinct_axes(const OperatorView& op, const Integers& given,
                                       std::size_t rank);

/// Items of a list: the first, and from it so many, each `step` after the one before.
struct StridedSlice {
  std::int64_t first;
  std::int64_t count;  ///< 0 or less: none
  std::int64_t step;   ///< no further than the list is long
};
/// \param step negative for a slice backwards
StridedSlice strided_slice(std::int64_t start, std::int64_t end, std::int64_t step,
                           std::int64_t size);

/// What stands around the values that are padded: one number, or the values themselves.
enum class PadMode { Constant, Reflect, Edge, Wrap };
/// By axis, the values that a pad adds before and behind those there are; negative: takes off.
struct Paddings {
  Integers before;
  Integers behind;
  PadMode mode;
};
Paddings read_paddings(const OperatorView& op);

/// The number in framework.proto of the element type that values of a named one are computed in.
int dtype_named(const OperatorView& op, std::string_view name);
/// The number of the element type for values whose type an attribute has as such a number.
int dtype_numbered(const OperatorView& op, std::string_view attribute,
                   std::optional<std::int64_t> otherwise = {});

/// Whether an input has other sizes than the number of images that are open.
bool has_open_sizes(const Shape& input);

/// \param least size of a dimension that is known
/// \throws Error BadModel for a smaller one, Unsupported for too many dimensions; TooLarge
///   Unsupported for too many values.
void require_dimensions(const Value& value, std::int64_t least, std::int64_t images,
                        const std::string& path);

}  // namespace lenet
