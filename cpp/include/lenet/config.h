/// \file
/// What to load and how to run it. The options are named alike here, in Python and on the command
/// line (`--model_file`, `model_file=`).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lenet/export.h"

namespace lenet {

/// How the paddle engine executes the network. The onnxruntime engine has its own kernels only, and
/// takes Auto and Plain.
enum class Accelerator {
  Auto,      ///< the fastest by measurement, for each run: OpenVINO for a .pdmodel; otherwise
             ///< plain for one image on a small model (under 1 MiB), and oneDNN. With a quantized
             ///< model never OpenVINO; with a precision of int8 or bf16 always oneDNN
  Plain,     ///< Paddle's own CPU kernels
  OneDnn,    ///< oneDNN kernels
  OpenVino,  ///< the OpenVINO runtime in the Paddle library; .pdmodel only
};

LENET_API const char* to_string(Accelerator accelerator) noexcept;

/// \throws Error BadInput naming the accepted values.
LENET_API Accelerator parse_accelerator(std::string_view name);

struct Config {
  /// The program: `NAME.pdmodel` or `NAME.json` (or `__model__` beside one file per variable); or
  /// an ONNX model, `NAME.onnx`.
  std::string model_file;
  /// Its parameters, `NAME.pdiparams`. Empty: the file of that name beside `model_file`, or none
  /// for an .onnx.
  std::string params_file;
  /// Instead of the two above: a folder that holds an exported model (a .pdmodel is preferred to a
  /// .json, and either to an .onnx unless `engine` is "onnxruntime") or the legacy layout
  /// (`__model__` and one file per variable).
  std::string model_dir;

  /// The engine that runs the model:
  /// - "native": our own kernels, which need no library; Paddle's formats and .onnx, but not every
  ///   operator (docs/native-engine.md)
  /// - "paddle": the Paddle Inference library; Paddle's formats
  /// - "onnxruntime": the library of that name, loaded when it is first needed
  ///   (onnxruntime_library.h); .onnx
  /// - "auto": the fastest that runs the model. That is native for LeNet and similar networks, in
  ///   float32 and int8. It is paddle, or onnxruntime for an .onnx, for large images, for operators
  ///   that native does not support, with bf16, and when an option below that native does not
  ///   support (accelerator, ir_optim, memory_optim) differs from its default. Where that library
  ///   is not installed, it is native.
  std::string engine = "auto";
  Accelerator accelerator = Accelerator::Auto;
  /// The arithmetic: "fp32"; "bf16", for any float model on a processor with avx512_bf16; or
  /// "int8", for a quantized .pdmodel (docs/quantization.md). The paddle engine computes bf16 and
  /// int8 with oneDNN, which Auto then stands for. The native engine supports int8 too; its outputs
  /// differ from oneDNN's by a fraction of a step (docs/native-int8.md). An .onnx takes "fp32"
  /// only, and runs as it was exported: a quantized one (QDQ or QOperator) in int8.
  std::string precision = "fp32";
  /// CPU threads of one run, >= 1. With onnxruntime clones share them. The native engine starts
  /// them for the first batch that is large enough, and keeps them.
  int threads = 1;
  bool ir_optim = true;  ///< let the engine rewrite the graph (fusions)
  /// Use less memory and more time: intermediate results share memory (.pdmodel), are freed during
  /// the run (.json), or are not kept for the next run (.onnx).
  bool memory_optim = false;
  bool check_finite = true;   ///< refuse NaN and infinity in the input and in the parameters,
                              ///< which relu and max-pool would hide. For an .onnx only the
                              ///< native engine checks the parameters
  bool check_program = true;  ///< refuse programs that could make Paddle fault, and unknown
                              ///< operators; false for a trusted model with other operators.
                              ///< Ignored by onnxruntime, which makes its own checks
  bool check_hashes = true;   ///< compare with SHA256SUMS when the model's folder has one
  /// Larger batches are cut into pieces of this many images, which bounds the memory of a run.
  /// 0: 64 for each thread; larger pieces no longer fit the processor's caches
  /// (docs/benchmark.md). Another size may change the last bits of an output, except with the
  /// native engine, which chooses its own pieces. A model that was exported for a fixed number of
  /// images always gets pieces of that many.
  std::int64_t max_batch_size = 0;
};

}  // namespace lenet
