/// \file
/// This file has what differs on macOS from other POSIX systems. It was compiled but never run.
#include <mach-o/dyld.h>
#include <sys/sysctl.h>

#include <cstdint>
#include <string>

#include "platform/platform.h"

namespace lenet::platform {
namespace {

/// Returns a number that the kernel knows by this name, or 0 for an unknown name.
std::int64_t kernel_number(const char* name) noexcept {
  std::int64_t number = 0;
  std::size_t size = sizeof(number);
  return sysctlbyname(name, &number, &size, nullptr, 0) == 0 ? number : 0;
}

}  // namespace

void use_large_pages(void*, std::size_t) noexcept {}
std::int64_t last_cache_bytes() noexcept { return kernel_number("hw.l3cachesize"); }
bool may_use_tiles() noexcept { return false; }
bool has_dot_products() noexcept { return kernel_number("hw.optional.arm.FEAT_DotProd") != 0; }

// On macOS, a thread has no set of processors.
struct Places::Allowed {};
Places::Places() = default;
Places::~Places() = default;
void Places::keep_away(std::thread&) noexcept {}
void Places::come_back() noexcept {}

std::string library_name(const std::string& name, int version) {
  return "lib" + name + "." + std::to_string(version) + ".dylib";
}

std::string own_file() {
  std::uint32_t size = 0;
  _NSGetExecutablePath(nullptr, &size);
  std::string path(size, '\0');
  if (_NSGetExecutablePath(path.data(), &size) != 0) return "";
  path.resize(path.find('\0'));
  return path;
}

}  // namespace lenet::platform
