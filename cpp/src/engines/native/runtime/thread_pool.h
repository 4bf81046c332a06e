/// \file
/// Threads that wait for the next run of an engine.
#pragma once

#include <cstddef>
#include <memory>

namespace lenet::native {

/// Starts threads when a run first needs them, and keeps them. A process forked meanwhile has none
/// of them: there the first run starts its own.
///
/// Thread-safety: one run at a time.
class ThreadPool {
 public:
  /// \param most threads of a run, the calling one included; none is started here.
  explicit ThreadPool(std::size_t most);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  /// Calls `work(0)` in this thread and, at the same time, `work(1)` to `work(count - 1)` in
  /// others. There are fewer calls where the system gives no more threads, or where a thread has
  /// not awoken when `work(0)` returns: each call has to do what no other has begun.
  /// \param count 1 to `most`
  /// \throws whatever a call throws, one of them if several do, when all have ended; the pool can
  ///   be used again.
  template <class Work>
  void run(std::size_t count, const Work& work) {
    run(count,
        {[](const void* what, std::size_t i) { (*static_cast<const Work*>(what))(i); }, &work});
  }

 private:
  struct Job {
    void (*call)(const void* what, std::size_t i);
    const void* what;
  };
  class Worker;
  struct Workers;

  void run(std::size_t count, const Job& job);
  void start(std::size_t count);
  void leave_to_parent();

  std::size_t most_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace lenet::native
