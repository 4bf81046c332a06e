/// \file
/// The class behind read_network.h. The functions for each family of operators are in a file of
/// their own, which a line above them names; the others are in read_network.cc.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/network.h"
#include "engines/native/read_network.h"
#include "io/printable.h"
#include "model/boxes.h"
#include "model/evaluate.h"
#include "model/graph.h"
#include "model/rules/operator_view.h"
#include "model/rules/support.h"

namespace lenet::native {

/// Numbers repeated along a shape, as repeated_box has both.
std::vector<float> repeated_numbers(const std::vector<float>& numbers, const Shape& from,
                                    const Shape& to);

/// Reads one graph, operator by operator, of every dialect. Errors as of read_network().
class NetworkReader {
 public:
  NetworkReader(const Graph& graph, const std::string& path, double file_bytes, bool check_finite)
      : graph_(graph), path_(path), layer_memory_(file_bytes), check_finite_(check_finite) {
    network_.file_bytes = file_bytes;
    output_names_.resize(graph.outputs.size());
    network_.tensors.resize(graph.values.size());
  }

  Network read();

 private:
  /// What a dequantization makes of parameters of 8 bits.
  struct QuantizedWeights {
    const Value* integers = nullptr;
    Quantization how;
    std::size_t op = kNone;  ///< that gives them
    bool of_paddle = false;

    double steps(std::size_t at) const { return number_at(*integers, at) - how.zero(at); }
  };
  /// What is combined with a constant, and the number for each of its channels.
  struct Operand {
    std::size_t tensor;
    std::vector<float> numbers;
  };

  // ---- read_network.cc: values and layers

