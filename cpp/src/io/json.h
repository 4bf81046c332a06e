/// \file
/// Strict JSON, in time and memory linear in the text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string_view>

namespace lenet {

/// What is wrong with a text that is not JSON, or not strict JSON.
class InvalidJson : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Objects and lists in one another. Programs that Paddle writes are nested some 15 deep.
inline constexpr std::size_t kMaxJsonDepth = 32;

/// \throws InvalidJson also beyond kMaxJsonDepth, and when an object has a member twice, of which
///   readers may take either.
nlohmann::json parse_json(std::string_view text);

}  // namespace lenet
