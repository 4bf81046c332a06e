/// Tensors of several images.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lenet/config.h"
#include "lenet/tensor.h"

namespace lenet::apps {

/// `count` images of `images` from number `begin` on.
inline TensorView slice(const Tensor& images, std::int64_t begin, std::int64_t count) {
  TensorView view = images.view();
  const std::int64_t row = static_cast<std::int64_t>(images.data.size()) / images.shape[0];
  view.data += begin * row;
  view.shape[0] = count;
  return view;
}

/// Adds the rows of `part`, of the same shape, to those of `all`, which may still be empty.
inline void append(Tensor& all, const Tensor& part) {
  if (all.shape.empty()) {
    all = part;
    return;
  }
  all.data.insert(all.data.end(), part.data.begin(), part.data.end());
  all.shape[0] += part.shape[0];
}

/// Puts an output together that is computed in batches.
class Gathered {
 public:
  /// \param part of so many images
  void add(const Tensor& part, std::int64_t images);
  /// The images of [N, ...] follow each other. An output of another shape, such as a scalar,
  /// belongs to a batch as a whole: of several batches it is [batches, ...]. \pre there was a batch
  /// \param name of the output \throws Error Unsupported: it has another shape in each batch.
  Tensor take(const std::string& name);

 private:
  std::vector<float> data_;
  Shape first_;  ///< the shape in the first batch
  std::int64_t images_ = 0;
  std::int64_t batches_ = 0;
  bool by_image_ = true;
  bool alike_ = true;  ///< of the same shape in each batch
};

/// Detects values, such as float pixels from 0 to 255, far beyond what a model was trained on.
/// \param config of the predictor; `preprocess.json` beside its model says what that takes
/// \returns a warning in one line; empty when there is nothing to warn of, or no such file.
std::string input_range_warning(const Tensor& images, const Config& config);

/// Says on standard error that an .onnx declares another shape of its output than it has.
/// \param name the program's
void warn_of_shape(const char* name, const Tensor& output, const TensorSpec& declared,
                   std::int64_t images);

}  // namespace lenet::apps
