/// \file
/// This file has what differs on Linux from other POSIX systems.
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "platform/platform.h"

namespace lenet::platform {

void use_large_pages(void* memory, std::size_t bytes) noexcept {
  madvise(memory, bytes, MADV_HUGEPAGE);
}

std::int64_t last_cache_bytes() noexcept {
#ifdef _SC_LEVEL3_CACHE_SIZE
  return std::max<std::int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
#else  // musl does not report it, but the kernel does, in kB
  constexpr std::int64_t kKilobyte = 1024;
  std::FILE* const file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
  if (file == nullptr) return 0;
  char text[16] = {};
  const bool read = std::fgets(text, sizeof(text), file) != nullptr;
  std::fclose(file);
  return read ? std::strtol(text, nullptr, 10) * kKilobyte : 0;
#endif
}

bool may_use_tiles() noexcept {
#if defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  static const bool may = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return may;
#else
  return false;
#endif
}

bool has_dot_products() noexcept {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

struct Places::Allowed {
  cpu_set_t set;
  bool kept_away = false;
};
Places::Places() : allowed_(std::make_unique<Allowed>()) {}
Places::~Places() = default;

void Places::keep_away(std::thread& thread) noexcept {
  const pthread_t handle = thread.native_handle();
  Allowed& allowed = *allowed_;
  if (!allowed.kept_away) {
    if (pthread_getaffinity_np(handle, sizeof(allowed.set), &allowed.set) != 0) return;
    allowed.kept_away = true;
  }
  cpu_set_t others = allowed.set;
  CPU_CLR(static_cast<unsigned>(sched_getcpu()), &others);
  pthread_setaffinity_np(handle, sizeof(others), &others);
}

void Places::come_back() noexcept {
  if (!allowed_->kept_away) return;
  pthread_setaffinity_np(pthread_self(), sizeof(allowed_->set), &allowed_->set);
  allowed_->kept_away = false;
}

std::string library_name(const std::string& name, int version) {
  return "lib" + name + ".so." + std::to_string(version);
}
std::string own_file() { return "/proc/self/exe"; }

}  // namespace lenet::platform
