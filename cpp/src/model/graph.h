/// A program as every format says it: values, and operators in the order of execution. Read by
/// readers.h.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lenet/error.h"
#include "lenet/tensor.h"

namespace lenet {

using Integers = std::vector<std::int64_t>;
using Numbers = std::vector<double>;

inline constexpr std::size_t kMaxListed = 64;  // of integers that a shape is computed from

/// Which numbers of a list are open: during the check those that depend on the height or width of
/// an image, afterwards those that depend on the number of images as well. What stands in the
/// list in their place means nothing.
using OpenNumbers = std::bitset<kMaxListed>;

/// A list of integers. One that is open has no value.
using OpenIntegers = std::vector<std::optional<std::int64_t>>;

/// The format that a program is from. Behind the readers and their tables nothing asks for it.
enum class Dialect {
  ProgramDesc,  ///< .pdmodel: "relu"; arguments have names
  Pir,          ///< .json: "1.relu"; arguments have places
  Onnx,         ///< "Relu", or "domain.Relu" of another domain than ONNX's; arguments have places
};

inline constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// Where a value has the images of a batch: [64 * N, 49, C] has 64 entries of each on axis 0, and
/// [T, N, C] one on axis 1.
struct Images {
  /// The axis whose size depends on their number. kNone: the value is the same for any number, or
  /// the program is for one image, which is the whole value.
  std::size_t axis = kNone;
  std::int64_t per_image = 1;  ///< entries that one image has; 0: not a whole number
  std::int64_t before = 1;     ///< the axis is [before][images][per_image / before]
};

/// A tensor.
struct Value {
  std::string name;
  Shape shape;     ///< -1 where unknown
  int dtype = -1;  ///< VarType.Type of framework.proto, in every dialect; -1 for others, or unknown
  int data_dtype = -1;     ///< of `data`: Paddle declares weights that it stores as int8 as float32
  int half_dtype = -1;     ///< float16 or bfloat16, of which the check makes dtype float32; else -1
  bool has_shape = true;   ///< false where an .onnx does not say it, of most values
  bool parameter = false;  ///< the model holds its contents; of an .onnx: a constant
  bool defined = false;    ///< set by the check, from its operator on
  /// It has no contents that anything may read: a parameter that no file holds, or what an operator
  /// gives for training alone.
  bool unset = false;
  /// The contents of a parameter, and by the check those that a program fixes; little-endian and at
  /// any address, as long as the Model lives. Null: not known.
  std::string_view data;
  OpenNumbers open;  ///< of those in `data`
  Images images;     ///< set by the check
  /// The first operator that gives it, by index into Graph::operators; set by link_values.
  std::size_t producer = kNone;
};

/// The shape that a value has for one image.
inline Shape image_of(const Value& value) {
  Shape shape = value.shape;
  if (value.images.axis != kNone) shape.at(value.images.axis) = value.images.per_image;
  return shape;
}

/// Whether a tensor of such a shape has no values.
inline bool is_empty(const Shape& shape) {
  return std::find(shape.begin(), shape.end(), 0) != shape.end();
}

/// The type that the file says.
inline int declared_dtype(const Value& value) {
  return value.half_dtype >= 0 ? value.half_dtype : value.dtype;
}

/// How an attribute is stored; Paddle trusts the program in this. The arrays have the order of
/// their elements.
enum class AttributeType {
  Bool,
  Int,  ///< ProgramDesc and Pir; ONNX's integers are Long and Longs
  Long,
  Float,
  Double,
  Text,
  Bools,
  Ints,
  Longs,
  Floats,
  Doubles,
  Texts,   ///< of ONNX: how many there are
  Dims,    ///< PIR's IntArray
  Dtype,   ///< PIR's data type, as text
  Place,   ///< PIR's place
  Empty,   ///< PIR's array without elements, of any type
  Tensor,  ///< ONNX's: the index of a value, which is a parameter
  Block,   ///< ProgramDesc's: the number of a block
  Other,   ///< other types, without a value
};

/// The type of an array of such elements; Other where there is none.
constexpr AttributeType array_of(AttributeType element) {
  const int arrays = static_cast<int>(AttributeType::Bools);
  const int at = static_cast<int>(element);
  return at < arrays ? static_cast<AttributeType>(at + arrays) : AttributeType::Other;
}
constexpr bool is_array(AttributeType type) {
  return type >= AttributeType::Bools && type <= AttributeType::Texts;
}

struct Attribute {
  AttributeType type = AttributeType::Bool;
  std::variant<std::int64_t, double, std::string, Integers, Numbers> value;  ///< bool: 0 or 1
};

/// Such as "[1, 1]" or "0.25", in printable characters.
std::string to_text(const Attribute& attribute);

/// Values of one argument, by index into Graph::values; none for an optional one left out. Mostly
/// one, for which nothing is allocated. Copies share a list.
class Argument {
 public:
  Argument() = default;
  explicit Argument(std::size_t value) : one_(value) {}
  explicit Argument(std::vector<std::size_t> values) {
    if (values.size() == 1) one_ = values[0];
    if (values.size() > 1)
      list_ = std::make_shared<const std::vector<std::size_t>>(std::move(values));
  }
  const std::size_t* begin() const { return list_ ? list_->data() : &one_; }
  const std::size_t* end() const { return begin() + size(); }
  std::size_t size() const { return list_ ? list_->size() : one_ == kEmpty ? 0 : 1; }
  bool empty() const { return size() == 0; }
  std::size_t operator[](std::size_t index) const { return begin()[index]; }
  std::size_t at(std::size_t index) const {
    if (index >= size()) throw std::out_of_range("a value of an argument");
    return begin()[index];
  }
  bool operator==(const Argument& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  static constexpr std::size_t kEmpty = kNone - 1;

  std::size_t one_ = kEmpty;
  std::shared_ptr<const std::vector<std::size_t>> list_;
};

/// What an operator of an .onnx calls the classes whose scores it gives.
struct NamedClasses {
  std::size_t value = kNone;       ///< of the scores, by index into Graph::values
  std::vector<std::string> names;  ///< in the order of the scores; of integers their text
  Integers numbers;                ///< of classes that are integers; else empty
  /// It is a ZipMap: what it gives is no tensor but a list of maps, one for each image, from these
  /// names or numbers to the scores. Engines give the scores, as a tensor.
  bool is_map = false;
};

/// As ==, which is no call where programs are made small: names mostly differ in their length.
inline bool is_same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// What an operator has by name: so little that it is looked for from the front. The names lie in
/// the file, in Graph::decoded or in the rules.
template <typename Item>
struct NamedList : std::vector<std::pair<std::string_view, Item>> {
  auto find(std::string_view name) const {
    return std::find_if(this->begin(), this->end(),
                        [&](const auto& item) { return is_same(item.first, name); });
  }
  std::size_t count(std::string_view name) const { return find(name) == this->end() ? 0 : 1; }
  const Item& at(std::string_view name) const {
    const auto found = find(name);
    if (found == this->end()) throw std::out_of_range(std::string(name));
    return found->second;
  }
  /// A name that two items have.
  std::optional<std::string_view> repeated() const {
    constexpr std::size_t kFew = 12;  // for which nothing is allocated
    if (this->size() <= kFew) {
      for (auto item = this->begin(); item != this->end(); ++item) {
        if (find(item->first) != item) return item->first;
      }
      return std::nullopt;
    }
    std::vector<std::string_view> names;
    for (const auto& item : *this) names.push_back(item.first);
    std::sort(names.begin(), names.end());
    const auto found = std::adjacent_find(names.begin(), names.end());
    return found == names.end() ? std::nullopt : std::optional(*found);
  }
};

using Arguments = NamedList<Argument>;
using Attributes = NamedList<Attribute>;

/// \param action takes the index of each value; of what feeds and fetches a program, those that are
///   tensors
template <typename Action>
void each_value(const Arguments& arguments, const Action& action) {
  for (const auto& [name, values] : arguments) {
    for (const std::size_t value : values) {
      if (value != kNone) action(value);
    }
  }
}

struct Operator {
  std::string type;  ///< as the dialect has it
  /// What it computes, whatever the dialect: the name of one of ONNX's operators, or of ours where
  /// ONNX has none. Set by link_values; one that no rule knows keeps its type.
  std::string_view kind;
  /// Named as the rule of the kind names them from the check on. Before it those of Pir and Onnx
  /// have a place but no name.
  Arguments inputs;
  Arguments outputs;
  Attributes attributes;
  /// It could not be proved that an image's result depends neither on the others nor on its place
  /// among them. Set by the check; engines that compute image by image refuse it.
  bool may_mix_images = false;

