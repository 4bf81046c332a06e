#include "command_line.h"

#include <algorithm>
#include <numeric>

namespace lenet::apps {
namespace {

bool is_bool(const std::string& text) {
  return text == "true" || text == "false" || text == "1" || text == "0";
}

/// How many letters must be changed, added, left out or swapped with the next one to turn one word
/// into the other.
std::size_t distance_of(const std::string& a, const std::string& b) {
  // Each row has the distances of a beginning of `a` from each beginning of `b`.
  std::vector<std::size_t> two_before;
  std::vector<std::size_t> before;
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    two_before = std::exchange(before, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({changed, before[j] + 1, row[j - 1] + 1});
      const bool is_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swapped) row[j] = std::min(row[j], two_before[j - 2] + 1);
    }
  }
  return row.back();
}

}  // namespace

void CommandLine::add(std::string_view name, const char* argument, const std::string& help,
                      Setter set) {
  flags_.push_back(
      {std::string(name), argument, help, std::move(set), std::exchange(heading_, nullptr)});
}

const CommandLine::Flag& CommandLine::find(const std::string& argument) const {
  std::string name = argument.compare(0, 2, "--") == 0 ? argument.substr(2) : argument;
  std::replace(name.begin(), name.end(), '-', '_');
  const auto begins_so = [&](const Flag& flag) { return flag.name.rfind(name, 0) == 0; };
  const auto farther = [&](const Flag& a, const Flag& b) {
    return distance_of(name, a.name) < distance_of(name, b.name);
  };
  const auto nearest = std::min_element(flags_.begin(), flags_.end(), farther);
  if (nearest->name == name) return *nearest;
  const auto found = std::find_if(flags_.begin(), flags_.end(), begins_so);
  if (found != flags_.end() && std::count_if(found, flags_.end(), begins_so) == 1) return *found;
  for (const auto& [hinted, remedy] : hints_) {
    if (hinted == name) throw UsageError("there is no option " + argument + ": " + remedy);
  }
  const bool is_near = distance_of(name, nearest->name) <= 2;
  throw UsageError("unknown option " + argument +
                   (is_near ? "; did you mean --" + nearest->name + "?" : ""));
}

std::vector<std::string> CommandLine::parse(int argc, char** argv) const {
  std::vector<std::string> others;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--") {
      others.insert(others.end(), argv + i + 1, argv + argc);
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      others.push_back(argument);
      continue;
    }
    const std::size_t equals = argument.find('=');
    const Flag& flag = find(argument.substr(0, equals));
    const std::string shown = "--" + flag.name;
    std::string value = "true";
    if (equals != std::string::npos) {
      if (flag.argument.empty()) throw UsageError(shown + " takes no value");
      value = argument.substr(equals + 1);
    } else if (flag.argument == "true|false") {
      if (i + 1 < argc && is_bool(argv[i + 1])) value = argv[++i];
    } else if (!flag.argument.empty()) {
      if (i + 1 == argc) throw UsageError(shown + " needs a value");
      value = argv[++i];
    }
    try {
      flag.set(shown, value);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::BadInput) throw;
      throw UsageError(error.what());
    }
  }
  return others;
}

std::string CommandLine::help_of(const Flag& flag) {
  constexpr std::size_t kColumn = 28;
  constexpr std::size_t kWidth = 96;
  std::string text;
  std::string line = "  --" + flag.name + (flag.argument.empty() ? "" : "=" + flag.argument);
  if (line.size() >= kColumn) text += std::exchange(line, "") + "\n";
  line.resize(kColumn, ' ');
  std::size_t begin = 0;
  while (begin < flag.help.size()) {
    std::size_t count = std::min(flag.help.size() - begin, kWidth - line.size());
    if (begin + count < flag.help.size()) count = flag.help.rfind(' ', begin + count) - begin;
    text += line + flag.help.substr(begin, count) + "\n";
    begin += count + 1;
    line.assign(kColumn, ' ');
  }
  return text;
}

std::string CommandLine::help() const {
  std::string text;
  for (const Flag& flag : flags_) {
    if (flag.heading != nullptr) text += std::string("\n") + flag.heading + ":\n";
    text += help_of(flag);
  }
  return text;
}

std::string CommandLine::help(const std::vector<std::string_view>& names) const {
  std::string text;
  for (const std::string_view name : names) text += help_of(find(std::string(name)));
  return text;
}

}  // namespace lenet::apps
