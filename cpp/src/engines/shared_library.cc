#include "engines/shared_library.h"

#include <cstdio>

namespace lenet {

std::pair<int, int> parse_version(const std::string& version) {
  std::pair<int, int> parts;
  const bool both = std::sscanf(version.c_str(), "%d.%d", &parts.first, &parts.second) == 2;
  return both ? parts : std::pair(0, 0);
}

}  // namespace lenet
