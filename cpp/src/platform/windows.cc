#include "platform/win32.h"
// After it: they lean on it.
#include <fcntl.h>
#include <io.h>
#include <shellapi.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "platform/platform.h"

// GCC's own tells the type of an exception that nobody caught, and brings 50 kB to write its name.
namespace __gnu_cxx {
void __verbose_terminate_handler() { std::abort(); }
}  // namespace __gnu_cxx

namespace lenet::platform {
namespace {

// Of POSIX, which scripts know: 128 + the number of the signal.
constexpr int kInterrupted = 130;
constexpr int kTerminated = 143;
constexpr int kClosedPipe = 141;
constexpr DWORD kPatienceMilliseconds = 5000;
constexpr std::size_t kLongPath = 240;  // of the 260 that Windows takes, with room for a name
constexpr DWORD kLongestPath = 1 << 15;
constexpr std::wstring_view kVerbatim = L"\\\\?\\";

std::atomic<int> status_asked{0};

/// Runs in a thread of its own. When it returns the system ends the process.
BOOL WINAPI note_event(DWORD event) {
  if (status_asked != 0) return FALSE;  // the second time at once
  status_asked = event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT ? kInterrupted : kTerminated;
  Sleep(kPatienceMilliseconds);
  return FALSE;
}

std::string narrow(std::wstring_view text) {
  const int length = static_cast<int>(text.size());
  const int size =
      WideCharToMultiByte(CP_UTF8, 0, text.data(), length, nullptr, 0, nullptr, nullptr);
  std::string result(static_cast<std::size_t>(size), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text.data(), length, result.data(), size, nullptr, nullptr);
  return result;
}

/// What is no UTF-8 becomes U+FFFD, so that such a file is not found.
std::wstring widen(std::string_view text) {
  const int length = static_cast<int>(text.size());
  const int size = MultiByteToWideChar(CP_UTF8, 0, text.data(), length, nullptr, 0);
  std::wstring result(static_cast<std::size_t>(size), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), length, result.data(), size);
  return result;
}

/// The path from the root; empty where there is none.
std::wstring whole_path(const std::wstring& path) {
  std::wstring whole(kLongestPath, L'\0');
  const DWORD size = GetFullPathNameW(path.c_str(), kLongestPath, whole.data(), nullptr);
  whole.resize(size < kLongestPath ? size : 0);
  return whole;
}

/// Of the system's own form.
std::string shown_path(std::wstring_view path) {
  const bool is_verbatim = path.rfind(kVerbatim, 0) == 0;
  if (is_verbatim) path.remove_prefix(kVerbatim.size());
  std::string shown = narrow(path);
  if (is_verbatim && shown.rfind("UNC\\", 0) == 0) shown.replace(0, 3, "\\");
  std::replace(shown.begin(), shown.end(), '\\', '/');
  return shown;
}

}  // namespace

bool is_separator(char byte) noexcept { return byte == '/' || byte == '\\'; }
std::size_t begin_of_name(const std::string& path) noexcept {
  return path.find_last_of("/\\:") + 1;
}

std::wstring native_path(const std::string& path) {
  std::wstring wide = widen(path);
  const bool is_verbatim = wide.rfind(kVerbatim, 0) == 0;
  if (is_verbatim) std::replace(wide.begin(), wide.end(), L'/', L'\\');  // it is taken as it is
  if (is_verbatim || wide.size() < kLongPath) return wide;
  const std::wstring whole = whole_path(wide);
  return whole.empty() || whole.rfind(L"\\\\", 0) == 0 ? wide : std::wstring(kVerbatim) + whole;
}

HANDLE open_file(const std::string& path, DWORD access) {
  return CreateFileW(native_path(path).c_str(), access,
                     FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, OPEN_EXISTING,
                     FILE_FLAG_BACKUP_SEMANTICS, nullptr);
}

std::string temporary_folder() {
  wchar_t folder[MAX_PATH + 1];
  return shown_path({folder, GetTempPathW(MAX_PATH + 1, folder)});
}

std::string error_text(DWORD error) {
  const bool missing = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND;
  if (missing) return "No such file or directory";  // as elsewhere
  char text[512];
  const DWORD size = FormatMessageA(
      FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
      nullptr, error, MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), text, sizeof(text), nullptr);
  std::string message(text, size);
  while (!message.empty() && (message.back() == ' ' || message.back() == '.')) message.pop_back();
  return message.empty() ? "error " + std::to_string(error) : message;
}

