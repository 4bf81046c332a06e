/// Options as text: one list for the programs' flags and the C API.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "lenet/config.h"

namespace lenet {

/// Reads a text of digits.
/// \param name as an error says it
/// \throws Error BadInput when it is no integer, or below `least` or above `most`.
std::int64_t parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                           std::int64_t most);

template <typename Integer>
void parse_value(std::string_view name, std::string_view text, Integer& value, std::int64_t least) {
  constexpr auto kMax = std::numeric_limits<Integer>::max();
  value = static_cast<Integer>(parse_integer(name, text, least, kMax));
}

/// Reads "true", "1", "false" or "0".
/// \throws Error BadInput for anything else.
void parse_value(std::string_view name, std::string_view text, bool& value);

inline void parse_value(std::string_view /*name*/, std::string_view text, std::string& value) {
  value = text;
}

/// The number of the GPU that `Config::device` names; -1: the processor.
/// \throws Error BadInput: it names none.
int gpu_number(std::string_view device);

/// A field of `Config`.
struct ConfigOption {
  std::string_view name;
  const char* argument;  ///< what its flag takes, such as "FILE"
  const char* help;
  /// \param shown the name in errors
  void (*set)(Config& config, std::string_view shown, std::string_view text);
};

/// In the order of the programs' help.
extern const std::array<ConfigOption, 20> kConfigOptions;

/// Sets the field of that name.
/// \throws Error naming the options, or the values that this one takes: BadInput, and Unsupported
///   for an engine or a precision.
void set_option(Config& config, std::string_view name, std::string_view text);

}  // namespace lenet
