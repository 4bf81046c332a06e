/// \file
/// Flags: what they set, how they are read, how the help shows them.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "lenet/error.h"

namespace lenet::apps {

/// A command line that cannot be understood; `what()` says which argument and why.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ErrorCode::BadInput, message) {}
};

/// \throws UsageError naming the flag when `text` is no integer of at least `least`.
std::int64_t parse_integer(const std::string& flag, const std::string& text, std::int64_t least,
                           std::int64_t most);

/// \throws UsageError naming the flag.
bool parse_bool(const std::string& flag, const std::string& text);

/// The flags of a program. What is referred to when a flag is added is set when it is parsed.
class CommandLine {
 public:
  using Setter = std::function<void(const std::string& value)>;

  /// The flags added after this are shown under it.
  void heading(const char* text) { heading_ = text; }

  void add(const char* name, const char* argument, const std::string& help, Setter set);
  void text(const char* name, const char* argument, const char* help, std::string& field);
  template <class Integer>
  void integer(const char* name, const char* help, Integer& field, int least) {
    add(name, "N", help, [name, least, &field](const std::string& value) {
      constexpr auto kMost = std::numeric_limits<Integer>::max();
      field = static_cast<Integer>(parse_integer(name, value, least, kMost));
    });
  }
  /// \param field a bool, or one that may be unset
  template <class Bool>
  void boolean(const char* name, const char* help, Bool& field) {
    add(name, "true|false", help,
        [name, &field](const std::string& value) { field = parse_bool(name, value); });
    flags_.back().boolean = true;
  }
  /// A flag that takes no value.
  void toggle(const char* name, const char* help, const std::function<void()>& set);
  void toggle(const char* name, const char* help, bool& field);

  /// Sets what the flags say; values follow '=' or a space.
  /// \returns the arguments that are no flags, in order.
  /// \throws UsageError
  std::vector<std::string> parse(int argc, char** argv) const;

  /// A line or more for each flag.
  std::string help() const;

 private:
  struct Flag {
    std::string name;
    std::string argument;  ///< as shown in the help; empty: takes none
    std::string help;
    Setter set;
    bool boolean = false;
    const char* heading = nullptr;  ///< starts a group in the help
  };

  std::vector<Flag> flags_;
  const char* heading_ = nullptr;
};

}  // namespace lenet::apps
