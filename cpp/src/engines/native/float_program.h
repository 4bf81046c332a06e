/// \file
/// A network made ready for one layout of activations in float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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
  /// \throws Error Unsupported: a layer that it has no kernel for.
  FloatProgram(const Network& network, const Kernels& kernels, bool interleaved,
               std::int64_t min_shared_bytes = kMinSharedBytes);

  /// Packs the weights, before anything is run.
  /// \param network the same
  /// \param release whether the network's own weights are freed, each layer's when it is packed
  /// \throws Error Unsupported: a layer that it has no kernel for.
  void prepare(Network& network, bool release);

 private:
  /// What one step computes.
  struct Lowered {
    std::size_t layer;
    std::size_t pool = Links::kNone;  ///< fused into the convolution
    ConvMethod method = ConvMethod::Channels;
  };

  void find_planar(const Network& network, const Links& links);
  /// Whether a convolution of one image is computed on vectors of columns: few channels, planar
  /// input.
  bool fits_columns(const Network& network, const Links& links, std::size_t layer) const;
  ConvMethod choose_method(const Network& network, const Links& links, std::size_t layer) const;
  void lower(const Network& network);
  void lay_out(const Network& network);
  bool is_planar(std::size_t tensor) const { return tensor == input_ || planar_[tensor]; }
  void read_input(const float* images, std::int64_t count, const Frame& frame) const override;
  void write_output(const Frame& frame, std::int64_t image, float* output) const override;

  const Kernels& kernels_;
  bool interleaved_;
  std::vector<bool> planar_;    ///< by tensor: whether a convolution on vectors of columns gives it
  std::vector<bool> unpadded_;  ///< by tensor: whether only convolutions without padding read it
  std::vector<Lowered> lowered_;
};

}  // namespace lenet::native