  /// Whether all that the operator gives is empty, such as a slice of no tokens.
  bool gives_no_values() const;
  void read_operator();
  void read_kind();
  static bool moves_only(std::string_view kind) {
    return (moves_values(kind) && !has_word("Pad Unfold", kind)) ||
           has_word("Identity Reshape Flatten FlattenRange Squeeze Unsqueeze", kind);
  }
  /// What a value's integers stand for; of other values none.
  QuantParams quant_of(std::size_t value) const {
    const auto found = quants_.find(value);
    return found == quants_.end() ? QuantParams() : found->second;
  }
  /// Integers that an operator moves stand for the same numbers; others it must not take.
  void keep_quants();
  void require(bool condition, const std::string& what) const {
    // The input of an .onnx, which the check has seen, is set before there is an operator.
    if (!condition) view_->supports(false, what);
  }
  /// \throws Error BadModel
  [[noreturn]] void refuse(const std::string& what) const {
    refuse_program(path_, "is damaged: " + type() + " " + what);
  }
  /// The operator's type, for messages and names.
  std::string type() const { return std::string(op_->plain_type()); }
  std::size_t value(const std::string& name, std::size_t index = 0) const {
    return op_->inputs.at(name).at(index);
  }
  std::size_t given(std::size_t index = 0) const { return op_->outputs.at("Out").at(index); }
  const Shape& shape(const std::string& name, std::size_t index = 0) const {
    return graph_.values[value(name, index)].shape;
  }
  /// Null where an input has no contents that are read.
  const Value* constant(const std::string& name, std::size_t index = 0) {
    return constant_of(value(name, index));
  }
  const Value* constant_of(std::size_t value);
  bool is_constant(std::size_t value) const;
  /// Gives an output the contents of the input X, a constant.
  void keep_contents() { keep_contents(given(), *constant("X")); }
  void keep_contents(std::size_t value, const Value& from);
  /// Gives the outputs of an operator of constants what they hold. \param at its index
  void fold(std::size_t at);
  /// \returns false: the evaluator does not compute it
  bool try_fold(std::size_t at, const OperatorView& view);
  /// Has layers compute what the evaluator does not: the constant X becomes a tensor of its own.
  void compute_constant();
  /// \throws Error BadModel: it is not finite, where that is checked
  void require_finite(const Value& constant, const std::string& name) const;
  /// Requires that a constant is finite and has as many numbers as its shape says.
  void require_whole(const Value& constant, const std::string& name) const;
  /// The numbers of a constant of any type, as float32.
  std::vector<float> numbers(const std::string& name, std::size_t index);
  /// An input that is a constant, with as many numbers as its shape says.
  const Value& float_constant(const std::string& name);
  std::vector<float> floats(const std::string& name) { return floats_of(float_constant(name)); }
  std::size_t tensor(const std::string& name, std::size_t index = 0) const;
  /// The tensor that a value is now.
  std::size_t tensor_of(std::size_t value) const {
    const auto found = latest_.find(value);
    return found == latest_.end() ? value : found->second;
  }
  bool is_computed(std::size_t value) const { return network_.tensors[value].shape.channels() > 0; }
  /// The sizes that an input has for one image. An axis of the images keeps its place.
  Shape sizes(const std::string& name, std::size_t index = 0) const {
    return image_of(graph_.values[value(name, index)]);
  }
  /// The sizes that an output has for one image.
  Shape given_sizes(std::size_t index = 0) const { return image_of(graph_.values[given(index)]); }
  /// Whether an input is to the program what it is here.
  bool has_channels(const std::string& name) const {
    return shape_of(tensor(name)) == image_shape(sizes(name));
  }
  /// An input in the shape that it has in the program, whatever it was before.
  std::size_t shaped(const std::string& name);
  /// The same, with the channels that it has in the program.
  std::size_t with_channels(const std::string& name);
  /// Requires an image in two dimensions, and gives its tensor as with_channels does.
  std::size_t image(const std::string& name) {
    require(sizes(name).size() == 4 && has_image_axis(name),
            "kernel but for images in two dimensions");
    return shaped(name);
  }
  /// Whether the first axis of an input is that of the images alone.
  bool has_image_axis(const std::string& name) const {
    return has_image_axis(graph_.values[value(name)]);
  }
  static bool has_image_axis(const Value& value) {
    const Shape sizes = image_of(value);
    const bool first = value.images.axis == 0 || value.images.axis == kNone;
    return first && !sizes.empty() && sizes[0] == 1;
  }
  /// A tensor in another shape.
  std::size_t add_view(std::size_t from, const TensorShape& to);
  /// Adds a layer that gives a tensor which the graph does not have.
  Layer& add_layer(LayerKind kind, std::size_t input, const TensorShape& shape, std::string name);
  const TensorShape& shape_of(std::size_t tensor) const { return network_.tensors[tensor].shape; }
  /// The shape that a tensor of such sizes for one image has here.
  TensorShape image_shape(const Shape& sizes) const;
  /// Checks that a tensor has as many values of an image as shape inference found for its value.
  /// \throws Error BackendFailure: the numbers differ, which is a fault of this reader
  void require_declared_values(std::size_t value) const;
  /// Adds a layer for what the operator gives.
  Layer& layer(LayerKind kind, std::vector<std::size_t> inputs, std::size_t index = 0);
  Layer& channel_scale(std::size_t input, std::vector<float> scale, std::vector<float> bias);
  /// Scales all channels by the same numbers.
  void scale_alike(std::size_t input, float scale, float bias) {
    const auto channels = static_cast<std::size_t>(shape_of(input).channels());
    channel_scale(input, std::vector<float>(channels, scale), std::vector<float>(channels, bias));
  }
  /// More numbers than those few that the check has given a value.
  void read_constant() { fold(at_); }
  void activate(const Activation& activation);
  void read_identity();
  void read_cast();
  void set_input(std::size_t value, const std::string& name);
  /// Of the outputs behind the first, those that it cannot give are left out.
  void add_output(std::size_t value, const std::string& name);
  /// A tensor with its values in another order, which may be the same.
  std::size_t arranged(Box box, std::size_t input, const TensorShape& shape) {
    const bool stays = box.is_run(0, 0, shape_of(input).values());
    return stays ? add_view(input, shape) : add_copy(std::move(box), input, shape);
  }
  /// A copy of a tensor, its values in another order.
  std::size_t add_copy(Box box, std::size_t input, const TensorShape& shape);

