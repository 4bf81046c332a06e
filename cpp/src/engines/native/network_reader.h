/// \file
/// What read_network.h does, operator by operator, of every dialect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/read_network.h"
#include "model/rules/support.h"

namespace lenet::native {

/// For one graph.
class NetworkReader {
 public:
  NetworkReader(Graph graph, const std::string& path, double file_bytes, bool check_finite)
      : graph_(std::move(graph)),
        path_(path),
        layer_memory_(file_bytes),
        check_finite_(check_finite) {
    network_.file_bytes = file_bytes;
  }

  Network read();

 private:
  void require(bool condition, const std::string& what) const { view_->supports(condition, what); }
  /// \throws Error BadModel
  [[noreturn]] void refuse(const std::string& what) const;
  void read_operator();

  // ---- operators: read_network.cc

  void set_input(std::size_t value, const std::string& name);
  void set_output(std::size_t value, const std::string& name);
  void read_input();
  void read_output();
  void read_nothing() {}
  void read_convolution();
  void read_pool();
  void read_matmul();
  /// The channels of what is combined with each of them: a constant such as [C], [C, 1, 1], with
  /// the channels where the tensor has them, or one number. Empty where it is something else.
  std::vector<float> channel_vector(const std::string& name, const std::string& whole) const;
  void read_add();
  void read_multiply();
  void read_batch_norm();
  void read_relu() { layer(LayerKind::Relu, {tensor("X")}, "Out"); }
  void read_clip();
  void read_softmax();
  void read_concat();
  void scaled(const std::string& name, double scale, double bias);
  void read_dropout();
  void read_scale();
  void read_identity() { tensors_[given("Out")] = tensor("X"); }
  /// The layers after it see the whole image as what is flattened: only the shape in the program is
  /// another.
  void read_reshape();

  // ---- quantization: read_quantized.cc

  /// What dequantize_linear makes of int8 parameters.
  struct QuantizedWeights {
    const Value* value = nullptr;  ///< the integers
    std::vector<float> ranges;     ///< the values that 127 stands for: one, or one a channel
    std::int64_t axis = -1;        ///< of the channels; -1: one for all
  };
  /// The ranges of this operator. \param zero whether channels of zeros may have none
  std::vector<float> ranges(bool zero) const;
  void read_quantize();
  void read_dequantize();
  const QuantizedWeights* quantized_weights(const std::string& name) const;
  /// The constant or the integers that an operator takes for weights; null where it is neither.
  const Value* weights(const std::string& name) const;
  /// The value that 127 stands for. \param axis of the output channels
  std::vector<float> steps(const QuantizedWeights& weights, std::int64_t axis,
                           std::size_t channels) const;

  // ---- values and layers: network_reader.cc

  std::size_t value(const std::string& name, std::size_t index = 0) const {
    return op_->inputs.at(name).at(index);
  }
  std::size_t given(const std::string& name) const { return op_->outputs.at(name).at(0); }
  const Shape& shape(const std::string& name, std::size_t index = 0) const {
    return graph_.values[value(name, index)].shape;
  }
  /// Null where an input has no contents that are read.
  const Value* constant(const std::string& name) const;
  /// Gives an output the contents of an input that is a constant.
  void keep_contents(const std::string& input, const std::string& output);
  /// The contents of an input that is a constant, as many as its shape says.
  std::vector<float> floats(const std::string& name) const;
  std::size_t tensor(const std::string& name, std::size_t index = 0) const;
  /// The same of an input that is an image to the program too.
  std::size_t image(const std::string& name) const;
  const TensorShape& shape_of(std::size_t tensor) const { return network_.tensors[tensor]; }
  /// Whether an input is to the program what it is here: [N, channels, height, width], or
  /// [N, channels] of height and width 1.
  bool has_channels(const std::string& name, std::size_t index = 0) const;
  /// The shape for one image of what the program declares.
  TensorShape image_shape(const Shape& shape) const;
  std::size_t add_tensor(const TensorShape& shape);
  /// Adds a layer; gives it a tensor for what the operator gives.
  Layer& layer(LayerKind kind, std::vector<std::size_t> inputs, const std::string& output);

  Graph graph_;
  const std::string& path_;
  Network network_;
  LayerMemory layer_memory_;
  bool check_finite_;
  std::size_t counted_ = 0;  ///< layers, in layer_memory_
  const Operator* op_ = nullptr;
  const OperatorView* view_ = nullptr;
  std::map<std::size_t, std::size_t> tensors_;       ///< by the graph's value
  std::map<std::size_t, QuantizedWeights> weights_;  ///< by the value they become
  bool quantized_ = false;                           ///< the program quantizes something
  std::map<std::size_t, float> whole_;        ///< ranges by the value that quantization gives
  std::map<std::size_t, float> dequantized_;  ///< the same, by what it becomes again
};

}  // namespace lenet::native
