/// Flags: what they set, how they are read, how the help shows them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config_option.h"
#include "lenet/error.h"

namespace lenet::apps {

/// A command line that cannot be understood; `what()` says which argument and why.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ErrorCode::BadInput, message) {}
};

/// The flags of a program. What is referred to when a flag is added is set when it is parsed.
class CommandLine {
 public:
  /// \param shown the flag as an error names it
  using Setter = std::function<void(const std::string& shown, const std::string& value)>;

  /// The flags added after this are shown under it.
  void heading(const char* text) { heading_ = text; }

  /// \param argument as shown in the help; "" for a flag that takes none, and sets "true"
  void add(std::string_view name, const char* argument, const std::string& help, Setter set);

  /// \param least of an integer
  template <class Field, class... Least>
  void add(const char* name, const char* argument, const char* help, Field& field, Least... least) {
    add(name, argument, help,
        Setter([&field, least...](const std::string& shown, const std::string& value) {
          parse_value(shown, value, field, least...);
        }));
  }

  /// What the error says of a flag that this program does not have, but its users may expect.
  /// \param name with '_' between its words
  void add_hint(std::string name, std::string remedy) {
    hints_.emplace_back(std::move(name), std::move(remedy));
  }

  /// Sets what the flags say. Values follow '=' or a space, a name may be cut short, and has '-' or
  /// '_' between its words.
  /// \returns the arguments that are no flags, in order.
  /// \throws UsageError
  std::vector<std::string> parse(int argc, char** argv) const;

  /// A line or more for each flag.
  std::string help() const;
  /// A line or more for each of these flags, without headings.
  std::string help(const std::vector<std::string_view>& names) const;

 private:
  struct Flag {
    std::string name;
    std::string argument;
    std::string help;
    Setter set;
    const char* heading;  ///< starts a group in the help; or nullptr
  };

  const Flag& find(const std::string& argument) const;
  static std::string help_of(const Flag& flag);

  std::vector<Flag> flags_;
  std::vector<std::pair<std::string, std::string>> hints_;
  const char* heading_ = nullptr;
};

}  // namespace lenet::apps