  // ---- read_layers.cc

  void read_input();
  void read_output();
  void read_convolution();
  /// The window of a convolution that goes over such an image.
  Window read_window(const TensorShape& image);
  /// Gives a convolution its weights, bias and groups.
  void give_filter(Layer& made);
  /// Reads a convolution whose images have several parts each, such as the windows of an attention.
  /// The parts are put below each other in one image, with zeros between them.
  void read_convolution_of_parts();
  void read_pool();
  /// A pool whose windows share the image out.
  void read_whole_pool();
  void add_pool(const PoolParams& params);
  /// Reduces axes that lie side by side at the end of each image, or pools all its pixels.
  void read_reduce(ReduceKind kind);
  /// The norm of a number that an attribute says.
  void read_norm();
  void read_batch_norm();
  /// x * scale + bias, with a number for each index of axis 1, wherever the images are.
  Layer& scale_axis_1(std::vector<float> scale, std::vector<float> bias);
  void read_affine_channel();
  /// x * (bias + alpha / size * the sum of the squares of `size` channels around it) ^ -beta: the
  /// sum is a convolution, the power a logarithm and its exponential function.
  void read_lrn();
  void read_softmax();
  /// LayerNormalization and RMSNormalization: over the values from an axis on.
  void read_trailing_norm();
  void read_sums_so_far();
  void read_hardmax();
  void read_norm_of_axis();
  void read_arg_max();
  void read_top_k();
  /// Adds a layer for values along an axis. \param to the value that the graph has for them
  Layer& along(std::size_t axis, std::size_t to, AlongParams what);
  /// GroupNormalization and InstanceNormalization: over groups of an image's channels.
  void read_group_norm();

  // ---- read_products.cc

  /// A product of matrices. Of each image's one row with a constant it is a fully connected layer.
  void read_matmul();
  /// Any other product: of constants or of what is computed, with any leading dimensions.
  void read_product();
  /// \param first the leading sizes of the operands, of the same rank \param of its matrices
  std::vector<Product::Loop> read_matrices(const Shape& first, const Shape& second,
                                           const Product& of) const;
  /// Applies the factors alpha and beta of a Gemm, and its bias.
  void add_factors(Layer& made);
  /// A product that an equation describes, of two tensors.
  void read_einsum();

  // ---- read_combinations.cc: two values or more, and constants

  /// \param name the constant: one number, or one for each channel, such as [C, 1, 1]
  /// \param whole the argument that it is repeated along
  /// \returns nothing where it is another
  std::optional<Operand> operand_along(const std::string& name, const std::string& whole);
  void read_combination(LayerKind kind);
  /// An input by its argument and its place there.
  using Input = std::pair<std::string, std::size_t>;
  /// Combines inputs that are repeated along any axes, constants among them.
  void read_broadcast(BroadcastKind kind, const std::vector<Input>& inputs);
  void read_comparison(BroadcastKind kind) { read_broadcast(kind, {{"X", 0}, {"Y", 0}}); }
  void read_where();
  void read_not_equal();
  /// Combines two values by a function that has no kernel of vectors.
  void read_scalar_combination();
  /// A part of X that is written over by other values.
  void read_set_value();
  /// Reads a ScatterND that writes into a slice: read_index_slices says which one.
  void read_scatter();
  /// Reads a ScatterElements that writes one entry of an axis, as x[:, 2] = y is exported.
  void read_scatter_elements();
  /// X with other values in a part of it.
  /// \param name the argument that has them \param given their shape, of the rank of X
  /// \param part the shape of the part \param to the steps of its axes in X
  /// \param first the place in X of its first value
  void write_over(const char* name, const Shape& given, const Shape& part, const Integers& to,
                  std::int64_t first);
  /// Whether X and another input have the same shape. Paddle would repeat one along the other, in
  /// shapes that are the same for one image.
  bool same_shapes(const std::string& name, std::size_t index) const;
  /// \param vector the argument that is constant
  void combine_with_constant(LayerKind kind, const std::string& vector, Operand operand);
  /// One after the other.
  void read_several();
  void read_prelu();
  void scale_all(double scale, double bias);
  void read_dropout();
  void read_scale();
  void read_negation() { scale_all(-1, 0); }
  /// Reads a power that products, a root and a division give.
  void read_power();

