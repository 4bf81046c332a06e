/// \file
/// What a predictor asks of an inference engine. Each engine has a folder of its own beside this
/// file; engines.cc knows their names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lenet/error.h"
#include "lenet/predictor.h"
#include "lenet/profile.h"
#include "model/model.h"

namespace lenet {

/// More at once drive the intermediate results of most engines out of the processor's caches
/// (docs/benchmark.md).
inline constexpr std::int64_t kImagesPerThread = 64;

/// One loaded model. Used by one thread at a time.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual TensorSpec input_spec() const = 0;
  virtual TensorSpec output_spec() const = 0;
  /// Larger batches are cut into pieces of so many images by the predictor; without a limit of the
  /// configuration's own.
  virtual std::int64_t largest_batch() const = 0;
  /// Runs a batch of at least one image whose shape the predictor has checked.
  /// \returns the shape of the output; both are kept until the next run.
  virtual const Shape& run(const TensorView& input) = 0;
  /// Copies the output of the last run: `element_count` of its shape values.
  virtual void copy_output(float* destination) = 0;
  virtual std::unique_ptr<Engine> clone() const = 0;
  virtual void set_layer_callback(LayerCallback callback) = 0;
  /// What its layers cost for a batch of so many images, all but what the predictor knows.
  /// \param runs how many are measured; 0: as many as half a second allows
  virtual Profile profile(std::int64_t /*images*/, int /*runs*/) {
    throw Error(ErrorCode::Unsupported,
                "only the native engine profiles its layers, and another engine runs this model; "
                "use the native engine where it supports the operators");
  }
  /// Whether it can show each operator's output.
  virtual bool has_layers() const { return false; }
  /// Whether "auto" takes this engine although another can run the model too.
  virtual bool is_fastest() const { return true; }
};

/// What there is to know of an engine before it is created. engines.cc has the table of them.
struct EngineKind {
  const char* name;
  bool (*reads)(ModelFormat);
  /// How to make a model that it reads of one that it does not.
  const char* remedy;
  /// What can be said of the options without the model.
  /// \throws Error BadInput, Unsupported.
  void (*require_options)(const Config&);
  /// Whether "auto" may take it: every option asked for is supported.
  bool (*supports_options)(const Config&);
  /// \param config everything resolved: `accelerator` is not Auto. With int8 the model is a
  ///   quantized one.
  std::unique_ptr<Engine> (*create)(const Config& config, const Model& model);
  /// The accelerator that Auto stands for when `images` are run at once.
  /// \param traits the model's, and which accelerators have failed since
  Accelerator (*choose_accelerator)(const Config& config, const Model& model,
                                    const ProgramTraits& traits, std::int64_t images);
};

/// The engine of that name; for "auto" those that read models of this format, the one to be tried
/// first in front, and at least one.
/// \throws Error Unsupported: there is none of that name, or it does not read them.
std::vector<const EngineKind*> find_engines(const Config& config, const ModelFiles& files);

}  // namespace lenet
