/// \file
/// Ending long work before it is done: the load of a model by another library, and the decoding and
/// preparation of an image.
///
///     const lenet::Interruption watch([&] {
///       if (stops) throw std::runtime_error("the program ends");
///     });
///     lenet::Predictor predictor(config);  // throws that when `stops` becomes true
#pragma once

#include <functional>

#include "lenet/export.h"

namespace lenet {

/// While it lives, such work in the thread that made it asks `check` again and again, every few
/// milliseconds. What `check` throws ends the work, and comes out of the call that did the work.
/// Where a thread has several, the last one made is asked. One thread makes and destroys it, as a
/// local variable.
class LENET_API Interruption {
 public:
  explicit Interruption(std::function<void()> check);
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

 private:
  friend LENET_API void check_interruption();

  std::function<void()> check_;
  const Interruption* before_;  ///< of this thread, which is asked again afterwards
};

/// Asks the thread's Interruption, if there is one. For what does long work.
/// \throws what its function throws
LENET_API void check_interruption();

}  // namespace lenet
