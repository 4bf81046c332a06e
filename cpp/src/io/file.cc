#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>

#include "lenet/error.h"

namespace lenet {
namespace {

[[noreturn]] void fail(const std::string& path, const char* reason) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': " + reason);
}

class FileDescriptor {
 public:
  // Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
  explicit FileDescriptor(const std::string& path)
      : value_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (value_ < 0) fail(path, std::strerror(errno));
    struct stat status = {};
    if (fstat(value_, &status) != 0 || !S_ISREG(status.st_mode)) {
      const char* reason = S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file";
      close(value_);
      fail(path, reason);
    }
    size_ = static_cast<std::size_t>(status.st_size);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { close(value_); }

  int value() const { return value_; }
  std::size_t size() const { return size_; }

 private:
  int value_;
  std::size_t size_ = 0;
};

}  // namespace

void require_file(const std::string& path) { const FileDescriptor file(path); }

std::string read_file(const std::string& path) {
  const FileDescriptor file(path);
  std::string contents;
  try {
    contents.resize(file.size());
  } catch (const std::exception&) {  // bad_alloc, or length_error
    throw Error(ErrorCode::BackendFailure, "not enough memory to read '" + path + "', " +
                                               std::to_string(file.size()) + " bytes");
  }
  std::size_t done = 0;
  while (done < contents.size()) {
    const ssize_t count = read(file.value(), contents.data() + done, contents.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, std::strerror(errno));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  contents.resize(done);
  return contents;
}

MemoryFile::MemoryFile(std::string_view contents)
    : descriptor_(memfd_create("lenet", MFD_CLOEXEC | MFD_ALLOW_SEALING)),
      path_("/proc/self/fd/" + std::to_string(descriptor_)) {
  std::size_t done = 0;
  bool failed = descriptor_ < 0;
  while (!failed && done < contents.size()) {
    const ssize_t count = write(descriptor_, contents.data() + done, contents.size() - done);
    if (count < 0 && errno == EINTR) continue;
    failed = count < 0;
    if (!failed) done += static_cast<std::size_t>(count);
  }
  failed = failed || fcntl(descriptor_, F_ADD_SEALS,
                           F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0;
  if (!failed && access(path_.c_str(), R_OK) == 0) return;
  const std::string reason = std::strerror(errno);
  if (descriptor_ >= 0) close(descriptor_);
  throw Error(ErrorCode::BackendFailure, "cannot copy " + std::to_string(contents.size()) +
                                             " bytes to a file in memory: " + reason);
}

MemoryFile::~MemoryFile() { close(descriptor_); }

}  // namespace lenet
