/* What Clang's __builtin_cpu_supports() reads, which zig's runtime library does not have: a bit for
   each instruction set, numbered as in LLVM's X86TargetParser.def. Only those that lenet asks for. */
#include <cpuid.h>

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN struct {
  unsigned vendor, type, subtype, features[1];
} __cpu_model;
HIDDEN unsigned __cpu_features2[3];

static void set(unsigned feature, unsigned word, unsigned bit) {
  if ((word >> bit & 1) == 0) return;
  if (feature < 32) {
    __cpu_model.features[0] |= 1u << feature;
  } else {
    __cpu_features2[feature / 32 - 1] |= 1u << feature % 32;
  }
}

HIDDEN __attribute__((constructor(101))) int __cpu_indicator_init(void) {
  unsigned a, b, c, d, saved = 0, high;
  if (__cpu_model.vendor != 0 || !__get_cpuid(1, &a, &b, &c, &d)) return 0;
  __cpu_model.vendor = 1;
  set(2, c, 23); /* popcnt */
  set(7, c, 19); /* sse4.1 */
  set(8, c, 20); /* sse4.2 */
  /* Whether the system saves the wide registers of a thread. */
  if (c & bit_OSXSAVE) __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  if ((saved & 6) != 6) return 0;
  set(9, c, 28);  /* avx */
  set(14, c, 12); /* fma */
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  set(10, b, 5); /* avx2 */
  set(16, b, 3); /* bmi */
  set(17, b, 8); /* bmi2 */
  if ((saved & 0xe0) != 0xe0) return 0;
  set(15, b, 16); /* avx512f */
  set(20, b, 31); /* avx512vl */
  set(21, b, 30); /* avx512bw */
  set(22, b, 17); /* avx512dq */
  set(23, b, 28); /* avx512cd */
  set(34, c, 11); /* avx512vnni */
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) set(36, a, 5); /* avx512bf16 */
  return 0;
}
