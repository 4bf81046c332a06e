/// \file
/// What platform/ and io/ share of their parts for Windows.
#pragma once

#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <string>

namespace lenet::platform {

/// Closes what is open.
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

/// A file that is there, which others may write to, rename and remove meanwhile, as on Linux.
/// \param access 0: to be asked about, also of a folder
HANDLE open_file(const std::string& path, DWORD access);

/// What an error of the system means, in English. \param error of GetLastError
std::string error_text(DWORD error);

/// Where temporary files go.
std::string temporary_folder();

}  // namespace lenet::platform
