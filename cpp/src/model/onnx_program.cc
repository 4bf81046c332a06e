#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "io/printable.h"
#include "model/element_types.h"
#include "model/protobuf.h"
#include "model/readers.h"
#include "model/rules/einsum.h"
#include "model/rules/support.h"
#include "utf8.h"

namespace lenet {
namespace {

constexpr const char* kWhat = "an ONNX model";  // for errors
constexpr int kMaxDepth = 64;
constexpr std::uint64_t kExternal = 1;  // of DataLocation
constexpr std::int64_t kMaxIr = 14;     // onnx 1.23

// Numbers of fields in onnx.proto, by their message.
enum ModelField { kIr = 1, kOpsetImport = 8, kGraph = 7, kTrainingInfo = 20, kFunctions = 25 };
enum OpsetField { kOpsetDomain = 1, kOpsetVersion = 2 };
enum TrainingInfoField { kInitialization = 1, kAlgorithm = 2 };
enum GraphField { kNode = 1, kInitializer = 5, kSparseInitializer = 15 };
enum DeclaringField { kInput = 11, kOutput = 12, kValueInfo = 13 };  // of graphs too
enum FunctionField { kFunctionNode = 7, kFunctionDomain = 10, kFunctionAttribute = 11 };
enum NodeField { kNodeInput = 1, kNodeOutput = 2, kOpType = 4, kNodeAttribute = 5, kDomain = 7 };
enum AttributeField {
  kAttributeName = 1,
  kFloat = 2,
  kInteger = 3,
  kText = 4,
  kTensor = 5,
  kSubgraph = 6,
  kFloats = 7,
  kIntegers = 8,
  kTexts = 9,
  kTensors = 10,
  kSubgraphs = 11,
  kAttributeType = 20,
  kSparseTensor = 22,
  kSparseTensors = 23
};
/// The fields for a value, by AttributeProto.AttributeType, and one that takes it from a function.
constexpr std::uint64_t kValues[] = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 14, 15, 21};
enum SparseField { kSparseValues = 1, kSparseIndices = 2 };
enum TensorField {
  kDims = 1,
  kDataType = 2,
  kSegment = 3,
  kFloatData = 4,
  kInt32Data = 5,
  kInt64Data = 7,
  kTensorName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kExternalData = 13,
  kDataLocation = 14
};
constexpr unsigned kSources = 0xef0;  ///< bits of TensorProto's fields that hold values
enum EntryField { kKey = 1, kValue = 2 };
enum ValueInfoField { kName = 1, kType = 2 };
enum TypeField { kTensorType = 1 };
enum TensorTypeField { kElementType = 1, kShape = 2 };
enum TensorShapeField { kDimension = 1 };
enum DimensionField { kSize = 1 };

bool is_own(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

/// Messages that may have tensors in them, or in which others may that do.
enum class Inside { Training, Function, Graph, Node, Attribute, Sparse, Tensor };
struct Part {
  Inside message;
  std::uint64_t field;
  Inside inside;
};
constexpr Part kParts[] = {
    {Inside::Training, kInitialization, Inside::Graph},
    {Inside::Training, kAlgorithm, Inside::Graph},
    {Inside::Function, kFunctionNode, Inside::Node},
    {Inside::Function, kFunctionAttribute, Inside::Attribute},
    {Inside::Graph, kNode, Inside::Node},
    {Inside::Graph, kInitializer, Inside::Tensor},
    {Inside::Graph, kSparseInitializer, Inside::Sparse},
    {Inside::Node, kNodeAttribute, Inside::Attribute},
    {Inside::Attribute, kTensor, Inside::Tensor},
    {Inside::Attribute, kTensors, Inside::Tensor},
    {Inside::Attribute, kSubgraph, Inside::Graph},
    {Inside::Attribute, kSubgraphs, Inside::Graph},
    {Inside::Attribute, kSparseTensor, Inside::Sparse},
    {Inside::Attribute, kSparseTensors, Inside::Sparse},
    {Inside::Sparse, kSparseValues, Inside::Tensor},
    {Inside::Sparse, kSparseIndices, Inside::Tensor},
};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    graph_.dialect = Dialect::Onnx;
    graph_.fixes_parameters = graph_.declares_loosely = true;
    graph_.runs_in_paddle = false;
  }

