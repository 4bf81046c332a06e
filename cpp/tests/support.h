/// \file
/// What several test files share.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
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
