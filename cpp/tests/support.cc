#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "support.h"

#ifdef _WIN32
#include <cxxabi.h>
#endif

#include <fstream>
#include <random>
#include <sstream>

#include "config_option.h"

#ifdef _WIN32
// MinGW's library frees a thread's thread_local objects, of which doctest has some, before it
// destroys them, unless a destructor was registered before the first of them was used.
// https://gcc.gnu.org/bugzilla/show_bug.cgi?id=80816
[[gnu::constructor(101)]] static void register_first() {
  abi::__cxa_thread_atexit([](void*) {}, nullptr, nullptr);
}
#endif

namespace lenet::tests {

ModelFolder::ModelFolder() {
  for (const char* name : {"lenet.pdmodel", "lenet.json", "lenet.pdiparams", "SHA256SUMS"}) {
    fs::copy_file(fs::path(kModelDir) / name, *this / name);
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
    std::string rest = message;
    while (rest.find(kModelDir) != std::string::npos) {  // in whatever folder the clone is
      rest = replaced(rest, kModelDir, "");
    }
    CHECK(std::all_of(rest.begin(), rest.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    return;
  }
  FAIL_CHECK("no error");
}

void set_variable(const char* name, const std::string& value) {
#ifdef _WIN32
  _putenv((std::string(name) + "=" + value).c_str());
#else
  setenv(name, value.c_str(), 1);
#endif
}

Names split(const std::string& text, char by) {
  Names parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, by);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string replaced(std::string text, std::string_view part, std::string_view by) {
  CAPTURE(part);
  const auto at = text.find(part);
  REQUIRE(at != std::string::npos);
  return text.replace(at, part.size(), by);
}

Config config_of(const std::string& options, Config config) {
  Names given;
  for (const std::string& word : split(options, ' ')) {
    const bool begins = given.empty() || word.find('=') != std::string::npos;
    if (begins) given.push_back(word);
    if (!begins) given.back() += " " + word;  // of a folder's name
  }
  for (const std::string& option : given) {
    CAPTURE(option);
    const auto equals = option.find('=');
    set_option(config, option.substr(0, equals), option.substr(equals + 1));
  }
  return config;
}

Config bundled(const std::string& options) {
  return config_of("engine=native model_dir=" + kModelDir + " " + options);
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string npy_with(const std::string& header, std::string_view values, int major) {
  const std::size_t size = header.size() + 1;
  const std::string length = major == 1 ? bytes_of(static_cast<std::uint16_t>(size))
                                        : bytes_of(static_cast<std::uint32_t>(size));
  return "\x93NUMPY" + std::string{static_cast<char>(major), '\0'} + length + header + "\n" +
         std::string(values);
}

std::string npy(const std::string& dtype, const std::string& shape, std::string_view values,
                int major, const std::string& fortran_order) {
  return npy_with("{'descr': '" + dtype + "', 'fortran_order': " + fortran_order + ", 'shape': (" +
                      shape + "), }",
                  values, major);
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
