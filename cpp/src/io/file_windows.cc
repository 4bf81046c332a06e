#include <algorithm>
#include <exception>
#include <random>

#include "io/file.h"
#include "lenet/error.h"
#include "platform/platform.h"
#include "platform/win32.h"

namespace lenet {
using platform::error_text;
using platform::Handle;
using platform::native_path;
namespace {

using Pieces = std::vector<std::string_view>;

constexpr std::size_t kMostAtOnce = 1 << 30;

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': " + reason);
}

[[noreturn]] void fail_to_hold(const std::string& path, std::size_t size) {
  throw Error(ErrorCode::BackendFailure,
              "not enough memory to read '" + path + "', " + std::to_string(size) + " bytes");
}

/// An open file.
struct RegularFile : Handle {
  std::size_t size = 0;

  explicit RegularFile(const std::string& path) : Handle(platform::open_file(path, GENERIC_READ)) {
    if (!is_open()) {
      const std::string reason = error_text(GetLastError());
      const std::string hint = platform::exists(path) ? "" : platform::hint_of_missing(path);
      fail(path, reason + (hint.empty() ? "" : "; " + hint));
    }
    if (platform::is_folder(path)) fail(path, "it is a folder");
    if (GetFileType(handle) != FILE_TYPE_DISK) fail(path, "it is not a regular file");
    LARGE_INTEGER bytes;
    if (GetFileSizeEx(handle, &bytes) == 0) fail(path, error_text(GetLastError()));
    size = static_cast<std::size_t>(bytes.QuadPart);
  }
};

/// \returns how many bytes there were, at most the size of the file when it was opened
std::size_t read_all(const RegularFile& file, char* to, const std::string& path) {
  std::size_t done = 0;
  while (done < file.size) {
    const auto wanted = static_cast<DWORD>(std::min(file.size - done, kMostAtOnce));
    DWORD count = 0;
    if (ReadFile(file.handle, to + done, wanted, &count, nullptr) == 0) {
      fail(path, error_text(GetLastError()));
    }
    if (count == 0) break;
    done += count;
  }
  return done;
}

/// Writes to a file just opened. \returns the error of what failed, or 0
DWORD write_all(const Handle& file, const Pieces& pieces) {
  if (!file.is_open()) return GetLastError();
  for (std::string_view bytes : pieces) {
    while (!bytes.empty()) {
      const auto wanted = static_cast<DWORD>(std::min(bytes.size(), kMostAtOnce));
      DWORD count = 0;
      if (WriteFile(file.handle, bytes.data(), wanted, &count, nullptr) == 0) return GetLastError();
      bytes.remove_prefix(count);
    }
  }
  return 0;
}

std::string random_name(const char* begin) {
  return begin + std::to_string(std::random_device{}());
}

/// \returns the error of what failed, or 0
DWORD replace_file(const std::string& target, const Pieces& pieces) {
  constexpr int kAttempts = 100;
  std::wstring temporary;
  DWORD error = ERROR_FILE_EXISTS;
  for (int i = 0; i < kAttempts && error == ERROR_FILE_EXISTS; ++i) {
    temporary = native_path(platform::beside(target, random_name(".lenet-")));
    const Handle file(CreateFileW(temporary.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW,
                                  FILE_ATTRIBUTE_NORMAL, nullptr));
    error = write_all(file, pieces);
  }
  if (error == 0 &&
      MoveFileExW(temporary.c_str(), native_path(target).c_str(), MOVEFILE_REPLACE_EXISTING) == 0) {
    error = GetLastError();
  }
  if (error != 0) DeleteFileW(temporary.c_str());
  return error;
}

/// NUL, the console, a pipe.
bool is_device(const std::string& path) {
  const Handle file(platform::open_file(path, 0));
  const DWORD type = file.is_open() ? GetFileType(file.handle) : FILE_TYPE_DISK;
  return type == FILE_TYPE_CHAR || type == FILE_TYPE_PIPE;
}

/// With what is in it; of a link, the link alone.
void remove_folder(const std::string& folder) {
  std::string ignored;
  for (const std::string& path : platform::list_folder(folder, ignored)) {
    const DWORD attributes = GetFileAttributesW(native_path(path).c_str());
    const DWORD kind = attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT);
    if (kind == FILE_ATTRIBUTE_DIRECTORY) remove_folder(path);
    DeleteFileW(native_path(path).c_str());
  }
  RemoveDirectoryW(native_path(folder).c_str());
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
  // A link stays a link: what it leads to is replaced.
  const DWORD attributes = GetFileAttributesW(native_path(path).c_str());
  const bool is_link =
      attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
  const std::string target = is_link ? platform::real_path(path) : path;
  const bool in_place = is_device(target);
  const DWORD error = in_place
                          ? write_all(Handle(CreateFileW(native_path(target).c_str(), GENERIC_WRITE,
                                                         FILE_SHARE_READ | FILE_SHARE_WRITE,
                                                         nullptr, OPEN_EXISTING, 0, nullptr)),
                                      pieces)
                          : replace_file(target, pieces);
  if (error == 0) return;
  const bool full = error == ERROR_DISK_FULL || error == ERROR_HANDLE_DISK_FULL ||
                    error == ERROR_NOT_ENOUGH_MEMORY;
  throw Error(full ? ErrorCode::BackendFailure : ErrorCode::FileNotFound,
              "cannot write '" + path + "': " + error_text(error));
}

MemoryFile::MemoryFile(std::string_view contents)
    : MemoryFile(contents.size(), [&](char* to) { return contents.copy(to, contents.size()); }) {}

std::shared_ptr<const MemoryFile> MemoryFile::read(const std::string& path) {
  const RegularFile file(path);
  const auto fill = [&](char* to) { return read_all(file, to, path); };
  return std::shared_ptr<const MemoryFile>(new MemoryFile(file.size, fill));
}

MemoryFile::MemoryFile() : descriptor_(-1) {}

// As the other constructor has ended, the destructor is called also when this one throws.
MemoryFile::MemoryFile(std::size_t size, const std::function<std::size_t(char*)>& fill)
    : MemoryFile() {
  const auto require = [size](bool holds) {
    if (holds) return;
    throw Error(ErrorCode::BackendFailure, "cannot hold " + std::to_string(size) +
                                               " bytes in memory: " + error_text(GetLastError()));
  };
  if (size == 0) return;
  mapped_ = VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  require(mapped_ != nullptr);
  size_ = fill(static_cast<char*>(mapped_));
  DWORD before = 0;
  require(VirtualProtect(mapped_, size, PAGE_READONLY, &before) != 0);
}

MemoryFile::~MemoryFile() {
  if (mapped_ != nullptr) VirtualFree(mapped_, 0, MEM_RELEASE);
}

std::string MemoryFile::path() const {
  throw Error(ErrorCode::Unsupported,
              "on Windows a file in memory has no name that a library could open");
}

TemporaryFolder::TemporaryFolder() : path_(platform::temporary_folder() + random_name("lenet-")) {
  if (CreateDirectoryW(native_path(path_).c_str(), nullptr) == 0) {
    throw Error(ErrorCode::BackendFailure,
                "cannot make a temporary folder: " + error_text(GetLastError()));
  }
}

TemporaryFolder::~TemporaryFolder() { remove_folder(path_); }

}  // namespace lenet
