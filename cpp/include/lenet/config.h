/// \file
/// What to load and how to run it. The options are named alike here, in Python and on the command
/// line (`--model_file`, `model_file=`).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lenet {

/// How the paddle engine executes the network. The engine onnxruntime has its own kernels only, and
/// takes Auto and Plain.
enum class Accelerator {
  Auto,      ///< the fastest by measurement, for each run: OpenVINO for a .pdmodel; otherwise
             ///< plain for one image on a small model (under 1 MiB), and oneDNN. With a quantized
             ///< model never OpenVINO; with a precision of int8 or bf16 always oneDNN
  Plain,     ///< Paddle's own CPU kernels
  OneDnn,    ///< oneDNN kernels
  OpenVino,  ///< the OpenVINO runtime in the Paddle library; .pdmodel only
};

const char* to_string(Accelerator accelerator) noexcept;

/// \throws Error BadInput naming the accepted values.
Accelerator parse_accelerator(std::string_view name);

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

  /// "paddle", for Paddle's formats; "native", for these and .onnx, kernels of our own without
  /// Paddle, of which there are some only (docs/native-engine.md); "onnxruntime", for .onnx, with
  /// the library of that name, which is loaded when it is first needed (onnxruntime_library.h).
  /// "auto": the fastest that runs the model, which is native for LeNet and its kind, in float32
  /// and in int8. For large images, for operators that native has not, with bf16, or when an option
  /// below that native does not support (accelerator, ir_optim, memory_optim) is not as it is by
  /// default, it is paddle, and for .onnx onnxruntime; where there is no such library, native.
  std::string engine = "auto";
  Accelerator accelerator = Accelerator::Auto;
  /// Of the arithmetic: fp32; bf16, for any float model where the processor has avx512_bf16; or
  /// int8, for a quantized .pdmodel (docs/quantization.md). Of the engine paddle bf16 and int8 are
  /// oneDNN's, which Auto then is; native has int8 too, and gives the answers of oneDNN to a
  /// fraction of a step (docs/native-int8.md). An .onnx has fp32 only, which is to say: it runs as
  /// it was exported, one that was quantized (QDQ or QOperator) in int8.
  std::string precision = "fp32";
  /// CPU threads of one run, >= 1. With onnxruntime clones share them. Native starts them for the
  /// first batch that is worth it, and keeps them.
  int threads = 1;
  bool ir_optim = true;  ///< let the engine rewrite the graph (fusions)
  /// Let intermediate results share memory, or, of a .json, be freed during the run, or, of an
  /// .onnx, not be kept for the next: less memory, more time.
  bool memory_optim = false;
  bool check_finite = true;   ///< refuse NaN and infinity, in the input and in the parameters
                              ///< (relu and max-pool would swallow them). Of an .onnx only the
                              ///< native engine looks at the parameters
  bool check_program = true;  ///< refuse programs that could make Paddle fault, and operators
                              ///< that are not known; false for a trusted model with others.
                              ///< Of no effect with onnxruntime, which does so itself
  bool check_hashes = true;   ///< compare with SHA256SUMS when the model's folder has one
  /// Larger batches are cut into pieces of this many images, which bounds the memory of a run. 0:
  /// 64 for each thread; more only drives the intermediate results out of the processor's caches
  /// (docs/benchmark.md). Another size may change the last bits of an output, but not with native,
  /// which has pieces of its own. A model that was
  /// exported for a fixed number of images always gets pieces of that many.
  std::int64_t max_batch_size = 0;
};

}  // namespace lenet
