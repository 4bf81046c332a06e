/// \file
/// A quantized network made ready for a processor: where each tensor lies, which kernel computes
/// each layer, and the integers as that kernel reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engines/native/aligned.h"
#include "engines/native/int8/convolution.h"
#include "engines/native/int8/float_layers.h"
#include "engines/native/int8/kernels.h"
#include "engines/native/int8/plan.h"
#include "engines/native/network.h"
#include "lenet/plan.h"

namespace lenet::native::int8 {

/// One layer for a kernel.
struct Step {
  PlannedLayer planned;
  std::vector<Place> inputs;
  Place output;
  std::unique_ptr<const Convolution> convolution;  ///< of integers

  Windows rows;  ///< of a pool
  Windows columns;
  std::vector<float> float_weights;
};

/// Immutable; may be shared by threads, each with memory of its own.
class Program {
 public:
  /// \throws Error Unsupported: a layer that it has no kernel for.
  Program(const Network& network, const Kernels& kernels);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::int64_t input_values() const noexcept { return input_shape_.values(); }  ///< of one image
  std::int64_t output_values() const noexcept { return output_.shape.values(); }
  /// Whether some layer multiplies integers.
  bool has_integers() const noexcept { return has_integers_; }

  /// Of the layers that multiply in float32, for one image.
  double float_multiply_adds() const noexcept { return float_multiply_adds_; }

  /// Memory for a run of one image.
  std::int64_t image_bytes() const noexcept {
    return scratch_bytes() + shared_bytes_ + image_bytes_;
  }
  /// Memory for runs of up to so many images.
  Aligned<char> memory(std::int64_t images) const;
  /// What a run does, in its order, without times.
  std::vector<PlanStep> plan() const;
  /// Runs `images` images, float32 [images, channels, height, width].
  /// \param memory of as many images or more
  /// \param output [images, values]
  void run(const float* input, std::int64_t images, char* memory, float* output) const;
  /// The same, with a look at a clock after each step of each image.
  /// \param now gives seconds
  /// \returns the seconds of each step of plan(), of all images together
  std::vector<double> run_timed(const float* input, std::int64_t images, char* memory,
                                float* output, double (*now)()) const;

 private:
  /// \param done called after each part of the work, with its place in plan()
  template <class Done>
  void run_steps(const float* input, std::int64_t images, char* memory, float* output,
                 const Done& done) const;
  void place(const Plan& plan);
  void place(Place& place, std::int64_t border);
  Step compile(const PlannedLayer& planned) const;

  char* at(const Place& place, char* memory, std::int64_t image) const;
  void read_input(const float* input, char* memory, std::int64_t image) const;
  void write_output(char* memory, std::int64_t image, float* output) const;
  void run_step(const Step& step, char* memory, std::int64_t image) const;
  void run_floats(const Step& step, char* memory, std::int64_t image) const;
  void run_pool(const Step& step, char* memory, std::int64_t image) const;
  /// A tensor as float32 without a border.
  const float* floats(const Place& place, const QuantParams& quant, std::size_t scratch,
                      char* memory, std::int64_t image) const;
  void quantize(const float* from, std::int64_t count, const QuantParams& quant, bool relu,
                char* to) const;
  /// The other way round; rounds where the tensor holds integers.
  void give(const Step& step, const QuantParams& quant, float* values, char* memory,
            std::int64_t image) const;
  float* scratch(std::size_t index, char* memory) const;
  std::int64_t scratch_bytes() const noexcept;  ///< before the tensors

  const Kernels& kernels_;
  TensorShape input_shape_;
  Place input_;
  Place output_;
  std::vector<Place> places_;
  std::vector<Step> steps_;
  std::size_t side_by_side_ = 0;  ///< from this step on all images together
  std::int64_t shared_bytes_ = 0;
  std::int64_t image_bytes_ = 0;
  std::int64_t scratch_floats_ = 0;  ///< of one of three
  std::int64_t planes_ = 0;          ///< numbers of 32 bits, of a convolution
  bool softmax_ = false;             ///< last, on the rows of the output
  bool has_integers_ = false;
  double float_multiply_adds_ = 0;
};

}  // namespace lenet::native::int8
