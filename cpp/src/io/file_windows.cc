#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <random>

#include "io/file.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet {
namespace fs = std::filesystem;
using platform::path_of;
namespace {

using Pieces = std::vector<std::string_view>;

constexpr std::size_t kMostAtOnce = 1 << 30;

/// In English, as elsewhere.
std::string text_of(DWORD error) {
  char text[512];
  const DWORD size = FormatMessageA(
      FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
      nullptr, error, MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), text, sizeof(text), nullptr);
  std::string message(text, size);
  while (!message.empty() && (message.back() == ' ' || message.back() == '.')) message.pop_back();
  return message.empty() ? "error " + std::to_string(error) : message;
}

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': " + reason);
}

[[noreturn]] void fail_to_hold(const std::string& path, std::size_t size) {
  throw Error(ErrorCode::BackendFailure,
              "not enough memory to read '" + path + "', " + std::to_string(size) + " bytes");
}

struct Handle {
  HANDLE handle;

  explicit Handle(HANDLE opened) : handle(opened) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (is_open()) CloseHandle(handle);
  }
  bool is_open() const { return handle != INVALID_HANDLE_VALUE; }
};

/// An open file, which others may write to, rename and remove meanwhile, as elsewhere.
struct RegularFile : Handle {
  std::size_t size = 0;

  explicit RegularFile(const std::string& path)
      : Handle(CreateFileW(path_of(path).c_str(), GENERIC_READ,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                           OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr)) {
    if (!is_open()) {
      const DWORD error = GetLastError();
      std::error_code failed;
      fail(path, fs::is_directory(path_of(path), failed) ? "it is a folder" : text_of(error));
    }
    if (GetFileType(handle) != FILE_TYPE_DISK) fail(path, "it is not a regular file");
    LARGE_INTEGER bytes;
    if (GetFileSizeEx(handle, &bytes) == 0) fail(path, text_of(GetLastError()));
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
      fail(path, text_of(GetLastError()));
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

std::wstring random_name(const wchar_t* begin) {
  return begin + std::to_wstring(std::random_device{}());
}

/// \returns the error of what failed, or 0
DWORD replace_file(const fs::path& target, const Pieces& pieces) {
  constexpr int kAttempts = 100;
  fs::path temporary;
  DWORD error = ERROR_FILE_EXISTS;
  for (int i = 0; i < kAttempts && error == ERROR_FILE_EXISTS; ++i) {
    temporary = target.parent_path() / random_name(L".lenet-");
    const Handle file(CreateFileW(temporary.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW,
                                  FILE_ATTRIBUTE_NORMAL, nullptr));
    error = write_all(file, pieces);
  }
  if (error == 0 &&
      MoveFileExW(temporary.c_str(), target.c_str(), MOVEFILE_REPLACE_EXISTING) == 0) {
    error = GetLastError();
  }
  if (error != 0) DeleteFileW(temporary.c_str());
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
  fs::path target = path_of(path);
  std::error_code failed;
  // A link stays a link: what it leads to is replaced.
  if (fs::is_symlink(fs::symlink_status(target, failed))) target = fs::canonical(target, failed);
  const fs::file_status status = fs::status(target, failed);
  const bool in_place =  // NUL, the console
      fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
  const DWORD error = in_place ? write_all(Handle(CreateFileW(target.c_str(), GENERIC_WRITE,
                                                              FILE_SHARE_READ | FILE_SHARE_WRITE,
                                                              nullptr, OPEN_EXISTING, 0, nullptr)),
                                           pieces)
                               : replace_file(target, pieces);
  if (error == 0) return;
  const bool full = error == ERROR_DISK_FULL || error == ERROR_HANDLE_DISK_FULL ||
                    error == ERROR_NOT_ENOUGH_MEMORY;
  throw Error(full ? ErrorCode::BackendFailure : ErrorCode::FileNotFound,
              "cannot write '" + path + "': " + text_of(error));
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
    throw Error(ErrorCode::BackendFailure, "not enough memory for " + std::to_string(size) +
                                               " bytes: " + text_of(GetLastError()));
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

TemporaryFolder::TemporaryFolder() {
  std::error_code failed;
  const fs::path folder = fs::temp_directory_path(failed) / random_name(L"lenet-");
  if (CreateDirectoryW(folder.c_str(), nullptr) == 0) {
    throw Error(ErrorCode::BackendFailure,
                "cannot make a temporary folder: " + text_of(GetLastError()));
  }
  path_ = platform::name_of(folder);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_of(path_), ignored);
}

}  // namespace lenet
