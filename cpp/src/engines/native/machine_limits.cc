#include "engines/native/machine_limits.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "engines/native/kernels/dispatch.h"
#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/layer_times.h"
#include "engines/native/runtime/aligned.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "platform/platform.h"

namespace lenet::native {
namespace {

/// Returns the work a second of each of the runs that fit in `seconds`.
/// \param run returns how much work it did
template <class Run>
std::vector<double> rates_of(double seconds, const Run& run) {
  const auto rate = [&] {
    const double begin = seconds_now();
    const double work = run();
    return work / (seconds_now() - begin);
  };
  return measure(rate, {std::numeric_limits<std::size_t>::max(), seconds});
}

}  // namespace

MultiplyAddLimit measure_multiply_add_limit(double seconds, Arithmetic arithmetic) {
  constexpr std::int64_t kSteps = 10'000;  // some 50 microseconds
  const std::string best = available_sets().front();
  const Kernels& kernels = kernels_named(best.c_str());
  const int8::Kernels& quantized = int8::kernels_named(best.c_str());
  MultiplyAddLimit limit{kernels.name, 0};
  auto multiply_adds = kernels.multiply_adds;
  if (arithmetic == Arithmetic::Bf16) {
    limit.instructions = choose_bf16_kernels().name;
    multiply_adds = choose_bf16_kernels().multiply_adds;
  } else if (arithmetic == Arithmetic::Int8) {
    limit.instructions = quantized.name;
    multiply_adds = quantized.multiply_adds;
  }
  const auto rates = rates_of(seconds, [&] { return multiply_adds(kSteps); });
  limit.per_second = *std::max_element(rates.begin(), rates.end());
  return limit;
}

Bf16Choice choose_bf16() {
  // For a 3 x 3 convolution, bf16 computes 4/3 of the products of float32
  // (docs/native-engine.md).
  constexpr double kMinGain = 4.0 / 3;
  constexpr int kTurns = 4;
  const char* const value = std::getenv("LENET_NATIVE_BF16");
  const std::string asked = value == nullptr || *value == '\0' ? "auto" : value;
  if (asked != "auto" && asked != "on" && asked != "off") {
    throw Error(ErrorCode::BadInput,
                "LENET_NATIVE_BF16 is '" + printable(asked) + "'; expected one of auto, on, off");
  }
  const Bf16Kernels* const kernels = &choose_bf16_kernels();
  if (asked != "auto") return {asked == "on" ? kernels : nullptr, "LENET_NATIVE_BF16 is " + asked};
  static const double gain = [] {
    double floats = 0;
    double own = 0;
    // In turns, so that other programs do not slow down one of them alone.
    for (int turn = 0; turn < kTurns; ++turn) {
      floats = std::max(floats, measure_multiply_add_limit(0).per_second);
      own = std::max(own, measure_multiply_add_limit(0, Arithmetic::Bf16).per_second);
    }
    return own / floats;
  }();
  return {gain >= kMinGain ? kernels : nullptr,
          "bf16's inner loop does " + print("%.2f", gain) +
              " times as many multiply-adds a second as float32's on this processor"};
}

double measure_memory_limit(double seconds) {
  constexpr std::int64_t kLine = kCacheLine / static_cast<std::int64_t>(sizeof(std::int64_t));
  constexpr std::int64_t kLeast = 1 << 26;
  constexpr std::int64_t kMax = 1 << 28;
  constexpr std::int64_t kSlice = 1 << 21;
  const std::int64_t cache = platform::last_cache_bytes();
  const std::int64_t bytes = round_up(std::clamp(2 * cache, kLeast, kMax), kSlice);
  const Aligned<std::int64_t> array(static_cast<std::size_t>(bytes) / sizeof(std::int64_t));
  std::int64_t begin = 0;
  auto rates = rates_of(seconds, [&] {
    const std::int64_t* from = array.data() + begin / static_cast<std::int64_t>(sizeof(*from));
    begin = (begin + kSlice) % bytes;
    std::int64_t sum = 0;
    // The processor reads whole lines: one number of each is enough.
    for (std::int64_t line = 0; line < kSlice / kCacheLine; ++line) sum += from[line * kLine];
    volatile std::int64_t used = sum;
    static_cast<void>(used);
    return double{kSlice};
  });
  // Some slices may still be in a cache, and others were interrupted.
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

}  // namespace lenet::native
