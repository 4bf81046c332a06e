/// \file
/// What read_network.h does, operator by operator.
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

/// For one program.
class NetworkReader {
 public:
  NetworkReader(const Graph& graph, const Parameters& parameters, const std::string& path,
                double file_bytes)
      : graph_(graph), parameters_(parameters), path_(path), layer_memory_(file_bytes) {
    network_.file_bytes = file_bytes;
  }

  Network read();

 private:
  [[noreturn]] void unsupported(const std::string& what) const;
  void require(bool condition, const std::string& what) const;
  void read_operator();

  // ---- operators: read_network.cc

  void read_input();
  void read_output();
  void read_full();
  /// An attribute, or in PIR a constant input.
  double number(const std::string& name) const;
  Window window(const Integers& kernel, const TensorShape& image) const;
  void read_convolution();
  void read_pool();
  void read_matmul();
  /// The channels of what is added to each of them: a parameter such as [C], [C, 1, 1], with the
  /// channels where the tensor has them.
  const std::vector<float>* channel_vector(const std::string& name, const Shape& whole) const;
  void read_add();
  void read_batch_norm();
  void read_softmax();
  void read_concat();
  void scaled(const std::string& name, double scale, double bias);
  void read_dropout();
  void read_scale();
  /// The layers after it see the whole image as what is flattened: only the shape in the program is
  /// another.
  void read_flatten();

  // ---- quantization: read_quantized.cc

  /// What dequantize_linear makes of int8 parameters.
  struct QuantizedWeights {
    Shape shape;
    SharedNumbers<std::int8_t> integers;
    std::vector<float> ranges;  ///< the values that 127 stands for: one, or one for each channel
    std::int64_t axis = -1;     ///< of the channels; -1: one for all
  };
  /// The ranges of this operator. \param zero whether channels of zeros may have none
  std::vector<float> ranges(bool zero) const;
  void read_quantize();
  void read_dequantize();
  const QuantizedWeights* quantized_weights(const std::string& name) const;
  /// Of the weights that an operator takes; empty when they are no parameter.
  Shape weights_shape(const std::string& name) const;
  /// The value that 127 stands for. \param axis of the output channels
  std::vector<float> steps(const QuantizedWeights& weights, std::int64_t axis,
                           std::size_t channels) const;

  // ---- values and layers: network_reader.cc

  std::size_t value(const std::string& name, std::size_t index = 0) const;
  std::size_t given(const std::string& name) const { return op_->outputs.at(name).at(0); }
  const ParameterValues* parameter(const std::string& name) const;
  const std::vector<float>& vector(const std::string& name) const;
  std::size_t tensor(const std::string& name, std::size_t index = 0) const;
  const TensorShape& shape_of(std::size_t tensor) const { return network_.tensors[tensor]; }
  /// The shape for one image of what the program declares.
  TensorShape image_shape(const Shape& shape) const;
  std::size_t add_tensor(const TensorShape& shape);
  /// Adds a layer; gives it a tensor for what the operator gives.
  Layer& layer_for(LayerKind kind, std::vector<std::size_t> inputs, const std::string& output);
  void layer(LayerKind kind, std::vector<std::size_t> inputs, const std::string& output);
  void same(const std::string& input, const std::string& output);

  Graph graph_;
  const Parameters& parameters_;
  const std::string& path_;
  Network network_;
  LayerMemory layer_memory_;
  std::size_t counted_ = 0;  ///< layers, in layer_memory_
  std::string type_;
  const Operator* op_ = nullptr;
  const OperatorView* view_ = nullptr;
  std::map<std::size_t, std::size_t> tensors_;  ///< by the program's value
  std::map<std::size_t, double> numbers_;
  std::map<std::size_t, ParameterValues> reshaped_;  ///< parameters, by the value they become
  std::map<std::size_t, QuantizedWeights> weights_;  ///< by the value they become
  bool quantized_ = false;                           ///< the program quantizes something
  std::map<std::size_t, float> whole_;        ///< ranges by the value that quantization gives
  std::map<std::size_t, float> dequantized_;  ///< the same, by what it becomes again
};

}  // namespace lenet::native
