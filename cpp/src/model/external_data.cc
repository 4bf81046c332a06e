#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "io/printable.h"
#include "lenet/error.h"
#include "model/element_types.h"
#include "model/readers.h"
#include "platform/platform.h"

namespace lenet {
namespace {

/// A location without "." and "..", without a look at what is there.
/// \returns empty: it leads out of the folder that it starts from, or to no file
std::string normal_location(const std::string& location) {
  std::vector<std::string> parts;
  for (auto begin = location.begin();; ++begin) {
    const auto end = std::find_if(begin, location.end(), platform::is_separator);
    const std::string part(begin, end);
    const bool leads_up = part == "..";
    const bool is_root = end == location.begin();
    if (is_root || !platform::is_plain_name(part) || (leads_up && parts.empty())) return "";
    if (leads_up) parts.pop_back();
    if (!leads_up && !part.empty() && part != ".") parts.push_back(part);
    begin = end;
    if (end == location.end()) break;
  }
  std::string normal;
  for (const std::string& part : parts) normal += (normal.empty() ? "" : "/") + part;
  return normal;
}

/// \param file behind all links
bool lies_below(const std::string& file, const std::string& folder) {
  std::string real = platform::real_path(folder.empty() ? "." : folder);
  if (!real.empty() && real.back() != '/') real += '/';
  return !real.empty() && file.compare(0, real.size(), real) == 0;
}

/// \param where the beginning of a refusal
/// \throws Error BadModel when a link leads out of the model's folder, and out of that of the file
///   that the model is itself a link to, as in Hugging Face's cache; FileNotFound.
void require_inside(const std::string& file, const std::string& path, const std::string& where) {
  const std::string real = platform::real_path(file);
  if (real.empty()) {
    throw Error(ErrorCode::FileNotFound, "'" + path + "' " + printable(where) +
                                             "is not there, or not to be reached; it belongs to "
                                             "the model");
  }
  const std::string model = platform::real_path(path);
  const bool inside = lies_below(real, platform::folder_of(path)) ||
                      (!model.empty() && lies_below(real, platform::folder_of(model)));
  if (!inside) refuse_program(path, where + "leads out of its folder");
}

}  // namespace

void set_external_contents(OnnxProgram& program, const std::string& path,
                           const std::function<std::string_view(const std::string&)>& read,
                           bool in_memory) {
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
    const std::string location = normal_location(data.location);
    if (is_address || has_zero || location.empty()) {
      refuse_program(path, where + "is no file of its folder");
    }
    const auto [found, is_new] = files.try_emplace(platform::beside(path, location));
    Used& used = found->second;
    if (is_new) {
      if (!in_memory) require_inside(found->first, path, where);
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