Kind kind_of(const std::string& path) {
  const Handle file(open_file(path, 0));
  if (!file.is_open()) {
    const DWORD error = GetLastError();
    const bool missing = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ||
                         error == ERROR_INVALID_NAME || error == ERROR_BAD_PATHNAME ||
                         error == ERROR_BAD_NETPATH || error == ERROR_DIRECTORY;
    return missing ? Kind::Missing : Kind::Other;
  }
  BY_HANDLE_FILE_INFORMATION about;
  if (GetFileType(file.handle) != FILE_TYPE_DISK ||
      GetFileInformationByHandle(file.handle, &about) == 0) {
    return Kind::Other;
  }
  return (about.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? Kind::Folder : Kind::File;
}

std::vector<std::string> list_folder(const std::string& folder, std::string& failure) {
  std::vector<std::string> paths;
  WIN32_FIND_DATAW found;
  HANDLE search = FindFirstFileW((native_path(folder) + L"\\*").c_str(), &found);
  if (search != INVALID_HANDLE_VALUE) {
    do {
      const std::string name = narrow(found.cFileName);
      if (name != "." && name != "..") paths.push_back(in_folder(folder, name));
    } while (FindNextFileW(search, &found) != 0);
  }
  const DWORD error = GetLastError();
  if (search != INVALID_HANDLE_VALUE) FindClose(search);
  failure = error == ERROR_NO_MORE_FILES ? "" : error_text(error);
  return paths;
}

std::string real_path(const std::string& path) {
  const Handle file(open_file(path, 0));
  std::wstring wide(kLongestPath, L'\0');
  if (!file.is_open()) return "";
  const DWORD size = GetFinalPathNameByHandleW(file.handle, wide.data(), kLongestPath, 0);
  return size < kLongestPath ? shown_path(wide.substr(0, size)) : "";
}

void make_folder(const std::string& path) { CreateDirectoryW(native_path(path).c_str(), nullptr); }

/// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
bool is_plain_name(const std::string& name) {
  const auto is_refused = [](char byte) {
    return (byte >= 0 && byte < ' ') ||
           std::string_view("<>:\"/\\|?*").find(byte) != std::string::npos;
  };
  if (std::any_of(name.begin(), name.end(), is_refused)) return false;
  if (name == "." || name == "..") return true;  // which are no names, and no devices
  if (!name.empty() && (name.back() == '.' || name.back() == ' ')) return false;
  // A device is meant whatever suffix follows, with spaces before it or not.
  std::string stem = name.substr(0, name.find('.'));
  while (!stem.empty() && stem.back() == ' ') stem.pop_back();
  std::transform(stem.begin(), stem.end(), stem.begin(),
                 [](unsigned char byte) { return static_cast<char>(std::toupper(byte)); });
  for (const std::string_view device : {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}) {
    if (stem == device) return false;
  }
  // COM1 to COM9, also with the digits that are written high: ¹, ² and ³.
  return stem.size() < 4 || (stem.rfind("COM", 0) != 0 && stem.rfind("LPT", 0) != 0) ||
         (stem.size() == 4 ? std::isdigit(static_cast<unsigned char>(stem[3])) == 0
                           : stem.size() != 5 || static_cast<unsigned char>(stem[3]) != 0xc2);
}

// Windows has them for those alone who may lock pages in memory.
void use_large_pages(void* /*memory*/, std::size_t /*bytes*/) noexcept {}

std::int64_t last_cache_bytes() noexcept {
  DWORD size = 0;
  GetLogicalProcessorInformation(nullptr, &size);
  std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> all(size / sizeof(all[0]));
  if (all.empty() || GetLogicalProcessorInformation(all.data(), &size) == 0) return 0;
  std::int64_t bytes = 0;
  for (const auto& one : all) {
    if (one.Relationship == RelationCache && one.Cache.Level == 3) bytes = one.Cache.Size;
  }
  return bytes;
}

// Windows 11 has them for who asks (EnableProcessOptionalXStateFeatures); nobody here could try it.
bool may_use_tiles() noexcept { return false; }
bool has_dot_products() noexcept { return false; }

unsigned forks() noexcept { return 0; }

void skip_destructors_at_exit(bool (* /*is_needed*/)()) noexcept {}

struct WithoutSignals::Mask {};
WithoutSignals::WithoutSignals() = default;
WithoutSignals::~WithoutSignals() = default;

struct Places::Allowed {};
Places::Places() = default;
Places::~Places() = default;
void Places::keep_away(std::thread& /*thread*/) noexcept {}
void Places::come_back() noexcept {}

std::string library_name(const std::string& name, int /*version*/) { return name + ".dll"; }

void* open_library(const std::string& file) {
  // Of one in a folder, what it needs is looked for there before it is in the rest of the system.
  const DWORD flags = file.find_first_of("/\\") == std::string::npos
                          ? 0
                          : LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
  // With these flags, from the root and with '\\' alone.
  const std::wstring path = flags == 0 ? widen(file) : whole_path(widen(file));
  return LoadLibraryExW(path.c_str(), nullptr, flags);
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

std::string last_library_error() { return "error " + std::to_string(GetLastError()); }

char** arguments(int& argc, char** argv) {
  static std::vector<std::string> all;
  static std::vector<char*> pointers;
  int count = 0;
  wchar_t** const wide = CommandLineToArgvW(GetCommandLineW(), &count);
  if (wide == nullptr) return argv;
  for (int i = 0; i < count; ++i) all.push_back(narrow(wide[i]));
  LocalFree(wide);
  for (std::string& one : all) pointers.push_back(one.data());
  pointers.push_back(nullptr);
  argc = count;
  return pointers.data();
}

std::string own_file() {
  std::wstring path(kLongestPath, L'\0');
  path.resize(GetModuleFileNameW(nullptr, path.data(), kLongestPath));
  return narrow(path);
}

// One that takes no escape sequences is none: it would show them.
bool is_terminal_stderr() noexcept {
  HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
  DWORD mode = 0;
  return GetConsoleMode(error, &mode) != 0 &&
         SetConsoleMode(error, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0;
}

void handle_signals() noexcept {
  SetConsoleCtrlHandler(note_event, TRUE);
  SetConsoleOutputCP(CP_UTF8);
  _setmode(_fileno(stdout), _O_BINARY);
  _setmode(_fileno(stderr), _O_BINARY);
}

bool is_asked_to_end() noexcept { return status_asked != 0; }
void end_as_asked() noexcept { std::_Exit(status_asked); }
int closed_pipe_status() noexcept { return kClosedPipe; }

}  // namespace lenet::platform
