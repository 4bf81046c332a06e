/// \file
/// Numbers of fields and of element types in onnx.proto.
#pragma once

#include <cstdint>

namespace lenet::onnx_fields {

enum ModelField : std::uint64_t {
  kOpsetImport = 8,
  kGraph = 7,
  kTrainingInfo = 20,
  kFunctions = 25,
};
enum OpsetField : std::uint64_t { kOpsetDomain = 1, kOpsetVersion = 2 };
enum TrainingInfoField : std::uint64_t { kInitialization = 1, kAlgorithm = 2 };
enum GraphField : std::uint64_t {
  kNode = 1,
  kInitializer = 5,
  kInput = 11,
  kOutput = 12,
  kSparseInitializer = 15,
};
enum FunctionField : std::uint64_t {
  kFunctionNode = 7,
  kFunctionDomain = 10,
  kFunctionAttribute = 11
};
enum NodeField : std::uint64_t {
  kNodeInput = 1,
  kNodeOutput = 2,
  kOpType = 4,
  kNodeAttribute = 5,
  kDomain = 7,
};
enum AttributeField : std::uint64_t {
  kAttributeName = 1,
  kFloat = 2,
  kInteger = 3,
  kText = 4,
  kTensor = 5,
  kSubgraph = 6,
  kFloats = 7,
  kIntegers = 8,
  kTensors = 10,
  kSubgraphs = 11,
  kAttributeType = 20,
  kSparseTensor = 22,
  kSparseTensors = 23,
};
enum SparseField : std::uint64_t { kSparseValues = 1, kSparseIndices = 2 };
enum TensorField : std::uint64_t {
  kDims = 1,
  kDataType = 2,
  kSegment = 3,
  kFloatData = 4,
  kInt32Data = 5,
  kInt64Data = 7,
  kTensorName = 8,
  kRawData = 9,
  kExternalData = 13,
  kDataLocation = 14,
};
enum EntryField : std::uint64_t { kKey = 1, kValue = 2 };
enum ValueInfoField : std::uint64_t { kName = 1, kType = 2 };
enum TypeField : std::uint64_t { kTensorType = 1 };
enum TensorTypeField : std::uint64_t { kElementType = 1, kShape = 2 };
enum TensorShapeField : std::uint64_t { kDimension = 1 };
enum DimensionField : std::uint64_t { kSize = 1 };

constexpr std::uint64_t kExternal = 1;  // of DataLocation

inline constexpr const char* kWhat = "an ONNX model";  // for errors

}  // namespace lenet::onnx_fields
