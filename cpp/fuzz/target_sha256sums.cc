#include <cstdlib>
#include <filesystem>
#include <string>

#include "model/model_files.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace fs = std::filesystem;
namespace {

/// A folder with a model, and a SHA256SUMS that is a file in memory.
class Folder {
 public:
  Folder() : path_((fs::temp_directory_path() / "lenet-fuzz-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) fail("cannot make a temporary folder");
    fs::create_symlink(sums_.path(), fs::path(path_) / "SHA256SUMS");
    fs::create_symlink(program_.path(), fs::path(path_) / "__model__");
    program_.write("p");
    sums_.write("no list");
    try {
      check();
    } catch (const Error& error) {
      const std::string message = error.what();
      if (message.find("SHA256SUMS") != message.npos) return;
      fail("SHA256SUMS is not read before the model: " + message);
    }
    fail("a bad SHA256SUMS is accepted");
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  void write_sums(std::string_view bytes) { sums_.write(bytes); }

  void check() const {
    ModelFiles files{ModelFormat::Separate, path_ + "/__model__", "", path_, {}};
    check_model_files(files, true, true, true);
  }

 private:
  std::string path_;
  MemoryFile sums_;
  MemoryFile program_;
};

}  // namespace

void sha256sums(std::string_view bytes) {
  static Folder folder;
  folder.write_sums(bytes);
  // The model is none, so that nothing is accepted; what is read of it comes after the sums.
  require(!accepts({ErrorCode::BadModel}, [&] { folder.check(); }), "nothing is accepted");
}

}  // namespace lenet::fuzz
