/// \file
/// A network made ready for one layout of activations in float32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engines/native/compile/conv_methods.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/network.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/program.h"

namespace lenet::native {

class FloatProgram final : public Program {
 public:
  /// Decides from the shapes how each layer is computed and where each tensor lies.
  /// \param interleaved whether a unit is as many images as a vector has lanes, side by side;
  ///   otherwise it is one image.
  /// \param bf16 multiplies most of one image, by numbers rounded to bf16; or null
  /// \param multiply_integers makes the layers that have integers as their weights; null where
  /// there
  ///   are none. See take_roundings.
  /// \throws Error Unsupported: a layer that it has no kernel for.
  FloatProgram(const Network& network, const Kernels& kernels, bool interleaved,
               std::int64_t min_shared_bytes = kMinSharedBytes, const Bf16Kernels* bf16 = nullptr,
               MakeOp* multiply_integers = nullptr);

  /// Packs the weights, before anything is run.
  /// \param network the same
  /// \param shared of programs that may have the same weights; or null
  /// \throws Error Unsupported: a layer that it has no kernel for.
  void prepare(const Network& network, std::shared_ptr<SharedArrays> shared = nullptr);

  /// Whether a convolution is computed by Winograd's method of 3 x 3. Images side by side have no
  /// such method, and other bits.
  bool uses_winograd3x3() const {
    return std::any_of(lowered_.begin(), lowered_.end(), [](const Lowered& step) {
      return step.method != nullptr && step.method->make == make_winograd3x3;
    });
  }

 private:
  /// What one step computes.
  struct Lowered {
    std::size_t layer;
    std::size_t pool = kNone;  ///< fused into the convolution
    std::size_t sum = kNone;   ///< fused into the convolution, which takes what is added too
    const ConvMethodRow* method = nullptr;  ///< of a convolution whose weights are no integers
    /// A convolution adds up the taps of so many channels together, pixel by pixel; with 1 it adds
    /// them up channel by channel. Images that lie side by side have the same order, and so the
    /// same bits.
    std::int64_t tap_lanes = 1;
  };

  /// Chooses how each layer is computed and how each tensor lies.
  void lower(const Network& network, bool interleaved);
  /// Chooses how the convolution of a step is computed, what it computes too, and whether what it
  /// gives lies as Layout::Planes.
  /// \param no_planes by tensor: whether a reader needs another layout than Planes
  void choose_method(const Network& network, const Links& links, bool interleaved,
                     const std::vector<bool>& no_planes, Lowered& step);
  /// The steps from this one on have more weights than activations.
  std::size_t first_batched(const Network& network) const;
  void lay_out(const Network& network);
  /// Lets what a Concat joins lie where that has it, if it begins and ends with whole vectors.
  void join_in_place(const Network& network);
  void write_rows(const float** images, std::int64_t channel, std::int64_t begin, std::int64_t end,
                  const Frame& frame, std::int64_t unit) const override;
  const float* output_row(const Placement& tensor, const Frame& frame, std::int64_t unit,
                          std::int64_t row) const override {
    return frame.at<float>(tensor, unit) + row * tensor.row;
  }

  const Kernels& kernels_;
  const Bf16Kernels* bf16_;
  MakeOp* multiply_integers_;
  std::vector<Lowered> lowered_;  ///< by step
};

}  // namespace lenet::native
