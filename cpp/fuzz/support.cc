#include "support.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "utf8.h"

namespace lenet::fuzz {

void fail(const std::string& problem) {
  std::fprintf(stderr, "fuzz: %s\n", problem.c_str());
  std::abort();
}

bool accepts(std::initializer_list<ErrorCode> codes, const std::function<void()>& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    const std::string message = error.what();
    // Names of any language may be in it.
    const bool controls = std::any_of(message.begin(), message.end(), [](char byte) {
      const auto code = static_cast<unsigned char>(byte);
      return code < 0x20 || code == 0x7f;
    });
    if (controls || !is_utf8(message)) fail("not one printable line: " + message);
    const bool expected = std::find(codes.begin(), codes.end(), error.code()) != codes.end();
    if (!expected) fail("another error than expected: " + message);
    return false;
  } catch (const std::exception& error) {
    fail(std::string("not a typed error: ") + error.what());
  }
}

MemoryFile::MemoryFile() : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)) {
  if (descriptor_ < 0) fail("memfd_create failed");
  path_ = "/proc/self/fd/" + std::to_string(descriptor_);
}

MemoryFile::~MemoryFile() { close(descriptor_); }

void MemoryFile::write(std::string_view bytes) {
  const bool written =
      ftruncate(descriptor_, 0) == 0 &&
      pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
  if (!written) fail("cannot write a file in memory");
}

}  // namespace lenet::fuzz
