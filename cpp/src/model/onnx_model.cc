#include "model/onnx_model.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "io/file.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/onnx_fields.h"
#include "model/protobuf.h"

namespace lenet {
namespace fs = std::filesystem;
using namespace onnx_fields;
namespace {

constexpr int kMaxDepth = 64;

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  OnnxModel read(std::string_view bytes) {
    bool has_graph = false;
    each(bytes, [&](const Field& field) {
      if (field.number == kGraph) {
        if (has_graph) fail("has two graphs");
        has_graph = true;
        read_main_graph(field.bytes);
      } else if (field.number == kFunctions) {
        read_function(field.bytes);
      } else if (field.number == kTrainingInfo) {
        each(field.bytes, [&](const Field& graph) {
          if (graph.number == kInitialization || graph.number == kAlgorithm) {
            read_graph(graph.bytes, 0);
          }
        });
      }
    });
    if (!has_graph) fail("is no ONNX model: it has no graph");
    return std::move(model_);
  }

 private:
  struct NodeEnd {
    std::string type;
    std::string input;  ///< the first
  };

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::BadModel, "'" + path_ + "' " + problem);
  }

  /// Of a message, its fields that are messages or text.
  template <typename Action>
  void each(std::string_view message, Action&& action) const {
    each_field(message, path_, kWhat, [&](const Field& field) {
      if (field.delimited) action(field);
    });
  }

  void read_main_graph(std::string_view graph) {
    std::string output;
    each(graph, [&](const Field& field) {
      if (field.number != kOutput || !output.empty()) return;
      each(field.bytes, [&](const Field& part) {
        if (part.number == kName) output = part.bytes;
      });
    });
    std::map<std::string, NodeEnd> nodes = read_graph(graph, 0);
    // At most as many steps as there are nodes: a damaged graph may go round.
    for (std::size_t left = nodes.size(); left > 0; --left) {
      const auto found = nodes.find(output);
      if (found == nodes.end()) return;
      const std::string& type = found->second.type;
      model_.ends_in_softmax = type == "Softmax";
      // They change no value.
      if (type != "Identity" && type != "Flatten" && type != "Reshape" && type != "Squeeze") return;
      output = found->second.input;
    }
  }

  /// \returns the nodes by their first output.
  std::map<std::string, NodeEnd> read_graph(std::string_view graph, int depth) {
    if (depth > kMaxDepth) fail("has graphs in graphs, too many");
    std::map<std::string, NodeEnd> nodes;
    each(graph, [&](const Field& field) {
      if (field.number == kNode) read_node(field.bytes, depth, nodes);
      if (field.number == kInitializer) read_tensor(field.bytes);
      if (field.number == kSparseInitializer) read_sparse(field.bytes);
    });
    return nodes;
  }

  void read_function(std::string_view function) {
    std::map<std::string, NodeEnd> unused;
    each(function, [&](const Field& field) {
      if (field.number == kFunctionNode) read_node(field.bytes, 0, unused);
      if (field.number == kFunctionAttribute) read_attribute(field.bytes, 0);
    });
  }

  void read_node(std::string_view node, int depth, std::map<std::string, NodeEnd>& nodes) {
    NodeEnd end;
    std::string output;
    bool has_input = false;
    each(node, [&](const Field& field) {
      if (field.number == kNodeInput && !has_input) {
        end.input = field.bytes;
        has_input = true;
      }
      if (field.number == kNodeOutput && output.empty()) output = field.bytes;
      if (field.number == kOpType) end.type = field.bytes;
      if (field.number == kNodeAttribute) read_attribute(field.bytes, depth);
    });
    model_.quantized |= end.type == "DequantizeLinear" || end.type == "ConvInteger" ||
                        end.type == "MatMulInteger" || end.type.rfind("QLinear", 0) == 0;
    nodes.emplace(std::move(output), std::move(end));
  }

  void read_attribute(std::string_view attribute, int depth) {
    each(attribute, [&](const Field& field) {
      if (field.number == kTensor || field.number == kTensors) read_tensor(field.bytes);
      if (field.number == kSubgraph || field.number == kSubgraphs) {
        read_graph(field.bytes, depth + 1);
      }
      if (field.number == kSparseTensor || field.number == kSparseTensors) read_sparse(field.bytes);
    });
  }

  void read_sparse(std::string_view sparse) {
    each(sparse, [&](const Field& field) {
      if (field.number == kSparseValues || field.number == kSparseIndices) read_tensor(field.bytes);
    });
  }

  void read_tensor(std::string_view tensor) {
    if (auto data = read_external_data(tensor, path_)) model_.external.push_back(std::move(*data));
  }

  const std::string& path_;
  OnnxModel model_;
};

