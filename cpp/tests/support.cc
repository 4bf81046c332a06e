#include "support.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

namespace lenet::tests {
namespace fs = std::filesystem;

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Opens::Opens(const std::string& folder) : descriptor_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  REQUIRE(descriptor_ >= 0);
  REQUIRE(inotify_add_watch(descriptor_, folder.c_str(), IN_OPEN | IN_CLOSE) >= 0);
}

Opens::~Opens() { close(descriptor_); }

std::map<std::string, int> Opens::counts() const {
  std::map<std::string, int> counts;
  std::array<char, 1 << 16> buffer{};
  for (;;) {
    const ssize_t size = read(descriptor_, buffer.data(), buffer.size());
    if (size <= 0) return counts;
    for (ssize_t at = 0; at < size;) {
      inotify_event event = {};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      at += static_cast<ssize_t>(sizeof(event));
      // Of equal events in a row the system keeps one, but none are: between them one is closed.
      if (event.len > 0 && (event.mask & IN_OPEN) != 0) ++counts[buffer.data() + at];
      at += static_cast<ssize_t>(event.len);
    }
  }
}

std::string write_file(const std::string& path, std::string_view contents) {
  std::ofstream file(path, std::ios::binary);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  REQUIRE(file.good());
  return path;
}

void check_error(ErrorCode code, std::string_view text, const std::function<void()>& action) {
  CAPTURE(text);
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    CHECK(message.find(text) != std::string::npos);
    CHECK(std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    return;
  }
  FAIL_CHECK("no error");
}

Config bundled(const std::string& engine, int threads) {
  Config config;
  config.model_dir = kModelDir;
  config.engine = engine;
  config.threads = threads;
  return config;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string parameter_record(const Shape& shape, std::string_view values, int dtype) {
  std::string desc = "\x08" + varint(static_cast<std::uint64_t>(dtype));
  for (const auto dimension : shape) {
    desc += "\x10" + varint(static_cast<std::uint64_t>(dimension));
  }
  return bytes_of<std::uint32_t>(0) + bytes_of<std::uint64_t>(0) + bytes_of<std::uint32_t>(0) +
         bytes_of(static_cast<std::int32_t>(desc.size())) + desc + std::string(values);
}

Tensor random_images(std::int64_t count) {
  Tensor images{{}, {count, 1, 28, 28}};
  std::mt19937 generator(7);
  images.data.resize(element_count(images.shape));
  for (float& value : images.data) {
    value = static_cast<float>(generator() >> 8) / static_cast<float>(1 << 24);
  }
  return images;
}

}  // namespace lenet::tests
