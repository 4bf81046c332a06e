// In place of posix.cc and windows.cc, for builds without an operating system: a browser's module.
#include "platform/platform.h"

namespace lenet::platform {

std::size_t begin_of_name(const std::string& /*path*/) noexcept { return 0; }
bool is_plain_name(const std::string& name) { return name.find('/') == std::string::npos; }
void use_large_pages(void* /*memory*/, std::size_t /*bytes*/) noexcept {}
bool may_use_tiles() noexcept { return false; }

}  // namespace lenet::platform
