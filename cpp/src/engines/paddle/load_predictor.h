/// Loading a model into Paddle, and the flags of the process that Paddle reads.
#pragma once

#include <paddle_inference_api.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engines/foreign_load.h"
#include "engines/paddle/onednn_cache.h"
#include "engines/paddle/program_traits.h"
#include "model/model.h"

// Of Paddle (paddle/common/flags.cc), exported by its libcommon.so, and of glog, which Paddle has
// inside. Null where they are not exported.
namespace paddle_flags {
extern double FLAGS_eager_delete_tensor_gb __attribute__((weak));
extern bool FLAGS_use_mkldnn __attribute__((weak));
extern bool FLAGS_use_onednn __attribute__((weak));  // its newer name
}  // namespace paddle_flags
namespace fLI {
extern std::int32_t FLAGS_minloglevel __attribute__((weak));
}

// Of a Paddle that was built with CUDA (paddle/phi/backends/gpu/gpu_info.h); null in others.
namespace phi::backends::gpu {
__attribute__((weak)) int GetGPUDeviceCount();
}

namespace lenet {

using PaddlePredictor = std::shared_ptr<paddle_infer::Predictor>;

/// While it lives, a flag has another value, unless it is null; what something else sets meanwhile
/// stays. One thread at a time for each type, which may hold several flags.
template <typename Value>
class ProcessFlag {
 public:
  /// \throws Error BackendFailure: a load that was given up still has one of them
  ProcessFlag(Value* flag, Value value) : flag_(flag), value_(value) {
    static std::recursive_timed_mutex mutex;
    lock_ = lock_flags(mutex);
    if (flag_ != nullptr) before_ = std::exchange(*flag_, value);
  }
  ~ProcessFlag() {
    if (flag_ != nullptr && !has_changed()) *flag_ = before_;
  }
  bool has_changed() const { return flag_ != nullptr && *flag_ != value_; }

 private:
  std::unique_lock<std::recursive_timed_mutex> lock_;
  Value* flag_;
  Value value_;
  Value before_{};
};

/// Such as "3.3.1"; "unknown" when Paddle does not say.
std::string paddle_version();

bool is_paddle_3_1();

/// Configures Paddle, and gives it the files of the model as it expects them.
/// \param given_up of this load
/// \throws Error BackendFailure: a file cannot be written, or an earlier load was given up and
///   still runs; and what Paddle throws
PaddlePredictor load_predictor(const Config& config, const Model& model,
                               const ProgramTraits& traits, const GivenUp& given_up);

}  // namespace lenet
