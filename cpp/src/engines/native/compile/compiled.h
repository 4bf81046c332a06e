/// \file
/// A model that is compiled for one size of its input.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engines/native/machine_limits.h"
#include "engines/native/runtime/program.h"
#include "lenet/tensor.h"
#include "model/graph.h"

namespace lenet::native {

/// One thread runs at most so many images at once: the weights of a fully connected layer are read
/// once for them.
inline constexpr std::int64_t kImagesOfPiece = 64;
/// At most so many images go through a program in float32 together, one after the other in each
/// layer.
inline constexpr std::int64_t kImagesOneByOne = 16;

/// Returns how many images go through a program together: at most `most`, and as many as take 64
/// MiB, but at least one.
std::int64_t images_at_once(const Program& program, std::int64_t most);

/// What the clones of an engine share.
struct Compiled {
  std::string other;  ///< the engine that may run what this one refuses; may be empty
  std::string file;   ///< the model's path
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::vector<Images> output_images;      ///< as Network::output_images
  std::unique_ptr<Program> one_by_one;    ///< a unit is one image
  std::unique_ptr<Program> side_by_side;  ///< a unit is many; null where that does not pay
  const char* instructions;
  Arithmetic arithmetic = Arithmetic::Float32;
  std::string why;   ///< the reason for this arithmetic; empty where there was no choice
  std::string half;  ///< as Graph::half
  bool is_fastest = false;
  std::function<void()> pack;          ///< packs the weights, once
  std::int64_t images_one_by_one = 1;  ///< how many images go through `one_by_one` together
  std::int64_t least_piece = 1;        ///< with fewer images another thread does not help
};

}  // namespace lenet::native
