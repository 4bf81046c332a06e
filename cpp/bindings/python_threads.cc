#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "bindings.h"
#include "lenet/engines.h"
#include "lenet/error.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

// Atomics, not a mutex: a mutex could be held by another thread when the process forks.
std::atomic<int> inside{0};
std::atomic<bool> workers{false};
std::atomic<bool> lost{false};
std::atomic<bool> ending{false};
/// When the loads of daemon threads are ended, which end by themselves as a rule. Set before
/// `ending`.
std::chrono::steady_clock::time_point end_of_patience;
std::atomic<unsigned long> last_thread{0};  // the one that ends the interpreter

void after_fork_in_child() {
  if (inside.exchange(0) > 0 || workers || given_up_loads() > 0) lost = true;
}

void require_entry() {
  if (lost) {
    throw Error(ErrorCode::Unsupported,
                "this process was forked while another thread was loading or running a model, or "
                "after a library that keeps threads was used with several; fork earlier, or start "
                "processes with multiprocessing's method 'spawn'");
  }
  if (!ending || last_thread == PyThread_get_thread_ident()) return;
  // The interpreter is about to end, and this daemon thread with it.
  PyEval_SaveThread();
  for (;;) pause();
}

void wait_until_nobody_is_inside() {
  constexpr std::chrono::seconds kPatience(2);
  last_thread = PyThread_get_thread_ident();
  end_of_patience = std::chrono::steady_clock::now() + kPatience;
  ending = true;
  const py::gil_scoped_release release;
  while (inside > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

WithoutGil::WithoutGil() : state_(nullptr) {
  require_entry();
  ++inside;
  state_ = PyEval_SaveThread();
}

WithoutGil::~WithoutGil() {
  PyEval_RestoreThread(state_);
  --inside;
}

void look_for_signals() {
  if (ending) {
    if (std::chrono::steady_clock::now() < end_of_patience) return;
    throw Error(ErrorCode::BackendFailure, "the interpreter is ending");
  }
  const py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void note_workers(Accelerator accelerator, const Config& config) {
  if (keeps_threads(config, accelerator)) workers = true;
}

bool forked_inside() noexcept { return lost; }

void register_python_threads(py::module_& module) {
  pthread_atfork(nullptr, nullptr, after_fork_in_child);
  py::module_::import("atexit").attr("register")(py::cpp_function(
      &wait_until_nobody_is_inside, py::name("_wait_for_threads"), py::scope(module)));
}

}  // namespace lenet::bindings
