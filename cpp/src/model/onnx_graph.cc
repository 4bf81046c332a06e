#include "model/onnx_graph.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <tuple>
#include <utility>

#include "io/printable.h"
#include "lenet/error.h"
#include "model/check_graph.h"
#include "model/onnx_fields.h"
#include "model/protobuf.h"

namespace lenet {
namespace fs = std::filesystem;
using namespace onnx_fields;
namespace {

constexpr int kVarint = 0;
constexpr int kWire32 = 5;

/// The values of a repeated field, one of them or many together, in the order of the file.
struct Numbers {
  std::vector<float> floats;
  std::vector<std::int64_t> int32s;
  std::vector<std::int64_t> int64s;
};

float float_of(std::uint64_t bits) {
  const auto half = static_cast<std::uint32_t>(bits);
  float value = 0;
  std::memcpy(&value, &half, sizeof(value));
  return value;
}

template <typename Stored, typename Value>
std::vector<Value> unpack(std::string_view raw) {
  std::vector<Value> values(raw.size() / sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored{};
    std::memcpy(&stored, raw.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = static_cast<Value>(stored);
  }
  return values;
}

/// Bytes of one element; 0 for types of which no values are read.
std::size_t element_size(int dtype) {
  switch (dtype) {
    case kOnnxFloat:
    case kOnnxInt32:
      return 4;
    case kOnnxInt64:
      return 8;
    case kOnnxBool:
      return 1;
    default:
      return 0;
  }
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  OnnxGraph read(std::string_view bytes) {
    graph_.file_bytes = static_cast<double>(bytes.size());
    each(bytes, [&](const Field& field) {
      if (field.number == kGraph) read_graph(text(field));
      if (field.number == kOpsetImport) read_opset(text(field));
      if (field.number == kFunctions) read_function(text(field));
    });
    return std::move(graph_);
  }

  void set_values(OnnxTensor& tensor, std::string_view raw) const {
    if (tensor.dtype == kOnnxFloat) tensor.floats = unpack<float, float>(raw);
    if (tensor.dtype == kOnnxInt32) tensor.integers = unpack<std::int32_t, std::int64_t>(raw);
    if (tensor.dtype == kOnnxInt64) tensor.integers = unpack<std::int64_t, std::int64_t>(raw);
    if (tensor.dtype == kOnnxBool) tensor.integers = unpack<std::uint8_t, std::int64_t>(raw);
  }

  /// \returns the bytes that the values of a constant take.
  std::uint64_t size_of(const OnnxTensor& tensor) const {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
    std::uint64_t size = element_size(tensor.dtype);
    for (const std::int64_t dimension : tensor.shape) {
      if (dimension < 0) damaged(tensor, "has a negative size");
      const auto unsigned_size = static_cast<std::uint64_t>(dimension);
      if (unsigned_size != 0 && size > kMost / unsigned_size) damaged(tensor, "is too large");
      size *= unsigned_size;
    }
    return size;
  }

  [[noreturn]] void damaged(const OnnxTensor& tensor, const std::string& problem) const {
    fail("the constant '" + printable(tensor.name) + "' " + problem);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::BadModel, "'" + path_ + "' is damaged: " + problem);
  }

  template <typename Action>
  void each(std::string_view message, Action&& action) const {
    each_field(message, path_, kWhat, action);
  }

  std::string_view text(const Field& field) const {
    if (!field.delimited) fail("a field is of the wrong type");
    return field.bytes;
  }
  std::int64_t integer(const Field& field) const {
    if (field.wire != kVarint) fail("a field is of the wrong type");
    return static_cast<std::int64_t>(field.value);
  }
  int small(const Field& field) const {
    const std::int64_t value = integer(field);
    if (value < 0 || value > std::numeric_limits<int>::max()) fail("a number is out of range");
    return static_cast<int>(value);
  }

  /// One value, or many in one field.
  void add_integers(const Field& field, std::vector<std::int64_t>& values) const {
    if (!field.delimited) return values.push_back(integer(field));
    ByteReader reader(field.bytes);
    while (!reader.at_end()) {
      values.push_back(static_cast<std::int64_t>(reader.read_varint()));
      if (!reader.ok()) fail("a list of numbers is cut short");
    }
  }
  void add_floats(const Field& field, std::vector<float>& values) const {
    if (field.wire == kWire32) return values.push_back(float_of(field.value));
    if (!field.delimited || field.bytes.size() % sizeof(float) != 0) {
      fail("a list of numbers is cut short");
    }
    const std::vector<float> more = unpack<float, float>(field.bytes);
    values.insert(values.end(), more.begin(), more.end());
  }

  void read_opset(std::string_view bytes) {
    std::string_view domain;
    std::int64_t version = 0;
    each(bytes, [&](const Field& field) {
      if (field.number == kOpsetDomain) domain = text(field);
      if (field.number == kOpsetVersion) version = integer(field);
    });
    if (!is_own(domain)) return;
    if (graph_.opset != 0 && graph_.opset != version) fail("it names two operator sets");
    graph_.opset = version;
  }

  static bool is_own(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

  void read_function(std::string_view bytes) {
    std::string_view domain;
    each(bytes, [&](const Field& field) {
      if (field.number == kFunctionDomain) domain = text(field);
    });
    graph_.own_functions |= is_own(domain);
  }

  void read_graph(std::string_view bytes) {
    each(bytes, [&](const Field& field) {
      // An empty one has two bytes in the file.
      const auto most = std::max({graph_.nodes.size(), graph_.constants.size(),
                                  graph_.inputs.size(), graph_.outputs.size()});
      if (most > kMaxOperators) fail("it has too many nodes, constants, inputs or outputs");
      switch (field.number) {
        case kNode:
          graph_.nodes.push_back(read_node(text(field)));
          break;
        case kInitializer:
          graph_.constants.push_back(read_tensor(text(field)));
          break;
        case kInput:
          graph_.inputs.push_back(read_value(text(field)));
          break;
        case kOutput:
          graph_.outputs.push_back(read_value(text(field)));
          break;
        case kSparseInitializer:
          graph_.sparse_constants = true;
          break;
        default:
          break;
      }
    });
  }

  OnnxNode read_node(std::string_view bytes) const {
    OnnxNode node;
    each(bytes, [&](const Field& field) {
      if (field.number == kNodeInput) node.inputs.emplace_back(text(field));
      if (field.number == kNodeOutput) node.outputs.emplace_back(text(field));
      if (field.number == kOpType) node.type = text(field);
      if (field.number == kDomain) node.domain = is_own(text(field)) ? "" : text(field);
      if (field.number == kNodeAttribute) read_attribute(text(field), node);
    });
    return node;
  }

  void read_attribute(std::string_view bytes, OnnxNode& node) const {
    std::string name;
    OnnxAttribute attribute;
    bool has_tensor = false;
    each(bytes, [&](const Field& field) {
      switch (field.number) {
        case kAttributeName:
          name = text(field);
          break;
        case kAttributeType:
          attribute.type = small(field);
          break;
        case kFloat:
          if (field.wire != kWire32) fail("a field is of the wrong type");
          attribute.number = float_of(field.value);
          break;
        case kInteger:
          attribute.integer = integer(field);
          break;
        case kText:
          attribute.text = text(field);
          break;
        case kFloats:
          add_floats(field, attribute.numbers);
          break;
        case kIntegers:
          add_integers(field, attribute.integers);
          break;
        case kTensor:
          if (std::exchange(has_tensor, true)) fail("an attribute has two tensors");
          attribute.tensor = read_tensor(text(field));
          break;
        default:
          break;
      }
    });
    if (!node.attributes.emplace(name, std::move(attribute)).second) {
      fail("a node has the attribute '" + printable(name) + "' twice");
    }
  }

  OnnxTensor read_tensor(std::string_view bytes) const {
    OnnxTensor tensor;
    Numbers numbers;
    std::optional<std::string_view> raw;
    bool in_segments = false;
    each(bytes, [&](const Field& field) {
      switch (field.number) {
        case kDims:
          add_integers(field, tensor.shape);
          break;
        case kDataType:
          tensor.dtype = small(field);
          break;
        case kSegment:
          in_segments = true;
          break;
        case kFloatData:
          add_floats(field, numbers.floats);
          break;
        case kInt32Data:
          add_integers(field, numbers.int32s);
          break;
        case kInt64Data:
          add_integers(field, numbers.int64s);
          break;
        case kTensorName:
          tensor.name = text(field);
          break;
        case kRawData:
          raw = text(field);
          break;
        default:
          break;
      }
    });
    if (in_segments) damaged(tensor, "is kept in segments");
    tensor.external = read_external_data(bytes, path_);
    const std::uint64_t size = size_of(tensor);
    if (tensor.external || element_size(tensor.dtype) == 0) return tensor;
    const std::size_t listed =
        numbers.floats.size() + numbers.int32s.size() + numbers.int64s.size();
    if (raw && !raw->empty()) {
      if (listed > 0) damaged(tensor, "has its values twice");
      if (raw->size() != size) damaged(tensor, "does not have as many values as its shape says");
      set_values(tensor, *raw);
      return tensor;
    }
    if (tensor.dtype == kOnnxFloat) {
      tensor.floats = std::move(numbers.floats);
    } else {
      tensor.integers = std::move(tensor.dtype == kOnnxInt64 ? numbers.int64s : numbers.int32s);
    }
    const std::size_t values = tensor.floats.size() + tensor.integers.size();
    if (values != listed || values != size / element_size(tensor.dtype)) {
      damaged(tensor, "does not have as many values as its shape says");
    }
    return tensor;
  }

  OnnxValue read_value(std::string_view bytes) const {
    OnnxValue value;
    each(bytes, [&](const Field& field) {
      if (field.number == kName) value.name = text(field);
      if (field.number != kType) return;
      each(text(field), [&](const Field& type) {
        if (type.number == kTensorType) read_tensor_type(text(type), value);
      });
    });
    return value;
  }

  void read_tensor_type(std::string_view bytes, OnnxValue& value) const {
    each(bytes, [&](const Field& field) {
      if (field.number == kElementType) value.dtype = small(field);
      if (field.number != kShape) return;
      value.has_shape = true;
      each(text(field), [&](const Field& dimension) {
        if (dimension.number != kDimension) return;
        std::int64_t size = -1;
        each(text(dimension), [&](const Field& part) {
          if (part.number == kSize) size = integer(part);
        });
        value.shape.push_back(size > 0 ? size : -1);
      });
    });
  }

  const std::string& path_;
  OnnxGraph graph_;
};

}  // namespace

OnnxGraph read_onnx_graph(std::string_view bytes, const std::string& path) {
  return Reader(path).read(bytes);
}

void read_external_values(OnnxGraph& graph, const std::string& path,
                          const std::function<std::string_view(const std::string&)>& read) {
  const Reader reader(path);
  OnnxModel model;
  for (const OnnxTensor& tensor : graph.constants) {
    if (tensor.external) model.external.push_back(*tensor.external);
  }
  for (const OnnxNode& node : graph.nodes) {
    for (const auto& [name, attribute] : node.attributes) {
      if (attribute.tensor.external) model.external.push_back(*attribute.tensor.external);
    }
  }
  if (model.external.empty()) return;
  find_external_files(model, path);
  struct File {
    std::string_view contents;
    double used = 0;  // bytes, by constants at different places
    std::map<std::tuple<std::uint64_t, std::uint64_t, int>, OnnxTensor> constants;
  };
  std::map<std::string, File> files;  // by path, however the location is written
  const auto load = [&](OnnxTensor& tensor) {
    if (!tensor.external) return;
    const ExternalData& data = *tensor.external;
    const std::string location =
        (fs::path(path).parent_path() / data.location).lexically_normal().string();
    const auto [at, is_new] = files.try_emplace(location);
    File& file = at->second;
    const std::string_view contents = is_new ? file.contents = read(location) : file.contents;
    if (is_new) graph.file_bytes += static_cast<double>(contents.size());
    const std::uint64_t size = reader.size_of(tensor);
    // A length of 0 is one that was not said.
    const bool fits = data.offset <= contents.size() && size <= contents.size() - data.offset;
    if (!fits || (data.length != 0 && data.length != size)) {
      reader.damaged(tensor, "does not have as many values as its shape says in '" +
                                 printable(data.location) + "'");
    }
    const auto [known, first] =
        file.constants.try_emplace({data.offset, size, tensor.dtype}, OnnxTensor());
    if (first) {
      constexpr double kMostOverlap = 4;
      file.used += static_cast<double>(size);
      if (file.used > kMostOverlap * static_cast<double>(contents.size())) {
        reader.damaged(tensor, "overlaps others in '" + printable(data.location) + "'");
      }
      known->second.dtype = tensor.dtype;
      reader.set_values(known->second, contents.substr(data.offset, size));
    }
    tensor.floats = known->second.floats;
    tensor.integers = known->second.integers;
    tensor.external.reset();
  };
  for (OnnxTensor& tensor : graph.constants) load(tensor);
  for (OnnxNode& node : graph.nodes) {
    for (auto& [name, attribute] : node.attributes) load(attribute.tensor);
  }
}

}  // namespace lenet
