#include "attached.h"

#include <charconv>
#include <cstddef>
#include <cstdio>
#include <utility>
#include <vector>

#include "io/file.h"
#include "lenet/error.h"
#include "model/hash_check.h"
#include "platform/platform.h"
#include "program.h"

namespace lenet::apps {
namespace {

constexpr std::size_t kHashDigits = 64;
constexpr std::size_t kSizeDigits = 20;
constexpr std::size_t kMark = sizeof("lenet attached model:") - 1;

// python/lenet_cpp/deploy/bundle.py finds this place and writes there the SHA-256 of what it
// appends, and where that begins. Volatile: the compiler would put in what it reads here.
const volatile char kPlace[] =
    "lenet attached model:"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000";
static_assert(sizeof(kPlace) == kMark + kHashDigits + kSizeDigits + 1);

[[noreturn]] void refuse(const std::string& problem) {
  throw Error(ErrorCode::BadModel, "the model in this program's own file was damaged: " + problem +
                                       "; copy the file again, or write it anew with lenet-cpp "
                                       "bundle --single-file");
}

using Files = std::vector<std::pair<std::string, std::string_view>>;  // names and contents

/// \param text "SIZE NAME" for each file, an empty line, and the files
Files split(std::string_view text) {
  Files files;
  const std::size_t end = text.find("\n\n");
  if (end == std::string_view::npos) refuse("it has no list of files");
  const std::string_view list = text.substr(0, end);
  text.remove_prefix(end + 2);
  each_line(list, [&](std::string_view line) {
    std::size_t size = 0;
    const char* const last = line.data() + line.size();
    const auto [at, failed] = std::from_chars(line.data(), last, size);
    if (failed != std::errc() || at == last || *at != ' ') refuse("its list of files does not fit");
    const std::string name(at + 1, last);
    if (size > text.size()) refuse("'" + name + "' is not complete");
    files.emplace_back(name, text.substr(0, size));
    text.remove_prefix(size);
  });
  if (!text.empty()) refuse("its list of files does not fit");
  return files;
}

/// What the place says, checked. \returns whether it says anything.
bool read_attached(AttachedModel& model) {
  std::string place(sizeof(kPlace) - 1, '\0');
  for (std::size_t i = 0; i < place.size(); ++i) place[i] = kPlace[i];
  const std::string hash = place.substr(kMark, kHashDigits);
  std::size_t begin = 0;
  const char* const end = place.data() + place.size();
  if (std::from_chars(end - kSizeDigits, end, begin).ptr != end) refuse("its place is unreadable");
  if (begin == 0) return false;
  model.contents = read_file(platform::own_file());
  if (begin > model.contents.size()) refuse("the file was cut short, or stripped");
  const std::string_view text = std::string_view(model.contents).substr(begin);
  const std::string found = sha256_hex(text);
  if (found != hash) refuse("its SHA-256 is " + found + " and should be " + hash);
  // bundle.py writes the program first, then the parameters of one that has a file of them.
  const Files files = split(text);
  if (files.empty()) refuse("its list of files is empty");
  auto other = files.begin();
  model.name = other->first;
  model.bytes.program = other->second;
  ++other;
  if (platform::suffix_of(model.name) != ".onnx" && other != files.end()) {
    model.bytes.params = other->second;
    ++other;
  }
  model.bytes.external.insert(other, files.end());
  return true;
}

}  // namespace

const AttachedModel* attached_model() {
  static AttachedModel model;
  static const bool there = read_attached(model);
  return there ? &model : nullptr;
}

const AttachedModel* attached_model(const Config& config) {
  const bool named = !(config.model_dir + config.model_file).empty();
  return named ? nullptr : attached_model();
}

Predictor make_predictor(const char* program, const Config& config) {
  const AttachedModel* model = attached_model(config);
  Predictor made = model == nullptr ? Predictor(config) : Predictor(config, model->bytes);
  // In a folder of that name, or with a suffix, it is the named one.
  if (made.config().model_file.rfind(config.model_file, 0) != 0) {
    print_message(
        program, "note",
        "there is no '" + config.model_file + "': running '" + made.config().model_file + "'");
  }
  return made;
}

}  // namespace lenet::apps
