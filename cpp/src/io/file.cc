#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>
#include <filesystem>
#include <random>

#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

using Pieces = std::vector<std::string_view>;

constexpr int kMaxLinks = 40;  // as Linux follows

[[noreturn]] void fail(const std::string& path, const char* reason) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': " + reason);
}

/// What goes behind the reason why a path cannot be opened.
std::string hint(const std::string& path, int error) {
  const std::string found = error == ENOENT ? platform::hint_of_missing(path) : "";
  return found.empty() ? "" : "; " + found;
}

[[noreturn]] void fail_to_hold(const std::string& path, std::size_t size) {
  throw Error(ErrorCode::BackendFailure,
              "not enough memory to read '" + path + "', " + std::to_string(size) + " bytes");
}

/// An open file.
struct RegularFile {
  int descriptor;
  std::size_t size = 0;

  // Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
  explicit RegularFile(const std::string& path)
      : descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor < 0) {
      const int error = errno;
      fail(path, (std::strerror(error) + hint(path, error)).c_str());
    }
    struct stat status = {};
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
      const char* reason = S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file";
      close(descriptor);
      fail(path, reason);
    }
    size = static_cast<std::size_t>(status.st_size);
  }
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;
  ~RegularFile() { close(descriptor); }
};

/// \returns how many bytes there were, at most the size of the file when it was opened
std::size_t read_all(const RegularFile& file, char* to, const std::string& path) {
  std::size_t done = 0;
  while (done < file.size) {
    const ssize_t count = read(file.descriptor, to + done, file.size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, std::strerror(errno));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

/// Writes to a file just opened, and closes it.
/// \returns errno of what failed, or 0
int write_and_close(int file, const Pieces& pieces) {
  if (file < 0) return errno;
  const bool written = std::all_of(pieces.begin(), pieces.end(),
                                   [&](std::string_view bytes) { return write_all(file, bytes); });
  const int error = written ? 0 : errno;
  return close(file) == 0 || !written ? error : errno;
}

#ifdef __linux__
constexpr char kDescriptors[] = "/proc/self/fd/";

// glibc has a function for it from 2.27 on; Linux has the call from 3.17 on.
int open_nameless() {
  return static_cast<int>(syscall(SYS_memfd_create, "lenet", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

bool seal(int file) {
  // F_SEAL_WRITE is not used: it waits for readers of the pages, and sometimes fails with EBUSY.
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
  return fcntl(file, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0 ||
         fcntl(file, F_ADD_SEALS, seals | F_SEAL_SEAL) == 0;  // before Linux 5.1
}
#else  // The system has no files in memory: a file on the disk loses its name.
constexpr char kDescriptors[] = "/dev/fd/";

int open_nameless() {
  std::error_code failed;
  // Where the system names no temporary folder, the file is for a moment in the current one.
  std::string path = (fs::temp_directory_path(failed) / "lenet-XXXXXX").string();
  const int file = mkstemp(path.data());
  if (file < 0) return file;
  unlink(path.c_str());
  fcntl(file, F_SETFD, FD_CLOEXEC);
  return file;
}

bool seal(int /*file*/) { return true; }
#endif

/// Opens a new file beside `target`, with the permissions that the process gives to new files.
int create_beside(const fs::path& target, std::string& path) {
  constexpr int kAttempts = 100;
  std::random_device random;
  int file = -1;
  for (int i = 0; i < kAttempts && file < 0; ++i) {
    path = (target.parent_path() / (".lenet-" + std::to_string(random()))).string();
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno != EEXIST) break;
  }
  return file;
}

/// \returns errno of what failed, or 0
int replace_file(const std::string& path, const Pieces& pieces) {
  std::error_code failed;
  // A link stays a link: what it leads to is replaced.
  fs::path target = path;
  for (int links = 0; links < kMaxLinks && fs::is_symlink(target, failed); ++links) {
    target = target.parent_path() / fs::read_symlink(target, failed);
  }
  if (fs::is_symlink(target, failed)) return ELOOP;
  if (target.filename().native().size() > NAME_MAX) return ENAMETOOLONG;
  std::string temporary;
  const int file = create_beside(target, temporary);
  if (file < 0) return errno;
  int error = write_and_close(file, pieces);
  if (error == 0 && rename(temporary.c_str(), target.c_str()) != 0) error = errno;
  if (error != 0) unlink(temporary.c_str());
  return error;
}

}  // namespace

std::string read_file(const std::string& path) {
  const RegularFile file(path);
  std::string contents;
  try {
    contents.resize(file.size);
  } catch (const std::exception&) {  // bad_alloc, or length_error
    fail_to_hold(path, file.size);
  }
  contents.resize(read_all(file, contents.data(), path));
  return contents;
}

void write_atomically(const std::string& path, const Pieces& pieces) {
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  // A device or a pipe (/dev/stdout, /dev/null) is written to; a rename would replace it.
  const bool in_place =
      fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
  const int error = in_place ? write_and_close(open(path.c_str(), O_WRONLY | O_CLOEXEC), pieces)
                             : replace_file(path, pieces);
  if (error == 0) return;
  const bool place = error == ENOENT || error == EACCES || error == ENOTDIR || error == EROFS ||
                     error == EISDIR || error == EPERM || error == ELOOP || error == ENAMETOOLONG;
  throw Error(place ? ErrorCode::FileNotFound : ErrorCode::BackendFailure,
              "cannot write '" + path + "': " + std::strerror(error) +
                  (path[0] == '~' ? hint(path, error) : ""));
}

MemoryFile::MemoryFile(std::string_view contents)
    : MemoryFile(contents.size(), [&](char* to) { return contents.copy(to, contents.size()); }) {}

std::shared_ptr<const MemoryFile> MemoryFile::read(const std::string& path) {
  const RegularFile file(path);
  // A file in memory may be larger than memory, which is noticed when it is filled only.
  const std::size_t room_bytes = std::max<std::size_t>(1, file.size);
  void* room =
      mmap(nullptr, room_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) fail_to_hold(path, file.size);
  munmap(room, room_bytes);
  const auto fill = [&](char* to) { return read_all(file, to, path); };
  return std::shared_ptr<const MemoryFile>(new MemoryFile(file.size, fill));
}

MemoryFile::MemoryFile() : descriptor_(open_nameless()) {}

// As the other constructor has ended, the destructor is called also when this one throws.
MemoryFile::MemoryFile(std::size_t size, const std::function<std::size_t(char*)>& fill)
    : MemoryFile() {
  const auto require = [size](bool holds) {
    if (holds) return;
    throw Error(ErrorCode::BackendFailure, "cannot hold " + std::to_string(size) +
                                               " bytes in memory: " + std::strerror(errno));
  };
  const auto resize = [&](std::size_t bytes) {
    size_ = bytes;
    require(ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0);
  };
  require(descriptor_ >= 0);
  resize(size);
  if (size > 0) {
    map(PROT_READ | PROT_WRITE);
    require(mapped_ != nullptr);
    const std::size_t filled = fill(static_cast<char*>(mapped_));
    unmap();
    resize(filled);
  }
  require(seal(descriptor_));
  map(PROT_READ);
  require(mapped_ != nullptr || size_ == 0);
}

MemoryFile::~MemoryFile() {
  unmap();
  if (descriptor_ >= 0) close(descriptor_);
}

std::string MemoryFile::path() const {
  const std::string path = kDescriptors + std::to_string(descriptor_);
  if (access(path.c_str(), R_OK) == 0) return path;
  throw Error(ErrorCode::BackendFailure, "cannot read '" + path + "': " + std::strerror(errno) +
                                             "; mount /proc, or use the native engine");
}

void MemoryFile::map(int protection) {
  if (size_ == 0) return;
  void* mapped = mmap(nullptr, size_, protection, MAP_SHARED, descriptor_, 0);
  if (mapped != MAP_FAILED) mapped_ = mapped;
}

void MemoryFile::unmap() {
  if (mapped_ != nullptr) munmap(mapped_, size_);
  mapped_ = nullptr;
}

TemporaryFolder::TemporaryFolder() {
  std::error_code failed;
  path_ = (fs::temp_directory_path(failed) / "lenet-XXXXXX").string();  // mkdtemp fills it
  if (!failed && mkdtemp(path_.data()) != nullptr) return;
  const std::string why = failed ? failed.message() : std::strerror(errno);
  throw Error(ErrorCode::BackendFailure,
              "cannot make a temporary folder (" + why + "): set TMPDIR to another one");
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace lenet
