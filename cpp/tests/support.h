/// \file
/// What several test files share.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/file.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/paddle_library.h"
#include "lenet/tensor.h"

namespace lenet::tests {

inline const std::string kModelDir = LENET_TEST_MODEL_DIR;

/// A folder that is removed with everything in it.
class TemporaryFolder : public lenet::TemporaryFolder {
 public:
  std::string operator/(const std::string& name) const { return path() + "/" + name; }
  std::vector<std::string> names() const;  ///< of the files in it, sorted
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

/// Whether this build has the paddle engine.
inline bool has_paddle() { return *paddle_library_name() != '\0'; }

/// \returns `path`
std::string write_file(const std::string& path, std::string_view contents);

/// Expects an Error of that code, of one line, whose message holds `text`.
void check_error(ErrorCode code, std::string_view text, const std::function<void()>& action);

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
  void refuses(std::string_view contents, std::string_view text) const {
    refuses(contents, text, code);
  }
  /// Errors name the file.
  void refuses(std::string_view contents, std::string_view text, ErrorCode expected) const {
    CAPTURE(contents);
    const TemporaryFolder folder;
    const std::string path = write_file(folder / name, contents);
    for (const std::string_view part : {text, std::string_view(path)}) {
      check_error(expected, part, [&] { read(path); });
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

/// Calls work(0), work(1) and so on, each in a thread of its own.
template <class Work>
void in_threads(std::size_t count, const Work& work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

/// Parses a program's arguments.
template <class Parse>
auto parse_arguments(const Parse& parse, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return parse(static_cast<int>(arguments.size()), argv.data());
}

/// The bundled model.
Config bundled(const std::string& engine = "native", int threads = 1);

/// The bytes of a number as it lies in memory (little-endian).
template <typename T>
std::string bytes_of(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// A protocol buffer varint.
std::string varint(std::uint64_t value);

/// A record of a .pdiparams file: float32 unless `dtype` says otherwise.
std::string parameter_record(const Shape& shape, std::string_view values, int dtype = 5);

/// Values that look random and are the same each time, in [0, 1).
Tensor random_images(std::int64_t count);

}  // namespace lenet::tests
