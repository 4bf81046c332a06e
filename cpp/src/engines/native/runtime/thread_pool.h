/// \file
/// Threads that wait for the next run of an engine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
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

/// Threads for the length of one run, which share the parts of one step after the other and spin
/// between steps: to wake a thread takes as long as a layer does. One that awakes late takes its
/// share of what is left then.
class Team {
 public:
  /// Calls `lead(team)` in this thread, while others wait for what it shares.
  /// \param threads 2 or more; the pool may give fewer
  /// \throws whatever `lead` throws
  template <class Lead>
  static void run(ThreadPool& pool, std::size_t threads, const Lead& lead) {
    Team team(threads);
    pool.run(threads, [&](std::size_t thread) {
      if (thread > 0) return team.follow(thread);
      const Ending ending{team};
      lead(team);
    });
  }

  std::size_t threads() const noexcept { return threads_; }

  /// Calls `work(thread, part)` once for each part below `parts`; `thread` is below threads().
  /// \param work must not throw
  template <class Work>
  void share(std::uint32_t parts, const Work& work) {
    what_ = &work;
    call_ = [](const void* what, std::size_t thread, std::uint32_t part) noexcept {
      (*static_cast<const Work*>(what))(thread, part);
    };
    share(parts);
  }

 private:
  struct Ending {
    Team& team;
    ~Ending() { team.next_ = kEnded; }
  };
  static constexpr std::uint64_t kEnded = ~std::uint64_t{0};

  explicit Team(std::size_t threads) : threads_(threads) {}
  void share(std::uint32_t parts);
  /// Does parts until there are none. \returns false when there will be none
  bool help(std::size_t thread);
  void follow(std::size_t thread);

  std::size_t threads_;
  // Read by who has taken a part, and so before the step ends and they change.
  void (*call_)(const void* what, std::size_t thread, std::uint32_t part) noexcept = nullptr;
  const void* what_ = nullptr;
  /// How many parts the step has, and in the lower half which comes next: in one word, so that who
  /// saw an earlier step takes none that this one has not.
  alignas(64) std::atomic<std::uint64_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};
};

}  // namespace lenet::native
