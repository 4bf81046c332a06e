#include "engines/shared_library.h"

#include <dlfcn.h>

namespace lenet {

std::filesystem::path own_folder() {
  Dl_info info = {};
  dladdr(reinterpret_cast<const void*>(&own_folder), &info);
  return std::filesystem::path(info.dli_fname == nullptr ? "" : info.dli_fname).parent_path();
}

std::string last_dl_error() {
  const char* message = dlerror();
  return message == nullptr ? "unknown reason" : message;
}

}  // namespace lenet
