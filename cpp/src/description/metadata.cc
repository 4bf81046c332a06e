// Source of the form: ultralytics 8.3 (engine/exporter.py, data/augment.py: classify_transforms).

#include "description/metadata.h"

#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "description/toolkits.h"
#include "io/json.h"
#include "io/printable.h"
#include "model/protobuf.h"
#include "platform/platform.h"
#include "utf8.h"

namespace lenet {
namespace {

using nlohmann::json;

// Fields of ModelProto.
constexpr std::uint64_t kProducerName = 2;
constexpr std::uint64_t kMetadataProps = 14;

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 20;

// ---- the file

std::optional<std::uint64_t> take_varint(std::istream& file) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const int byte = file.get();
    if (byte < 0) return std::nullopt;
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

/// Goes on behind so many bytes.
bool skip(std::istream& file, std::uint64_t bytes) {
  if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::streamoff>::max())) return false;
  return static_cast<bool>(file.seekg(static_cast<std::streamoff>(bytes), std::ios::cur));
}

void add_entry(std::string_view entry, Metadata& entries) {
  std::string key;
  std::string value;
  each_field(entry, "", "", [&](const Field& field) {
    if (field.wire == Wire::Bytes && field.number == 1) key = field.bytes;
    if (field.wire == Wire::Bytes && field.number == 2) value = field.bytes;
  });
  entries.emplace(std::move(key), std::move(value));
}

// ---- a dict of Python's

/// Text as repr() writes it, of numbers and their names.
class DictReader {
 public:
  explicit DictReader(std::string_view text) : left_(text) {}

  /// \returns the names by their numbers as text; null where it is something else
  json read() {
    json names = json::object();
    if (!take('{')) return nullptr;
    while (!take('}')) {
      const std::string number = digits();
      std::string name;
      if (number.empty() || !take(':') || !text(name)) return nullptr;
      if (!names.emplace(number, name).second) return nullptr;
      if (!take(',') && (left_.empty() || left_[0] != '}')) return nullptr;
    }
    skip_space();
    return left_.empty() ? names : json(nullptr);
  }

 private:
  void skip_space() {
    left_.remove_prefix(std::min(left_.find_first_not_of(" \t\n"), left_.size()));
  }
  bool take(char byte) {
    skip_space();
    if (left_.empty() || left_[0] != byte) return false;
    left_.remove_prefix(1);
    return true;
  }
  std::string digits() {
    skip_space();
    const std::size_t end = std::min(left_.find_first_not_of("0123456789"), left_.size());
    std::string found(left_.substr(0, end));
    left_.remove_prefix(end);
    return found;
  }
  bool text(std::string& to) {
    const char quote = take('\'') ? '\'' : take('"') ? '"' : '\0';
    if (quote == '\0') return false;
    while (!left_.empty()) {
      const char byte = left_[0];
      left_.remove_prefix(1);
      if (byte == quote) return true;
      if (byte != '\\') {
        to += byte;
      } else if (!escaped(to)) {
        return false;
      }
    }
    return false;
  }
  /// What stands behind a backslash.
  bool escaped(std::string& to) {
    if (left_.empty()) return false;
    const char kind = left_[0];
    left_.remove_prefix(1);
    constexpr std::string_view kPlain = "\\'\"";
    if (kPlain.find(kind) != std::string_view::npos) {
      to += kind;
      return true;
    }
    switch (kind) {
      case 'n':
        to += '\n';
        return true;
      case 't':
        to += '\t';
        return true;
      case 'r':
        to += '\r';
        return true;
      case 'x':
        return character(2, to);
      case 'u':
        return character(4, to);
      case 'U':
        return character(8, to);
      default:
        return false;
    }
  }
  /// Reads a character of Unicode by so many hexadecimal digits, and adds it as UTF-8.
  bool character(std::size_t count, std::string& to) {
    std::uint32_t code = 0;
    if (left_.size() < count) return false;
    for (const char byte : left_.substr(0, count)) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      const std::size_t digit = kDigits.find(byte);
      if (digit == std::string_view::npos) return false;
      code = code << 4U | static_cast<std::uint32_t>(digit);
    }
    left_.remove_prefix(count);
    const auto add = [&](std::uint32_t lead, unsigned shift) {
      to += static_cast<char>(lead | code >> shift);
      while (shift > 0) {
        shift -= 6;
        to += static_cast<char>(0x80U | (code >> shift & 0x3fU));
      }
    };
    if (code < 0x80) {
      add(0, 0);
    } else if (code < 0x800) {
      add(0xc0, 6);
    } else if (code < 0x10000) {
      add(0xe0, 12);
    } else {
      add(0xf0, 18);
    }
    return code < 0x110000;
  }

  std::string_view left_;
};

// ---- what the entries say

