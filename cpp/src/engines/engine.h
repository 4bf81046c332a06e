/// \file
/// What a predictor asks of an inference engine. Each engine has a folder of its own beside this
/// file; engines.cc knows their names.
#pragma once

#include <memory>
#include <string>

#include "lenet/predictor.h"
#include "model/model_files.h"

namespace lenet {

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
  /// \returns the shape of the output, which is kept until the next run.
  virtual Shape run(const TensorView& input) = 0;
  /// Copies the output of the last run: `element_count` of its shape values.
  virtual void copy_output(float* destination) = 0;
  virtual std::unique_ptr<Engine> clone() const = 0;
  virtual void set_layer_callback(LayerCallback callback) = 0;
};

/// \param config everything resolved: `accelerator` is not Auto.
std::unique_ptr<Engine> create_engine(const Config& config, const ModelFiles& files);

/// The accelerator that Auto stands for when `images` are run at once.
Accelerator choose_accelerator(const Config& config, const ModelFiles& files, std::int64_t images);

}  // namespace lenet
