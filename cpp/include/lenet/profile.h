/// \file
/// What each layer of a model costs. From `Predictor::profile`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lenet/export.h"
#include "lenet/tensor.h"

namespace lenet {

/// Layers that are computed together, or other work of a run. Multiply-adds and bytes are those of
/// the definition: a kernel may need fewer multiply-adds, and reads more bytes where it pads.
struct LayerProfile {
  std::string name;             ///< the operators and what they give, or what else is done
  std::string kernel;           ///< the method and the kernel; empty for what is no layer
  std::string layout;           ///< of the output: NCHW, NHWC, NCHW16c or NHWC16n (16 images)
  Shape output;                 ///< sizes for one image, of any rank
  double multiply_adds = 0;     ///< for one image
  double weight_bytes = 0;      ///< weights and biases, whatever the number of images
  double activation_bytes = 0;  ///< inputs and output of one image
  double microseconds = 0;      ///< median, for `ProfilePart::at_once` images
  // Shares are 1 for 100 %. Those of a limit may be more: see `Profile`.
  double time_share = 0;          ///< of the part's total
  double multiply_add_share = 0;  ///< multiply-adds, of those that the limit allows in that time
  double memory_share = 0;        ///< bytes, of those that the limit allows in that time
};

/// Images that are computed in the same way.
struct ProfilePart {
  std::int64_t images = 0;   ///< of the batch, or of its first 64
  std::int64_t at_once = 0;  ///< of them; times are for so many
  std::vector<LayerProfile> layers;
  LayerProfile total;
};

/// A size of images that a model with open sizes is compiled for.
struct CompiledSize {
  Shape image;             ///< channels, height, width
  std::int64_t bytes = 0;  ///< of its packed weights, with those that other sizes have too
};

struct CompiledSizes {
  std::vector<CompiledSize> sizes;  ///< that which was used last is the last
  std::int64_t bytes = 0;           ///< of the packed weights of all of them, each once
};

struct Profile {
  std::string engine;
  std::string reason;              ///< for the choice of the engine
  std::string instructions;        ///< the instruction set of its kernels
  std::string precision;           ///< that was asked for
  std::string computed_precision;  ///< as `Predictor::computed_precision` has it
  std::string precision_reason;
  std::string model_file;
  int threads = 0;
  int runs = 0;                   ///< that were measured
  std::int64_t images = 0;        ///< of the batch
  double microseconds = 0;        ///< of the batch, median, without a clock between the layers
  double multiply_adds = 0;       ///< for one image
  double multiply_add_share = 0;  ///< of the limit, for the batch
  /// Multiply-adds a second of one core at best, in the precision of the model. Winograd's method
  /// and several threads may exceed it.
  double multiply_add_limit = 0;
  /// Bytes a second that one core reads from memory, beyond the caches. Layers whose data
  /// are in the caches may exceed it.
  double memory_limit = 0;
  std::vector<ProfilePart> parts;
  CompiledSizes compiled;  ///< as `Predictor::compiled_sizes` has them
};

/// A table for people; lines.
LENET_API std::string to_table(const Profile& profile);
/// All fields as one JSON object, without a new line.
LENET_API std::string to_json(const Profile& profile);
/// The layers one after another as an array of complete events in the Trace Event Format, which
/// Perfetto and chrome://tracing load; their times are the medians, in microseconds.
LENET_API std::string to_trace(const Profile& profile);

}  // namespace lenet
