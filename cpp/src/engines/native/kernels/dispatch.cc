#include "engines/native/kernels/dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/kernels/kernels.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "platform/platform.h"
#include "platform/processor.h"

namespace lenet::native {
namespace {

struct Candidate {
  const char* name;
  const Kernels* kernels;
  const int8::Kernels* quantized;  ///< null: a build without int8 (without_int8.cc)
  const Bf16Kernels* bf16;         ///< null: it has none
  bool available;
  bool has_tiles = false;  ///< of AMX, which have to be asked for
};

/// The fastest first.
const auto& candidates() {
#if defined(__x86_64__)
  namespace cpu = platform::features;
  // The levels x86-64-v3 and x86-64-v4 whole. All processors with AVX2 have the first, but virtual
  // machines may hide parts, and compilers use all parts of a level (NativeKernels.cmake).
  static const bool avx2 = platform::has_all({cpu::kAvx2, cpu::kFma, cpu::kBmi, cpu::kBmi2,
                                              cpu::kPopcnt, cpu::kMovbe, cpu::kF16c, cpu::kLzcnt});
  static const bool avx512 =
      avx2 && platform::has_all(
                  {cpu::kAvx512f, cpu::kAvx512bw, cpu::kAvx512cd, cpu::kAvx512dq, cpu::kAvx512vl});
  static const bool vnni = avx512 && platform::has(cpu::kAvx512vnni);
  static const Bf16Kernels* const bf16 =
      avx512 && platform::has(cpu::kAvx512bf16) ? &kAvx512Bf16 : nullptr;
  static const bool tiles =
      vnni && bf16 != nullptr && platform::has_all({cpu::kAmxTile, cpu::kAmxInt8, cpu::kAmxBf16});
  static const Candidate all[] = {
      {"amx", &kAvx512, &int8::kAmx, &kAmxBf16, tiles, true},
      {"avx512vnni", &kAvx512, &int8::kAvx512Vnni, bf16, vnni},
      // Without VNNI, vectors of 512 bits have nothing for bytes that those of 256 have not.
      {"avx512", &kAvx512, &int8::kAvx2, bf16, avx512},
      {"avx2", &kAvx2, &int8::kAvx2, nullptr, avx2},
      {"sse42", &kSse42, &int8::kSse42, nullptr, platform::has_all({cpu::kSse42, cpu::kPopcnt})},
      {"scalar", &kScalar, &int8::kScalar, nullptr, true},
  };
#elif defined(__aarch64__)
  // Vectors of four floats are part of every such processor, dot products of bytes are not.
  static const Candidate all[] = {
      {"neondotprod", &kNeon, &int8::kNeonDotprod, nullptr, platform::has_dot_products()},
      {"neon", &kNeon, &int8::kNeon, nullptr, true},
      {"scalar", &kScalar, &int8::kScalar, nullptr, true},
  };
#elif defined(__wasm_simd128__)
  static const Candidate all[] = {{"simd128", &kSimd128, nullptr, nullptr, true}};
#else
  static const Candidate all[] = {{"scalar", &kScalar, &int8::kScalar, nullptr, true}};
#endif
  return all;
}

bool is_usable(const Candidate& candidate) {
  return candidate.available && (!candidate.has_tiles || platform::may_use_tiles());
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
              std::string("bf16 needs avx512_bf16 in the native engine, whose "
                          "instructions here are ") +
                  chosen.name + "; use precision fp32");
}

const int8::Kernels& int8::kernels_named(const char* name) { return *named(name).quantized; }
const int8::Kernels& int8::choose_kernels() { return *choose(true).quantized; }

}  // namespace lenet::native
