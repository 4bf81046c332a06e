#include <filesystem>
#include <string>

#include "io/file.h"
#include "model/model.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

/// A folder with a model, and a SHA256SUMS that is a file in memory.
class Folder {
 public:
  Folder() {
    std::filesystem::create_symlink(sums_.path(), folder_.path() + "/SHA256SUMS");
    std::filesystem::create_symlink(program_.path(), folder_.path() + "/__model__");
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

  void write_sums(std::string_view bytes) { sums_.write(bytes); }

  void check() const { load_model({ModelFormat::Separate, folder_.path() + "/__model__", ""}, {}); }

 private:
  TemporaryFolder folder_;
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
