/// \file
/// Ending the decoding and preparation of an image before it is done.
#pragma once

#include <cstddef>

#include "lenet/interruption.h"

namespace lenet {

/// Asks in a loop of small steps, but not at each of them.
class InterruptionPoint {
 public:
  /// \param units of work that were done: about as many bytes were read or written
  void did(std::size_t units) {
    constexpr std::size_t kOften = std::size_t{1} << 18;
    done_ += units;
    if (done_ < kOften) return;
    done_ = 0;
    check_interruption();
  }

 private:
  std::size_t done_ = 0;
};

}  // namespace lenet
