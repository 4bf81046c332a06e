/// What several test files share, with the headers that most of them need.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "io/file.h"
#include "lenet/predictor.h"

namespace lenet::tests {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

inline const std::string kModelDir = LENET_TEST_MODEL_DIR;

/// Tests draw fewer cases under AddressSanitizer, where each takes ten times as long.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kUnderAsan = true;
#else
constexpr bool kUnderAsan = false;
#endif

/// A folder that is removed with everything in it.
class TemporaryFolder : public lenet::TemporaryFolder {
 public:
  std::string operator/(const std::string& name) const { return path() + "/" + name; }
};

/// A copy of the bundled model, which a test may damage.
class ModelFolder : public TemporaryFolder {
 public:
  ModelFolder();
};

/// While it lives, counts how often each file of a folder is opened.
class Opens {
 public:
  explicit Opens(const std::string& folder);
  Opens(const Opens&) = delete;
  Opens& operator=(const Opens&) = delete;
  ~Opens();

  std::map<std::string, int> counts() const;  ///< since the last call

 private:
  int descriptor_;
};

/// \returns `path`
std::string write_file(const std::string& path, std::string_view contents);

/// Of the environment; empty: none.
void set_variable(const char* name, const std::string& value);

/// The parts of a text between characters, but empty ones.
Names split(const std::string& text, char by);

/// A text with something else in the place of a part, which has to be there.
std::string replaced(std::string text, std::string_view part, std::string_view by);

/// Expects an Error of that code, of one line, whose message holds `text`.
void check_error(ErrorCode code, std::string_view text, const std::function<void()>& action);
#define CHECK_ERROR(CODE, TEXT, ...) check_error(ErrorCode::CODE, TEXT, [&] { __VA_ARGS__; })

/// What a function reads from a file, of which a test writes the contents.
template <class Value>
struct FileReader {
  Value (*read)(const std::string& path);
  ErrorCode code = ErrorCode::BadInput;  ///< of what is refused, unless a test says another
  const char* name = "file";

  Value operator()(std::string_view contents) const {
    const TemporaryFolder folder;
    return read(write_file(folder / name, contents));
  }
  /// Errors name the file.
  void refuses(std::string_view contents, std::string_view text,
               std::optional<ErrorCode> other = {}) const {
    CAPTURE(contents);
    const TemporaryFolder folder;
    const std::string path = write_file(folder / name, contents);
    for (const std::string_view part : {text, std::string_view(path)}) {
      check_error(other.value_or(code), part, [&] { read(path); });
    }
  }
  /// Refuses the contents cut short anywhere.
  void refuses_beginnings(std::string_view contents) const {
    for (std::size_t size = 0; size < contents.size(); ++size) {
      CAPTURE(size);
      refuses(contents.substr(0, size), "");
    }
  }
};

/// How a child that does this ends, which has 30 seconds: 0 is well.
int status_of_child(const std::function<bool()>& action);

/// Calls work(0), work(1) and so on, each in a thread of its own.
template <class Work>
void in_threads(std::size_t count, const Work& work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

/// Parses a program's arguments.
template <class Parse>
auto parse_arguments(const Parse& parse, Names arguments) {
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return parse(static_cast<int>(arguments.size()), argv.data());
}

/// A configuration with these options, `name=value`, between which stand spaces.
Config config_of(const std::string& options, Config config = {});

/// The bundled model, on the native engine unless an option says otherwise.
Config bundled(const std::string& options = "");

/// The bytes of a number as it lies in memory (little-endian).
template <typename T>
std::string bytes_of(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

/// A protocol buffer varint.
std::string varint(std::uint64_t value);

/// A .npy file.
std::string npy_with(const std::string& header, std::string_view values, int major = 1);
std::string npy(const std::string& dtype, const std::string& shape, std::string_view values,
                int major = 1, const std::string& fortran_order = "False");

/// A record of a .pdiparams file: float32 unless `dtype` says otherwise.
std::string parameter_record(const Shape& shape, std::string_view values, int dtype = 5);

/// Values that look random and are the same each time, in [0, 1).
Tensor random_images(std::int64_t count);

}  // namespace lenet::tests
