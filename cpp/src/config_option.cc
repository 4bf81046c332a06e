#include "config_option.h"

#include <array>
#include <charconv>
#include <system_error>

#include "lenet/error.h"

namespace lenet {
namespace {

[[noreturn]] void refuse(std::string_view name, std::string_view value, const char* expected) {
  throw Error(ErrorCode::BadInput,
              std::string(name) + " is '" + std::string(value) + "'; expected " + expected);
}

void parse(std::string_view /*name*/, std::string_view value, std::string& field) { field = value; }

void parse(std::string_view /*name*/, std::string_view value, Accelerator& field) {
  field = parse_accelerator(value);
}

void parse(std::string_view /*name*/, std::string_view value, EngineKind& field) {
  field = parse_engine(value);
}

void parse(std::string_view /*name*/, std::string_view value, Precision& field) {
  field = parse_precision(value);
}

void parse(std::string_view name, std::string_view value, bool& field) {
  if (value != "true" && value != "false") refuse(name, value, "true or false");
  field = value == "true";
}

template <typename Integer>
void parse(std::string_view name, std::string_view value, Integer& field) {
  Integer number = 0;
  const char* const end = value.data() + value.size();
  const auto [last, failure] = std::from_chars(value.data(), end, number);
  if (failure != std::errc() || last != end) refuse(name, value, "an integer");
  field = number;
}

template <auto kField>
void set(Config& config, std::string_view name, std::string_view value) {
  parse(name, value, config.*kField);
}

struct Option {
  std::string_view name;
  void (*set)(Config&, std::string_view name, std::string_view value);
};

constexpr std::array<Option, 14> kOptions = {{
    {"model_file", set<&Config::model_file>},
    {"params_file", set<&Config::params_file>},
    {"model_dir", set<&Config::model_dir>},
    {"engine", set<&Config::engine>},
    {"accelerator", set<&Config::accelerator>},
    {"precision", set<&Config::precision>},
    {"threads", set<&Config::threads>},
    {"ir_optim", set<&Config::ir_optim>},
    {"memory_optim", set<&Config::memory_optim>},
    {"check_finite", set<&Config::check_finite>},
    {"check_program", set<&Config::check_program>},
    {"check_hashes", set<&Config::check_hashes>},
    {"max_batch_size", set<&Config::max_batch_size>},
    {"time_limit_ms", set<&Config::time_limit_ms>},
}};

}  // namespace

bool set_option(Config& config, std::string_view name, std::string_view value) {
  for (const Option& option : kOptions) {
    if (name == option.name) return option.set(config, name, value), true;
  }
  return false;
}

std::string option_names() {
  std::string names;
  for (const Option& option : kOptions) {
    names += (names.empty() ? "" : ", ") + std::string(option.name);
  }
  return names;
}

}  // namespace lenet
