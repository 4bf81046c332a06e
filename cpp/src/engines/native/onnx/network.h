/// \file
/// A network in the making, from an .onnx: which tensor each of the model's names stands for.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engines/native/network.h"
#include "engines/native/onnx/constants.h"
#include "engines/native/onnx/step.h"

namespace lenet::native {

/// A tensor as the model sees it: the same values, perhaps in another shape.
struct OnnxImage {
  std::size_t tensor = 0;
  Shape sizes;  ///< of one image
};

class OnnxNetwork {
 public:
  explicit OnnxNetwork(bool check_finite) : constants_(check_finite) {}

  OnnxConstants& constants() { return constants_; }
  const OnnxConstants& constants() const { return constants_; }
  /// How many the model is for; kImages when it leaves that open.
  std::int64_t images() const {
    return network_.input_shape[0] > 0 ? network_.input_shape[0] : kImages;
  }
  const TensorShape& shape_of(const OnnxImage& image) const {
    return network_.tensors[image.tensor];
  }
  bool has(const std::string& name) const { return images_.count(name) > 0; }

  /// \param shape [images or -1, channels, height, width]
  /// \throws Error BadModel: it is absurdly large
  void set_input(const std::string& name, const Shape& shape, const std::string& path);
  /// \throws Error Unsupported: the output depends on no image
  void set_output(const std::string& name, const std::string& path);
  /// Bounds the layers' memory by the size of the model's files.
  void limit_memory(double file_bytes) {
    network_.file_bytes = file_bytes;
    layer_memory_ = LayerMemory(file_bytes);
  }
  /// Counts what the newest layers hold, which may be copies of a constant that nodes share.
  /// \throws Error Unsupported: it is too much
  void count_layers() {
    for (; counted_ < network_.layers.size(); ++counted_) {
      layer_memory_.add(bytes_of(network_.layers[counted_]));
    }
  }
  /// Without what does not lead to the output.
  Network take();

  /// An input of a node that is computed from the image. \throws Error Unsupported
  const OnnxImage& input(const OnnxStep& step, std::size_t index = 0) const;
  /// The first one, of four dimensions.
  const OnnxImage& image(const OnnxStep& step) const;
  /// The first one, of two.
  const OnnxImage& flat(const OnnxStep& step) const;

  /// A layer that gives what the node gives, of that shape; `sizes` is the shape in the model.
  /// \throws Error BadModel: the network becomes absurdly large
  Layer& layer(const OnnxStep& step, LayerKind kind, std::vector<std::size_t> inputs,
               TensorShape shape, Shape sizes, double multiply_adds = 0);
  void give(const OnnxStep& step, OnnxImage image);
  void same(const OnnxStep& step) { give(step, input(step)); }

 private:
  /// \returns what is wrong with it, or null
  const char* add_tensor(TensorShape shape, double multiply_adds);

  Network network_;
  LayerMemory layer_memory_{network_.file_bytes};
  std::size_t counted_ = 0;  ///< layers
  OnnxConstants constants_;
  std::map<std::string, OnnxImage> images_;
  double values_ = 0;
  double multiply_adds_ = 0;
};

}  // namespace lenet::native
