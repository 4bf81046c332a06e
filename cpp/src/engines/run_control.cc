#include "engines/run_control.h"

#include <string>
#include <system_error>
#include <utility>

#include "lenet/error.h"

namespace lenet {

void RunControl::begin(int time_limit_ms) {
  cancelled_ = false;
  time_limit_ms_ = time_limit_ms;
  if (time_limit_ms == 0) return;
  deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(time_limit_ms);
}

void RunControl::cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  if (stop_) stop_();
}

void RunControl::require_running() const {
  if (cancelled_) throw Error(ErrorCode::BackendFailure, "the run was cancelled");
  if (time_limit_ms_ == 0 || std::chrono::steady_clock::now() < deadline_) return;
  throw Error(ErrorCode::BackendFailure, "the run took longer than time_limit_ms, " +
                                             std::to_string(time_limit_ms_) +
                                             "; set a longer one, or run fewer images at once");
}

RunControl::Watch::Watch(RunControl& control, std::function<void()> stop) : control_(control) {
  const std::lock_guard<std::mutex> lock(control.mutex_);
  if (control.time_limit_ms_ > 0) {
    try {
      timer_ = std::thread([&control] {
        std::unique_lock<std::mutex> waiting(control.mutex_);
        const auto ended = [&] { return !control.stop_; };
        if (!control.watched_.wait_until(waiting, control.deadline_, ended)) control.stop_();
      });
    } catch (const std::system_error&) {
      throw Error(ErrorCode::BackendFailure, "cannot start a thread for time_limit_ms");
    }
  }
  control.stop_ = std::move(stop);
  if (control.cancelled_) control.stop_();
}

RunControl::Watch::~Watch() {
  {
    const std::lock_guard<std::mutex> lock(control_.mutex_);
    control_.stop_ = nullptr;
  }
  control_.watched_.notify_all();
  if (timer_.joinable()) timer_.join();
}

}  // namespace lenet
