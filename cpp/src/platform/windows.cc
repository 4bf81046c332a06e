#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
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

}  // namespace

std::filesystem::path path_of(const std::string& name) {
  std::wstring wide = widen(name);
  if (wide.size() < kLongPath || wide.rfind(kVerbatim, 0) == 0) return wide;
  std::wstring whole(wide.size() + MAX_PATH, L'\0');
  const DWORD size =
      GetFullPathNameW(wide.c_str(), static_cast<DWORD>(whole.size()), whole.data(), nullptr);
  if (size == 0 || size >= whole.size()) return wide;
  whole.resize(size);
  return whole.rfind(L"\\\\", 0) == 0 ? wide : std::wstring(kVerbatim) + whole;
}

std::string name_of(const std::filesystem::path& path) {
  std::wstring_view wide = path.native();
  if (wide.rfind(kVerbatim, 0) == 0) wide.remove_prefix(kVerbatim.size());
  std::string name = narrow(wide);
  std::replace(name.begin(), name.end(), '\\', '/');
  return name;
}

std::string beside(const std::string& file, const std::string& name) {
  return name_of(path_of(file).replace_filename(widen(name)));
}

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
  std::wstring path = widen(file);
  std::replace(path.begin(), path.end(), L'/', L'\\');
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
  std::wstring path(1 << 15, L'\0');  // the longest that there is
  path.resize(GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size())));
  return narrow(path);
}

bool is_terminal_stderr() noexcept { return _isatty(_fileno(stderr)) != 0; }

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