const std::string* find(const Metadata& entries, const char* name) {
  const auto found = entries.find(name);
  return found == entries.end() ? nullptr : &found->second;
}

std::optional<json> parsed(const std::string* text) {
  if (text == nullptr) return std::nullopt;
  try {
    return parse_json(*text);
  } catch (const InvalidJson&) {
    return std::nullopt;
  }
}

/// Text that is UTF-8 without control characters, each of them not empty.
bool are_names(const json& names) {
  if (!names.is_array() || names.empty()) return false;
  return std::all_of(names.begin(), names.end(), [](const json& name) {
    if (!name.is_string()) return false;
    const std::string text = name.get<std::string>();
    const auto is_control = [](unsigned char byte) { return byte < ' '; };
    return !text.empty() && is_utf8(text) && std::none_of(text.begin(), text.end(), is_control);
  });
}

/// classify_transforms: the shorter side, and the middle; of a size that is no square both sides.
std::string prepared_by_ultralytics(const Metadata& entries) {
  const auto size = parsed(find(entries, "imgsz"));
  const std::string* const channels = find(entries, "channels");
  if (!size || (channels != nullptr && *channels != "3")) return "";
  const json sides = size->is_array() ? *size : json{*size, *size};
  const auto is_side = [](const json& side) {
    return side.is_number_integer() && side > 0 && side < (1 << 16);
  };
  if (sides.size() != 2 || !is_side(sides[0]) || !is_side(sides[1])) return "";
  json resize = {{"type", "Resize"}, {"interpolation", "bilinear"}};
  if (sides[0] == sides[1]) {
    resize["short_side"] = sides[0];
  } else {
    resize["size"] = sides;
  }
  const json steps = {
      resize,
      {{"type", "CenterCrop"}, {"size", sides}},
      {{"type", "Normalize"}, {"scale", 1.0 / 255}, {"mean", {0, 0, 0}}, {"std", {1, 1, 1}}},
      {{"type", "ToCHW"}}};
  return json{{"format_version", 1}, {"mode", "RGB"}, {"steps", steps}}.dump();
}

}  // namespace

Metadata read_metadata(const std::string& program) {
  Metadata entries;
  if (platform::suffix_of(program) != ".onnx" || !platform::is_file(program)) return entries;
  std::ifstream file(program, std::ios::binary);
  while (const auto key = take_varint(file)) {
    const auto wire = static_cast<Wire>(*key & 7);
    if (wire == Wire::Number) {
      if (!take_varint(file)) break;
    } else if (wire == Wire::Fixed32 || wire == Wire::Fixed64) {
      if (!skip(file, wire == Wire::Fixed32 ? 4 : 8)) break;
    } else if (wire == Wire::Bytes) {
      const auto size = take_varint(file);
      if (!size) break;
      const std::uint64_t number = *key >> 3;
      const bool is_read = number == kMetadataProps || number == kProducerName;
      if (!is_read || *size > kMostBytes) {
        if (!skip(file, *size)) break;
        continue;
      }
      std::string entry(static_cast<std::size_t>(*size), '\0');
      if (!file.read(entry.data(), static_cast<std::streamsize>(entry.size()))) break;
      if (number == kProducerName) {
        entries[kProducer] = std::move(entry);
        continue;
      }
      try {
        add_entry(entry, entries);
      } catch (const Error&) {
        break;
      }
    } else {
      break;
    }
  }
  return entries;
}

Metadata metadata_of(std::string_view onnx) {
  Metadata entries;
  try {
    each_field(onnx, "", "", [&](const Field& field) {
      if (field.wire != Wire::Bytes || field.bytes.size() > kMostBytes) return;
      if (field.number == kProducerName) entries[kProducer] = field.bytes;
      if (field.number == kMetadataProps) add_entry(field.bytes, entries);
    });
  } catch (const Error&) {  // what is behind damage is left out
  }
  return entries;
}

MetadataDescription describe_metadata(const Metadata& entries) {
  MetadataDescription found;
  auto classes = parsed(find(entries, "lenet_cpp.classes"));
  if (const std::string* own = find(entries, "lenet_cpp.preprocess")) found.preprocess = *own;
  if (const std::string* producer = find(entries, kProducer)) found.producer = *producer;
  const std::string* const task = find(entries, "task");
  if (task != nullptr && *task == "classify") {
    if (found.preprocess.empty()) found.preprocess = prepared_by_ultralytics(entries);
    const std::string* const names = find(entries, "names");
    const json by_number = names == nullptr ? json() : DictReader(*names).read();
    if (!classes && !by_number.is_null()) {
      try {
        classes = parse_json(labels_by_number(by_number));
      } catch (const InvalidJson&) {  // numbers are missing
      }
    }
  }
  if (classes && are_names(*classes)) found.classes = classes->get<std::vector<std::string>>();
  return found;
}

}  // namespace lenet