  // ---- read_operators.cc: moving values

  /// A tensor that has the numbers of a constant for each image.
  std::size_t add_constant(const std::string& name, std::size_t index = 0);
  /// Operators that only move values: whole channels where they do.
  void read_moved();
  void move(std::vector<Box> boxes, const std::vector<std::size_t>& inputs, std::size_t index);
  /// The layers after it see the whole image as what is flattened: only the shape in the program is
  /// another.
  void read_reshape();

  // ---- read_images.cc

  void read_resize();
  /// As a convolution that gives, for each pixel of the input, the pixels of the output that lie
  /// between it and the next one as channels; these are moved to their places.
  void read_conv_transpose();
  /// Sums of windows: the values at each place of a window become an image, and these are added up.
  void read_fold();
  /// An input that is an image in one or two dimensions.
  std::size_t image_or_line(const std::string& name) {
    const std::size_t rank = shape(name).size();
    require((rank == 3 || rank == 4) && has_image_axis(name),
            "kernel but for images in one or two dimensions");
    return shaped(name);
  }

  // ---- read_quantization.cc

  /// The ranges of this operator. \param zero whether channels of zeros may have none
  std::vector<float> ranges(bool zero);
  void read_quantize();
  /// Adds a layer for what Paddle's operator gives. Where a value has several readers, Paddle
  /// quantizes it for each into the same variable, and may only observe it for some: those that
  /// come afterwards read a tensor of their own.
  Layer& write_quantized(LayerKind kind);
  /// Gives the output of an operator that quantizes the constant X: what its integers stand for.
  void round_constant(const QuantParams& quant);
  void read_dequantize();
  /// The scales and zero points of an operator of ONNX.
  Quantization quantization();
  /// The one scale of an operator of ONNX, and where its integers have 0.
  QuantParams quant_onnx();
  void read_quantize_onnx();
  void read_dequantize_onnx();
  /// The constant or the integers that an operator takes for weights; null where it is neither.
  const Value* weights(const std::string& name);
  /// \param axis of the output channels: 1 of a matrix [inputs][outputs], which is transposed
  void give_weights(Layer& made, const std::string& name, std::size_t axis);
  /// Convolutions of integers of nine bits become two, of half of them and of the rests.
  void split_wide_weights();

  const Graph& graph_;
  const std::string& path_;
  Network network_;
  LayerMemory layer_memory_;
  bool check_finite_;
  std::size_t at_ = 0;  ///< of the operator that is read
  const Operator* op_ = nullptr;
  const OperatorView* view_ = nullptr;
  std::map<std::size_t, Value> kept_;                ///< values with contents of another
  std::map<std::size_t, std::size_t> views_;         ///< tensors of values in their own shape
  std::map<std::size_t, std::size_t> latest_;        ///< tensors of values that are quantized again
  std::map<std::size_t, QuantizedWeights> weights_;  ///< by the value they become
  bool quantized_ = false;                           ///< the program quantizes something
  std::map<std::size_t, QuantParams> quants_;        ///< of values that are integers
  std::map<std::size_t, float> whole_;     ///< ranges by the value that quantization gives
  std::vector<std::string> output_names_;  ///< of Paddle's
};

}  // namespace lenet::native
