#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "engines/native/layer_times.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "engines/native/int8/kernels.h"
#include "engines/native/kernels/kernels.h"
#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

struct Candidate {
  const char* name;
  const Kernels* kernels;
  const int8::Kernels* quantized;
  const Bf16Kernels* bf16;  ///< null: it has none
  bool available;
  bool has_tiles = false;  ///< of AMX, which have to be asked for
};

#if defined(__x86_64__)
struct Registers {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
};

/// What CPUID says of a leaf and its part 0: zeros where the processor does not know it.
Registers cpuid(unsigned leaf) {
  Registers found;
  __get_cpuid_count(leaf, 0, &found.a, &found.b, &found.c, &found.d);
  return found;
}

bool has_all(unsigned found, unsigned bits) { return (found & bits) == bits; }

/// Whether the processor is of the level x86-64-v3. All those with AVX2 are, but virtual machines
/// may hide parts of it, and compilers use all parts of a level they are told
/// (NativeKernels.cmake).
bool has_level_3() {
  __builtin_cpu_init();
  // Not known to __builtin_cpu_supports of Clang 14.
  constexpr unsigned kMovbe = 1U << 22U;
  constexpr unsigned kF16c = 1U << 29U;
  constexpr unsigned kLzcnt = 1U << 5U;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("popcnt") && has_all(cpuid(1).c, kMovbe | kF16c) &&
         has_all(cpuid(0x80000001U).c, kLzcnt);
}

/// Whether the processor has tiles of bytes and of bf16, and the system saves their state.
bool has_tiles() {
  constexpr unsigned kXgetbv = 1U << 27U;
  constexpr unsigned kBf16 = 1U << 22U;
  constexpr unsigned kTiles = 1U << 24U;
  constexpr unsigned kInt8 = 1U << 25U;
  constexpr unsigned kSaved = 3U << 17U;
  if (!has_all(cpuid(1).c, kXgetbv) || !has_all(cpuid(7).d, kBf16 | kTiles | kInt8)) return false;
  unsigned saved = 0;
  __asm__("xgetbv" : "=a"(saved) : "c"(0) : "edx");
  return has_all(saved, kSaved);
}

/// Asks the system once for the right to use tiles, as Linux wants it. It may refuse: an older one,
/// or where a thread's stack for signals is too small for their state.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  static const bool may = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return may;
}
#else
bool may_use_tiles() { return false; }
#endif

/// The fastest first.
const auto& candidates() {
#if defined(__x86_64__)
  static const bool avx2 = has_level_3();
  static const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl");
  static const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  static const Bf16Kernels* const bf16 =
      avx512 && __builtin_cpu_supports("avx512bf16") ? &kAvx512Bf16 : nullptr;
  static const Candidate all[] = {
      {"amx", &kAvx512, &int8::kAmx, &kAmxBf16, vnni && bf16 != nullptr && has_tiles(), true},
      {"avx512vnni", &kAvx512, &int8::kAvx512Vnni, bf16, vnni},
      // Without VNNI, vectors of 512 bits have nothing for bytes that those of 256 have not.
      {"avx512", &kAvx512, &int8::kAvx2, bf16, avx512},
      {"avx2", &kAvx2, &int8::kAvx2, nullptr, avx2},
      {"sse42", &kSse42, &int8::kSse42, nullptr,
       __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")},
      {"scalar", &kScalar, &int8::kScalar, nullptr, true},
  };
#elif defined(__aarch64__)
  // Vectors of four floats are part of every such processor, dot products of bytes are not.
  static const Candidate all[] = {
      {"neondotprod", &kNeon, &int8::kNeonDotprod, nullptr,
       (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0},
      {"neon", &kNeon, &int8::kNeon, nullptr, true},
      {"scalar", &kScalar, &int8::kScalar, nullptr, true},
  };
#elif defined(__wasm_simd128__)
  static const Candidate all[] = {{"simd128", &kSimd128, &int8::kSimd128, nullptr, true}};
#else
  static const Candidate all[] = {{"scalar", &kScalar, &int8::kScalar, nullptr, true}};
#endif
  return all;
}

bool is_usable(const Candidate& candidate) {
  return candidate.available && (!candidate.has_tiles || may_use_tiles());
}

const Candidate& named(const char* name) {
  std::string known;
  for (const Candidate& candidate : candidates()) {
    known += std::string(known.empty() ? "" : ", ") + candidate.name;
    if (std::string_view(candidate.name) != name) continue;
    if (is_usable(candidate)) return candidate;
    std::string sets;
    for (const std::string& set : available_sets()) sets += (sets.empty() ? "" : ", ") + set;
    const std::string why = candidate.available ? "the system refuses " : "this processor has no ";
    throw Error(ErrorCode::Unsupported,
                why + name + ", which LENET_NATIVE_ISA asks for; there are " + sets);
  }
  throw Error(ErrorCode::BadInput,
              "LENET_NATIVE_ISA is '" + printable(name) + "'; expected one of " + known);
}

/// \param tiles whether they are used; else nobody asks for them
const Candidate& choose(bool tiles) {
  const char* name = std::getenv("LENET_NATIVE_ISA");
  if (name != nullptr && *name != '\0') return named(name);
  const auto& all = candidates();
  return *std::find_if(std::begin(all), std::end(all), [&](const Candidate& candidate) {
    return (tiles || !candidate.has_tiles) && is_usable(candidate);
  });
}

}  // namespace

std::vector<std::string> available_sets() {
  std::vector<std::string> found;
  for (const Candidate& candidate : candidates()) {
    if (is_usable(candidate)) found.emplace_back(candidate.name);
  }
  return found;
}

const Kernels& kernels_named(const char* name) { return *named(name).kernels; }
const Kernels& choose_kernels() { return *choose(false).kernels; }

const Bf16Kernels& choose_bf16_kernels() {
  const Candidate& chosen = choose(true);
  if (chosen.bf16 != nullptr) return *chosen.bf16;
  throw Error(ErrorCode::Unsupported,
              std::string("precision bf16 needs avx512_bf16 in the native engine, whose "
                          "instructions here are ") +
                  chosen.name + "; use precision fp32, or the paddle engine");
}

const int8::Kernels& int8::kernels_named(const char* name) { return *named(name).quantized; }
const int8::Kernels& int8::choose_kernels() { return *choose(true).quantized; }

}  // namespace lenet::native
