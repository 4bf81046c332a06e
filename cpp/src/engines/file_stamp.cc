#include "engines/file_stamp.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "lenet/error.h"

namespace lenet {

std::string stamp_of(const ModelFiles& files) {
  std::string stamp;
  for (const std::string& path : {files.program, files.params}) {
    if (path.empty()) continue;
    struct stat status = {};
    if (stat(path.c_str(), &status) != 0) {
      throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': " + std::strerror(errno));
    }
    for (const auto part :
         {static_cast<long long>(status.st_dev), static_cast<long long>(status.st_ino),
          static_cast<long long>(status.st_size), static_cast<long long>(status.st_mtim.tv_sec),
          static_cast<long long>(status.st_mtim.tv_nsec)}) {
      stamp += std::to_string(part) + " ";
    }
  }
  return stamp;
}

void require_unchanged(const ModelFiles& files, const std::string& stamp) {
  if (stamp_of(files) != stamp) {
    throw Error(ErrorCode::BadModel,
                "'" + files.program +
                    "' or its parameters were replaced since they were loaded; "
                    "make a new predictor for the new model");
  }
}

}  // namespace lenet
