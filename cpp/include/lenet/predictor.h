/// \file
/// Runs an exported image classifier.
///
///     #include <lenet/predictor.h>
///
///     lenet::Config config;
///     config.model_file = "inference_model/lenet/lenet.pdmodel";
///     lenet::Predictor predictor(config);
///     std::vector<float> pixels(2 * 28 * 28);  // two images in [0, 1]
///     lenet::Tensor logits = predictor.run({pixels.data(), {2, 1, 28, 28}});  // shape [2, 10]
///
/// Thread-safety: a Predictor is used by one thread at a time, but for `cancel`. Give each thread a
/// `clone()` (the weights are shared) or use a `PredictorPool`. Different predictors are
/// independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/export.h"
#include "lenet/layer_callback.h"
#include "lenet/outputs.h"
#include "lenet/profile.h"
#include "lenet/tensor.h"

namespace lenet {

class Engine;
struct EngineRow;
struct ModelFiles;

class LENET_API Predictor {
 public:
  /// Checks the model's files, loads the engine and the model.
  /// \throws Error FileNotFound, BadModel, BadInput (an option), Unsupported (engine, accelerator
  ///   or format), VersionMismatch (the Paddle library), BackendFailure.
  explicit Predictor(const Config& config);
  /// The same of a model in memory.
  /// \param config names no files
  Predictor(const Config& config, const ModelBytes& model);
  ~Predictor();
  Predictor(Predictor&&) noexcept;
  Predictor& operator=(Predictor&&) noexcept;

  /// \param input values, or pixels (lenet/tensor.h), of the shape of `input_spec()` with any batch
  ///   size, and any size where that has -1; 0 gives 0 rows. A model for a fixed number of images
  ///   takes multiples of it. Of one that takes some numbers only, such as two, the others are
  ///   BadInput.
  /// \returns the first of `output_specs()`; for a classifier the logits [N, classes].
  /// \throws Error BadInput (shape, a value that is not finite, or images that would run in pieces,
  ///   of which an output without a batch axis is wanted), BackendFailure, Unsupported
  ///   (more sizes than `Config::max_sizes`). The predictor can be used again after each.
  Tensor run(const TensorView& input);

  /// As above; reuses the memory of `output`. From the second run of as many images on, the native
  /// engine allocates nothing. What is in `output` after an error is not specified.
  void run(const TensorView& input, Tensor& output);

  /// As above, into memory of the caller's.
  /// \param size number of float32 values that `output` has room for: exactly those of the output
  /// \throws Error BadInput: it is another number.
  void run(const TensorView& input, float* output, std::size_t size);

  /// Runs once for several outputs.
  /// \param names of `output_specs()`, each once; none: all of them
  /// \returns the outputs in the order of the names
  /// \throws Error also Unsupported: the engine gives no output of that name.
  std::vector<Tensor> run_outputs(const TensorView& input,
                                  const std::vector<std::string>& names = {});

  /// Ends the run or profile that another thread is in, if there is one, with BackendFailure; the
  /// predictor can be used again. The native engine looks between layers, onnxruntime between
  /// operators. Any thread may call it. See also `Config::time_limit_ms`. \throws Error
  /// Unsupported: the Paddle engine runs the model.
  void cancel();

  /// A predictor of the same model, for another thread; either may outlive the other. They share
  /// the weights, except with Accelerator::OpenVino, which loads the model anew; with onnxruntime
  /// also the threads.
  Predictor clone() const;

  /// Sets the function that sees every operator's output; an empty function unsets it. The Paddle
  /// engine calls it while the network runs; it shows all operators with `ir_optim = false`, and
  /// shows them unfused with Accelerator::Plain. The native engine computes each batch a second
  /// time with `kEveryValue` in float32, of the model that the files hold now and within a time
  /// limit of its own, and shows all layers after the run.
  /// \throws Error Unsupported: the engine does not show them, such as onnxruntime, or the native
  ///   engine runs a model in memory; BadModel, FileNotFound: the files were damaged or removed.
  void set_layer_callback(LayerCallback callback);

  /// Measures what each layer costs in a batch of so many images, on values of its own, with the
  /// threads of the configuration; of more than 64 images, the layers are those of a part. Takes up
  /// to 256 MiB of memory, from which it measures how fast memory is read.
  /// \param runs how many are measured, at most 10,000; 0: as many as half a second allows
  /// \throws Error Unsupported when the engine is not native; BadInput when a number is out of
  ///   range or the model is for another number of images; BackendFailure when memory runs out.
  Profile profile(std::int64_t images = 1, int runs = 0);

  const TensorSpec& input_spec() const noexcept;
  const TensorSpec& output_spec() const noexcept;  ///< of the first of `output_specs()`
  /// The outputs of the model. Outputs of floating-point numbers come first, and behind them come
  /// integers, such as the int64 of an ArgMax, and bools. A Tensor has the values of each as
  /// float32, which holds integers up to 2^24: a run that asks for others throws Unsupported.
  const std::vector<TensorSpec>& output_specs() const noexcept;
  /// The configuration in force, with the files resolved.
  const Config& config() const noexcept;
  /// Whether the model is quantized: its weights are int8. With the Paddle engine and `precision`
  /// fp32 every run turns them into float32: int8's accuracy at less than float32's speed.
  bool quantized() const noexcept;
  /// What each of `output_specs()` is, also of a program that was not checked.
  const std::vector<OutputMeaning>& output_meanings() const noexcept;
  /// The names of the classes, in output order, that the program itself has, as an .onnx of
  /// scikit-learn or Custom Vision does; empty where it has none, or the numbers 0, 1 and so on.
  const std::vector<std::string>& class_names() const noexcept;
  /// Whether the model computes an image's result of several images of its batch, as far as the
  /// check can see, or has an output without a batch axis (`TensorSpec::by_image`): what is not to
  /// depend on each other is then not to be in one batch.
  bool joins_images() const noexcept;
  /// What engines said that auto tried before the one that it took, each in parentheses, such as
  /// "(engine native: 'm.onnx' has ...)"; empty where it took the first.
  const std::string& engine_refusals() const noexcept;
  /// What the engine computes in. With bf16, the native engine takes float32 where it is faster
  /// (docs/native-engine.md).
  ComputedPrecision computed_precision() const;
  /// The accelerator that runs this many images at once; what Auto chooses, never Auto itself. Auto
  /// chooses another one after a run in which one failed. May be called while another thread runs.
  Accelerator accelerator(std::int64_t images = 1) const;
  /// What the native engine has compiled of a model with open sizes, for this predictor and its
  /// clones; none of other models. May be called while another thread runs.
  CompiledSizes compiled_sizes() const;
  /// Of the operators for one image, before any are left out or joined; 0 where nobody knows, as of
  /// a model with open sizes, or one that was not checked. May be called while another thread runs.
  double multiply_adds() const noexcept;
  /// Returns the multiply-adds for one image of an input of this shape. For a model with open sizes
  /// the shapes are worked out anew. May be called while another thread runs.
  /// \param input of which the number of images does not matter
  /// \throws Error BadInput: the model does not take images of that size.
  double multiply_adds(const Shape& input) const;

 private:
  struct State;
  explicit Predictor(std::unique_ptr<State> state);
  Predictor(const Config& config, const ModelBytes* bytes);
  void run_wanted(const TensorView& input);
  void run_batches(const TensorView& input);
  void load(const ModelFiles& files, const ModelBytes* bytes);
  void load_or_choose(const ModelFiles& files, const ModelBytes* bytes);
  void choose_engine(const std::vector<const EngineRow*>& choice);

  std::unique_ptr<State> state_;
};

}  // namespace lenet
