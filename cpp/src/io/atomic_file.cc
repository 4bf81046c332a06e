#include "io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "lenet/error.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

using Pieces = std::vector<std::string_view>;

constexpr int kMaxLinks = 40;  // as Linux follows

[[noreturn]] void fail_to_write(const std::string& path, const std::string& temporary, int error) {
  if (!temporary.empty()) unlink(temporary.c_str());
  const bool place = error == ENOENT || error == EACCES || error == ENOTDIR || error == EROFS ||
                     error == EISDIR || error == EPERM || error == ELOOP || error == ENAMETOOLONG;
  throw Error(place ? ErrorCode::FileNotFound : ErrorCode::BackendFailure,
              "cannot write '" + path + "': " + std::strerror(error));
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

bool write_pieces(int file, const Pieces& pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](std::string_view bytes) { return write_all(file, bytes); });
}

/// A device or a pipe (/dev/stdout, /dev/null) is written to; a rename would replace it.
void write_in_place(const std::string& path, const Pieces& pieces) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail_to_write(path, "", errno);
  const bool written = write_pieces(file, pieces);
  const int error = errno;
  const bool closed = close(file) == 0;
  if (!written || !closed) fail_to_write(path, "", written ? errno : error);
}

/// A new file in the folder of `target`, with the permissions that the process gives to new files.
std::pair<int, std::string> create_beside(const fs::path& target) {
  constexpr int kAttempts = 100;
  std::random_device random;
  std::string path;
  int file = -1;
  for (int i = 0; i < kAttempts && file < 0; ++i) {
    path = (target.parent_path() / (".lenet-" + std::to_string(random()))).string();
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno != EEXIST) break;
  }
  return {file, path};
}

}  // namespace

void write_atomically(const std::string& path, const Pieces& pieces) {
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status)) {
    write_in_place(path, pieces);
    return;
  }
  // A link stays a link: what it leads to is replaced.
  fs::path target = path;
  for (int links = 0; links < kMaxLinks && fs::is_symlink(target, failed); ++links) {
    target = target.parent_path() / fs::read_symlink(target, failed);
  }
  if (fs::is_symlink(target, failed)) fail_to_write(path, "", ELOOP);
  if (target.filename().native().size() > NAME_MAX) fail_to_write(path, "", ENAMETOOLONG);
  const auto [file, temporary] = create_beside(target);
  if (file < 0) fail_to_write(path, "", errno);
  const bool written = write_pieces(file, pieces);
  const int error = errno;
  const bool closed = close(file) == 0;
  if (!written || !closed) fail_to_write(path, temporary, written ? errno : error);
  if (rename(temporary.c_str(), target.c_str()) != 0) fail_to_write(path, temporary, errno);
}

}  // namespace lenet
