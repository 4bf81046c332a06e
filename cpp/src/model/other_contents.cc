#include "model/other_contents.h"

#include <algorithm>

#include "model/graph.h"

namespace lenet {
namespace {

using namespace std::string_view_literals;

struct Kind {
  std::size_t at;
  std::string_view begin;  ///< what stands there
  const char* name;
  const char* remedy;  ///< null: that of every picture
};
constexpr const char* kPickleRemedy =
    "lenet-cpp export makes a model of a .pdparams, lenet-cpp import of a .pt";
constexpr Kind kKinds[] = {
    {0, "\xff\xd8\xff"sv, "a JPEG picture", nullptr},
    {0, "\x89PNG\r\n"sv, "a PNG picture", nullptr},
    {0, "GIF8"sv, "a GIF picture", nullptr},
    {8, "WEBPVP8"sv, "a WebP picture", nullptr},
    {0, "%PDF-"sv, "a PDF document", nullptr},
    {0, "\x93NUMPY"sv, "a NumPy array", nullptr},
    {0, "\x89HDF\r\n"sv, "an HDF5 file, such as Keras writes", "export the network as ONNX"},
    {4, "TFL3"sv, "of TensorFlow Lite", "export the network as ONNX"},
    {0, "\x1f\x8b"sv, "compressed by gzip", "unpack it first"},
    {0, "\x80\x02"sv, "a file of pickle", kPickleRemedy},
    {0, "\x80\x04\x95"sv, "a file of pickle", kPickleRemedy},
    {0, "PK\x03\x04"sv, "a ZIP archive", "unpack it first"},
    {0, "version https://git-lfs"sv, "a pointer of Git LFS", "git lfs pull fetches the file"},
    {0, "<"sv, "a page of HTML or XML", "download the file itself"},
};

// Programs and parameters have bytes in their first fields that text never has.
constexpr std::size_t kLooked = 4096;

bool is_control(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  return code < ' ' && "\t\n\f\r"sv.find(byte) == std::string_view::npos;
}

bool is_text(std::string_view bytes) {
  return std::none_of(bytes.begin(), bytes.end(), is_control);
}

/// A ZIP archive by torch.save names its parts after the file, "NAME/data.pkl".
bool is_torch(std::string_view bytes) {
  return bytes.substr(0, 2) == "PK" && bytes.find("/data.pkl") != std::string_view::npos;
}

}  // namespace

void refuse_other_contents(const std::string& path, std::string_view contents,
                           const std::string& wanted, const std::string& remedy, bool as_text) {
  const auto refuse = [&](const std::string& kind, const std::string& what_to_do) {
    refuse_program(path, "is " + kind + ", not " + wanted + "; " + what_to_do);
  };
  if (contents.empty()) {
    refuse_program(path, "is empty (0 bytes); copy it again, or export it anew");
  }
  const std::string_view bytes = contents.substr(0, kLooked);
  if (is_torch(bytes)) refuse_program(path, kTorchFile);
  for (const Kind& kind : kKinds) {
    if (bytes.substr(std::min(kind.at, bytes.size()), kind.begin.size()) != kind.begin) continue;
    refuse(kind.name, kind.remedy == nullptr ? remedy : kind.remedy);
  }
  if (!is_text(bytes)) return;
  const std::size_t begin = bytes.find_first_not_of("\xef\xbb\xbf \t\r\n");
  const bool has_brace = begin != std::string_view::npos && bytes[begin] == '{';
  if (has_brace && as_text) return;
  refuse("text", has_brace ? "a program of Paddle 3 is called NAME.json" : remedy);
}

}  // namespace lenet
