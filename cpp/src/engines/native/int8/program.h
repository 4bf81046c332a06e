/// \file
/// A quantized network made ready for a processor: where each tensor lies, which kernel computes
/// each layer, and the integers as that kernel reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/int8/aligned.h"
#include "engines/native/int8/float_layers.h"
#include "engines/native/int8/kernels.h"
#include "engines/native/int8/plan.h"
#include "engines/native/network.h"

namespace lenet::native::int8 {

/// Where a tensor of one image lies: [height][width][channels], in elements, or float32.
struct Place {
  TensorShape shape;
  float range = 0;          ///< of whole numbers; 0: float32
  bool kept = false;        ///< each image has its own, else all use the same
  std::int64_t begin = 0;   ///< bytes to the first pixel inside the border
  std::int64_t column = 0;  ///< elements or floats from a pixel to the next
  std::int64_t row = 0;
};

/// One layer for a kernel.
struct Step {
  PlannedLayer planned;
  std::vector<Place> inputs;
  Place output;
  bool whole_image = false;  ///< fully connected, of whole numbers: images are side by side

  std::vector<ConvTask> tasks;  ///< for each group; without pointers to activations
  std::vector<std::int64_t> task_inputs;  ///< elements from the first pixel
  std::vector<std::int32_t> offsets;
  Aligned<std::int32_t> weights;
  Aligned<std::int32_t> start;
  Aligned<float> factor;
  Aligned<float> addend;

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
  /// Whether some layer multiplies whole numbers.
  bool has_integers() const noexcept { return has_integers_; }

  /// Memory for runs of up to so many images.
  Aligned<char> memory(std::int64_t images) const;
  /// Runs `images` images, float32 [images, channels, height, width].
  /// \param memory of as many images or more
  /// \param output [images, values]
  void run(const float* input, std::int64_t images, char* memory, float* output) const;

 private:
  void place(const Plan& plan);
  void place(Place& place, std::int64_t border);
  Step compile(const PlannedLayer& planned) const;
  void compile_convolution(Step& step) const;
  void pack(Step& step, std::int64_t first_output, std::int64_t outputs,
            const std::vector<std::vector<std::int64_t>>& groups, std::int64_t taps,
            std::int64_t packed, std::int64_t at) const;

  char* at(const Place& place, char* memory, std::int64_t image) const;
  void read_input(const float* input, char* memory, std::int64_t image) const;
  void write_output(char* memory, std::int64_t image, float* output) const;
  void run_step(const Step& step, char* memory, std::int64_t image) const;
  void run_linear(const Step& step, char* memory, std::int64_t images) const;
  void run_convolution(const Step& step, char* memory, std::int64_t image) const;
  void run_floats(const Step& step, char* memory, std::int64_t image) const;
  void run_pool(const Step& step, char* memory, std::int64_t image) const;
  /// A tensor as float32 without a border.
  const float* floats(const Place& place, std::size_t scratch, char* memory,
                      std::int64_t image) const;
  /// The other way round; rounds where the tensor is of whole numbers.
  void give(const Step& step, float* values, char* memory, std::int64_t image) const;
  float* scratch(std::size_t index, char* memory) const;

  const Kernels& kernels_;
  TensorShape input_shape_;
  Place input_;
  Place output_;
  std::vector<Place> places_;
  std::vector<Place> rounded_;  ///< whose borders are zeros
  std::vector<Step> steps_;
  std::size_t side_by_side_ = 0;  ///< from this step on all images together
  std::int64_t shared_bytes_ = 0;
  std::int64_t image_bytes_ = 0;
  std::int64_t scratch_floats_ = 0;
  bool softmax_ = false;  ///< last, on the rows of the output
  bool has_integers_ = false;
};

}  // namespace lenet::native::int8
