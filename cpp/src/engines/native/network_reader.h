/// \file
/// What the families of operators need to read one operator. Each family has a file `read_*.cc`,
/// with functions that read its operators, and with one table of these functions at its end. To add
/// an operator to a family, add a function and a row to that file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
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

/// Collects what the operators of a quantized program say about values.
struct QuantizedValues {
  /// Parameters of 8 bits, of which a dequantization makes numbers.
  struct Weights {
    const Value* integers = nullptr;
    Quantization how;
    std::size_t op = kNone;  ///< the dequantization, by its index
    bool of_paddle = false;

    double steps(std::size_t at) const { return number_at(*integers, at) - how.zero(at); }
  };

  bool any = false;                             ///< the program quantizes something
  std::map<std::size_t, Weights> weights;       ///< by the value they become
  std::map<std::size_t, QuantParams> integers;  ///< of values that are integers
  std::map<std::size_t, float> ranges;          ///< by the value that a quantization gives

  /// Returns what a value's integers stand for, or nothing for a value without integers.
  QuantParams params_of(std::size_t value) const {
    const auto found = integers.find(value);
    return found == integers.end() ? QuantParams() : found->second;
  }
};

/// Reads a graph of any dialect, operator by operator. While the reader is at an operator, it calls
/// the function of its kind, which adds the layers that compute what the operator gives.
///
/// A value is named by its index in the graph, and a tensor by its index in the network. The tensor
/// of a value has the value's index, unless it has another shape or was quantized again. Arguments
/// have the names that the rules of model/rules give them, and `index` is a place in an argument
/// that is a list. Functions throw the errors of read_network().
class NetworkReader {
 public:
  NetworkReader(const Graph& graph, const std::string& path, double file_bytes, bool check_finite)
      : graph_(graph), path_(path), layer_memory_(file_bytes), check_finite_(check_finite) {
    if (check_finite) masks_ = masks_of(graph);
    network_.file_bytes = file_bytes;
    output_names_.resize(graph.outputs.size());
    network_.tensors.resize(graph.values.size());
  }

  /// Reads the whole graph. read_network() calls this once.
  Network read();

  // ---- the operator that is read

  const Operator& op() const { return *op_; }
  const OperatorView& view() const { return *view_; }
  /// The operator's index in the graph.
  std::size_t at() const { return at_; }
  const Graph& graph() const { return graph_; }
  /// The file of the model, for messages.
  const std::string& path() const { return path_; }
  /// The operator's type, for messages and names.
  std::string type() const { return std::string(op_->plain_type()); }
  /// The name of the layer that gives a value, for messages.
  std::string name_of(std::size_t value) const {
    return type() + " '" + printable(graph_.values[value].name) + "'";
  }

  // ---- errors

  /// \param what names what the native engine does not have, such as "kernel for a reduction"
  /// \throws Error Unsupported: the condition is false
  void require(bool condition, const std::string& what) const {
    // The input of an .onnx, which the check has seen, is set before there is an operator.
    if (!condition) view_->supports(false, what);
  }
  /// \throws Error Unsupported: the attribute data_format says that channels come last
  void require_channels_first() const {
    require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  }
  /// \param what says what is wrong with the operator, such as "has a factor that is not finite"
  /// \throws Error BadModel
  [[noreturn]] void refuse(const std::string& what) const {
    refuse_program(path_, "is damaged: " + type() + " " + what);
  }
  /// Counts memory that layers will hold. read() counts the last layer of each operator after it
  /// was read, and add_constant() counts its layer, so call this before larger allocations, and for
  /// what other layers hold.
  /// \throws Error Unsupported: the layers of the network hold too much
  void count_memory(double bytes) { layer_memory_.add(bytes); }

  // ---- the values that the operator takes and gives

  /// A value that the operator takes.
  std::size_t value(const std::string& name, std::size_t index = 0) const {
    return op_->inputs.at(name).at(index);
  }
  /// A value that the operator gives as its output Out.
  std::size_t given(std::size_t index = 0) const { return op_->outputs.at("Out").at(index); }
  /// The shape that an input has in the program, with its axis of the images.
  const Shape& shape(const std::string& name, std::size_t index = 0) const {
    return graph_.values[value(name, index)].shape;
  }
  /// The sizes that an input has for one image. An axis of the images keeps its place.
  Shape sizes(const std::string& name, std::size_t index = 0) const {
    return image_of(graph_.values[value(name, index)]);
  }
  /// The sizes that a value of the output Out has for one image.
  Shape given_sizes(std::size_t index = 0) const { return image_of(graph_.values[given(index)]); }
  /// Whether the first axis of an input is that of the images alone.
  bool has_image_axis(const std::string& name) const;
  /// Whether a layer computes a value, so that it has a tensor.
  bool is_computed(std::size_t value) const { return network_.tensors[value].shape.channels() > 0; }
  bool is_computed(const std::string& name, std::size_t index = 0) const {
    return is_computed(value(name, index));
  }
  QuantizedValues& quantized() { return quantized_; }

