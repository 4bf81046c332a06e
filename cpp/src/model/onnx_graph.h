/// \file
/// The graph of an .onnx file, for an engine that computes it itself: nodes, attributes, constants.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lenet/tensor.h"
#include "model/onnx_model.h"
#include "shared_numbers.h"

namespace lenet {

/// Element types of TensorProto.DataType of which values are read.
inline constexpr int kOnnxFloat = 1;
inline constexpr int kOnnxInt32 = 6;
inline constexpr int kOnnxInt64 = 7;
inline constexpr int kOnnxBool = 9;

/// A constant. Of an element type that is none of the above only type and shape are known.
struct OnnxTensor {
  std::string name;
  int dtype = 0;
  Shape shape;
  SharedNumbers<float> floats;           ///< of kOnnxFloat, as many as the shape says
  SharedNumbers<std::int64_t> integers;  ///< of the other three
  std::optional<ExternalData> external;  ///< until read_external_values has read it
};

/// What a node says beside its inputs; of other types there is only the type.
struct OnnxAttribute {
  enum Type : int { kFloat = 1, kInteger = 2, kText = 3, kTensor = 4, kFloats = 6, kIntegers = 7 };
  int type = 0;  ///< AttributeProto.AttributeType
  float number = 0;
  std::int64_t integer = 0;
  std::string text;
  std::vector<float> numbers;
  std::vector<std::int64_t> integers;
  OnnxTensor tensor;
};

struct OnnxNode {
  std::string type;
  std::string domain;               ///< empty for ONNX's own operators
  std::vector<std::string> inputs;  ///< empty names are left out
  std::vector<std::string> outputs;
  std::map<std::string, OnnxAttribute> attributes;
};

/// An input or output.
struct OnnxValue {
  std::string name;
  int dtype = 0;
  bool has_shape = false;
  Shape shape;  ///< -1 where it is free
};

struct OnnxGraph {
  std::int64_t opset = 0;      ///< of ONNX's own operators; 0: not said
  bool own_functions = false;  ///< defines operators under the names of ONNX's own
  bool sparse_constants = false;
  std::vector<OnnxNode> nodes;  ///< as in the file
  std::vector<OnnxTensor> constants;
  std::vector<OnnxValue> inputs;  ///< before 2019 the constants were among them
  std::vector<OnnxValue> outputs;
  double file_bytes = 0;  ///< size of the file, and of those that hold its constants
};

/// Reads a file that read_onnx_model has accepted; keeps nothing of `bytes`.
/// \param path for errors
/// \throws Error BadModel when values are missing or left over, or a message is broken.
OnnxGraph read_onnx_graph(std::string_view bytes, const std::string& path);

/// Reads the constants that are kept in files beside the model.
/// \throws Error as find_external_files; BadModel when a file is too short.
void read_external_values(OnnxGraph& graph, const std::string& path);

}  // namespace lenet
