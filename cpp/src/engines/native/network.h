/// \file
/// What the native engine knows of a network: typed layers, with their weights, over the values of
/// the Graph. Made by read_network.h, simplified, compiled for a processor by compile/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engines/native/activations.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/layer_kinds.h"
#include "engines/native/tensor.h"
#include "lenet/tensor.h"
#include "model/graph.h"
#include "model/rules/windows.h"

namespace lenet::native {

/// Float32 weights of a layer, where they lie.
struct WeightView {
  const char* data = nullptr;  ///< at any address
  std::size_t count = 0;
  std::size_t channel = 0;        ///< numbers from an output channel to the next
  std::size_t tap = 1;            ///< from a tap of one to the next
  const float* scales = nullptr;  ///< that of each channel, by which they are multiplied; null: 1

  float at(std::size_t of_channel, std::size_t of_tap) const {
    float number;
    std::memcpy(&number, data + (of_channel * channel + of_tap * tap) * sizeof(float),
                sizeof(number));
    return scales == nullptr ? number : number * scales[of_channel];
  }
};

/// A new member has to be taken apart in fields_of.
struct Layer {
  LayerKind kind = LayerKind::Activate;
  std::string name;  ///< operator and what it gives, for messages
  std::vector<std::size_t> inputs;
  std::size_t output = 0;
  Activation activation;  ///< afterwards
  LayerParams params;     ///< what its kind has

  // A Convolution and a MatMul of one input have weights, of their own or stored. The second
  // operand of a product is [columns][sums], as a convolution has its weights.
  std::vector<float> weights;  ///< [output channels][input channels / groups][height][width]
  WeightView stored;           ///< in the model or the network, which outlive this; or none
  std::vector<float> bias;  ///< [output channels]; of a MatMul and an Attention per column, or none
  // In a quantized program they may be integers.
  std::vector<std::int8_t> integers;
  std::vector<std::int8_t> rests;  ///< to be added to twice the integers, until they are split
  /// By which the integers of each output channel are multiplied, or stored weights with which a
  /// normalization was joined. Empty: by 1.
  std::vector<float> weight_scales;

  /// Its parameters. \throws std::bad_variant_access: its kind has others
  template <class Params>
  const Params& get() const {
    return std::get<Params>(params);
  }
  template <class Params>
  Params& get() {
    return std::get<Params>(params);
  }
  const ConvolutionParams& convolution() const { return get<ConvolutionParams>(); }
  ConvolutionParams& convolution() { return get<ConvolutionParams>(); }
  const Product& product() const { return get<Product>(); }
  Product& product() { return get<Product>(); }
  /// Makes it a layer of a kind, with the parameters of that kind as they are at first. It keeps
  /// its name and its tensors and nothing else: who wants more of it sets it afterwards.
  void set_kind(LayerKind to) {
    Layer made;
    made.kind = to;
    made.params = facts_of(to).first_params();
    made.name = std::move(name);
    made.inputs = std::move(inputs);
    made.output = output;
    *this = std::move(made);
  }
  bool relu() const { return activation.kind == ActivationKind::Relu; }
  /// Of the layer's own, or those stored, in float32. The layer outlives the view.
  WeightView view_weights() const;
};

/// The fields, of LayerField, that a layer has.
unsigned fields_of(const Layer& layer);

/// Whether a layer has no other fields than these. A pass that makes one layer of several asks this
/// of each, and names the fields that the new layer takes over.
inline bool has_only(const Layer& layer, unsigned fields) {
  return (fields_of(layer) & ~fields) == 0;
}

/// \throws Error BackendFailure: the layer has other fields than these
void require_only(const Layer& layer, unsigned fields);

struct Network {
  /// One for each value of the Graph, and behind them those that passes add. A tensor without
  /// channels is not computed from the image. What was flattened keeps its shape.
  std::vector<NetworkTensor> tensors;
  std::deque<Layer> layers;          ///< in the order of execution
  std::deque<std::string> contents;  ///< of constants that the model does not have as they are here
  std::size_t input = 0;
  std::vector<std::size_t> outputs;
  TensorSpec input_spec;  ///< shapes with -1 for the images
  std::vector<TensorSpec> output_specs;
  std::vector<Images> output_images;  ///< where each has the images
  /// Size of the model's files, which bounds what layers hold; infinite for a network of no file.
  double file_bytes = std::numeric_limits<double>::infinity();

  std::size_t add_tensor(const TensorShape& shape) {
    tensors.push_back(shape);
    return tensors.size() - 1;
  }
  Layer& add_layer(LayerKind kind, std::string name, std::vector<std::size_t> inputs,
                   std::size_t output) {
    Layer& layer = layers.emplace_back();
    layer.set_kind(kind);
    layer.name = std::move(name);
    layer.inputs = std::move(inputs);
    layer.output = output;
    return layer;
  }
};

/// Who gives and who reads each tensor, as the network was when this was made.
struct Links {
  explicit Links(const Network& network);