/// Whether a path stays below the folder that it starts from, without a look at what is there.
bool stays_below(const fs::path& relative) {
  const fs::path normal = relative.lexically_normal();
  return !normal.empty() && relative.is_relative() && *normal.begin() != ".." && normal != ".";
}

void read_entry(std::string_view entry, const std::string& path, ExternalData& data) {
  std::string_view key;
  std::string_view value;
  each_field(entry, path, kWhat, [&](const Field& field) {
    if (field.number == kKey && field.delimited) key = field.bytes;
    if (field.number == kValue && field.delimited) value = field.bytes;
  });
  const auto number = [&](std::uint64_t& into) {
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), into);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) {
      throw Error(ErrorCode::BadModel, "'" + path + "' has external data with an " +
                                           std::string(key) +
                                           " that is no number: " + printable(std::string(value)));
    }
  };
  if (key == "location") data.location = value;
  if (key == "offset") number(data.offset);
  if (key == "length") number(data.length);
}

}  // namespace

std::optional<ExternalData> read_external_data(std::string_view tensor, const std::string& path) {
  ExternalData data;
  bool is_external = false;
  each_field(tensor, path, kWhat, [&](const Field& field) {
    if (field.number == kTensorName && field.delimited) data.tensor = field.bytes;
    if (field.number == kDataLocation) is_external |= field.value == kExternal;
    if (field.number == kExternalData && field.delimited) {
      is_external = true;
      read_entry(field.bytes, path, data);
    }
  });
  if (!is_external) return std::nullopt;
  return data;
}

OnnxModel read_onnx_model(std::string_view bytes, const std::string& path) {
  return Reader(path).read(bytes);
}

std::vector<std::string> find_external_files(const OnnxModel& model, const std::string& path) {
  std::set<std::string> files;
  const fs::path folder = fs::path(path).parent_path();
  std::error_code failed;
  const fs::path root = fs::canonical(folder.empty() ? "." : folder, failed);
  for (const ExternalData& data : model.external) {
    const std::string where = "'" + path + "' keeps the values of '" + printable(data.tensor) +
                              "' in '" + printable(data.location) + "'";
    // onnxruntime takes a location that begins so for an address in memory.
    const bool is_address = data.location.rfind("*/", 0) == 0;
    const bool has_zero = data.location.find('\0') != std::string::npos;
    if (is_address || has_zero || !stays_below(data.location)) {
      throw Error(ErrorCode::BadModel, where + ", which is no file of its folder");
    }
    const std::string file = (folder / data.location).string();
    if (!fs::exists(file, failed)) {
      throw Error(ErrorCode::FileNotFound, where + ", which is not there; it belongs to the model");
    }
    require_file(file);
    // A link may lead out of it.
    const fs::path real = fs::canonical(file, failed);
    if (failed || !stays_below(real.lexically_relative(root))) {
      throw Error(ErrorCode::BadModel, where + ", which leads out of its folder");
    }
    const std::uintmax_t size = fs::file_size(real, failed);
    if (data.offset > size || data.length > size - data.offset) {
      throw Error(ErrorCode::BadModel, where + ", which has only " + std::to_string(size) +
                                           " bytes; it was cut short or belongs to another model");
    }
    files.insert(fs::path(file).lexically_normal().string());
  }
  return {files.begin(), files.end()};
}

}  // namespace lenet