  OnnxProgram read(std::string_view bytes) {
    bool has_graph = false;
    each(bytes, [&](const Field& field) {
      if (field.number == kGraph) {
        if (std::exchange(has_graph, true)) fail("has two graphs");
        read_graph(text(field));
      }
      if (field.number == kIr && integer(field) > kMaxIr) {
        graph_.unsupported = "the IR version " + std::to_string(integer(field));
      }
      if (field.number == kOpsetImport) read_opset(text(field));
      if (field.number == kFunctions) read_function(text(field));
      if (field.number == kTrainingInfo) look_through(Inside::Training, text(field), 0);
    });
    if (!has_graph) fail("is no ONNX model: it has no graph");
    const auto is_constant = [this](std::size_t value) { return graph_.values[value].parameter; };
    graph_.inputs.erase(std::remove_if(graph_.inputs.begin(), graph_.inputs.end(), is_constant),
                        graph_.inputs.end());
    sort_operators(graph_);
    if (program_.quantized) expand_quantized_operators(graph_);
    for (const NamedClasses& classes : graph_.named_classes) {
      if (classes.is_map) graph_.values[classes.value].dtype = kFloat32;
    }
    link_values(graph_);
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const { refuse_program(path_, problem); }
  [[noreturn]] void damaged(const std::string& problem) const { fail("is damaged: " + problem); }
  [[noreturn]] void damaged(const std::string& tensor, const std::string& problem) const {
    damaged("the constant '" + tensor + "' " + problem);
  }

  template <typename Action>
  void each(std::string_view message, const Action& action) const {
    each_field(message, path_, kWhat, action);
  }
  std::string_view text(const Field& field) const {
    if (field.wire != Wire::Bytes) damaged("a field is of the wrong type");
    return field.bytes;
  }
  std::int64_t integer(const Field& field) const {
    if (field.wire != Wire::Number) damaged("a field is of the wrong type");
    return static_cast<std::int64_t>(field.value);
  }
  int small(const Field& field) const {
    const std::int64_t value = integer(field);
    if (value < 0 || value > std::numeric_limits<int>::max()) damaged("a number is out of range");
    return static_cast<int>(value);
  }
  /// One value, or many in one field.
  void add_integers(const Field& field, Integers& values) const {
    if (field.wire != Wire::Bytes) integer(field);
    if (!append_integers(field, values)) damaged("a list of numbers is cut short");
  }
  /// The bytes of one number of that width, or of many in one field.
  std::string_view reals(const Field& field, Wire width) const {
    const std::size_t size = width == Wire::Fixed32 ? sizeof(float) : sizeof(double);
    if (field.wire == width) return field.encoded.substr(field.encoded.size() - size);
    if (field.wire != Wire::Bytes || field.bytes.size() % size != 0) {
      damaged("a list of numbers is cut short");
    }
    return field.bytes;
  }

  void read_opset(std::string_view bytes) {
    std::string_view domain;
    std::int64_t version = 0;
    each(bytes, [&](const Field& field) {
      if (field.number == kOpsetDomain) domain = text(field);
      if (field.number == kOpsetVersion) version = integer(field);
    });
    if (domain == "com.microsoft" && version != 1) {
      graph_.unsupported = "operators of version " + std::to_string(version) + " of com.microsoft";
    }
    if (!is_own(domain)) return;
    const bool differs = graph_.opset != 0 && graph_.opset != version;
    if (version < 1 || differs) damaged("it names two operator sets, or none");
    graph_.opset = version;
  }

  // ---- the main graph

  std::size_t index_of(std::string_view name) {
    const auto [found, is_new] = names_.emplace(name, graph_.values.size());
    if (is_new) {
      Value value;
      value.name = name;
      value.has_shape = false;
      graph_.values.push_back(std::move(value));
    }
    return found->second;
  }

  void read_graph(std::string_view bytes) {
    each(bytes, [&](const Field& field) {
      // An empty one has two bytes in the file.
      if (graph_.operators.size() > kMaxOperators) damaged("it has too many nodes");
      if (field.number == kNode) read_node(text(field));
      if (field.number == kInitializer) read_initializer(text(field));
      if (field.number != kSparseInitializer) return;
      graph_.unsupported = "sparse constants";
      look_into(Inside::Graph, field, 0);
    });
    // By now the constants are known. Inputs and outputs take the place of what value_info says.
    for (const DeclaringField wanted : {kValueInfo, kInput, kOutput}) {
      each(bytes, [&](const Field& field) {
        if (field.number == wanted) read_declaration(field);
      });
    }
  }

  void read_node(std::string_view bytes) {
    Operator op;
    std::string_view domain;
    const auto add = [this](const Field& field, Arguments& arguments) {
      arguments.emplace_back();
      if (!text(field).empty()) arguments.back().second = Argument(index_of(field.bytes));
    };
    each(bytes, [&](const Field& field) {
      if (field.number == kNodeInput) add(field, op.inputs);
      if (field.number == kNodeOutput) add(field, op.outputs);
      if (field.number == kOpType) op.type = text(field);
      if (field.number == kDomain) domain = text(field);
      if (field.number == kNodeAttribute) read_attribute(text(field), op);
    });
    for (Arguments* arguments : {&op.inputs, &op.outputs}) {
      while (!arguments->empty() && arguments->back().second.empty()) arguments->pop_back();
    }
    if (const auto twice = op.attributes.repeated()) {
      damaged("a node has the attribute '" + std::string(*twice) + "' twice");
    }
    note_quantization(op.type);
    if (op.type == "Einsum" && is_own(domain)) require_equation(bytes);
    if (!is_own(domain)) op.type.insert(0, std::string(domain) + ".");
    if (domain == "ai.onnx.ml") read_classes(bytes, op);
    graph_.operators.push_back(std::move(op));
  }

  /// Notes what a ZipMap or a classifier calls its classes.
  /// \param node of which `op` was read
  void read_classes(std::string_view node, const Operator& op) {
    const bool is_map = op.type == "ai.onnx.ml.ZipMap";
    const std::size_t scores = is_map ? 0 : 1;  // a classifier gives the class in front of them
    if (op.outputs.size() <= scores || op.outputs[scores].second.empty()) return;
    NamedClasses classes;
    classes.value = op.outputs[scores].second[0];
    classes.is_map = is_map;
    each(node, [&](const Field& field) {
      if (field.number == kNodeAttribute) read_class_names(text(field), classes);
    });
    for (const std::int64_t number : classes.numbers) {
      classes.names.push_back(std::to_string(number));
    }
    if (!classes.names.empty()) graph_.named_classes.push_back(std::move(classes));
  }

  void read_class_names(std::string_view attribute, NamedClasses& classes) const {
    std::string_view name;
    std::vector<std::string> names;
    Integers numbers;
    each(attribute, [&](const Field& field) {
      if (field.number == kAttributeName) name = text(field);
      if (field.number == kIntegers) add_integers(field, numbers);
      if (field.number == kTexts) names.emplace_back(text(field));
    });
    if (name.substr(0, 12) != "classlabels_") return;
    for (const std::string& each : names) {
      if (is_utf8(each) && each.find('\0') == std::string::npos) continue;
      unsupported(path_, "has a class '" + each.substr(0, 100) + "', which is no name in UTF-8");
    }
    const bool twice = !classes.names.empty() || !classes.numbers.empty();
    if (twice && (!names.empty() || !numbers.empty())) damaged("it names classes twice");
    if (!names.empty()) classes.names = std::move(names);
    if (!numbers.empty()) classes.numbers = std::move(numbers);
  }

  void read_attribute(std::string_view bytes, Operator& op) {
    constexpr std::size_t kTypes = 9;
    // By AttributeProto.AttributeType; others have no value.
    std::array<Attribute, kTypes> found;
    found.fill({AttributeType::Other, {}});
    found[1] = {AttributeType::Float, 0.0};
    found[2] = {AttributeType::Long, std::int64_t{0}};
    found[3] = {AttributeType::Text, std::string()};
    found[6] = {AttributeType::Floats, Numbers()};
    found[7] = {AttributeType::Longs, Integers()};
    found[8] = {AttributeType::Texts, std::int64_t{0}};
    std::string_view name;
    std::size_t type = 0;
    std::uint64_t stored = 0;  // as which types, by bits
    each(bytes, [&](const Field& field) {
      const auto* const value = std::find(std::begin(kValues), std::end(kValues), field.number);
      if (value != std::end(kValues)) stored |= std::uint64_t{1} << (value - std::begin(kValues));
      if (field.number == kAttributeName) name = text(field);
      if (field.number == kAttributeType) type = static_cast<std::size_t>(small(field));
      if (field.number == kFloat) {
        if (field.wire != Wire::Fixed32) damaged("a field is of the wrong type");
        found[1].value = to_double(field);
      }
      if (field.number == kInteger) found[2].value = integer(field);
      if (field.number == kText) found[3].value = std::string(text(field));
      if (field.number == kFloats) {
        add_floats(reals(field, Wire::Fixed32), std::get<Numbers>(found[6].value));
      }
      if (field.number == kIntegers) add_integers(field, std::get<Integers>(found[7].value));
      if (field.number == kTexts) ++std::get<std::int64_t>(found[8].value);
      if (field.number != kTensor) return look_into(Inside::Attribute, field, 0);
      if (found[4].type == AttributeType::Tensor) damaged("an attribute has two tensors");
      graph_.values.emplace_back();
      found[4] = {AttributeType::Tensor, static_cast<std::int64_t>(graph_.values.size() - 1)};
      read_tensor(text(field), graph_.values.size() - 1);
    });
    if (stored != 0 && stored != std::uint64_t{1} << std::min<std::size_t>(type, 63)) {
      damaged("an attribute has a value that is not of its type");
    }
    op.attributes.emplace_back(
        name, type < kTypes ? std::move(found[type]) : Attribute{AttributeType::Other, {}});
  }

  static void add_floats(std::string_view bytes, Numbers& numbers) {
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, bytes.data() + at, sizeof(value));
      numbers.push_back(static_cast<double>(value));
    }
  }

  void read_initializer(std::string_view bytes) {
    std::string_view name;
    each(bytes, [&](const Field& field) {
      if (field.number == kTensorName) name = text(field);
    });
    const std::size_t index = index_of(name);
    if (graph_.values[index].parameter) damaged(std::string(name), "is there twice");
    read_tensor(bytes, index);
  }

  /// Sets the value to what a constant says.
  void read_tensor(std::string_view bytes, std::size_t index) {
    Value& value = graph_.values[index];
    value.parameter = true;
    value.has_shape = true;
    value.shape.clear();
    const ElementType* type = &kNoElementType;
    std::vector<std::string_view> parts;  // of a list of floating-point numbers
    Integers integers;
    std::string_view raw;
    bool in_segments = false;
    unsigned sources = 0;  // the fields that have the values, by bits
    each(bytes, [&](const Field& field) {
      const bool empty = field.wire == Wire::Bytes && field.bytes.empty();
      if (!empty && field.number < 12) sources |= kSources & 1U << field.number;
      if (field.number == kDims) add_integers(field, value.shape);
      if (field.number == kDataType) type = &onnx_element_type(small(field));
      if (field.number == kSegment) in_segments = true;
      if (field.number == kFloatData) parts.push_back(reals(field, Wire::Fixed32));
      if (field.number == kDoubleData) parts.push_back(reals(field, Wire::Fixed64));
      if (field.number == kInt32Data || field.number == kInt64Data) add_integers(field, integers);
      if (field.number == kTensorName) value.name = text(field);
      if (field.number == kRawData) raw = text(field);
    });
    value.dtype = value.data_dtype = type->dtype;
    if (in_segments) damaged(value.name, "is kept in segments");
    const auto size = size_in_bytes(type->size, value.shape, kMaxConstantBytes);
    if (!size) damaged(value.name, "has a negative size, or is too large");
    const bool is_external = look_through_tensor(bytes, index);
    if (is_external) sources |= 1U << kExternalData;
    if ((sources & (sources - 1)) != 0) damaged(value.name, "has its values twice");
    if (is_external || type->size == 0) return;
    const bool is_real = type->dtype == kFloat32 || type->dtype == kFloat64;
    const TensorField list = type->dtype == kFloat32   ? kFloatData
                             : type->dtype == kFloat64 ? kDoubleData
                             : type->dtype == kInt64   ? kInt64Data
                                                       : kInt32Data;
    value.data = raw;
    if (sources == 1U << list) {
      value.data = is_real ? joined(parts) : packed(integers, *type, value.name);
    }
    if (value.data.size() != *size || (sources != 0 && value.data.empty())) {
      damaged(value.name, "does not have as many values as its shape says");
    }
  }

  std::string_view joined(const std::vector<std::string_view>& parts) {
    if (parts.size() == 1) return parts[0];
    if (parts.empty()) return {};
    std::string& all = graph_.decoded.emplace_back();
    for (const std::string_view part : parts) all += part;
    return all;
  }

  std::string_view packed(const Integers& values, const ElementType& type,
                          const std::string& name) {
    if (values.empty()) return {};
    std::string& all = graph_.decoded.emplace_back();
    all.resize(values.size() * type.size);
    char* to = all.data();
    for (const std::int64_t value : values) {
      const bool fits = type.size == 2 ? value >= 0 && value <= 0xffff  // of float16, the bits
                                       : value >= type.least && value <= type.most;
      if (!fits) damaged(name, "has a number out of range");
      std::memcpy(to, &value, type.size);  // the machine is little-endian
      to += type.size;
    }
    return all;
  }

  /// Of an input or output; of value_info the type alone: wrong shapes are common there, and no
  /// engine follows them.
  void read_declaration(const Field& declaration) {
    std::string_view name;
    Value said;
    said.has_shape = false;
    each(text(declaration), [&](const Field& field) {
      if (field.number == kName) name = text(field);
      if (field.number != kType) return;
      each(text(field), [&](const Field& type) {
        if (type.number == kTensorType) read_tensor_type(text(type), said);
      });
    });
    said.name = name;
    const std::size_t index = index_of(name);
    Value& value = graph_.values[index];
    const bool is_input = declaration.number == kInput;
    const bool is_type = declaration.number == kValueInfo;
    if (!is_type) (is_input ? graph_.inputs : graph_.outputs).push_back(index);
    // Some tools write 0 for what they do not know.
    if (!is_input || value.parameter)
      std::replace(said.shape.begin(), said.shape.end(), std::int64_t{0}, kUnknown);
    const bool agrees = (said.dtype < 0 || said.dtype == value.dtype) &&
                        (!said.has_shape || fits(said.shape, value.shape));
    if (value.parameter && is_input && !agrees) damaged(value.name, "is another as an input");
    if (value.parameter) return;
    const bool differs = said.dtype >= 0 && value.dtype >= 0 && said.dtype != value.dtype;
    if (differs) damaged(value.name, "is declared with two types");
    if (is_type) said.shape.clear();
    said.has_shape &= !is_type;
    value = std::move(said);
  }

  void read_tensor_type(std::string_view bytes, Value& value) const {
    each(bytes, [&](const Field& field) {
      if (field.number == kElementType) value.dtype = onnx_element_type(small(field)).dtype;
      if (field.number != kShape) return;
      value.has_shape = true;
      each(text(field), [&](const Field& dimension) {
        if (dimension.number != kDimension) return;
        std::int64_t size = -1;
        each(text(dimension), [&](const Field& part) {
          if (part.number == kSize) size = integer(part);
        });
        value.shape.push_back(size >= 0 ? size : -1);
      });
    });
  }

  // ---- whatever else has tensors: only whether their values are in other files, and what no
  // engine may get to see

  /// onnxruntime does not come to an end with some equations that are none, wherever the operator
  /// is: so this is asked of all, before any engine sees the model.
  /// \param node an Einsum
  void require_equation(std::string_view node) const {
    std::string_view equation;
    std::size_t inputs = 0;
    bool is_given = false;  // not so where a function takes it from its caller
    each(node, [&](const Field& field) {
      if (field.number == kNodeInput) ++inputs;
      if (field.number != kNodeAttribute) return;
      std::string_view name;
      std::optional<std::string_view> value;
      each(text(field), [&](const Field& part) {
        if (part.number == kAttributeName) name = text(part);
        if (part.number == kText) value = text(part);
      });
      if (name != "equation" || !value) return;
      equation = *value;
      is_given = true;
    });
    if (!is_given) return;
    std::string problem;
    parse_einsum(equation, inputs, problem);
    if (problem.empty()) return;
    constexpr std::size_t kShown = 100;
    damaged("the equation '" + printable(std::string(equation.substr(0, kShown))) +
            "' of an Einsum " + problem);
  }

  void note_quantization(std::string_view type) {
    program_.quantized |= type == "DequantizeLinear" || type == "ConvInteger" ||
                          type == "MatMulInteger" || type.substr(0, 7) == "QLinear" ||
                          type == "QGemm";
  }

  void read_function(std::string_view bytes) {
    std::string_view domain;
    each(bytes, [&](const Field& field) {
      if (field.number == kFunctionDomain) domain = text(field);
      look_into(Inside::Function, field, 0);
    });
    if (is_own(domain) || domain == "com.microsoft") graph_.unsupported = "functions of its own";
  }

  void look_through(Inside message, std::string_view bytes, int depth) {
    if (message == Inside::Tensor) {
      look_through_tensor(bytes, kNone);
      return;
    }
    if (message == Inside::Graph && ++depth > kMaxDepth) fail("has graphs in graphs, too many");
    bool is_einsum = false;
    bool is_own_operator = true;
    each(bytes, [&](const Field& field) {
      if (message == Inside::Node && field.number == kOpType) {
        note_quantization(text(field));
        is_einsum = field.bytes == "Einsum";
      }
      if (message == Inside::Node && field.number == kDomain) is_own_operator = is_own(text(field));
      look_into(message, field, depth);
    });
    if (is_einsum && is_own_operator) require_equation(bytes);
  }

  /// One field of a message.
  void look_into(Inside message, const Field& field, int depth) {
    for (const Part& part : kParts) {
      if (part.message == message && part.field == field.number) {
        look_through(part.inside, text(field), depth);
      }
    }
  }

  /// \returns whether its values are in another file.
  bool look_through_tensor(std::string_view bytes, std::size_t value) {
    ExternalData data;
    data.value = value;
    bool is_external = false;
    std::set<std::string_view> keys;
    each(bytes, [&](const Field& field) {
      if (field.number == kTensorName) data.tensor = text(field);
      if (field.number == kDataLocation) is_external = field.value == kExternal;
      if (field.number == kExternalData) read_entry(text(field), data, keys);
    });
    if (is_external) program_.external.push_back(std::move(data));
    return is_external;
  }

  /// \param keys of the entries before it
  void read_entry(std::string_view bytes, ExternalData& data,
                  std::set<std::string_view>& keys) const {
    std::string_view key;
    std::string_view value;
    each(bytes, [&](const Field& field) {
      if (field.number == kKey) key = text(field);
      if (field.number == kValue) value = text(field);
    });
    const auto number = [&](std::uint64_t& into) {
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), into);
      if (parsed.ec == std::errc() && parsed.ptr == value.data() + value.size()) return;
      fail("has external data with an " + std::string(key) +
           " that is no number: " + std::string(value));
    };
    if (key == "location") data.location = value;
    if (key == "offset") number(data.offset);
    if (key == "length") number(data.length);
    if (!keys.insert(key).second) fail("says twice the " + std::string(key) + " of external data");
  }

  const std::string& path_;
  OnnxProgram program_;
  Graph& graph_ = program_.graph;
  std::map<std::string_view, std::size_t> names_;
};

}  // namespace

OnnxProgram read_onnx_program(std::string_view bytes, const std::string& path) {
  return Reader(path).read(bytes);
}

}  // namespace lenet
