/// \file
/// A convolution of integers made ready for a kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engines/native/aligned.h"
#include "engines/native/int8/kernels.h"
#include "engines/native/int8/plan.h"

namespace lenet::native::int8 {

/// Where a tensor of one image lies: [height][width][channels], in elements, or float32.
struct Place {
  TensorShape shape;
  QuantParams quant;        ///< without: float32
  bool kept = false;        ///< each image has its own, else all use the same
  std::int64_t begin = 0;   ///< bytes to the first pixel inside the border
  std::int64_t before = 0;  ///< elements of the border before that
  std::int64_t values = 0;  ///< elements in all
  std::int64_t column = 0;  ///< elements or floats from a pixel to the next
  std::int64_t row = 0;
};

/// Immutable.
class Convolution {
 public:
  /// \throws Error Unsupported: too large a tensor.
  Convolution(const PlannedLayer& planned, const Place& from, const Place& to,
              const Kernels& kernels);

  const char* kernel() const noexcept { return by_columns_ ? "conv_columns" : "conv_channels"; }
  /// Memory of a run, in numbers of 32 bits.
  std::int64_t scratch() const noexcept { return scratch_; }
  /// Memory of the packed weights.
  double bytes() const noexcept { return bytes_; }
  /// Of one image. \param input, output their first pixels inside the border
  void run(const char* input, char* output, std::int32_t* scratch) const;
  /// A fully connected layer of several images.
  /// \param apart bytes from an image's input to the next, and from an image's output
  void run_images(const char* input, char* output, std::int64_t images, std::int64_t apart) const;

 private:
  /// Taps that are multiplied together, by their place in [input channel][height][width]; -1: none.
  using Groups = std::vector<std::vector<std::int64_t>>;

  void ready(const PlannedLayer& planned, const Place& from, const Place& to);
  void ready_columns(const PlannedLayer& planned, const Place& from, const Place& to);
  void pack(const PlannedLayer& planned, const QuantParams& from, const Groups& groups,
            std::int64_t first_output, std::int64_t at, const std::vector<std::int64_t>& blocks);
  void make_room(std::int64_t channels, std::size_t groups, std::size_t tasks,
                 std::size_t roundings);
  /// Stages of a task, whose channels begin `at`.
  template <class Task>
  void set_stages(Task& task, const PlannedLayer& planned, const QuantParams& from,
                  std::size_t number, std::int64_t first_output, std::int64_t at);

  const Kernels& kernels_;
  bool by_columns_ = false;
  std::int64_t output_bytes_;  ///< of a number
  std::int64_t scratch_ = 0;
  double bytes_ = 0;
  std::vector<ConvTask> tasks_;            ///< for each group; without pointers to activations
  std::vector<std::int64_t> task_inputs_;  ///< elements from the first pixel
  ColumnsTask columns_{};
  std::vector<std::int32_t> offsets_;
  Aligned<std::int32_t> weights_;
  Aligned<std::int32_t> start_;
  // Of all channels for the first stage, then for the next.
  Aligned<float> factor_;
  Aligned<float> addend_;
  std::vector<Stage> stages_;  ///< of each task
  std::int64_t channels_ = 0;  ///< of all groups, padded
};

}  // namespace lenet::native::int8
