/// \file
/// What to load and how to run it. The options are named alike here, in Python and on the command
/// line (`--model_file`, `model_file=`).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "lenet/export.h"

namespace lenet {

/// The engine that runs a model.
enum class EngineKind {
  /// The fastest that runs the model with the options of the configuration:
  /// - the native engine, in float32 where the processor has AVX2, in bf16 where it has
  ///   avx512_bf16, and for networks whose tensors fit its caches, in float32 and int8;
  /// - the Paddle engine, or for an .onnx onnxruntime, for operators that the native engine does
  ///   not support, or where accelerator, ir_optim or memory_optim has another value than its
  ///   default, and for other networks; the native one where the library is missing.
  Auto,
  Native,       ///< our own kernels, not for every operator (docs/native-engine.md): any format
  OnnxRuntime,  ///< the library of that name, opened when it is first needed: .onnx
  Paddle,       ///< the Paddle Inference library, opened when it is first needed: Paddle's formats
  Plain,  ///< each operator by its definition in double, slowly: judges the others, any format
};

/// The arithmetic of a run.
enum class Precision {
  /// float32. In onnxruntime an .onnx runs as exported: a quantized one in int8.
  Fp32,
  /// bfloat16, for any float model on a processor with avx512_bf16: the native engine, and Paddle
  /// with oneDNN. Numbers are rounded where they are multiplied, and sums are float32. The native
  /// engine computes in float32 where that is faster (`Predictor::computed_precision`).
  Bf16,
  /// 8-bit integers, for a quantized .pdmodel (docs/quantization.md): the native engine, and Paddle
  /// with oneDNN. Their outputs differ by a fraction of a step (docs/native-int8.md).
  Int8,
  /// float32 on a GPU whose matrix units multiply 10 of the 23 bits (docs/gpu.md): onnxruntime.
  Tf32,
};

/// The arithmetic that a predictor computes in.
struct ComputedPrecision {
  Precision precision;  ///< the configuration's; Fp32 also for bf16, where float32 is faster
  std::string reason;   ///< why it is this one, or that another one may be faster; may be empty
};

/// How the engine executes the network. The native engine has one way, and takes Auto and Plain.
enum class Accelerator {
  /// The fastest by measurement, for each run:
  /// - with int8 or bf16, oneDNN;
  /// - for a float .pdmodel, OpenVINO;
  /// - for one image on a small model (under 1 MiB), plain; otherwise oneDNN.
  Auto,
  Plain,     ///< the engine's own kernels
  OneDnn,    ///< oneDNN kernels
  OpenVino,  ///< the OpenVINO runtime in the Paddle library; .pdmodel only
  TensorRt,  ///< TensorRT under onnxruntime, on a GPU, with Precision::Tf32
};

/// The name on the command line and in Python, such as "onednn"; "?" for no enumerator.
LENET_API const char* to_string(EngineKind engine);
LENET_API const char* to_string(Precision precision) noexcept;
LENET_API const char* to_string(Accelerator accelerator) noexcept;

/// The other way round.
/// \throws Error BadInput, naming the accepted values.
LENET_API EngineKind parse_engine(std::string_view name);
LENET_API Precision parse_precision(std::string_view name);
LENET_API Accelerator parse_accelerator(std::string_view name);

/// A model that is in memory instead of files. The predictor keeps a copy.
struct ModelBytes {
  /// The content of a .pdmodel, a .json or an .onnx; the first bytes tell which.
  std::string_view program;
  std::string_view params;  ///< the content of the .pdiparams; empty for an .onnx
  /// The contents of the files in which an .onnx keeps values (external data), by their paths in
  /// its folder, such as "model.onnx.data". Files that it does not name are ignored.
  std::map<std::string, std::string_view> external = {};
};

struct Config {
  /// The program: `NAME.pdmodel`, `NAME.json`, `NAME.onnx`, or `__model__` beside one file per
  /// variable. A missing `D/NAME/NAME.pdmodel` is found where `paddle.jit.save(net, "D/NAME")`
  /// wrote it, if `D/NAME` is no folder; the predictor's configuration has what is read.
  std::string model_file;
  /// Its parameters; empty: `NAME.pdiparams` beside `model_file`, or none for an .onnx. Where
  /// `model_file` is a folder, the name of the files in it without a suffix, as in Paddle 3's
  /// `Config(dir, prefix)`.
  std::string params_file;
  /// Instead of both: a folder that holds an exported model (a .pdmodel is preferred to a .json,
  /// and either to an .onnx unless `engine` is OnnxRuntime) or `__model__` and one file per
  /// variable. Or the path of a model without its suffix, as `paddle.jit.save` takes it.
  std::string model_dir;

