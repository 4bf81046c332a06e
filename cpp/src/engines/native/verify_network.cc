#include "engines/native/verify_network.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lenet/error.h"

namespace lenet::native {
namespace {

/// The first and the last place that a box reads or writes.
struct Range {
  std::int64_t first;
  std::int64_t last;

  bool lies_in(std::int64_t values) const { return 0 <= first && last < values; }
};

Range range_of(const Box& box, std::int64_t begin, std::int64_t Box::Loop::*step) {
  Range range = {begin, begin};
  for (const Box::Loop& loop : box.loops) {
    const std::int64_t end = (loop.count - 1) * (loop.*step);
    (end < 0 ? range.first : range.last) += end;
  }
  return range;
}

class Verifier {
 public:
  explicit Verifier(const Network& network) : network_(network), given_(network.tensors.size()) {}

  void verify() {
    given_[network_.input] = true;
    for (const Layer& layer : network_.layers) {
      layer_ = &layer;
      for (const std::size_t input : layer.inputs) {
        require(given_[input], "takes a tensor that no layer before it gives");
      }
      verify_layer();
      verify_integers();
      given_[layer.output] = true;
    }
    for (const std::size_t output : network_.outputs) {
      if (!given_[output]) contradict("an output is given by no layer");
    }
  }

 private:
  const TensorShape& input(std::size_t index = 0) const {
    return network_.tensors[layer_->inputs.at(index)].shape;
  }
  const TensorShape& output() const { return network_.tensors[layer_->output].shape; }

  void verify_layer() const {
    require(!layer_->inputs.empty() || layer_->kind == LayerKind::Constant, "takes nothing");
    require(layer_->params.index() == facts_of(layer_->kind).first_params().index(),
            "has the parameters of another kind");
    switch (layer_->kind) {
      case LayerKind::Convolution:
        return verify_convolution();
      case LayerKind::Pool:
        return verify_pool();
      case LayerKind::Resize:
        return verify_resize();
      case LayerKind::Add:
      case LayerKind::Subtract:
      case LayerKind::Multiply:
      case LayerKind::Divide:
      case LayerKind::Maximum:
      case LayerKind::Minimum:
      case LayerKind::PRelu:
      case LayerKind::ChannelScale:
        return verify_combination();
      case LayerKind::Concat:
        return verify_concat();
      case LayerKind::Channels:
        return verify_channels();
      case LayerKind::Copy:
        return verify_copy();
      case LayerKind::Reduce:
        return verify_reduce();
      case LayerKind::Softmax:
        verify_axis(layer_->get<SoftmaxParams>().axis);
        return verify_same_values();
      case LayerKind::Along:
        return verify_along();
      case LayerKind::MatMul:
        return verify_product();
      case LayerKind::Broadcast:
        return verify_broadcast();
      case LayerKind::Normalize:
        return verify_normalize();
      case LayerKind::Constant:
        return verify_constant();
      case LayerKind::Activate:
      case LayerKind::View:
      case LayerKind::Convert:
      case LayerKind::Quantize:
      case LayerKind::Identity:
        return verify_same_values();
    }
  }

  /// Only operators of integers write integers, and read them where they lie as integers do.
  void verify_integers() const {
    const bool rounds = layer_->kind == LayerKind::Quantize;
    const bool takes = takes_integers(network_, *layer_);
    const NetworkTensor& to = network_.tensors[layer_->output];
    require(!to.quant || rounds || takes, "gives integers that it has no kernel for");
    if (rounds || takes || layer_->kind == LayerKind::Convert) return;
    for (const std::size_t each : layer_->inputs) {
      const NetworkTensor& from = network_.tensors[each];
      require(!from.quant || from.layout != Layout::ChannelsLast,
              "takes integers that it has no kernel for");
    }
  }

  void verify_same_values() const {
    require(output().values() == input().values(), "gives another number of values than it takes");
  }

  void verify_convolution() const {
    const Window& window = layer_->convolution().window;
    const auto outputs = static_cast<std::int64_t>(layer_->bias.size());
    require(outputs > 0 && outputs == output().channels(), "has another number of biases");
    const std::size_t weights = std::max(layer_->view_weights().count, layer_->integers.size());
    const std::int64_t taps = window.kernel[0] * window.kernel[1];
    const std::int64_t of_group = static_cast<std::int64_t>(weights) / outputs / taps;
    require(layer_->convolution().first_channel + layer_->convolution().groups * of_group <=
                input().channels(),
            "reads more channels than there are");
    const ConvolutionParams& params = layer_->convolution();
    const std::int64_t windows =
        params.pool ? 2 : 1;  // of each direction that a pixel is the largest of
    verify_windows(input().height(), output().height() * windows, 0);
    verify_windows(input().width(), output().width() * windows, 1);
    require(params.roundings.empty() || is_integer_convolution(*layer_),
            "rounds sums that are no integers");
    require(params.rounds() == static_cast<bool>(network_.tensors[layer_->output].quant),
            "does not round to what its output holds");
    require((params.sum == kNone && layer_->inputs.size() == 1) ||
                (params.sum <= params.roundings.size() && layer_->inputs.size() == 2 &&
                 input(1) == output()),
            "adds another number of tensors than it takes, or one of another shape");
  }

