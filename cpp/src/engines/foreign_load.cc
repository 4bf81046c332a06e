#include "engines/foreign_load.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "lenet/engines.h"
#include "lenet/interruption.h"
#include "platform/platform.h"

namespace lenet {
namespace {

std::atomic<int> given_up{0};

/// A load, which its thread and who waits for it share.
struct Load {
  std::function<std::unique_ptr<Engine>(const GivenUp&)> make;
  const std::shared_ptr<std::atomic<bool>> is_given_up = std::make_shared<std::atomic<bool>>(false);
  std::mutex mutex;  // guards what follows
  std::condition_variable ended;
  std::unique_ptr<Engine> engine;
  std::exception_ptr failure;
  bool has_ended = false;  ///< the thread, and with it what libraries keep there
};

/// Says that the thread has ended. Objects of a thread are destroyed in the reverse order of their
/// construction, so that this one, which is made first, is the last: what Paddle keeps in a thread
/// waits for other threads' runs when it goes.
struct End {
  std::shared_ptr<Load> load;

  ~End() {
    const std::lock_guard<std::mutex> lock(load->mutex);
    load->has_ended = true;
    load->ended.notify_all();
    if (*load->is_given_up) --given_up;
  }
};

void run(const std::shared_ptr<Load>& load) noexcept {
  thread_local const End end{load};
  std::unique_ptr<Engine> engine;
  std::exception_ptr failure;
  try {
    engine = load->make(load->is_given_up);
  } catch (...) {
    failure = std::current_exception();
  }
  std::unique_lock<std::mutex> lock(load->mutex);
  if (!*load->is_given_up) {
    load->engine = std::move(engine);
    load->failure = std::move(failure);
    return;
  }
  lock.unlock();
  // Nobody waits. The engine goes before the model, which `make` owns.
  engine.reset();
  load->make = nullptr;
}

/// \throws Error BackendFailure: not in time; what check_interruption throws
void wait_for(Load& load, const Config& config, const Model& model) {
  constexpr std::chrono::milliseconds kLook(20);
  const auto begin = std::chrono::steady_clock::now();
  const std::chrono::seconds limit(config.load_seconds);
  std::unique_lock<std::mutex> lock(load.mutex);
  while (!load.ended.wait_for(lock, kLook, [&] { return load.has_ended; })) {
    lock.unlock();
    check_interruption();
    const bool is_late =
        config.load_seconds > 0 && std::chrono::steady_clock::now() - begin > limit;
    if (is_late) {
      throw Error(ErrorCode::BackendFailure,
                  "'" + model.path + "': its load takes longer than load_seconds, " +
                      std::to_string(config.load_seconds) +
                      ", and was given up; set a longer one, or use engine native where it "
                      "supports the operators");
    }
    lock.lock();
  }
}

/// \returns whether its thread still runs
bool give_up(Load& load) {
  std::unique_ptr<Engine> engine;  // that was made, destroyed without the lock
  const std::lock_guard<std::mutex> lock(load.mutex);
  if (load.has_ended) return false;
  *load.is_given_up = true;
  ++given_up;
  engine = std::move(load.engine);
  static const bool registered = [] {
    platform::skip_destructors_at_exit([] { return given_up > 0; });
    return true;
  }();
  return registered;
}

}  // namespace

int given_up_loads() noexcept { return given_up; }

std::unique_ptr<Engine> load_in_time(const Config& config, const Model& model,
                                     std::function<std::unique_ptr<Engine>(const GivenUp&)> load) {
  if (given_up >= kMostGivenUpLoads) {
    throw Error(ErrorCode::BackendFailure,
                "'" + model.path + "': " + std::to_string(kMostGivenUpLoads) +
                    " loads were given up (load_seconds) and still run, so that this process loads "
                    "models with the native engine alone; start it anew without those models");
  }
  const auto shared = std::make_shared<Load>();
  shared->make = std::move(load);
  std::thread thread;
  try {
    const platform::WithoutSignals without;
    thread = std::thread([shared] { run(shared); });
  } catch (const std::system_error&) {
    throw Error(ErrorCode::BackendFailure, "cannot start a thread to load '" + model.path + "'");
  }
  try {
    wait_for(*shared, config, model);
  } catch (...) {
    give_up(*shared) ? thread.detach() : thread.join();
    throw;
  }
  thread.join();
  if (shared->failure) std::rethrow_exception(std::exchange(shared->failure, nullptr));
  return std::move(shared->engine);
}

}  // namespace lenet
