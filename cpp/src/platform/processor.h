/// \file
/// Which instructions an x86-64 processor has, asked of CPUID: the compilers' own
/// __builtin_cpu_supports knows fewer groups, each version different ones, and zig's knows none.
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

#include <algorithm>
#include <initializer_list>

namespace lenet::platform {

/// What CPUID tells in this order: leaf 1, leaf 7 and its part 1, leaf 0x80000001.
enum class Leaf { One, Seven, SevenOne, Extended };

/// A group of instructions.
struct Feature {
  Leaf leaf;
  char in;  ///< the register that tells: 'a' to 'd'
  unsigned bit;
  unsigned saved = 0;  ///< the registers that it uses, as XCR0 has them
};

namespace features {
inline constexpr unsigned kYmm = 0x6;
inline constexpr unsigned kZmm = 0xe6;
inline constexpr unsigned kTmm = 0x60000;
inline constexpr Feature kSse41 = {Leaf::One, 'c', 19};
inline constexpr Feature kSse42 = {Leaf::One, 'c', 20};
inline constexpr Feature kPopcnt = {Leaf::One, 'c', 23};
inline constexpr Feature kMovbe = {Leaf::One, 'c', 22};
inline constexpr Feature kLzcnt = {Leaf::Extended, 'c', 5};
inline constexpr Feature kBmi = {Leaf::Seven, 'b', 3};
inline constexpr Feature kBmi2 = {Leaf::Seven, 'b', 8};
inline constexpr Feature kSha = {Leaf::Seven, 'b', 29};
inline constexpr Feature kFma = {Leaf::One, 'c', 12, kYmm};
inline constexpr Feature kF16c = {Leaf::One, 'c', 29, kYmm};
inline constexpr Feature kAvx2 = {Leaf::Seven, 'b', 5, kYmm};
inline constexpr Feature kAvx512f = {Leaf::Seven, 'b', 16, kZmm};
inline constexpr Feature kAvx512dq = {Leaf::Seven, 'b', 17, kZmm};
inline constexpr Feature kAvx512cd = {Leaf::Seven, 'b', 28, kZmm};
inline constexpr Feature kAvx512bw = {Leaf::Seven, 'b', 30, kZmm};
inline constexpr Feature kAvx512vl = {Leaf::Seven, 'b', 31, kZmm};
inline constexpr Feature kAvx512vnni = {Leaf::Seven, 'c', 11, kZmm};
inline constexpr Feature kAvx512bf16 = {Leaf::SevenOne, 'a', 5, kZmm};
inline constexpr Feature kAmxBf16 = {Leaf::Seven, 'd', 22, kTmm};
inline constexpr Feature kAmxTile = {Leaf::Seven, 'd', 24, kTmm};
inline constexpr Feature kAmxInt8 = {Leaf::Seven, 'd', 25, kTmm};
}  // namespace features

/// In a virtual machine each CPUID takes microseconds: they are asked for once.
struct Processor {
  unsigned registers[4][4] = {};  ///< by Leaf; zeros where the processor does not know it
  unsigned saved = 0;             ///< XCR0

  Processor() {
    constexpr unsigned kLeaves[][2] = {{1, 0}, {7, 0}, {7, 1}, {0x80000001U, 0}};
    for (int i = 0; i < 4; ++i) {
      unsigned* const to = registers[i];
      __get_cpuid_count(kLeaves[i][0], kLeaves[i][1], &to[0], &to[1], &to[2], &to[3]);
    }
    constexpr unsigned kXgetbv = 1U << 27U;
    if ((registers[0][2] & kXgetbv) != 0) __asm__("xgetbv" : "=a"(saved) : "c"(0) : "edx");
  }
};

/// Whether the processor has it, and the system saves the registers.
inline bool has(const Feature& feature) {
  static const Processor processor;
  const unsigned found = processor.registers[static_cast<int>(feature.leaf)][feature.in - 'a'];
  return (found >> feature.bit & 1U) != 0 && (processor.saved & feature.saved) == feature.saved;
}

inline bool has_all(std::initializer_list<Feature> wanted) {
  return std::all_of(wanted.begin(), wanted.end(), has);
}

}  // namespace lenet::platform
#endif
