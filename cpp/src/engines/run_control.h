/// The early end of a run: cancelled from another thread, or out of time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace lenet {

class RunControl {
 public:
  /// \param time_limit_ms 0: none
  void begin(int time_limit_ms);
  /// Ends the run that has begun. May be called by any thread.
  void cancel();
  /// \throws Error BackendFailure: the run is to end. Costs next to nothing without a time limit.
  void require_running() const;

  /// For an engine that cannot ask: while it lives, `stop` is called once the run is to end, by
  /// another thread. It must be short.
  class Watch {
   public:
    Watch(RunControl& control, std::function<void()> stop);
    ~Watch();

   private:
    RunControl& control_;
    std::thread timer_;
  };

 private:
  std::atomic<bool> cancelled_{false};
  int time_limit_ms_ = 0;
  std::chrono::steady_clock::time_point deadline_;
  std::mutex mutex_;            // guards what follows
  std::function<void()> stop_;  // empty: nobody watches
  std::condition_variable watched_;
};

}  // namespace lenet
