/// \file
/// A network made ready for one layout of activations: where each tensor lies, which kernel
/// computes each layer, and the weights as that kernel reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "engines/native/aligned.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/network.h"
#include "lenet/plan.h"

namespace lenet::native {

/// Where a tensor of one unit lies in the unit's memory; in floats.
struct Placement {
  bool used = false;
  std::int64_t begin = 0;    ///< of the first pixel inside the border
  std::int64_t column = 0;   ///< from a pixel to the next
  std::int64_t row = 0;      ///< from a row to the next
  std::int64_t channel = 0;  ///< from a channel to the next
  bool planar = false;
};

/// One layer for a kernel.
struct Step {
  std::string name;
  std::string kernel;
  LayerKind kind = LayerKind::Relu;
  double multiply_adds = 0;  ///< for one image
  TensorShape shape;         ///< of the output
  std::vector<Placement> inputs;
  Placement output;
  std::vector<std::int64_t> input_channels;  ///< Concat

  // Convolution: one task for each group
  std::vector<ConvTask> tasks;  ///< pointers and places of one unit are added in a run
  std::vector<std::int64_t> task_inputs;
  std::vector<std::int64_t> task_outputs;
  void (*convolution)(const ConvTask&) = nullptr;
  WinogradTask winograd_task{};
  void (*winograd)(const WinogradTask&) = nullptr;  ///< instead of the tasks
  bool whole_image = false;                         ///< fully connected: several units side by side
  PoolTask pool{};
  std::vector<std::int32_t> bounds;  ///< column begins, ends, row begins, ends
  std::vector<float> sizes;
  bool relu = false;

  Aligned<float> weights;
  Aligned<float> bias;
  Aligned<float> scale;
  std::vector<std::int32_t> offsets;
};

/// Immutable; may be shared by threads, each with memory of its own.
class Program {
 public:
  /// \param interleaved whether a unit is as many images as a vector has lanes, side by side;
  ///   otherwise it is one image.
  Program(const Network& network, const Kernels& kernels, bool interleaved);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::int64_t images_per_unit() const noexcept { return interleaved_ ? kernels_.lanes : 1; }
  std::int64_t input_values() const noexcept { return input_shape_.values(); }  ///< of one image
  std::int64_t output_values() const noexcept { return output_shape_.values(); }
  /// Memory of one unit.
  std::int64_t unit_floats() const noexcept { return unit_floats_; }
  /// What a run does, in its order, without times.
  std::vector<PlanStep> plan() const;

  /// Memory for runs of up to so many images.
  Aligned<float> memory(std::int64_t images) const;
  /// Runs `images` images, float32 [images, channels, height, width].
  /// \param memory of as many images or more
  /// \param output [images, values]
  void run(const float* input, std::int64_t images, float* memory, float* output) const;
  /// The same, with a look at a clock between the steps.
  /// \param now gives seconds
  /// \returns the seconds of each step of plan()
  std::vector<double> run_timed(const float* input, std::int64_t images, float* memory,
                                float* output, double (*now)()) const;

 private:
  void find_planar(const Network& network);
  void place(const Network& network);
  /// Whether a convolution of one image is computed on vectors of columns: few channels, planar
  /// input.
  bool fits_columns(const Network& network, const Layer& layer) const;
  /// Whether a convolution is computed by Winograd's minimal filtering, in both layouts.
  bool fits_winograd(const Network& network, const Layer& layer) const;
  /// The pool of 2 x 2 that follows a convolution and could become part of it; null when there is
  /// none.
  const Layer* pool_after(const Network& network, const Layer& convolution) const;
  /// The pool that a convolution's kernel does on the way; conv_channels does none.
  const Layer* fused_pool(const Network& network, const Layer& layer) const;
  Step compile(const Network& network, const Layer& layer);
  void compile_convolution(const Network& network, const Layer& layer, Step& step);
  void compile_winograd(const Network& network, const Layer& layer, Step& step) const;
  void compile_pool(const Network& network, const Layer& layer, Step& step) const;
  std::int64_t units(std::int64_t images) const noexcept {
    return (images + images_per_unit() - 1) / images_per_unit();
  }
  void read_input(const float* input, std::int64_t images, float* memory) const;
  void write_output(const float* memory, std::int64_t images, float* output) const;
  void run_step(const Step& step, float* memory, std::int64_t units) const;

  const Kernels& kernels_;
  bool interleaved_;
  TensorShape input_shape_;
  TensorShape output_shape_;
  Placement input_;
  Placement output_;
  Links links_;
  std::vector<bool> planar_;    ///< by tensor: whether a convolution on vectors of columns gives it
  std::vector<bool> unpadded_;  ///< by tensor: whether only convolutions without padding read it
  LayerMemory layer_memory_;
  std::vector<Placement> placements_;
  std::int64_t unit_floats_ = 0;
  std::int64_t scratch_ = 0;  ///< where the steps' common scratch begins, in the first unit
  std::vector<Step> steps_;
  bool softmax_ = false;  ///< last, on the rows of the output
};

}  // namespace lenet::native
