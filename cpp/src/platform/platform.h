/// \file
/// What systems do differently, but for files (io/file.h): posix.cc, windows.cc. All of it may be
/// called by any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

namespace lenet::platform {

// ---- Names of files, which are UTF-8 on Windows and any bytes elsewhere

std::filesystem::path path_of(const std::string& name);
/// On Windows with '/', which it takes as well as '\'.
std::string name_of(const std::filesystem::path& path);
/// The name of another file of a file's folder.
std::string beside(const std::string& file, const std::string& name);
/// Whether a name that a model gives is that of a file in a folder, not one that leads out of it:
/// no separator, and on Windows no drive, stream or device (NUL, COM1).
bool is_plain_name(const std::string& name);

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
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;
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
