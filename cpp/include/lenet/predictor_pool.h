/// \file
/// Predictors of one model for several threads.
#pragma once

#include <cstddef>
#include <future>
#include <memory>

#include "lenet/export.h"
#include "lenet/predictor.h"

namespace lenet {

/// Owns `size` predictors that share their weights and lends each to one caller at a time.
///
/// Thread-safety: all methods may be called from any number of threads at once; `run` waits while
/// all predictors are busy. Destroy the pool after the last call has returned; the destructor waits
/// until what was submitted has run. A forked process may not use a pool that was submitted to.
class LENET_API PredictorPool {
 public:
  /// \param size how many predictors, >= 1; more threads than that wait for their turn.
  /// \throws Error as `Predictor` does; BadInput when `size` is 0.
  PredictorPool(const Config& config, std::size_t size);
  /// The same of a model in memory.
  PredictorPool(const Config& config, const ModelBytes& model, std::size_t size);
  ~PredictorPool();
  PredictorPool(PredictorPool&&) noexcept;
  PredictorPool& operator=(PredictorPool&&) noexcept;

  /// Run on a predictor that is free. Arguments and errors as `Predictor::run`.
  Tensor run(const TensorView& input);
  void run(const TensorView& input, Tensor& output);
  void run(const TensorView& input, float* output, std::size_t size);

  /// Runs in one of the pool's own threads, as many as predictors, which the first calls start.
  /// What waits for one stays in memory.
  /// \param input moved into the pool, which keeps it until the run has ended
  /// \returns the output, or the error of `run`
  /// \throws Error BackendFailure: the system gives no thread.
  std::future<Tensor> submit(Tensor input);

  std::size_t size() const noexcept;
  const TensorSpec& input_spec() const noexcept;
  const TensorSpec& output_spec() const noexcept;
  const Config& config() const noexcept;
  /// As `Predictor::quantized`.
  bool quantized() const noexcept;
  /// As `Predictor::accelerator`.
  Accelerator accelerator(std::int64_t images = 1) const;

 private:
  struct State;
  PredictorPool(Predictor first, std::size_t size);

  std::unique_ptr<State> state_;
};

}  // namespace lenet