  /// The type for messages, without the `1.` of PIR.
  std::string_view plain_type() const {
    return std::string_view(type).substr(type.rfind("1.", 0) == 0 ? 2 : 0);
  }
  /// Null when there is none of that name, or it is stored in another way.
  template <typename Stored>
  const Stored* attribute(std::string_view name) const {
    const auto found = attributes.find(name);
    return found == attributes.end() ? nullptr : std::get_if<Stored>(&found->second.value);
  }
};

struct Graph {
  Dialect dialect = Dialect::ProgramDesc;
  std::int64_t opset = 0;  ///< of ONNX's own operators; 0: not said; of Paddle's from the check on
                           ///< the newest that rules know
  /// Shapes may be computed from parameters, as .onnx files have them. Paddle's programs do not fix
  /// what a parameter holds.
  bool fixes_parameters = false;
  /// The format is one that Paddle's engine reads.
  bool runs_in_paddle = true;
  /// What is declared of a value that an operator gives may be untrue, and is not what runs.
  bool declares_loosely = false;
  /// What an .onnx has besides, such as "functions of its own": engines that run the Graph refuse.
  std::string unsupported;
  /// "float16" or "bfloat16", which the program computes in; else empty. Set by the check, for
  /// which such values are float32 ones.
  std::string_view half;
  /// Some operator may_mix_images: a batch is not to be cut into pieces.
  bool joins_images = false;
  bool loops = false;        ///< has a `while`, which may never end
  double multiply_adds = 0;  ///< for one image; 0: not known, such as of open sizes
  /// Set by the check where a program does not take any number of images, or its sizes are not
  /// linear in it: infers the shapes for that number, for as long as this graph lives. Any thread
  /// may call it. \throws Error BadInput.
  std::function<void(std::int64_t images)> require_images;
  /// Set by the check where the input has other open sizes than the number of images: gives the
  /// same program with the shapes that it has for an input of these sizes, of which the first is
  /// not looked at. For as long as this graph lives. Any thread may call it. A graph that
  /// fixes_parameters has no other shapes. \throws Error BadInput: the program does not take these
  /// sizes, or a tensor or the work for them is beyond the limits.
  std::function<std::unique_ptr<const Graph>(const Shape& input)> with_sizes;
  /// Set together with with_sizes, and by infer_room; for engines that infer no shapes. Refuses an
  /// input of this shape for which images are too small or a tensor has too many values, and
  /// nothing else. For as long as this graph lives. Any thread may call it. \throws Error BadInput.
  std::function<void(const Shape& input)> require_room;
  std::vector<NamedClasses> named_classes;  ///< of an .onnx
  // Only a ProgramDesc has these.
  std::int64_t paddle_version = 0;  ///< that wrote it, 1,000,000 * major + 1,000 * minor + patch
  /// It has what Paddle 3 does not know or lacks what it needs: Paddle gets write_checked_program.
  bool differs = false;
  /// The operators of each block, in its order. The operators of a block of control flow stand in
  /// `operators` before the operator that runs it.
  std::vector<std::vector<std::size_t>> blocks;
  /// Values that stand for a variable before and after it was written a second time.
  std::vector<std::pair<std::size_t, std::size_t>> rewritten;
  std::deque<Value> values;
  std::deque<Operator> operators;
  /// Those of a Paddle program under its own names, without what the check drops and with what it
  /// fills in. Set by the check, for the engine that runs the program itself.
  std::deque<Operator> written;
  /// The value that the check makes the only output, as `Config::output_name`; or empty.
  std::string output_name;
  bool shows_all = false;  ///< engines that can give every value besides the outputs
  // Set by link_values, by index into `values`.
  std::vector<std::size_t> inputs;   ///< of an .onnx without those that are parameters
  std::vector<std::size_t> outputs;  ///< of Paddle's: in the order of `col` after the check
  std::deque<std::string> decoded;   ///< contents that a file holds in another form than `data`
};

/// Ends a message on a program that is refused, where it may run all the same.
inline constexpr std::string_view kUncheckedRemedy =
    "; for a model that you trust, check_program=false runs it in Paddle unchecked";

/// Follows such a remedy where oneDNN or OpenVINO was to compute the program: what they make of one
/// that was not checked is not known.
inline constexpr std::string_view kPlainRemedy =
    "; also set precision to fp32 and accelerator to auto";

/// Whether Paddle may run a program that the check does not follow to its end.
bool may_run_in_paddle(const Graph& graph);
/// Ends the message on such a program: how it runs all the same; empty where it does not.
std::string remedy_unchecked(const Graph& graph);

/// Puts operators behind those that give what they take, and otherwise leaves their order as it is.
/// Operators in a cycle stay in some order. \pre no two operators give the same value, else the
/// first one counts. Linear.
void sort_operators(Graph& graph);

/// Fills in kinds and producers, and of Paddle's programs the inputs and outputs. Linear.
void link_values(Graph& graph);

/// The names of the classes of the first output that has some, where the program itself has them.
/// Names that say no more than a class number, 0, 1 and so on, are left out. Linear.
std::vector<std::string> class_names(const Graph& graph);

/// Inputs for Graph::with_sizes, of which a model with open sizes takes some, most probably:
/// whether an operator is supported, or joins images, does not depend on them. Those of 3 channels
/// first.
std::vector<Shape> sizes_to_try(const Shape& declared);

/// Makes the value that Graph::output_name means the only output, where there is such a name, and
/// drops the inputs that it does not need. The graph need not be checked. Linear.
/// \returns of each operator, whether the outputs need it: what it gives, or may overwrite; without
///   a name all
/// \throws Error BadInput: there is no such value.
std::vector<bool> choose_output(Graph& graph, const std::string& path);

/// \throws Error Unsupported: there are several inputs or none, with the outputs that choose_output
///   computes from one. Linear.
void require_one_input(const Graph& graph, const std::string& path);

/// The bytes of a tensor; nothing when a size is negative, or they are more than `most`.
std::optional<std::uint64_t> size_in_bytes(std::uint64_t element_size, const Shape& shape,
                                           std::uint64_t most);

// ---- the contents of values that a model fixes: parameters, and what is computed from them

/// Whether the model fixes what a value holds.
inline bool is_known(const Value& value) { return value.parameter || value.data.data() != nullptr; }

/// How many numbers of a readable type a known value holds.
std::size_t count_values(const Value& value);

/// One of them, as C++ converts it.
template <typename To>
To number_as(const Value& value, std::size_t index);
double number_at(const Value& value, std::size_t index);

/// All of them. Of float32 the very bits.
void copy_floats(const Value& value, float* to);
std::vector<float> floats_of(const Value& value);

/// Whether some numbers of a known value are open.
inline bool has_open(const Value& value) { return value.open.any(); }

/// A number or a list of integers, if it is known and short enough to compute a shape from. Some
/// may be open.
std::optional<OpenIntegers> open_list(const Value& value);
/// So too, and none is open.
std::optional<Integers> known_list(const Value& value);

/// Whether the model fixes what a value holds, also where the graph is not checked.
bool is_constant(const Graph& graph, std::size_t value);

/// Which values only a softmax takes, directly or behind operators that add to them, choose among
/// them or move them. -infinity in such a value is a mask, of which the softmax makes 0. Linear.
std::vector<bool> masks_of(const Graph& graph);

/// Which operators compute what an output needs that is not known: others may be anything.
std::vector<bool> needed_operators(const Graph& graph);

// ---- the check (check_graph.cc, infer_shapes.cc): whether a program is one that Paddle runs
// without harm

/// More values in a tensor for one image than any classifier has (1 GiB of float32).
constexpr std::int64_t kMaxValuesPerImage = std::int64_t{1} << 28;
/// More multiply-adds for one image, all operators together.
constexpr std::int64_t kMaxMultiplyAdds = std::int64_t{1} << 40;
constexpr std::size_t kMaxOperators = 1'000'000;

/// Checks a program operator by operator: known types with the inputs, outputs and attributes that
/// Paddle's kernels and graph passes rely on without looking; attribute values in range; the shape
/// and type of every output worked out anew and compared with what the program declares; values
/// given before they are used and never twice; parameters never written; sizes within bounds. Where
/// the number of images is open, shapes are worked out for several numbers: a size that is another
/// for each is open too. Where they are not linear in it, or do not match for each number, those of
/// the actual number are worked out before it runs (require_images).
/// Of a .pdmodel, attributes and empty arguments that no rule knows are dropped, and those that the
/// Paddle that wrote it did not have are filled in: Paddle ignores the ones and fills in the
/// others. \throws Error BadModel, where the program contradicts itself; Unsupported for what no
/// rule
///   knows, and for old attributes that would change what Paddle computes.
void check_graph(Graph& graph, const std::string& path);

/// A checked program with the shapes that it has for an input of exactly this shape, of which the
/// first size counts too. Axes of images are not set. The checked one is to outlive it.
/// \param needed operators, of which alone shapes are inferred
/// \throws Error BadInput: the program does not take this shape, or a tensor or the work for it is
///   beyond the limits
std::unique_ptr<const Graph> infer_for_input(const Graph& checked, const std::string& path,
                                             const Shape& input, const std::vector<bool>& needed);

/// An image is too small for a program: no window fits into it, or an InstanceNormalization gets a
/// tensor without values. onnxruntime 1.32 divides by zero in such a pool, and reads memory that is
/// not there in such a normalization.
class TooSmall : public Error {
 public:
  using Error::Error;
};

/// A tensor has more values than any of a classifier.
class TooLarge : public Error {
 public:
  using Error::Error;
};

/// \throws Error BadModel, one printable line.
[[noreturn]] void refuse_program(const std::string& path, const std::string& problem);
/// \throws Error Unsupported, so too.
[[noreturn]] void unsupported(const std::string& path, const std::string& problem);

/// Names of variables, operators and attributes: printable ASCII, not empty, not overlong.
/// \throws Error Unsupported, of an empty one BadModel.
void require_name(std::string_view name, const std::string& what, const std::string& path);

/// How many `if` and `while` may stand in one another.
inline constexpr std::size_t kMaxNesting = 16;
/// Ends the message on a loop: how it runs all the same.
inline constexpr std::string_view kLoopRemedy =
    ", where nothing can stop Paddle; for a model that you trust set check_program to false, and "
    "in "
    "Python do so in an IsolatedPredictor, which ends it after a timeout";
/// \throws Error Unsupported: they are more.
void require_nesting(std::size_t nesting, const std::string& path);

}  // namespace lenet
