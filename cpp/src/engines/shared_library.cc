#include "engines/shared_library.h"

#include <dlfcn.h>
#include <locale.h>  // uselocale is not in <clocale>

#include <cstdio>

namespace lenet {

std::pair<int, int> parse_version(const std::string& version) {
  std::pair<int, int> parts;
  const bool both = std::sscanf(version.c_str(), "%d.%d", &parts.first, &parts.second) == 2;
  return both ? parts : std::pair(0, 0);
}

std::string last_dl_error() {
  const locale_t english = newlocale(LC_ALL_MASK, "C", nullptr);
  const locale_t before = uselocale(english);
  const char* message = dlerror();
  std::string text = message == nullptr ? "unknown reason" : message;
  uselocale(before);
  freelocale(english);
  return text;
}

}  // namespace lenet
