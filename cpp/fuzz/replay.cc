/// Gives every file of the corpus to every target, with any compiler.
///
///     lenet_fuzz_replay CORPUS_FOLDER
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "io/file.h"
#include "support.h"
#include "targets.h"

namespace {
namespace fs = std::filesystem;

constexpr std::pair<const char*, lenet::fuzz::Target> kTargets[] = {
    {"npy", lenet::fuzz::npy},
    {"idx", lenet::fuzz::idx},
    {"pgm", lenet::fuzz::pgm},
    {"pdmodel", lenet::fuzz::pdmodel},
    {"json", lenet::fuzz::json},
    {"onnx", lenet::fuzz::onnx},
    {"pdiparams", lenet::fuzz::pdiparams},
    {"sha256sums", lenet::fuzz::sha256sums},
    {"photo", lenet::fuzz::photo},
    {"preprocess", lenet::fuzz::preprocess},
    {"yml", lenet::fuzz::yml},
    {"serve", lenet::fuzz::serve},
#if LENET_HAS_SERVE
    {"http", lenet::fuzz::http},
#endif
#if LENET_HAS_GRPC
    {"grpc", lenet::fuzz::grpc},
#endif
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: lenet_fuzz_replay CORPUS_FOLDER\n");
    return 2;
  }
  int runs = 0;
  for (const auto& [folder, owner] : kTargets) {
    int files = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(argv[1]) / folder)) {
      const std::string contents = lenet::read_file(entry.path().string());
      // A copy of just that size, so that one byte too far is seen.
      const auto bytes = std::make_unique<char[]>(contents.size());
      if (!contents.empty()) std::memcpy(bytes.get(), contents.data(), contents.size());
      for (const auto& [name, target] : kTargets) {
        std::fprintf(stderr, "%s: %s\r", name, entry.path().c_str());
        target({bytes.get(), contents.size()});
        ++runs;
      }
      ++files;
    }
    if (files == 0) lenet::fuzz::fail(std::string("no corpus for ") + folder);
  }
  std::printf("%d runs\n", runs);
  return 0;
}
