// What cpp_engines.py calls through ctypes. No exception leaves these functions.

#include "peer.h"

#include <chrono>
#include <cstdio>
#include <exception>

namespace {

constexpr std::size_t kMessage = 512;  // bytes, as cpp_engines.py has them

/// Calls `work`. \returns whether it threw nothing; else `message` says what
template <class Work>
bool said(char* message, const Work& work) {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    std::snprintf(message, kMessage, "%s", error.what());
  }
  return false;
}

}  // namespace

extern "C" {

/// \returns null, and says why, where the model cannot be loaded
void* peer_load(const char* path, int threads, const char* precision, char* message) {
  std::unique_ptr<Peer> made;
  said(message, [&] { made = make_peer(path, threads, precision); });
  return made.release();
}

bool peer_run(void* peer, const float* images, const PeerShape* shape, float* outputs,
              std::size_t size, char* message) {
  return said(message, [&] { static_cast<Peer*>(peer)->run(images, *shape, outputs, size); });
}

/// Times runs one by one.
/// \param nanoseconds gets a time for each of `count` runs
bool peer_time(void* peer, const float* images, const PeerShape* shape, float* outputs,
               std::size_t size, std::int64_t* nanoseconds, std::size_t count, char* message) {
  using Clock = std::chrono::steady_clock;
  return said(message, [&] {
    for (std::size_t i = 0; i < count; ++i) {
      const auto begin = Clock::now();
      static_cast<Peer*>(peer)->run(images, *shape, outputs, size);
      nanoseconds[i] = std::chrono::nanoseconds(Clock::now() - begin).count();
    }
  });
}

}  // extern "C"