  /// The windows of a convolution lie inside the padded image.
  void verify_windows(std::int64_t size, std::int64_t windows, std::size_t axis) const {
    const Window& window = layer_->convolution().window;
    const std::int64_t padded = size + window.padding[2 * axis] + window.padding[2 * axis + 1];
    const std::int64_t end = (windows - 1) * window.strides[axis] +
                             (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    require(end <= padded, "has windows that end outside the padded image");
  }

  /// The windows of a pool are cut off where the image ends; its kernels refuse those outside.
  void verify_pool() const {
    require(output().channels() == input().channels(), "gives other channels than it takes");
  }

  void verify_resize() const {
    verify_pool();
    const auto& resize = layer_->get<ResizeParams>();
    verify_taps(resize.rows, input().height(), output().height());
    verify_taps(resize.columns, input().width(), output().width());
  }

  void verify_taps(const Taps& taps, std::int64_t size, std::int64_t outputs) const {
    if (taps.empty()) return require(size == outputs, "resizes what stays as it is");
    require(static_cast<std::int64_t>(taps.begins.size()) == outputs + 1 &&
                taps.begins.back() == static_cast<std::int32_t>(taps.places.size()) &&
                taps.places.size() == taps.weights.size(),
            "has taps for another number of pixels");
    for (std::size_t i = 0; i + 1 < taps.begins.size(); ++i) {
      require(taps.begins[i] < taps.begins[i + 1], "has a pixel without taps");
    }
    for (const std::int32_t place : taps.places) {
      require(0 <= place && place < size, "reads a pixel that there is not");
    }
  }

  void verify_combination() const {
    const auto channels = static_cast<std::size_t>(output().channels());
    if (const auto* params = std::get_if<ScaleParams>(&layer_->params)) {
      for (const std::vector<float>* numbers : {&params->scale, &params->bias}) {
        require(numbers->empty() || numbers->size() == channels,
                "has numbers for another number of channels");
      }
    }
    const TensorShape repeated = {output().channels()};
    for (const std::size_t each : layer_->inputs) {
      const NetworkTensor& tensor = network_.tensors[each];
      require(tensor.shape == output() || tensor.shape == repeated ||
                  lie_alike(tensor, network_.tensors[layer_->output]),
              "combines tensors of other shapes");
    }
  }

  void verify_concat() const {
    std::int64_t channels = 0;
    for (const std::size_t each : layer_->inputs) {
      require(network_.tensors[each].shape.pixels() == output().pixels(),
              "joins images of other sizes");
      channels += network_.tensors[each].shape.channels();
    }
    require(channels == output().channels(), "gives other channels than it takes");
  }

  void verify_channels() const {
    const std::vector<ChannelSource>& sources = layer_->get<ChannelsParams>().sources;
    require(static_cast<std::int64_t>(sources.size()) == output().channels(),
            "gives other channels than it takes");
    for (const ChannelSource& source : sources) {
      const TensorShape& from = input(source.input);
      require(0 <= source.channel && source.channel < from.channels(),
              "reads a channel that there is not");
      require(from.pixels() == output().pixels(), "joins images of other sizes");
    }
  }

  void verify_copy() const {
    for (const Box& box : layer_->get<CopyParams>().boxes) {
      require(range_of(box, box.from, &Box::Loop::from).lies_in(input(box.input).values()),
              "reads values that there are not");
      require(range_of(box, box.to, &Box::Loop::to).lies_in(output().values()),
              "writes values that its output does not have");
    }
  }

  void verify_axis(const Axis& axis) const {
    require(axis.count > 0 && axis.inner > 0 && input().values() % (axis.count * axis.inner) == 0,
            "has an axis that does not divide its values");
  }

  void verify_reduce() const {
    const Axis& axis = layer_->get<ReduceParams>().axis;
    verify_axis(axis);
    require(output().values() * axis.count == input().values(),
            "does not give one value for each axis");
  }

  void verify_along() const {
    const auto& along = layer_->get<AlongParams>();
    const std::int64_t count = along.axis.count;
    verify_axis(along.axis);
    require(along.orders() ? 0 < along.given && along.given <= count : along.given == count,
            "gives more values than its axis has");
    require(output().values() == input().values() / count * along.given,
            "gives another number of values than its output has");
  }

  void verify_product() const {
    const Product& of = layer_->product();
    require(of.count() > 0 && of.rows > 0 && of.sums > 0 && of.columns > 0, "has empty matrices");
    const bool weighs = has_weights(*layer_);
    const std::size_t weights = std::max(layer_->view_weights().count, layer_->integers.size());
    const std::int64_t given = weighs ? static_cast<std::int64_t>(weights) : input(1).values();
    verify_matrices(of.first, of.rows, of.sums, &Product::Loop::first, input().values());
    verify_matrices(of.second, of.sums, of.columns, &Product::Loop::second, given);
    verify_matrices(of.output, of.rows, of.columns, &Product::Loop::output, output().values());
    require(of.columns == 1 || of.output.column == 1,
            "gives rows whose values do not lie side by side");
    require(are_all_values(of), "does not give each value of its output once");
    require(layer_->integers.empty() || are_rows(of), "multiplies integers that are not in rows");
    require(layer_->bias.empty() || static_cast<std::int64_t>(layer_->bias.size()) == of.columns,
            "has another number of biases");
  }

  /// The matrices of a tensor, of which kernels read or write rows or columns, lie in it.
  /// \param step from a matrix to the next one
  void verify_matrices(const Product::Matrix& matrix, std::int64_t rows, std::int64_t columns,
                       std::int64_t Product::Loop::*step, std::int64_t values) const {
    const char* const outside = "has matrices that lie outside of a tensor";
    require(matrix.begin >= 0 && matrix.row >= 0 && matrix.column >= 0, outside);
    std::int64_t last = matrix.begin + (rows - 1) * matrix.row + (columns - 1) * matrix.column;
    for (const Product::Loop& loop : layer_->product().matrices) {
      require(loop.*step >= 0, outside);
      last += (loop.count - 1) * (loop.*step);
    }
    require(last < values, outside);
    require(rows == 1 || columns == 1 || matrix.row == 1 || matrix.column == 1,
            "has matrices in which no values lie side by side");
  }

  /// Whether a product writes each value of its output, once.
  bool are_all_values(const Product& of) const {
    std::vector<std::pair<std::int64_t, std::int64_t>> steps = {{of.output.row, of.rows},
                                                                {of.output.column, of.columns}};
    for (const Product::Loop& loop : of.matrices) steps.emplace_back(loop.output, loop.count);
    std::sort(steps.begin(), steps.end());
    std::int64_t values = 1;  // that those before give
    for (const auto& [step, count] : steps) {
      if (count > 1 && step != values) return false;
      values *= count;
    }
    return of.output.begin == 0 && values == output().values();
  }

  /// Whether rows lie one after the other in the input and in the output, as kernels of integers
  /// read and write them.
  static bool are_rows(const Product& of) {
    return of.matrices.empty() && of.first.begin == 0 && of.first.column == 1 &&
           (of.rows == 1 || (of.first.row == of.sums && of.output.row == of.columns));
  }

  void verify_broadcast() const {
    const auto& broadcast = layer_->get<BroadcastParams>();
    const std::size_t operands = broadcast.kind == BroadcastKind::Where ? 3 : 2;
    require((broadcast.kind == BroadcastKind::Scalar) == (broadcast.combine != nullptr),
            "has no function");
    require(broadcast.operands.size() == operands, "has another number of operands");
    std::int64_t values = 1;
    for (const BroadcastLoop& loop : broadcast.loops) values *= loop.count;
    require(values == output().values(), "gives another number of values than its output has");
    for (std::size_t i = 0; i < operands; ++i) {
      const BroadcastOperand& operand = broadcast.operands[i];
      const std::int64_t given = operand.input == kNone
                                     ? static_cast<std::int64_t>(operand.numbers.size())
                                     : input(operand.input).values();
      std::int64_t last = operand.begin;
      require(last == 0 || (last > 0 && operand.input != kNone), "reads values that there are not");
      for (const BroadcastLoop& loop : broadcast.loops) {
        require(loop.count > 0 && loop.steps[i] >= 0, "reads values that there are not");
        last += (loop.count - 1) * loop.steps[i];
      }
      require(last < given, "reads values that there are not");
    }
  }

  void verify_constant() const {
    const auto count = static_cast<std::int64_t>(layer_->get<ConstantParams>().numbers.size());
    require(count == output().values(), "has another number of values than it gives");
  }

  void verify_normalize() const {
    const auto& norm = layer_->get<NormalizeParams>();
    verify_axis({norm.count, 1});
    verify_same_values();
    for (const std::vector<float>* numbers : {&norm.scale, &norm.bias}) {
      require(numbers->empty() || static_cast<std::int64_t>(numbers->size()) == norm.count,
              "has numbers for another number of values");
    }
  }

  void require(bool condition, const char* what) const {
    if (!condition) contradict("the layer " + layer_->name + " " + what);
  }

  const Network& network_;
  std::vector<bool> given_;  ///< by tensor: the image or a layer before this one gives it
  const Layer* layer_ = nullptr;
};

}  // namespace

void verify_network(const Network& network) { Verifier(network).verify(); }

void contradict(const std::string& what) {
  throw Error(ErrorCode::BackendFailure,
              "the plan of the native engine contradicts itself: " + what +
                  "; this is a fault of lenet_cpp: please report it, and use another engine");
}

}  // namespace lenet::native
