#include "lenet/config.h"

#include <array>
#include <utility>

#include "lenet/error.h"

namespace lenet {
namespace {

constexpr std::array<std::pair<Accelerator, const char*>, 4> kAcceleratorNames = {{
    {Accelerator::Auto, "auto"},
    {Accelerator::Plain, "plain"},
    {Accelerator::OneDnn, "onednn"},
    {Accelerator::OpenVino, "openvino"},
}};

}  // namespace

const char* to_string(Accelerator accelerator) noexcept {
  for (const auto& [value, name] : kAcceleratorNames) {
    if (value == accelerator) return name;
  }
  return "?";
}

Accelerator parse_accelerator(std::string_view name) {
  std::string known;
  for (const auto& [value, text] : kAcceleratorNames) {
    if (name == text) return value;
    known += known.empty() ? "" : ", ";
    known += text;
  }
  throw Error(ErrorCode::BadInput,
              "unknown accelerator '" + std::string(name) + "'; choose one of " + known);
}

}  // namespace lenet