  // ---- constants

  /// Returns the contents of an input that is a constant, or null.
  const Value* constant(const std::string& name, std::size_t index = 0) {
    return constant_of(value(name, index));
  }
  /// The numbers of a constant of any type, as float32. There are as many as its shape says.
  /// \throws Error Unsupported: it is no constant; BadModel: its numbers are not finite
  std::vector<float> numbers(const std::string& name, std::size_t index);
  /// Returns a constant that must be float32, after the same checks.
  const Value& float_constant(const std::string& name);
  std::vector<float> floats(const std::string& name) { return floats_of(float_constant(name)); }
  /// Computes what the operator gives, if all its inputs are constants.
  /// \throws Error Unsupported: the evaluator does not compute it
  void fold() { fold(at_); }
  /// Gives the output the contents of the input X, which must be a constant.
  void keep_contents() { keep_contents(given(), *constant("X")); }
  /// Gives a value contents, which make it a constant. \param dtype the type of the numbers in
  /// `bytes`
  void keep_contents(std::size_t value, std::string bytes, int dtype);

  // ---- tensors

  /// The tensor of an input that is computed. \throws Error Unsupported: it is not computed
  std::size_t tensor(const std::string& name, std::size_t index = 0) const;
  /// Returns the tensor of an input, which add_constant() makes if the input is a constant.
  std::size_t tensor_or_constant(const std::string& name, std::size_t index = 0) {
    return is_computed(name, index) ? tensor(name, index) : add_constant(name, index);
  }
  /// The tensor of an input, in the shape that the input has in the program.
  std::size_t shaped(const std::string& name);
  /// The tensor of an input, with the channels that the input has in the program.
  std::size_t with_channels(const std::string& name);
  /// Returns what shaped() does. \throws Error Unsupported: it is no image in one or two dimensions
  std::size_t image_or_line(const std::string& name);
  /// Whether the tensor of an input has the shape that the input has in the program.
  bool has_channels(const std::string& name) const {
    return shape_of(tensor(name)) == image_shape(sizes(name));
  }
  /// The reference is valid until a tensor is added.
  const TensorShape& shape_of(std::size_t tensor) const { return network_.tensors[tensor].shape; }
  /// The shape of a tensor for one image. \param sizes those of a value for one image
  TensorShape image_shape(const Shape& sizes) const;
  /// Adds a tensor that is no value of the graph.
  std::size_t add_tensor(const TensorShape& shape) { return network_.add_tensor(shape); }
  /// Gives a tensor another shape than layer() gave it.
  void set_shape(std::size_t tensor, const TensorShape& shape) {
    network_.tensors[tensor].shape = shape;
  }
  /// Makes a tensor the one that tensor() returns for a value from now on.
  void replace_tensor(std::size_t value, std::size_t tensor) {
    latest_[value] = tensor;
    views_.erase(value);
  }

  // ---- layers, in the order of execution

  /// Adds a layer that gives the output Out. Its tensor gets the shape of the first input, or, if
  /// the kind has kOwnShape, the shape that the output has in the program.
  Layer& layer(LayerKind kind, std::vector<std::size_t> inputs, std::size_t index = 0) {
    return layer_for(given(index), kind, std::move(inputs));
  }
  /// Adds a layer that gives a value of any output.
  Layer& layer_for(std::size_t value, LayerKind kind, std::vector<std::size_t> inputs);
  /// Adds a layer that gives a new tensor.
  Layer& add_layer(LayerKind kind, std::size_t input, const TensorShape& shape, std::string name);
  /// Adds a layer that gives the input X as it is.
  void add_identity() { layer(LayerKind::Identity, {tensor("X")}); }
  /// Adds a layer that gives input * scale + bias as the output Out, with a number for each
  /// channel.
  Layer& channel_scale(std::size_t input, std::vector<float> scale, std::vector<float> bias);
  /// Returns a tensor with the same values in another shape.
  std::size_t add_view(std::size_t from, const TensorShape& to);
  /// Returns a copy of a tensor with its values in another order.
  std::size_t add_copy(Box box, std::size_t input, const TensorShape& shape);
  /// Returns a tensor that has the numbers of a constant for each image.
  std::size_t add_constant(const std::string& name, std::size_t index = 0);
  /// Adds layers that give the output Out the same number everywhere, whatever the image is.
  void add_filled(float number, std::size_t index = 0);

