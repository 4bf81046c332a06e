/// libFuzzer's entry point; LENET_FUZZ_TARGET names the target.
#include <cstddef>
#include <cstdint>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lenet::fuzz::LENET_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
