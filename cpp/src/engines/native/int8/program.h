/// A quantized network made ready for a processor.
#pragma once

#include <cstdint>

#include "engines/native/int8/kernels.h"
#include "engines/native/int8/plan.h"
#include "engines/native/network.h"
#include "engines/native/runtime/program.h"

namespace lenet::native::int8 {

class Program final : public native::Program {
 public:
  /// Decides from the shapes where each tensor lies.
  /// \throws Error Unsupported: a layer that it has no kernel for.
  Program(Network network, const Kernels& kernels, std::int64_t min_shared_bytes = kMinSharedBytes);

  /// Packs the weights, before anything is run.
  /// \throws Error Unsupported: a layer that it has no kernel for.
  void prepare();

  /// Of the layers that multiply in float32, for one image.
  double float_multiply_adds() const noexcept { return float_multiply_adds_; }
  /// What a run of one image would take if each tensor had memory of its own.
  std::int64_t image_bytes() const noexcept;

 private:
  void lay_out();
  void write_rows(const float** images, std::int64_t channel, std::int64_t begin, std::int64_t end,
                  const Frame& frame, std::int64_t unit) const override;
  const float* output_row(const Placement& tensor, const Frame& frame, std::int64_t unit,
                          std::int64_t row) const override;

  const Kernels& kernels_;
  Plan plan_;  ///< until prepare()
  double file_bytes_;
  double float_multiply_adds_ = 0;
  std::int64_t largest_floats_ = 0;  ///< bytes of the largest tensor as float32
};

}  // namespace lenet::native::int8
