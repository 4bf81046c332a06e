// In place of thread_pool.cc, for builds without threads: the caller's does all the work.
#include "engines/native/runtime/thread_pool.h"

namespace lenet::native {

class ThreadPool::Worker {};
struct ThreadPool::Workers {};
ThreadPool::ThreadPool(std::size_t most) : most_(most) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::run(std::size_t /*count*/, const Job& job) { job.call(job.what, 0); }
void Team::share(std::uint32_t parts) {
  for (std::uint32_t part = 0; part < parts; ++part) call_(what_, 0, part);
}
void Team::follow(std::size_t /*thread*/) {}

}  // namespace lenet::native
