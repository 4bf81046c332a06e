#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>

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

/// \returns how many bytes there were, at most the size of the file when it was opened
std::size_t read_all(const FileDescriptor& file, char* to, const std::string& path) {
  std::size_t done = 0;
  while (done < file.size()) {
    const ssize_t count = read(file.value(), to + done, file.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, std::strerror(errno));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

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
  contents.resize(read_all(file, contents.data(), path));
  return contents;
}

MemoryFile::MemoryFile(std::string_view contents)
    : MemoryFile(contents.size(), [&](char* to) { return contents.copy(to, contents.size()); }) {}

std::shared_ptr<const MemoryFile> MemoryFile::read(const std::string& path) {
  const FileDescriptor file(path);
  // A file in memory may be larger than memory, which is noticed when it is filled only.
  void* room = mmap(nullptr, std::max<std::size_t>(1, file.size()), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    throw Error(ErrorCode::BackendFailure, "not enough memory to read '" + path + "', " +
                                               std::to_string(file.size()) + " bytes");
  }
  munmap(room, std::max<std::size_t>(1, file.size()));
  const auto fill = [&](char* to) { return read_all(file, to, path); };
  return std::shared_ptr<const MemoryFile>(new MemoryFile(file.size(), fill));
}

MemoryFile::MemoryFile(std::size_t size, const std::function<std::size_t(char*)>& fill)
    : size_(size), descriptor_(memfd_create("lenet", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  const auto map = [&](int protection) {
    void* mapped =
        size_ == 0 ? nullptr : mmap(nullptr, size_, protection, MAP_SHARED, descriptor_, 0);
    return mapped == MAP_FAILED ? nullptr : mapped;
  };
  const auto require = [&](bool holds) {
    if (holds) return;
    const std::string reason = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw Error(ErrorCode::BackendFailure,
                "not enough memory for " + std::to_string(size) + " bytes: " + reason);
  };
  require(descriptor_ >= 0 && ftruncate(descriptor_, static_cast<off_t>(size_)) == 0);
  if (size_ > 0) {
    void* writable = map(PROT_READ | PROT_WRITE);
    require(writable != nullptr);
    std::size_t filled = 0;
    try {
      filled = fill(static_cast<char*>(writable));
    } catch (...) {
      munmap(writable, size_);
      close(descriptor_);
      throw;
    }
    munmap(writable, size_);
    size_ = filled;
    require(ftruncate(descriptor_, static_cast<off_t>(size_)) == 0);
  }
  // Not F_SEAL_WRITE, which waits for whoever looks at the pages, and fails with EBUSY at times.
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
  require(fcntl(descriptor_, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0 ||
          fcntl(descriptor_, F_ADD_SEALS, seals | F_SEAL_SEAL) == 0);  // before Linux 5.1
  path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  require(access(path_.c_str(), R_OK) == 0);
  mapped_ = map(PROT_READ);
  require(mapped_ != nullptr || size_ == 0);
}

MemoryFile::~MemoryFile() {
  if (mapped_ != nullptr) munmap(mapped_, size_);
  close(descriptor_);
}

TemporaryFolder::TemporaryFolder()
    : path_((std::filesystem::temp_directory_path() / "lenet-XXXXXX").string()) {
  if (mkdtemp(path_.data()) == nullptr) {
    throw Error(ErrorCode::BackendFailure,
                "cannot make a temporary folder: " + std::string(std::strerror(errno)));
  }
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lenet
