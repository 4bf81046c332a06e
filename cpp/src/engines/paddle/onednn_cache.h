/// Bounds what oneDNN keeps in Paddle, primitives and reordered weights for each input shape,
/// without taking it away from a run.
///
/// Paddle's own bound, SetOnednnCacheCapacity of more than 0, does not go together with threads
/// (AnalysisPredictor::MkldnnPostReset, OneDNNContext::Impl, 3.1 to 3.3): each run ends with a
/// count of the process's cache without its mutex, and a new shape removes another although a run
/// of that may be between two of its looks at the cache, as does the end of a thread. All are
/// segmentation faults. So the predictors are made with a capacity of 0, and what
/// AnalysisPredictor::MkldnnPreSet would do before a run is done here, between runs.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <vector>

#include "engines/foreign_load.h"

namespace lenet {

/// While it lives, this thread's run with oneDNN is kept under a shape, and nothing is removed from
/// the cache. There are 16 shapes in the process; for another one of them goes. Where the Paddle
/// library hides its symbols everything is kept, until the predictor is destroyed.
///
/// Paddle keeps the attributes of the last operator of a .pdmodel, such as a fused activation, in
/// the thread, where the first operator of a .json would apply them too. They are cleared here.
class OneDnnRun {
 public:
  /// \param shape of the input
  /// \throws Error BackendFailure: a load that was given up still keeps runs out.
  OneDnnRun(const std::vector<int>& shape, int threads);

 private:
  /// Paddle tells its own OpenMP (libiomp5) how many threads this thread takes. Where PyTorch was
  /// imported first, oneDNN takes those of PyTorch's (libgomp), which a look-up finds first too.
  class OpenMpThreads {
   public:
    explicit OpenMpThreads(int threads);
    OpenMpThreads(const OpenMpThreads&) = delete;
    OpenMpThreads& operator=(const OpenMpThreads&) = delete;
    ~OpenMpThreads();

   private:
    int before_ = 0;
  };

  OpenMpThreads threads_;
  std::shared_lock<std::shared_timed_mutex> lock_;
};

/// \param mutex that loads hold, and may hold for ever
/// \throws Error BackendFailure: a load that was given up has it, and is still under way.
std::unique_lock<std::recursive_timed_mutex> lock_flags(std::recursive_timed_mutex& mutex);

/// While it lives, no run with oneDNN is under way, and none begins. For loading, with any
/// accelerator: each pass over a .pdmodel ends by removing what this thread's last predictor has
/// in the cache, or all of it where none ran in this thread (Pass::Apply).
class NoOneDnnRun {
 public:
  /// \param given_up of the load; then others that wait for its end go on with an error
  /// \throws Error BackendFailure: an earlier load that was given up is still under way.
  explicit NoOneDnnRun(GivenUp given_up);
  ~NoOneDnnRun();
  NoOneDnnRun(const NoOneDnnRun&) = delete;
  NoOneDnnRun& operator=(const NoOneDnnRun&) = delete;

 private:
  std::unique_lock<std::shared_timed_mutex> lock_;
};

}  // namespace lenet
