// The threads of the native engine. What may hang is ended by an alarm or by the test's timeout.

#include <pthread.h>
#include <sched.h>
#include <signal.h>  // pthread_sigmask is POSIX: <csignal> has no such promise
#include <unistd.h>

#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>

#include "engines/native/runtime/thread_pool.h"
#include "support.h"

namespace lenet::tests {
namespace {

using native::ThreadPool;

/// Whether all pieces were computed, each once, and can be read without more ado.
bool shares_out(ThreadPool& pool, std::size_t threads, std::size_t pieces) {
  std::vector<int> found(pieces);
  std::atomic<std::size_t> next{0};
  pool.run(threads, [&](std::size_t) {
    for (std::size_t i = next++; i < pieces; i = next++) found[i] += static_cast<int>(i) + 1;
  });
  std::vector<int> expected(pieces);
  std::iota(expected.begin(), expected.end(), 1);
  return found == expected;
}

/// Calls `work` in each thread, all of which have begun before one goes on.
template <class Work>
void run_in_all(ThreadPool& pool, std::size_t threads, const Work& work) {
  std::atomic<std::size_t> begun{0};
  pool.run(threads, [&](std::size_t i) {
    ++begun;
    while (begun < threads) std::this_thread::yield();
    work(i);
  });
}

TEST_CASE("every piece is computed once, by any number of threads, in many short runs") {
  for (const std::size_t most : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(most);
    for (std::size_t i = 0; i < 2000; ++i) {
      const std::size_t threads = 1 + i % most;
      if (!shares_out(pool, threads, i % 40)) FAIL_CHECK("run " << i << " of " << threads);
    }
  }
}

TEST_CASE("a team does each part of each step once, and no step before the one before it") {
  for (const std::size_t threads : {2U, 3U, 8U}) {
    ThreadPool pool(threads);
    for (int run = 0; run < 50; ++run) {
      std::vector<int> found(40);
      native::Team::run(pool, threads, [&](native::Team& team) {
        for (std::uint32_t step = 0; step < 100; ++step) {
          const std::uint32_t parts = step % 41;
          team.share(parts, [&](std::size_t thread, std::uint32_t part) {
            if (thread < threads) ++found[part];
          });
          const int sum = std::accumulate(found.begin(), found.end(), 0);
          if (sum != static_cast<int>(parts)) FAIL_CHECK("step " << step << ": " << sum);
          std::fill(found.begin(), found.end(), 0);
        }
      });
    }
  }
}

TEST_CASE("what the leader of a team throws ends the team") {
  ThreadPool pool(3);
  const auto lead = [](native::Team& team) {
    team.share(5, [](std::size_t, std::uint32_t) {});
    throw std::runtime_error("stop");
  };
  CHECK_THROWS_WITH(native::Team::run(pool, 3, lead), "stop");
  CHECK(shares_out(pool, 3, 10));
}

TEST_CASE("each thread has a number of its own, and no more are called than were asked for") {
  ThreadPool pool(4);
  for (const std::size_t threads : {2U, 4U, 3U, 1U}) {
    std::vector<int> calls(4);
    run_in_all(pool, threads, [&](std::size_t i) { ++calls.at(i); });
    for (std::size_t i = 0; i < calls.size(); ++i) CHECK(calls[i] == (i < threads ? 1 : 0));
  }
}

TEST_CASE("a thread or a caller that is asleep is woken") {
  ThreadPool pool(2);
  for (const std::size_t slow : {0U, 1U}) {
    for (int i = 0; i < 3; ++i) {
      run_in_all(pool, 2, [&](std::size_t thread) {
        if (thread == slow) usleep(20000);
      });
      usleep(20000);
    }
  }
}

TEST_CASE("an exception reaches the caller when all threads have stopped") {
  ThreadPool pool(3);
  for (const std::vector<bool>& throws : std::vector<std::vector<bool>>{
           {true, false, false}, {false, true, false}, {false, false, true}, {true, true, true}}) {
    std::atomic<int> running{3};
    const auto run = [&] {
      run_in_all(pool, 3, [&](std::size_t i) {
        if (!throws[i]) usleep(5000);
        --running;
        if (throws[i]) throw std::bad_alloc();
      });
    };
    CHECK_THROWS_AS(run(), std::bad_alloc);
    CHECK(running == 0);
    CHECK(shares_out(pool, 3, 50));
  }
  const auto fail = [](std::size_t i) {
    if (i == 1) throw Error(ErrorCode::BackendFailure, "of a thread");
  };
  CHECK_ERROR(BackendFailure, "of a thread", run_in_all(pool, 2, fail));
}

TEST_CASE("pools come and go, and several run at once") {
  for (std::size_t i = 0; i < 200; ++i) {
    const ThreadPool unused(4);
    ThreadPool used(4);
    CHECK(shares_out(used, 1 + i % 4, i % 3));
  }
  std::atomic<int> wrong{0};
  in_threads(4, [&](std::size_t i) {
    ThreadPool pool(i + 1);
    for (std::size_t run = 0; run < 500; ++run) wrong += !shares_out(pool, i + 1, run % 20);
  });
  CHECK(wrong == 0);
}

TEST_CASE("engines run at once, each on threads of its own, to the same bits") {
  const Tensor images = random_images(300);
  const Tensor expected = Predictor(bundled()).run(images.view());
  const Predictor origin(bundled("threads=3"));
  std::vector<Predictor> clones;
  for (int i = 0; i < 3; ++i) clones.push_back(origin.clone());
  std::atomic<int> wrong{0};
  in_threads(clones.size(), [&](std::size_t i) {
    for (int run = 0; run < 10; ++run) wrong += clones[i].run(images.view()).data != expected.data;
  });
  CHECK(wrong == 0);
}

TEST_CASE("threads may run where the caller may, whatever woke them") {
  ThreadPool pool(2);
  for (int i = 0; i < 20; ++i) {
    usleep(1000);
    if (i % 2 == 0) CHECK(shares_out(pool, 2, 2));  // too short for one that wakes up
    cpu_set_t allowed[2];
    run_in_all(pool, 2, [&](std::size_t thread) {
      sched_getaffinity(0, sizeof(allowed[thread]), &allowed[thread]);
    });
    CHECK(CPU_EQUAL(&allowed[0], &allowed[1]));
  }
}

TEST_CASE("signals are left to the program's own threads") {
  ThreadPool pool(2);
  sigset_t masks[2];
  run_in_all(pool, 2, [&](std::size_t i) { pthread_sigmask(SIG_BLOCK, nullptr, &masks[i]); });
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGALRM}) {
    CAPTURE(signal);
    CHECK(sigismember(&masks[0], signal) == 0);
    CHECK(sigismember(&masks[1], signal) == 1);
  }
  CHECK(sigismember(&masks[1], SIGSEGV) == 0);  // a sanitizer's, which reports where
}