  // Each has an entry for each tensor.
  std::vector<std::size_t> producers;  ///< the layer that gives it; kNone for the network's input
  std::vector<std::size_t> readers;    ///< the last layer that reads it; kNone
  std::vector<std::size_t> uses;       ///< how often it is read, or given as an output
};

/// Bounds what layers hold by the size of the model's files. Operators may share a constant, of
/// which each layer has a copy, packed for its kernel: without a bound a small file could ask for
/// any amount of memory.
class LayerMemory {
 public:
  explicit LayerMemory(double file_bytes) : most_(kFree + kMultiple * file_bytes) {}
  /// \throws Error Unsupported: the layers hold too much
  void add(double bytes);
  double most() const { return most_; }

  static constexpr double kFree = 1 << 26;
  static constexpr double kMultiple = 32;

 private:
  double most_;
  double bytes_ = 0;
};

/// Bounds the memory for tensors, as they are stored: with their borders, and channels in whole
/// vectors. \throws Error Unsupported: more than 2 GiB
void require_tensor_memory(double bytes);

/// Bytes of the numbers that a layer holds.
double bytes_of(const Layer& layer);

/// Whether a convolution's window is the image: a fully connected layer.
inline bool is_whole_image(const TensorShape& image, const Layer& layer,
                           const TensorShape& output) {
  const Window& window = layer.convolution().window;
  return output.height() == 1 && output.width() == 1 && window.kernel[0] == image.height() &&
         window.kernel[1] == image.width() && layer.convolution().groups == 1 && !window.pads();
}

inline bool is_max_pool(const Layer& layer) {
  return layer.kind == LayerKind::Pool && layer.get<PoolParams>().kind == PoolKind::Max;
}

/// Whether a convolution or product multiplies by constants, and not by another tensor.
inline bool has_weights(const Layer& layer) {
  return layer.kind == LayerKind::Convolution ||
         (layer.kind == LayerKind::MatMul && layer.inputs.size() == 1);
}

/// Whether a layer is a convolution whose weights are integers.
inline bool is_integer_convolution(const Layer& layer) {
  return layer.kind == LayerKind::Convolution && !layer.integers.empty();
}

/// Whether a pool has a kernel for integers.
bool pools_integers(const Network& network, const Layer& layer);

/// Whether a layer computes with the integers of the tensors that it takes, as plan_integers has
/// made them. Others take what these stand for.
bool takes_integers(const Network& network, const Layer& layer);

/// Where each channel that a Channels or Concat layer gives is from.
std::vector<ChannelSource> sources_of(const Network& network, const Layer& layer);

/// Whether the values of two tensors lie in the same places: the tensors have the same shape, or
/// both lie in the order of the program.
bool lie_alike(const NetworkTensor& a, const NetworkTensor& b);

/// Whether a layer gives 0 behind the last channel, where what it takes has 0 there.
bool keeps_zeros(const Network& network, const Layer& layer);

/// Whether the operator of a layer computes a function of its results.
bool applies(const Layer& layer, const Activation& activation);

/// Whether a layer scales all channels by the same numbers, or scales none.
bool is_alike(const Layer& layer);

/// Whether the layer halves the image by the largest of each 2 x 2 of its input.
bool is_max_pool_2x2(const Network& network, const Layer& layer);

/// What a program writes for an output.
struct OutputSource {
  std::size_t tensor = 0;
  bool softmax = false;    ///< applied to the image as it is written
  bool logarithm = false;  ///< of that
};

/// Whether a layer reads and gives values in the order of the program.
inline bool needs_order(const Layer& layer) noexcept { return facts_of(layer.kind).has(kInOrder); }

/// Whether a layer is a softmax of a whole image that only gives outputs: it is no step of a
/// program, which applies it as it writes them.
inline bool is_written_softmax(const Network& network, const Links& links, const Layer& layer) {
  return layer.kind == LayerKind::Softmax && links.readers[layer.output] == kNone &&
         layer.get<SoftmaxParams>().axis.count == network.tensors[layer.output].shape.values();
}
std::vector<OutputSource> output_sources(const Network& network);

/// How far a tap of a convolution lies from the first, as kernels have it.
/// \throws Error Unsupported: too far for 32 bits.
std::int32_t tap_offset(std::int64_t offset, const Layer& layer);

/// Multiply-adds of a layer for one image.
double multiply_adds(const Network& network, const Layer& layer);

}  // namespace lenet::native
