/// Declarations of the part of onnxruntime's C API that lenet uses: the library comes without
/// headers in the `onnxruntime` wheel.
///
/// The API is one exported function, `OrtGetApiBase`, and a table of function pointers, which the
/// project promises only ever to lengthen. The places in the table are a fact of the public header
/// (microsoft/onnxruntime, onnxruntime_c_api.h). cmake/probe_onnxruntime.cc calls each of them when
/// a library is at hand, and cmake/check_onnxruntime_header.cc compares this file with the header
/// when that is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace lenet::ort {

struct Allocator;
struct CudaOptions;  ///< OrtCUDAProviderOptionsV2
struct Env;
struct MemoryInfo;
struct RunOptions;
struct Session;
struct SessionOptions;
struct Status;
struct TensorInfo;       ///< OrtTensorTypeAndShapeInfo
struct TensorRtOptions;  ///< OrtTensorRTProviderOptionsV2
struct TypeInfo;
struct Value;

enum ErrorCode : int { kNoSuchFile = 3, kNotImplemented = 9 };

enum ElementType : int { kFloat = 1, kLong = 7, kText = 8 };  // ONNX's TensorProto.DataType

enum LogLevel : int { kLogFatal = 4 };

enum OptimizationLevel : int { kDisableAll = 0, kEnableAll = 99 };

enum AllocatorType : int { kDeviceAllocator = 0 };

enum MemoryType : int { kDefaultMemory = 0 };

using PathCharacter = std::filesystem::path::value_type;  ///< ORTCHAR_T

using LogFunction = void (*)(void* parameter, LogLevel level, const char* category,
                             const char* log_id, const char* location, const char* message);

/// The first version with everything below is 1; 17 is the oldest that this was tried with.
constexpr std::uint32_t kApiVersion = 17;

