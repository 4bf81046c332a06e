#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "io/printable.h"
#include "lenet/error.h"
#include "model/element_types.h"
#include "model/readers.h"
#include "platform/platform.h"

namespace lenet {
namespace fs = std::filesystem;
using platform::name_of;
using platform::path_of;
namespace {

/// Whether a path stays below the folder that it starts from, without a look at what is there.
bool stays_below(const fs::path& relative) {
  const fs::path normal = relative.lexically_normal();
  return !normal.empty() && relative.is_relative() && !relative.has_root_name() &&
         *normal.begin() != ".." && normal != "." &&
         std::all_of(normal.begin(), normal.end(),
                     [](const fs::path& part) { return platform::is_plain_name(name_of(part)); });
}

/// Whether a file lies, behind all links, below a folder.
bool lies_below(const fs::path& file, const fs::path& folder) {
  std::error_code failed;
  const fs::path real = fs::relative(file, folder.empty() ? "." : folder, failed);
  return !failed && stays_below(real);
}

/// \param where the beginning of a refusal
/// \throws Error BadModel when a link leads out of the model's folder, and out of that of the file
///   that the model is itself a link to, as in Hugging Face's cache; FileNotFound.
void require_inside(const fs::path& file, const std::string& path, const std::string& where) {
  std::error_code failed;
  if (!fs::exists(file, failed)) {
    throw Error(ErrorCode::FileNotFound,
                "'" + path + "' " + printable(where) + "is not there; it belongs to the model");
  }
  const fs::path real = fs::canonical(path_of(path), failed);
  const bool inside = lies_below(file, path_of(path).parent_path()) ||
                      (!failed && lies_below(file, real.parent_path()));
  if (!inside) refuse_program(path, where + "leads out of its folder");
}

}  // namespace

void set_external_contents(OnnxProgram& program, const std::string& path,
                           const std::function<std::string_view(const std::string&)>& read) {
  constexpr double kMaxOverlap = 4;
  struct Used {
    std::string_view contents;
    double bytes = 0;  // by constants at different places
    std::set<std::tuple<std::uint64_t, std::uint64_t, int>> places;
  };
  std::map<std::string, Used> files;
  for (const ExternalData& data : program.external) {
    const std::string where =
        "keeps the values of '" + data.tensor + "' in '" + data.location + "', which ";
    // onnxruntime takes a location that begins so for an address in memory.
    const bool is_address = data.location.rfind("*/", 0) == 0;
    const bool has_zero = data.location.find('\0') != std::string::npos;
    if (is_address || has_zero || !stays_below(path_of(data.location))) {
      refuse_program(path, where + "is no file of its folder");
    }
    const fs::path file = path_of(path).replace_filename(path_of(data.location)).lexically_normal();
    const auto [found, is_new] = files.try_emplace(name_of(file));
    Used& used = found->second;
    if (is_new) {
      require_inside(file, path, where);
      used.contents = read(found->first);
    }
    const std::string_view contents = used.contents;
    if (data.offset > contents.size() || data.length > contents.size() - data.offset) {
      refuse_program(path, where + "has only " + std::to_string(contents.size()) +
                               " bytes; it was cut short or belongs to another model");
    }
    if (data.value == kNone) continue;
    Value& value = program.graph.values[data.value];
    if (value.dtype < 0) continue;  // is not read
    const std::uint64_t size =
        *size_in_bytes(element_size(value.dtype), value.shape, kMaxConstantBytes);
    const auto damaged = [&](const char* problem) {
      refuse_program(path, "is damaged: the constant '" + value.name + "' " + problem + " in '" +
                               data.location + "'");
    };
    // A length of 0 is one that was not said.
    const bool fits = data.length == 0 || data.length == size;
    if (!fits || size > contents.size() - data.offset) {
      damaged("does not have as many values as its shape says");
    }
    if (used.places.emplace(data.offset, size, value.dtype).second) {
      used.bytes += static_cast<double>(size);
      if (used.bytes > kMaxOverlap * static_cast<double>(contents.size()))
        damaged("overlaps others");
    }
    value.data = contents.substr(data.offset, size);
  }
}

}  // namespace lenet
