/// Declarations of the part of the Paddle Inference C++ API that lenet uses, for the library inside
/// the `paddlepaddle` wheel, which exports the API but ships no headers for it.
///
/// Written from the facts of the public interface (PaddlePaddle/Paddle, paddle/fluid/inference/api:
/// paddle_inference_api.h, paddle_analysis_config.h, paddle_tensor.h); names, signatures and object
/// sizes must match the library, and cmake/probe_paddle_abi.cc measures that they do. A build
/// against the official archive uses the archive's own headers instead of this file.
///
/// Nothing here is constructed or destroyed by inlined code whose layout could differ between
/// Paddle versions: `AnalysisConfig` is opaque, a `Predictor` is always disposed of by the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

namespace phi {

/// Of the operator library's element types, the one that an output hook reads.
enum class DataType { FLOAT32 = 10 };

namespace dtype {
struct float16 {
  std::uint16_t x;
};
}  // namespace dtype

/// Of the orders of a tensor's values in memory, oneDNN's own.
enum class DataLayout { ONEDNN = 5 };

}  // namespace phi

namespace paddle {

/// The operator library's tensor, seen only by reference in an output hook.
class Tensor {
 public:
  bool initialized() const;
  phi::DataType dtype() const;
  phi::DataLayout layout() const;
  std::vector<std::int64_t> shape() const;
  template <typename T>
  const T* data() const;

 private:
  Tensor() = delete;
};

/// Opaque: Paddle 3.1 to 3.3 use 1,632 bytes of it; only library symbols touch them.
struct AnalysisConfig {
 public:
  enum class Precision { kFloat32 = 0, kInt8, kHalf, kBf16 };

  AnalysisConfig();
  AnalysisConfig(const AnalysisConfig& other);
  AnalysisConfig& operator=(const AnalysisConfig&) = delete;
  ~AnalysisConfig();

  void SetModel(const std::string& model_dir);
  void SetModel(const std::string& program_file, const std::string& params_file);
  void EnableUseGpu(std::uint64_t first_megabytes, int device = 0,
                    Precision precision = Precision::kFloat32);
  void DisableGpu();
  void DisableGlogInfo();
  void EnableONEDNN();
  void DisableONEDNN();
  void SetOnednnCacheCapacity(int capacity);
  // Paddle 3.1 has the older names only; later versions say at each call that they are deprecated.
  void EnableMkldnnInt8(const std::unordered_set<std::string>& op_types = {});
  void EnableMkldnnBfloat16();
  __attribute__((weak)) void EnableOnednnInt8(const std::unordered_set<std::string>& op_types = {});
  __attribute__((weak)) void EnableOnednnBfloat16();
  void SetBfloat16Op(std::unordered_set<std::string> op_types);
  void EnableOpenVINOEngine(Precision precision);
  void SetOptimCacheDir(const std::string& directory);
  void SetCpuMathLibraryNumThreads(int threads);
  void SwitchIrOptim(int on = true);
  void EnableMemoryOptim(bool on = true);
  void EnableNewExecutor(bool on = true);
  void EnableNewIR(bool on = true);
  void DeletePass(const std::string& name);

 private:
  static constexpr std::size_t kReservedBytes = 8192;
  alignas(std::max_align_t) unsigned char storage_[kReservedBytes];
};

}  // namespace paddle

namespace paddle_infer {

using Config = paddle::AnalysisConfig;
using PrecisionType = Config::Precision;

enum DataType { FLOAT32, INT64, INT32, UINT8, INT8, FLOAT16, BOOL, FLOAT64, BFLOAT16 };

enum class PlaceType { kUNK = -1, kCPU, kGPU, kXPU, kNPU, kIPU, kCUSTOM };

/// A handle to an input or output. The members only give the object its size and its destructor.
class Tensor {
 public:
  void Reshape(const std::vector<int>& shape);
  template <typename T>
  void CopyFromCpu(const T* data);
  template <typename T>
  void CopyToCpu(T* data) const;
  std::vector<int> shape() const;
  const std::string& name() const;
  DataType type() const;

 private:
  Tensor() = delete;

  std::string name_;
  mutable void* tensor_;
  DataType dtype_;
  bool input_or_output_;
  void* scope_;
  const void* device_contexts_;
  PlaceType place_;
  int device_;
  std::string device_type_;
};

static_assert(sizeof(void*) != 8 || sizeof(Tensor) == 104, "see the layout facts above");

extern template void Tensor::CopyFromCpu<float>(const float*);
extern template void Tensor::CopyFromCpu<double>(const double*);
extern template void Tensor::CopyFromCpu<std::int64_t>(const std::int64_t*);
extern template void Tensor::CopyFromCpu<std::int32_t>(const std::int32_t*);
extern template void Tensor::CopyFromCpu<std::uint8_t>(const std::uint8_t*);
extern template void Tensor::CopyToCpu<float>(float*) const;
extern template void Tensor::CopyToCpu<std::int64_t>(std::int64_t*) const;
extern template void Tensor::CopyToCpu<std::int32_t>(std::int32_t*) const;
extern template void Tensor::CopyToCpu<std::uint8_t>(std::uint8_t*) const;
extern template void Tensor::CopyToCpu<bool>(bool*) const;
extern template void Tensor::CopyToCpu<double>(double*) const;
extern template void Tensor::CopyToCpu<phi::dtype::float16>(phi::dtype::float16*) const;

using OutputTensorHookFunc = std::function<void(const std::string& op_type, const std::string& name,
                                                const paddle::Tensor& tensor)>;

class Predictor {
 public:
  Predictor() = delete;
  /// Does nothing: `predictor_` is not ours to destroy. Whoever gets a `unique_ptr` from Clone()
  /// hands its pointer to `std::shared_ptr`, whose control block is the library's (below).
  ~Predictor() {}

  std::vector<std::string> GetInputNames();
  std::vector<std::string> GetOutputNames();
  std::map<std::string, std::vector<std::int64_t>> GetInputTensorShape();
  std::map<std::string, std::vector<std::int64_t>> GetOutputTensorShape();
  std::map<std::string, DataType> GetInputTypes();
  std::map<std::string, DataType> GetOutputTypes();
  std::unique_ptr<Tensor> GetInputHandle(const std::string& name);
  std::unique_ptr<Tensor> GetOutputHandle(const std::string& name);
  bool Run();
  std::unique_ptr<Predictor> Clone(void* stream = nullptr);
  void RegisterOutputHook(const OutputTensorHookFunc& hook);
  std::uint64_t TryShrinkMemory();

 private:
  void* predictor_;
};

std::shared_ptr<Predictor> CreatePredictor(const Config& config);
std::string GetVersion();

}  // namespace paddle_infer

// `std::shared_ptr<Predictor>(pointer)` then disposes of its pointer by the library's instantiation
// of this function, which runs the library's destructor and not the empty one above. A declared
// specialization is never instantiated or inlined here, whatever the compiler and its options.
template <>
void std::_Sp_counted_ptr<paddle_infer::Predictor*, __gnu_cxx::_S_atomic>::_M_dispose() noexcept;
