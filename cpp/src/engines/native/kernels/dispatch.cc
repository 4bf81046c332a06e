#include <cstdlib>
#include <string>
#include <string_view>

#include "engines/native/kernels/kernels.h"
#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

struct Candidate {
  const Kernels* kernels;
  bool available;
};

/// The fastest first.
const auto& candidates() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  static const Candidate all[] = {
      {&kAvx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512vl")},
      {&kAvx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
      {&kSse42, static_cast<bool>(__builtin_cpu_supports("sse4.2"))},
      {&kScalar, true},
  };
#else
  static const Candidate all[] = {{&kScalar, true}};
#endif
  return all;
}

}  // namespace

const Kernels& kernels_named(const char* name) {
  std::string known;
  for (const Candidate& candidate : candidates()) {
    known += std::string(known.empty() ? "" : ", ") + candidate.kernels->name;
    if (std::string_view(candidate.kernels->name) != name) continue;
    if (candidate.available) return *candidate.kernels;
    throw Error(ErrorCode::Unsupported,
                std::string("this processor has no ") + name + ", which LENET_NATIVE_ISA asks for");
  }
  throw Error(ErrorCode::BadInput,
              "LENET_NATIVE_ISA is '" + printable(name) + "'; expected one of " + known);
}

const Kernels& choose_kernels() {
  if (const char* name = std::getenv("LENET_NATIVE_ISA")) return kernels_named(name);
  for (const Candidate& candidate : candidates()) {
    if (candidate.available) return *candidate.kernels;
  }
  return kScalar;
}

}  // namespace lenet::native
