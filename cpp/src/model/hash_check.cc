#include "model/hash_check.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "io/file.h"
#include "io/text.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet {
namespace {

constexpr const char* kHashFile = "SHA256SUMS";

/// SHA256SUMS: "<64 hexadecimal digits>  <name>" a line, as read by sha256sum -c.
std::map<std::string, std::string> read_hashes(const std::string& path) {
  std::map<std::string, std::string> hashes;
  const std::string text = read_file(path);
  each_line(without_mark(text), [&](std::string_view line) {
    if (line.empty()) return;
    constexpr std::size_t kDigits = 64;
    const auto is_digit = [](unsigned char byte) { return std::isxdigit(byte) != 0; };
    const auto is_control = [](unsigned char byte) { return std::iscntrl(byte) != 0; };
    if (line.size() < kDigits + 3 || line[kDigits] != ' ' ||
        !std::all_of(line.begin(), line.begin() + kDigits, is_digit) ||
        std::any_of(line.begin(), line.end(), is_control)) {
      throw Error(ErrorCode::BadModel, "'" + path + "' is not a list of SHA-256 sums");
    }
    std::string digits(line.substr(0, kDigits));
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](unsigned char digit) { return static_cast<char>(std::tolower(digit)); });
    const std::string name(line.substr(kDigits + 2));
    if (!hashes.emplace(name, std::move(digits)).second) {
      throw Error(ErrorCode::BadModel, "'" + path + "' lists '" + name + "' twice");
    }
  });
  return hashes;
}

}  // namespace

const std::map<std::string, std::string>& HashCheck::list_beside(const std::string& path) {
  const std::string list = platform::beside(path, kHashFile);
  const auto [known, is_new] = lists_.try_emplace(list);
  if (is_new && platform::exists(list)) known->second = read_hashes(list);
  return known->second;
}

void HashCheck::require_listed(const std::string& path) {
  if (!enabled_ || list_beside(path).count(platform::name_of(path)) == 0) return;
  if (platform::exists(path)) return;
  throw Error(ErrorCode::BadModel, "'" + path + "' is listed in " + kHashFile +
                                       " beside it, but missing; copy it there, or export the "
                                       "model again");
}

void HashCheck::operator()(const std::string& path, std::string_view contents) {
  if (!enabled_) return;
  const auto& list = list_beside(path);
  const auto found = list.find(platform::name_of(path));
  if (found == list.end()) return;
  const std::string actual = sha256_hex(contents);
  if (actual == found->second) return;
  throw Error(ErrorCode::BadModel, "'" + path + "' has SHA-256 " + actual + ", but " + kHashFile +
                                       " beside it says " + found->second +
                                       "; it was damaged or replaced, export it again");
}

}  // namespace lenet
