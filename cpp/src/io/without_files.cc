// In place of file.cc and file_windows.cc, for builds without files: models come from memory.
#include <cstring>

#include "io/file.h"
#include "lenet/error.h"

namespace lenet {

std::string read_file(const std::string& path) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': there are no files");
}

MemoryFile::MemoryFile(std::string_view contents)
    : size_(contents.size()), mapped_(::operator new(contents.size())) {
  std::memcpy(mapped_, contents.data(), size_);
}
MemoryFile::~MemoryFile() { ::operator delete(mapped_); }
std::shared_ptr<const MemoryFile> MemoryFile::read(const std::string& path) {
  return std::make_shared<const MemoryFile>(read_file(path));
}

}  // namespace lenet
