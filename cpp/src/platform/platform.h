/// \file
/// What systems do differently, but for files (io/file.h): posix.cc, windows.cc. All of it may be
/// called by any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace lenet::platform {

// ---- Names of files, which are UTF-8 on Windows and any bytes elsewhere

// Not by std::filesystem, which brings 0.7 MB of locales to a program for Windows.

/// '/', and on Windows '\' too.
bool is_separator(char byte) noexcept;
/// Where the part of a path begins that is not its folder: behind the last separator, and on
/// Windows the ':' of a drive.
std::size_t begin_of_name(const std::string& path) noexcept;
inline std::string name_of(const std::string& path) { return path.substr(begin_of_name(path)); }
/// Without a separator at its end, but for that of the root. Empty: the current folder.
std::string folder_of(const std::string& path);
/// The path of another file of a file's folder.
inline std::string beside(const std::string& file, const std::string& name) {
  return file.substr(0, begin_of_name(file)) + name;
}
std::string in_folder(const std::string& folder, const std::string& name);
/// From the last '.' of the name: ".json". Empty without one, and of ".name".
std::string suffix_of(const std::string& path);
/// \param suffix in place of what suffix_of says
std::string with_suffix(const std::string& path, const std::string& suffix);
/// Whether a name that a model gives is that of a file in a folder, not one that leads out of it:
/// no separator, and on Windows no drive, stream or device (NUL, COM1).
bool is_plain_name(const std::string& name);

/// What to do about a path that leads to nothing, where its text tells why: it is a URL, or begins
/// with '~', which only a shell replaces. Else empty.
std::string hint_of_missing(const std::string& path);

/// What a path leads to, links followed. Other: a device, a pipe, or what the system does not say.
enum class Kind { Missing, File, Folder, Other };
Kind kind_of(const std::string& path);
inline bool exists(const std::string& path) { return kind_of(path) != Kind::Missing; }
inline bool is_file(const std::string& path) { return kind_of(path) == Kind::File; }
inline bool is_folder(const std::string& path) { return kind_of(path) == Kind::Folder; }
/// The paths of what is in a folder, in any order. \param failure why it cannot be read, or empty
std::vector<std::string> list_folder(const std::string& folder, std::string& failure);
/// The path without links, "." and "..". Empty where it leads to nothing.
std::string real_path(const std::string& path);
/// Where it is missing. Says nothing of a failure: writing into it will.
void make_folder(const std::string& path);
/// As libraries take it that are called with a path of the system's own kind.
#ifdef _WIN32
std::wstring native_path(const std::string& path);
#else
inline const std::string& native_path(const std::string& path) { return path; }
#endif

// ---- Memory and processor

/// Asks for fewer and larger pages. \param memory of 2 MiB, or several, at an address that is a
///   multiple of that
void use_large_pages(void* memory, std::size_t bytes) noexcept;
/// Of the cache that all cores share. 0: not known.
std::int64_t last_cache_bytes() noexcept;
/// Asks the system once for the right to use the tiles of AMX. It may refuse: an older one, or
/// where a thread's stack for signals is too small for their state.
bool may_use_tiles() noexcept;
/// Whether a processor of aarch64 has dot products of bytes.
bool has_dot_products() noexcept;

// ---- Threads

/// How often this process, or one before it, was forked from another.
unsigned forks() noexcept;

/// The threads started meanwhile leave signals to those of the program, but for the ones that a
/// thread's own instructions raise: whoever handles these reports the crash.
class WithoutSignals {
 public:
  WithoutSignals();
  ~WithoutSignals();

 private:
  struct Mask;
  std::unique_ptr<Mask> before_;
};

/// Keeps a thread that sleeps from being woken where its waker runs. Linux does so at times, above
/// all in virtual machines, whose idle processors it takes for busy, and it is milliseconds before
/// it moves one of the two. Used by one thread at a time.
class Places {
 public:
  Places();
  ~Places();
  /// Has the thread run where the caller does not.
  void keep_away(std::thread& thread) noexcept;
  /// Called by the thread: it may run everywhere again.
  void come_back() noexcept;

 private:
  struct Allowed;
  std::unique_ptr<Allowed> allowed_;
};

/// Has exit() end the process without destroying static objects, which a thread that cannot be
/// stopped may still use, where `is_needed` says so then. What is registered with the system after
/// this call is still called, and standard output is written. Only with glibc, which alone tells
/// the exit status; Windows ends the other threads first.
void skip_destructors_at_exit(bool (*is_needed)()) noexcept;

// ---- Libraries that are opened at run time, and stay

/// What the system calls a library: "libNAME.so.1", "NAME.dll".
std::string library_name(const std::string& name, int version);
/// \param file or a name, of which the system looks for the library
/// \returns null, and last_library_error says why
void* open_library(const std::string& file);
/// \returns null likewise
void* find_symbol(void* library, const char* name);
/// Why this thread found no library or symbol, in English whatever the locale.
std::string last_library_error();

// ---- Programs

/// The command line as UTF-8, for as long as the program runs. \param argc may change
char** arguments(int& argc, char** argv);
/// This program's, for read_file.
std::string own_file();
bool is_terminal_stderr() noexcept;
/// Makes closed pipes show as failed writes, and standard output binary. Records a request to end
/// the program (a signal, Ctrl-C, a closed console), and ends it 5 seconds after that.
void handle_signals() noexcept;
/// Whether there was such a request.
bool is_asked_to_end() noexcept;
/// As the signal would have it, so that the caller sees what happened (128 + its number in a
/// shell).
[[noreturn]] void end_as_asked() noexcept;
/// The exit status where standard output is a pipe that was closed.
int closed_pipe_status() noexcept;

}  // namespace lenet::platform