  EngineKind engine = EngineKind::Auto;
  Accelerator accelerator = Accelerator::Auto;
  Precision precision = Precision::Fp32;
  /// What computes: "cpu", "gpu" (the first one) or "gpu:ID", by the number that CUDA gives it. The
  /// Paddle engine and onnxruntime have GPUs, in float32 and TF32, where their library was built
  /// with CUDA (docs/gpu.md).
  std::string device = "cpu";
  /// MB of the GPU's memory: Paddle takes them at first (0: 100), onnxruntime at most (0: all).
  int gpu_mem = 0;
  /// CPU threads of one run, 1 to 1024. With onnxruntime clones share them. The native engine
  /// starts them for the first batch that is large enough, and keeps them.
  int threads = 1;
  /// Let the engine rewrite the graph (fusions). With false the native engine computes each
  /// operator by itself, and quantized models in float32: a reference for these rewrites.
  bool ir_optim = true;
  /// Use less memory and more time: intermediate results of a .pdmodel share memory, those of a
  /// .json are freed during the run, those of an .onnx are not kept for the next run.
  bool memory_optim = false;
  /// Refuse NaN and infinity in the input and in the parameters, which relu and max-pool would
  /// hide. For an .onnx only the native engine checks the parameters.
  bool check_finite = true;
  /// Refuse programs that could make Paddle fault, and unknown operators; false for a trusted model
  /// with others. onnxruntime has checks of its own.
  bool check_program = true;
  /// Compare with SHA256SUMS when the model's folder has one.
  bool check_hashes = true;
  /// Larger batches are cut into pieces of this many images, which bounds the memory of a run.
  /// - 0: 64 for each thread; larger pieces do not fit the processor's caches (docs/benchmark.md).
  ///   On a GPU 64, as parts of larger ones were seen to be computed in TF32 (docs/gpu.md), and
  ///   with Precision::Tf32 the whole batch.
  /// - Another size may change the last bits of an output, except with the native engine.
  /// - A model that was exported for a fixed number of images gets pieces of that many.
  /// - With 0, batches are not cut of a model that does not take any number of images, or that
  ///   computes an image's result of several (as a Softmax along the images does).
  std::int64_t max_batch_size = 0;
  /// Milliseconds after which a run ends with BackendFailure; 0: none. Not supported by Paddle.
  int time_limit_ms = 0;
  /// Seconds after which a load by Paddle or onnxruntime is given up with BackendFailure; 0: never.
  /// Nothing can stop it, so it goes on in a thread of its own; `given_up_loads` tells of it.
  int load_seconds = 120;
  /// How many different image sizes the native engine runs of a model whose input has open sizes,
  /// such as [N, 3, -1, -1]: it compiles the model for each size, and any further size is
  /// Unsupported. With 0, any number is run, and what was compiled for the last eight is kept.
  int max_sizes = 0;
  /// Compare the model with the plain program when it is loaded: three images of random values,
  /// each alone and all together. The load ends with BackendFailure where they differ by more than
  /// docs/same-numbers.md allows, and with Unsupported where the comparison is not possible. It
  /// takes many times the time of a run (docs/options.md).
  bool self_check = false;
  /// A value of the program, which is the only output instead of those that it declares: the name
  /// of what an operator gives, or "features", what the last product of a matrix (the classifier)
  /// takes. The native engine computes only what it needs; the others give the program's own
  /// outputs alone. Empty: the outputs that the program declares; "*": these and every other value
  /// that is computed.
  std::string output_name;
};

/// For `Config::output_name`.
inline constexpr const char* kEveryValue = "*";
inline constexpr const char* kFeatures = "features";

}  // namespace lenet
