#include "command_line.h"

#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace lenet::apps {
namespace {

bool is_bool(const std::string& text) {
  return text == "true" || text == "false" || text == "1" || text == "0";
}

}  // namespace

std::int64_t parse_integer(const std::string& flag, const std::string& text, std::int64_t least,
                           std::int64_t most) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || value < least ||
      value > most) {
    throw UsageError("--" + flag + " is '" + text + "'; expected an integer, " +
                     std::to_string(least) + " or more");
  }
  return value;
}

bool parse_bool(const std::string& flag, const std::string& text) {
  if (!is_bool(text)) {
    throw UsageError("--" + flag + " is '" + text + "'; expected true or false");
  }
  return text == "true" || text == "1";
}

void CommandLine::add(const char* name, const char* argument, const std::string& help, Setter set) {
  flags_.push_back({name, argument, help, std::move(set), false, std::exchange(heading_, nullptr)});
}

void CommandLine::text(const char* name, const char* argument, const char* help,
                       std::string& field) {
  add(name, argument, help, [&field](const std::string& value) { field = value; });
}

void CommandLine::toggle(const char* name, const char* help, const std::function<void()>& set) {
  add(name, "", help, [set](const std::string&) { set(); });
}

void CommandLine::toggle(const char* name, const char* help, bool& field) {
  toggle(name, help, [&field] { field = true; });
}

std::vector<std::string> CommandLine::parse(int argc, char** argv) const {
  std::vector<option> table;
  for (const Flag& flag : flags_) {
    const int argument = flag.argument.empty() ? no_argument
                         : flag.boolean        ? optional_argument
                                               : required_argument;
    table.push_back({flag.name.c_str(), argument, nullptr, 0});
  }
  table.push_back({nullptr, 0, nullptr, 0});

  opterr = 0;
  optind = 0;  // glibc: forget where an earlier scan stopped
  for (;;) {
    const int current = std::max(optind, 1);
    int index = 0;
    // The leading colon tells a missing value (':') from an unknown flag ('?').
    const int result = getopt_long(argc, argv, ":", table.data(), &index);
    if (result == -1) break;
    if (result == ':') throw UsageError(std::string(argv[optind - 1]) + " needs a value");
    if (result == '?') {
      const bool known = optopt == 0 && std::strchr(argv[optind - 1], '=') != nullptr &&
                         std::strncmp(argv[optind - 1], "--help", 6) == 0;
      throw UsageError((known ? "no value is taken by " : "unknown option ") +
                       std::string(argv[current < optind ? optind - 1 : current]));
    }
    const Flag& flag = flags_[static_cast<std::size_t>(index)];
    std::string value = optarg == nullptr ? "" : optarg;
    if (flag.boolean && optarg == nullptr) {
      const bool follows = optind < argc && is_bool(argv[optind]);
      value = follows ? argv[optind++] : "true";
    }
    flag.set(value);
  }
  return {argv + optind, argv + argc};
}

std::string CommandLine::help() const {
  std::string text;
  constexpr std::size_t kColumn = 28;
  constexpr std::size_t kWidth = 96;
  for (const Flag& flag : flags_) {
    if (flag.heading != nullptr) text += std::string("\n") + flag.heading + ":\n";
    std::string line = "  --" + flag.name + (flag.argument.empty() ? "" : "=" + flag.argument);
    line.resize(std::max(line.size() + 1, kColumn), ' ');
    std::size_t begin = 0;
    while (begin < flag.help.size()) {
      std::size_t count = std::min(flag.help.size() - begin, kWidth - line.size());
      if (begin + count < flag.help.size()) count = flag.help.rfind(' ', begin + count) - begin;
      text += line + flag.help.substr(begin, count) + "\n";
      begin += count + 1;
      line.assign(kColumn, ' ');
    }
  }
  return text;
}

}  // namespace lenet::apps
