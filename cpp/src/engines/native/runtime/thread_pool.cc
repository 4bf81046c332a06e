#include "engines/native/runtime/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "platform/platform.h"

namespace lenet::native {
namespace {

/// To sleep and to be woken takes about as long.
constexpr std::chrono::microseconds kSpin{50};

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits a little; now and then in favour of others, who may need this processor.
void spin(int& count) {
  constexpr int kBeforeYield = 1 << 10;
  if (++count % kBeforeYield == 0) return std::this_thread::yield();
  relax();
}

}  // namespace

class ThreadPool::Worker {
 public:
  /// \param number what it calls jobs with
  /// \throws std::system_error when there can be no more threads.
  Worker(std::size_t number, bool spins)
      : number_(number), spins_(spins), thread_([this] { work(); }) {}
  ~Worker() {
    enter(State::Ending);
    thread_.join();
  }

  void begin(const Job& job) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      if (spins_ && asleep_) places_.keep_away(thread_);
      state_ = State::Called;
    }
    entered_.notify_one();
  }

  /// Cancels the tasks that have not begun, and waits for those that have.
  /// \returns what that has thrown, if anything
  std::exception_ptr end() {
    State called = State::Called;
    if (!state_.compare_exchange_strong(called, State::Waiting)) wait_while(State::Working);
    return std::exchange(error_, nullptr);
  }

 private:
  enum class State { Waiting, Called, Working, Ending };

  /// The two threads that know this worker wait for each other, in turns.
  void enter(State state) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      state_ = state;
    }
    entered_.notify_one();
  }

  void wait_while(State state) {
    if (spins_) {
      const auto end = std::chrono::steady_clock::now() + kSpin;
      do {
        for (int i = 0; i < 16; ++i) {
          if (state_ != state) return;
          relax();
        }
      } while (std::chrono::steady_clock::now() < end);
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (state == State::Waiting) asleep_ = true;
    entered_.wait(lock, [&] { return state_ != state; });
  }

  void work() {
    for (;;) {
      wait_while(State::Waiting);
      State called = State::Called;
      if (!state_.compare_exchange_strong(called, State::Working)) {
        if (called == State::Ending) return;
        continue;
      }
      asleep_ = false;
      places_.come_back();
      try {
        job_->call(job_->what, number_);
      } catch (...) {
        error_ = std::current_exception();
      }
      enter(State::Waiting);
    }
  }

  std::size_t number_;
  bool spins_;
  const Job* job_ = nullptr;
  bool asleep_ = false;  // perhaps; false: surely not
  platform::Places places_;
  std::exception_ptr error_;
  std::atomic<State> state_{State::Waiting};
  std::mutex mutex_;
  std::condition_variable entered_;
  std::thread thread_;  // last: it uses the others
};

struct ThreadPool::Workers {
  unsigned forks_before = platform::forks();
  std::vector<std::unique_ptr<Worker>> all;
};

ThreadPool::ThreadPool(std::size_t most) : most_(most) {}

ThreadPool::~ThreadPool() { leave_to_parent(); }

/// In a forked process their threads are not there to be joined, and their mutexes may be locked.
void ThreadPool::leave_to_parent() {
  if (workers_ && workers_->forks_before != platform::forks())
    static_cast<void>(workers_.release());
}

void ThreadPool::start(std::size_t count) {
  leave_to_parent();
  if (!workers_) workers_ = std::make_unique<Workers>();
  std::vector<std::unique_ptr<Worker>>& all = workers_->all;
  if (all.size() >= count) return;
  // With fewer processors, one that spins keeps another from its work.
  const bool spins = std::thread::hardware_concurrency() >= most_;
  const platform::WithoutSignals without_signals;
  all.reserve(count);
  while (all.size() < count) {
    try {
      all.push_back(std::make_unique<Worker>(all.size() + 1, spins));
    } catch (const std::system_error&) {
      return;  // the threads that could be started share the work
    }
  }
}

void ThreadPool::run(std::size_t count, const Job& job) {
  start(count - 1);
  const std::vector<std::unique_ptr<Worker>>& all = workers_->all;
  const std::size_t others = std::min(count - 1, all.size());
  for (std::size_t i = 0; i < others; ++i) all[i]->begin(job);
  std::exception_ptr error;
  try {
    job.call(job.what, 0);
  } catch (...) {
    error = std::current_exception();
  }
  for (std::size_t i = 0; i < others; ++i) {
    std::exception_ptr thrown = all[i]->end();
    if (thrown) error = std::move(thrown);
  }
  if (error) std::rethrow_exception(error);
}

void Team::share(std::uint32_t parts) {
  done_ = 0;
  next_ = std::uint64_t{parts} << 32;
  help(0);
  for (int count = 0; done_ < parts;) spin(count);
}

bool Team::help(std::size_t thread) {
  for (std::uint64_t next = next_; next != kEnded;) {
    const auto part = static_cast<std::uint32_t>(next);
    if (part >= next >> 32) return true;
    if (!next_.compare_exchange_weak(next, next + 1)) continue;
    call_(what_, thread, part);
    ++done_;
    next = next_;
  }
  return false;
}

void Team::follow(std::size_t thread) {
  for (int count = 0; help(thread);) spin(count);
}

}  // namespace lenet::native
