/// Compares cpp/compat/onnxruntime_api.h with onnxruntime's own header, where that is found. It is
/// compiled only: no code comes of it.
#include <onnxruntime_c_api.h>

#include <cstddef>
#include <type_traits>

#include "compat/onnxruntime_api.h"

namespace lenet::ort {
namespace {

/// Whether two types are passed alike: pointers are pointers, enumerations are integers.
template <typename Ours, typename Theirs>
struct Alike
    : std::bool_constant<sizeof(Ours) == sizeof(Theirs) &&
                         std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> &&
                         std::is_floating_point_v<Ours> == std::is_floating_point_v<Theirs>> {};

template <>
struct Alike<void, void> : std::true_type {};

/// Functions that are called alike. With other numbers of arguments this does not compile.
template <typename Result, typename... Arguments, bool kNoThrow, typename TheirResult,
          typename... TheirArguments, bool kTheirNoThrow>
struct Alike<Result (*)(Arguments...) noexcept(kNoThrow),
             TheirResult (*)(TheirArguments...) noexcept(kTheirNoThrow)>
    : std::conjunction<Alike<Result, TheirResult>, Alike<Arguments, TheirArguments>...> {};

}  // namespace

// NOLINTBEGIN: a macro names the member once for both structures and for the message
#define LENET_SAME(name)                                                              \
  static_assert(offsetof(Api, name) == offsetof(::OrtApi, name), #name " has moved"); \
  static_assert(Alike<decltype(Api::name), decltype(::OrtApi::name)>::value,          \
                #name " is called otherwise")
LENET_SAME(GetErrorCode);
LENET_SAME(GetErrorMessage);
LENET_SAME(CreateEnvWithCustomLogger);
LENET_SAME(CreateSession);
LENET_SAME(Run);
LENET_SAME(CreateSessionOptions);
LENET_SAME(DisableMemPattern);
LENET_SAME(DisableCpuMemArena);
LENET_SAME(SetSessionLogSeverityLevel);
LENET_SAME(SetSessionGraphOptimizationLevel);
LENET_SAME(SetIntraOpNumThreads);
LENET_SAME(SetInterOpNumThreads);
LENET_SAME(SessionGetInputCount);
LENET_SAME(SessionGetOutputCount);
LENET_SAME(SessionGetInputTypeInfo);
LENET_SAME(SessionGetOutputTypeInfo);
LENET_SAME(SessionGetInputName);
LENET_SAME(SessionGetOutputName);
LENET_SAME(CreateRunOptions);
LENET_SAME(RunOptionsSetTerminate);
LENET_SAME(RunOptionsUnsetTerminate);
LENET_SAME(CreateTensorWithDataAsOrtValue);
LENET_SAME(GetTensorMutableData);
LENET_SAME(GetStringTensorDataLength);
LENET_SAME(GetStringTensorContent);
LENET_SAME(GetValue);
LENET_SAME(GetValueCount);
LENET_SAME(CastTypeInfoToTensorInfo);
LENET_SAME(GetTensorElementType);
LENET_SAME(GetDimensionsCount);
LENET_SAME(GetDimensions);
LENET_SAME(GetTensorTypeAndShape);
LENET_SAME(CreateCpuMemoryInfo);
LENET_SAME(AllocatorFree);
LENET_SAME(GetAllocatorWithDefaultOptions);
LENET_SAME(ReleaseStatus);
LENET_SAME(ReleaseMemoryInfo);
LENET_SAME(ReleaseSession);
LENET_SAME(ReleaseValue);
LENET_SAME(ReleaseRunOptions);
LENET_SAME(ReleaseTypeInfo);
LENET_SAME(ReleaseTensorTypeAndShapeInfo);
LENET_SAME(ReleaseSessionOptions);
LENET_SAME(SessionOptionsAppendExecutionProvider_TensorRT_V2);
LENET_SAME(CreateTensorRTProviderOptions);
LENET_SAME(UpdateTensorRTProviderOptions);
LENET_SAME(ReleaseTensorRTProviderOptions);
LENET_SAME(SessionOptionsAppendExecutionProvider_CUDA_V2);
LENET_SAME(CreateCUDAProviderOptions);
LENET_SAME(UpdateCUDAProviderOptions);
LENET_SAME(ReleaseCUDAProviderOptions);
#undef LENET_SAME
// NOLINTEND

static_assert(offsetof(ApiBase, GetApi) == offsetof(::OrtApiBase, GetApi));
static_assert(offsetof(ApiBase, GetVersionString) == offsetof(::OrtApiBase, GetVersionString));
static_assert(Alike<decltype(ApiBase::GetApi), decltype(::OrtApiBase::GetApi)>::value);
static_assert(static_cast<int>(kNoSuchFile) == static_cast<int>(ORT_NO_SUCHFILE));
static_assert(static_cast<int>(kNotImplemented) == static_cast<int>(ORT_NOT_IMPLEMENTED));
static_assert(static_cast<int>(kFloat) == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
static_assert(static_cast<int>(kLogFatal) == static_cast<int>(ORT_LOGGING_LEVEL_FATAL));
static_assert(static_cast<int>(kDisableAll) == static_cast<int>(ORT_DISABLE_ALL));
static_assert(static_cast<int>(kEnableAll) == static_cast<int>(ORT_ENABLE_ALL));
static_assert(static_cast<int>(kDeviceAllocator) == static_cast<int>(OrtDeviceAllocator));
static_assert(static_cast<int>(kDefaultMemory) == static_cast<int>(OrtMemTypeDefault));

}  // namespace lenet::ort