 private:
  void read_operator();
  void read_kind();
  void read_input();
  void read_output();
  /// Whether all that the operator gives is empty, such as a slice of no tokens.
  bool gives_no_values() const;
  /// Integers that an operator moves stand for the same numbers; others it must not take.
  void keep_integers();
  /// Checks that a tensor has as many values of an image as shape inference found for its value.
  /// \throws Error BackendFailure: the numbers differ, which is a fault of this reader
  void require_declared_values(std::size_t value) const;

  std::size_t add_constant(std::vector<float> numbers, const TensorShape& shape);

  const Value* constant_of(std::size_t value);
  bool is_constant(std::size_t value) const;
  void keep_contents(std::size_t value, const Value& from);
  /// Gives the outputs of an operator of constants what they hold. \param at its index
  void fold(std::size_t at);
  /// \returns false: the evaluator does not compute it
  bool try_fold(std::size_t at, const OperatorView& view);
  /// Has layers compute what the evaluator does not: the constant X becomes a tensor of its own.
  void compute_constant();
  /// \throws Error BadModel: it is not finite, where that is checked
  void require_finite(const Value& constant, const std::string& name, std::size_t value) const;
  /// Requires that a constant is finite and has as many numbers as its shape says.
  void require_whole(const Value& constant, const std::string& name, std::size_t value) const;

  /// The tensor that a value is now.
  std::size_t tensor_of(std::size_t value) const {
    const auto found = latest_.find(value);
    return found == latest_.end() ? value : found->second;
  }
  void activate(const Activation& activation);
  void set_input(std::size_t value, const std::string& name);
  /// Of the outputs behind the first, those that it cannot give are left out.
  void add_output(std::size_t value, const std::string& name);

  const Graph& graph_;
  const std::string& path_;
  Network network_;
  LayerMemory layer_memory_;
  bool check_finite_;
  std::vector<bool> masks_;  ///< as masks_of; none where check_finite_ is false
  std::size_t at_ = 0;       ///< of the operator that is read
  const Operator* op_ = nullptr;
  const OperatorView* view_ = nullptr;
  QuantizedValues quantized_;
  std::map<std::size_t, Value> kept_;          ///< values with contents of another
  std::map<std::size_t, std::size_t> views_;   ///< tensors of values in their own shape
  std::map<std::size_t, std::size_t> latest_;  ///< tensors of values that are quantized again
  std::vector<std::string> output_names_;      ///< of Paddle's
};

// ---- the families of operators

/// Names kinds of operators, and the function that reads them.
struct OperatorRow {
  std::string_view kinds;  ///< words separated by blanks; a kind is in one row of one family
  void (*read)(NetworkReader& reader);
};

/// The rows of one family, from the first to behind the last.
using OperatorRows = std::pair<const OperatorRow*, const OperatorRow*>;

// Each of these functions returns the table of one family, which is in the file named beside it.
OperatorRows combination_operators();   // read_combinations.cc
OperatorRows image_operators();         // read_images.cc
OperatorRows layer_operators();         // read_layers.cc
OperatorRows moving_operators();        // read_moves.cc
OperatorRows product_operators();       // read_products.cc
OperatorRows quantization_operators();  // read_quantization.cc

/// The tables of all families. Their order does not matter, because no kind is in two rows.
inline constexpr OperatorRows (*kOperatorFamilies[])() = {
    combination_operators, image_operators,   layer_operators,
    moving_operators,      product_operators, quantization_operators};

/// Reads an operator that only moves values (read_moves.cc). No table lists these operators,
/// because moves_values() knows them.
void read_moved(NetworkReader& reader);

// ---- what several families share

/// Repeats numbers along a shape, as repeated_box does (read_combinations.cc).
std::vector<float> repeated_numbers(const std::vector<float>& numbers, const Shape& from,
                                    const Shape& to);

/// Returns the constant or the integers that an operator takes for weights, or null if it takes
/// neither (read_quantization.cc).
const Value* weights_of(NetworkReader& reader, const std::string& name);
/// Gives a layer its weights, which may be quantized (read_quantization.cc).
/// \pre the bias of the layer has a number for each output channel
/// \param axis the axis of the output channels; 1 is for a matrix [inputs][outputs], which this
///   function transposes
void give_weights(NetworkReader& reader, Layer& made, const std::string& name, std::size_t axis);
/// Splits each convolution of integers of nine bits into one of their halves and one of the rests
/// (read_quantization.cc).
void split_wide_weights(Network& network, LayerMemory& memory);

}  // namespace lenet::native