/// The functions that return a Status* give null for success; a status is the caller's to release.
struct Api {
  void* unused_0;
  ErrorCode (*GetErrorCode)(const Status*) noexcept;
  const char* (*GetErrorMessage)(const Status*) noexcept;
  void* unused_3;
  Status* (*CreateEnvWithCustomLogger)(LogFunction, void* parameter, LogLevel, const char* log_id,
                                       Env** made) noexcept;
  void* unused_5[2];
  Status* (*CreateSession)(const Env*, const PathCharacter* path, const SessionOptions*,
                           Session** made) noexcept;
  void* unused_8;
  Status* (*Run)(Session*, const RunOptions*, const char* const* input_names,
                 const Value* const* inputs, std::size_t input_count,
                 const char* const* output_names, std::size_t output_count,
                 Value** outputs) noexcept;
  Status* (*CreateSessionOptions)(SessionOptions** made) noexcept;
  void* unused_11[6];
  Status* (*DisableMemPattern)(SessionOptions*) noexcept;
  void* unused_18;
  Status* (*DisableCpuMemArena)(SessionOptions*) noexcept;
  void* unused_20[2];
  Status* (*SetSessionLogSeverityLevel)(SessionOptions*, int level) noexcept;
  Status* (*SetSessionGraphOptimizationLevel)(SessionOptions*, OptimizationLevel) noexcept;
  Status* (*SetIntraOpNumThreads)(SessionOptions*, int threads) noexcept;
  Status* (*SetInterOpNumThreads)(SessionOptions*, int threads) noexcept;
  void* unused_26[4];
  Status* (*SessionGetInputCount)(const Session*, std::size_t* count) noexcept;
  Status* (*SessionGetOutputCount)(const Session*, std::size_t* count) noexcept;
  void* unused_32;
  Status* (*SessionGetInputTypeInfo)(const Session*, std::size_t index, TypeInfo** made) noexcept;
  Status* (*SessionGetOutputTypeInfo)(const Session*, std::size_t index, TypeInfo** made) noexcept;
  void* unused_35;
  Status* (*SessionGetInputName)(const Session*, std::size_t index, Allocator*,
                                 char** made) noexcept;
  Status* (*SessionGetOutputName)(const Session*, std::size_t index, Allocator*,
                                  char** made) noexcept;
  void* unused_38;
  Status* (*CreateRunOptions)(RunOptions** made) noexcept;
  void* unused_40[6];
  /// Makes the runs with these options, in whatever thread, end with an error.
  Status* (*RunOptionsSetTerminate)(RunOptions*) noexcept;
  Status* (*RunOptionsUnsetTerminate)(RunOptions*) noexcept;
  void* unused_48;
  Status* (*CreateTensorWithDataAsOrtValue)(const MemoryInfo*, void* data, std::size_t bytes,
                                            const std::int64_t* shape, std::size_t rank,
                                            ElementType, Value** made) noexcept;
  void* unused_50;
  Status* (*GetTensorMutableData)(Value*, void** data) noexcept;
  void* unused_52;
  /// The bytes of all texts together.
  Status* (*GetStringTensorDataLength)(const Value*, std::size_t* bytes) noexcept;
  /// Gives them one behind the other, and where each begins.
  Status* (*GetStringTensorContent)(const Value*, void* texts, std::size_t bytes,
                                    std::size_t* begins, std::size_t count) noexcept;
  /// Gives null for what is no tensor.
  Status* (*CastTypeInfoToTensorInfo)(const TypeInfo*, const TensorInfo** info) noexcept;
  void* unused_56[4];
  Status* (*GetTensorElementType)(const TensorInfo*, ElementType*) noexcept;
  Status* (*GetDimensionsCount)(const TensorInfo*, std::size_t* rank) noexcept;
  Status* (*GetDimensions)(const TensorInfo*, std::int64_t* shape, std::size_t rank) noexcept;
  void* unused_63[2];
  Status* (*GetTensorTypeAndShape)(const Value*, TensorInfo** made) noexcept;
  void* unused_66[3];
  Status* (*CreateCpuMemoryInfo)(AllocatorType, MemoryType, MemoryInfo** made) noexcept;
  void* unused_70[6];
  Status* (*AllocatorFree)(Allocator*, void*) noexcept;
  void* unused_77;
  Status* (*GetAllocatorWithDefaultOptions)(Allocator**) noexcept;
  void* unused_79;
  /// Gives an element of a list, or of a map 0: the keys, 1: the values, as a new value.
  Status* (*GetValue)(const Value*, int index, Allocator*, Value** made) noexcept;
  Status* (*GetValueCount)(const Value*, std::size_t* count) noexcept;
  void* unused_82[11];
  void (*ReleaseStatus)(Status*) noexcept;
  void (*ReleaseMemoryInfo)(MemoryInfo*) noexcept;
  void (*ReleaseSession)(Session*) noexcept;
  void (*ReleaseValue)(Value*) noexcept;
  void (*ReleaseRunOptions)(RunOptions*) noexcept;
  void (*ReleaseTypeInfo)(TypeInfo*) noexcept;
  void (*ReleaseTensorTypeAndShapeInfo)(TensorInfo*) noexcept;
  void (*ReleaseSessionOptions)(SessionOptions*) noexcept;
  void* unused_101[69];
  Status* (*SessionOptionsAppendExecutionProvider_TensorRT_V2)(SessionOptions*,
                                                               const TensorRtOptions*) noexcept;
  Status* (*CreateTensorRTProviderOptions)(TensorRtOptions** made) noexcept;
  Status* (*UpdateTensorRTProviderOptions)(TensorRtOptions*, const char* const* names,
                                           const char* const* values, std::size_t count) noexcept;
  void* unused_173;
  void (*ReleaseTensorRTProviderOptions)(TensorRtOptions*) noexcept;
  void* unused_175[29];
  Status* (*SessionOptionsAppendExecutionProvider_CUDA_V2)(SessionOptions*,
                                                           const CudaOptions*) noexcept;
  Status* (*CreateCUDAProviderOptions)(CudaOptions** made) noexcept;
  Status* (*UpdateCUDAProviderOptions)(CudaOptions*, const char* const* names,
                                       const char* const* values, std::size_t count) noexcept;
  void* unused_207;
  void (*ReleaseCUDAProviderOptions)(CudaOptions*) noexcept;
};
static_assert(offsetof(Api, ReleaseCUDAProviderOptions) == 208 * sizeof(void*));

struct ApiBase {
  /// Null, with a word on standard error, for a version that the library does not know.
  const Api* (*GetApi)(std::uint32_t version) noexcept;
  const char* (*GetVersionString)() noexcept;
};

constexpr const char* kGetApiBaseSymbol = "OrtGetApiBase";
using GetApiBase = const ApiBase* (*)() noexcept;

}  // namespace lenet::ort
