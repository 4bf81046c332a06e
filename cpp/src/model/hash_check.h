/// \file
/// SHA-256 as defined in FIPS 180-4, and SHA256SUMS beside the files of a model.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace lenet {

/// Whether the processor has instructions for it: 6 to 8 times as fast as plain C++.
bool has_sha_instructions();

/// The digest of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes, bool by_instructions = has_sha_instructions());

/// Compares files with the SHA256SUMS beside them; each list is read once.
class HashCheck {
 public:
  /// \param enabled false: nothing is read and everything accepted
  explicit HashCheck(bool enabled) : enabled_(enabled) {}

  /// A file that no list names is accepted.
  /// \throws Error BadModel when `contents` are not what the list says, or it is no list.
  void operator()(const std::string& path, std::string_view contents);
  /// \throws Error BadModel when the list names a file that does not exist, or it is no list.
  void require_listed(const std::string& path);

 private:
  /// The list beside `path`; empty where there is none.
  const std::map<std::string, std::string>& list_beside(const std::string& path);

  bool enabled_;
  std::map<std::string, std::map<std::string, std::string>> lists_;  ///< hashes by name, by list
};

}  // namespace lenet
