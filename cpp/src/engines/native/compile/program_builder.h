/// \file
/// Makes the program of a network: how each layer is computed, and where each tensor lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engines/native/compile/methods.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/network.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/program.h"

namespace lenet::native {

/// First decides, which takes little time, then makes the program. Who has the choice of several
/// programs makes only those that he needs.
class ProgramBuilder {
 public:
  /// Decides from the shapes how each layer is computed and how each tensor lies.
  /// \param interleaved whether a unit is as many images as a vector has lanes, side by side;
  ///   otherwise it is one image.
  /// \param bf16 multiplies most of one image, by numbers rounded to bf16; or null
  /// \param integers what computes the integers of a network, as plan_integers has made them
  /// \param fuses whether a convolution or product may compute the pool or the sum behind it too
  /// \throws Error Unsupported: a layer that it has no kernel for.
  ProgramBuilder(const Network& network, const Kernels& kernels, bool interleaved,
                 std::int64_t min_shared_bytes = kMinSharedBytes, const Bf16Kernels* bf16 = nullptr,
                 const std::optional<IntegerOps>& integers = {}, bool fuses = true);

  /// Memory of the tensors of one unit, as Program::tensor_bytes. \pre there is no program yet
  std::int64_t tensor_bytes() const;

  /// Makes the program, once, without its operators.
  /// \param network the same
  /// \throws Error Unsupported: the tensors take too much memory.
  std::unique_ptr<Program> make_program(const Network& network);

  /// Makes the operators of the program, and packs the weights, before anything is run.
  /// \param network the same
  /// \param program what make_program gave
  /// \param shared of programs that may have the same weights; or null
  /// \throws Error Unsupported: a layer that it has no kernel for.
  void add_steps(const Network& network, Program& program,
                 std::shared_ptr<SharedArrays> shared = nullptr) const;

  /// Whether a convolution is computed by Winograd's method of 3 x 3. Images side by side have no
  /// such method, and other bits.
  bool uses_winograd3x3() const;

 private:
  /// What one step computes.
  struct Lowered {
    std::size_t layer;
    std::size_t pool = kNone;           ///< fused into the convolution
    std::size_t sum = kNone;            ///< fused into the layer, which takes what is added too
    const MethodRow* method = nullptr;  ///< of a convolution or product
    /// A convolution adds up the taps of so many channels together, pixel by pixel; with 1 it adds
    /// them up channel by channel. Images that lie side by side have the same order, and so the
    /// same bits.
    std::int64_t tap_lanes = 1;
  };

  /// Chooses how each layer is computed and how each tensor lies.
  void lower(const Network& network, bool interleaved);
  /// Chooses how the convolution or product of a step is computed, what it computes too, and
  /// whether what it gives lies as Layout::Planes.
  /// \param no_planes by tensor: whether a reader needs another layout than Planes
  void choose_method(const Network& network, const Links& links, bool interleaved,
                     const std::vector<bool>& no_planes, Lowered& step);
  /// Sets what a step may write over, the border that it reads, and whether it keeps zeros.
  void describe_step(const Network& network, std::size_t step);
  /// The steps from this one on have more weights than activations.
  std::size_t first_batched(const Network& network) const;
  /// Lets what a Concat joins lie where that has it, if it begins and ends with whole vectors.
  void join_in_place(const Network& network);
  void lay_out(std::size_t tensor);
  /// Whether the operator of a layer is one of `integer_ops_`.
  bool is_of_integers(const Network& network, const Layer& layer) const;

  const Kernels& kernels_;
  const Bf16Kernels* bf16_;
  std::optional<IntegerOps> integer_ops_;
  std::int64_t images_per_unit_;
  std::int64_t min_shared_bytes_;
  bool fuses_;
  std::vector<Lowered> lowered_;  ///< by step
  Arrangement arrangement_;       ///< until the program has it
};

}  // namespace lenet::native