TEST_CASE("a forked process starts threads of its own" * doctest::test_suite("fork")) {
  auto pool = std::make_unique<ThreadPool>(3);
  const auto use = [&] {
    std::atomic<int> calls{0};
    run_in_all(*pool, 3, [&](std::size_t) { ++calls; });
    return calls == 3 && shares_out(*pool, 3, 50);
  };
  const auto drop = [&] {
    pool.reset();
    return true;
  };
  REQUIRE(use());
  for (const unsigned pause : {0U, 20000U}) {  // its threads spin, or sleep
    usleep(pause);
    REQUIRE(status_of_child(use) == 0);
    REQUIRE(status_of_child(drop) == 0);
    REQUIRE(status_of_child([&] { return use() && drop(); }) == 0);
    REQUIRE(status_of_child([&] { return status_of_child(use) == 0 && use(); }) == 0);
    REQUIRE(status_of_child([&] { return use() && status_of_child(use) == 0 && use(); }) == 0);
    CHECK(use());
  }
}

TEST_CASE("a process forked during another thread's run" * doctest::test_suite("fork")) {
  auto busy = std::make_unique<ThreadPool>(2);
  ThreadPool other(2);
  REQUIRE(shares_out(other, 2, 50));
  std::atomic<bool> enough{false};
  std::thread caller([&] {
    while (!enough) shares_out(*busy, 2, 20);
  });
  int status = 0;
  for (int i = 0; i < 20 && status == 0; ++i) {
    status = status_of_child([&] {
      busy.reset();
      return shares_out(other, 2, 50);
    });
  }
  enough = true;
  caller.join();
  CHECK(status == 0);
}

}  // namespace
}  // namespace lenet::tests
