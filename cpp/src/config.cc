#include "lenet/config.h"

#include <array>
#include <utility>

#include "lenet/error.h"

namespace lenet {
namespace {

template <typename Value, std::size_t Size>
using Names = std::array<std::pair<Value, const char*>, Size>;

constexpr Names<Precision, 3> kPrecisions = {
    {{Precision::Fp32, "fp32"}, {Precision::Bf16, "bf16"}, {Precision::Int8, "int8"}}};
constexpr Names<Accelerator, 4> kAccelerators = {{
    {Accelerator::Auto, "auto"},
    {Accelerator::Plain, "plain"},
    {Accelerator::OneDnn, "onednn"},
    {Accelerator::OpenVino, "openvino"},
}};

template <typename Value, std::size_t Size>
const char* name_of(const Names<Value, Size>& names, Value searched) noexcept {
  for (const auto& [value, name] : names) {
    if (value == searched) return name;
  }
  return "?";
}

template <typename Value, std::size_t Size>
Value parse(const Names<Value, Size>& names, std::string_view text, ErrorCode code,
            const char* what) {
  std::string known;
  for (const auto& [value, name] : names) {
    if (text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(code, "unknown " + (what + (" '" + std::string(text))) + "'; choose one of " + known);
}

}  // namespace

const char* to_string(Precision precision) noexcept { return name_of(kPrecisions, precision); }

const char* to_string(Accelerator accelerator) noexcept {
  return name_of(kAccelerators, accelerator);
}

Precision parse_precision(std::string_view name) {
  return parse(kPrecisions, name, ErrorCode::Unsupported, "precision");
}

Accelerator parse_accelerator(std::string_view name) {
  return parse(kAccelerators, name, ErrorCode::BadInput, "accelerator");
}

}  // namespace lenet
