#include <algorithm>
#include <array>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Whether a tensor's values lie without gaps, the channels of each pixel side by side.
bool has_channels_last(const Placement& tensor) {
  return tensor.layout == Layout::ChannelsLast && tensor.border == 0;
}

/// Values computed from those at their place in one or two tensors and from numbers of their
/// channel.
class Elementwise final : public Op {
 public:
  explicit Elementwise(const PlacedLayer& source)
      : kernels_(source.kernels),
        kind_(source.layer.kind),
        activation_(source.layer.activation),
        per_channel_(source.output.layout == Layout::Images ? source.kernels.lanes : 1),
        inputs_(source.inputs),
        to_(source.output) {
    const bool in_order = std::all_of(inputs_.begin(), inputs_.end(), [this](const auto& input) {
      return input.is_in_order() && input.shape.values() == to_.shape.values();
    });
    const bool channels_last =
        has_channels_last(to_) && std::all_of(inputs_.begin(), inputs_.end(), has_channels_last);
    const bool at_once = is_alike(source.layer) &&
                         (channels_last || (in_order && to_.lanes == 1 && to_.is_in_order()));
    if (const auto* params = std::get_if<ScaleParams>(&source.layer.params)) {
      scale_ = pack(params->scale, at_once);
      bias_ = pack(params->bias, at_once);
    }
    if (at_once) {  // whole vectors would not fit the rows
      in_order_ = round_up(to_.shape.values(), kernels_.lanes);
      return;
    }
    bool flat = true;  // without a border between rows
    for (const Placement* tensor : {&to_, &inputs_[0], &inputs_.back()}) {
      if (is_repeated(*tensor)) {
        repeats_ = true;
      } else {
        flat &=
            tensor->shape.height() == 1 || tensor->row == tensor->shape.width() * tensor->column;
      }
    }
    repeats_ |= scale_.data() != nullptr;
    // Numbers of a channel are repeated by the vector.
    const bool whole_rows = !repeats_ || to_.column == kernels_.lanes;
    columns_ = whole_rows ? to_.shape.width() : 1;
    rows_ = whole_rows && flat ? to_.shape.height() : 1;
  }

  void run(const Frame& frame) const override {
    if (in_order_ > 0) {
      const std::int64_t pieces = (in_order_ + kPiece - 1) / kPiece;
      return frame.each_rows(frame.count, pieces, [&](auto unit, auto first, auto last) {
        run_in_order(frame, unit, first * kPiece, std::min(in_order_, last * kPiece));
      });
    }
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      frame.each(to_.planes, [&](std::int64_t plane) { run_plane(frame, unit, plane); });
    }
  }
  bool splits() const override { return true; }
  std::string kernel() const override {
    return kind_ == LayerKind::Activate ? to_string(activation_.kind) : to_string(kind_);
  }

 private:
  static constexpr std::int64_t kPiece = 4096;  ///< values that one thread computes; whole vectors

  bool is_repeated(const Placement& input) const { return !(input.shape == to_.shape); }

  /// Puts numbers of channels where the channels lie. Numbers that are all the same become one
  /// vector.
  Aligned<float> pack(const std::vector<float>& of_channels, bool alike) const {
    if (of_channels.empty()) return {};
    if (alike) {
      Aligned<float> same(static_cast<std::size_t>(kernels_.lanes));
      std::fill_n(same.data(), kernels_.lanes, of_channels[0]);
      return same;
    }
    Aligned<float> found(static_cast<std::size_t>(to_.planes * to_.column));
    float* to = found.data();
    for (const float number : of_channels) to = std::fill_n(to, per_channel_, number);
    return found;
  }

  void run_in_order(const Frame& frame, std::int64_t unit, std::int64_t begin,
                    std::int64_t end) const {
    CombineTask task{};
    task.a = frame.at<float>(inputs_[0], unit) + begin;
    task.output = frame.at<float>(to_, unit) + begin;
    task.count = end - begin;
    if (kind_ == LayerKind::Activate) {
      return activate(task);
    }
    task.kind = facts_of(kind_).combination;
    task.activation = activation_;
    task.a_step = kernels_.lanes;
    if (scale_.data() == nullptr) {
      task.b = frame.at<float>(inputs_[1], unit) + begin;
      task.b_step = kernels_.lanes;
    } else {  // the same numbers for all, in one vector
      task.b = scale_.data();
      task.c = bias_.data();
    }
    kernels_.combine(task);
  }

  void run_plane(const Frame& frame, std::int64_t unit, std::int64_t plane) const {
    const std::int64_t vector = kernels_.lanes;
    const auto at = [&](const Placement& tensor, std::int64_t y, std::int64_t x) {
      float* first = frame.at<float>(tensor, unit) + plane * tensor.block;
      return is_repeated(tensor) ? first : first + y * tensor.row + x * tensor.column;
    };
    const auto step = [&](const Placement& tensor) {
      return static_cast<std::int32_t>(is_repeated(tensor) && columns_ * rows_ > 1 ? 0 : vector);
    };
    CombineTask task{};
    task.kind = facts_of(kind_).combination;
    task.activation = activation_;
    task.count = rows_ * columns_ * to_.column;
    task.a_step = step(inputs_[0]);
    task.b_step = step(inputs_.back());
    if (scale_.data() != nullptr) {
      task.b = scale_.data() + plane * to_.column;
      task.c = bias_.data() + plane * to_.column;
      task.b_step = static_cast<std::int32_t>(columns_ * rows_ > 1 ? 0 : vector);
    }
    for (std::int64_t y = 0; y < to_.shape.height(); y += rows_) {
      for (std::int64_t x = 0; x < to_.shape.width(); x += columns_) {
        task.a = at(inputs_[0], y, x);
        task.output = at(to_, y, x);
        if (kind_ == LayerKind::Activate) {
          activate(task);
          continue;
        }
        if (scale_.data() == nullptr) task.b = at(inputs_[1], y, x);
        kernels_.combine(task);
      }
    }
  }

  void activate(const CombineTask& task) const {
    if (activation_.kind != ActivationKind::Scalar) {
      return kernels_.activate(activation_, task.a, task.output, task.count);
    }
    const auto alpha = static_cast<double>(activation_.alpha);
    const auto beta = static_cast<double>(activation_.beta);
    std::transform(task.a, task.a + task.count, task.output, [&](float x) {
      return static_cast<float>(activation_.function(static_cast<double>(x), alpha, beta));
    });
  }

  const Kernels& kernels_;
  LayerKind kind_;
  Activation activation_;
  std::int64_t per_channel_;
  std::vector<Placement> inputs_;
  Placement to_;
  Aligned<float> scale_;
  Aligned<float> bias_;
  std::int64_t in_order_ = 0;  ///< values that are computed in the order of the program; 0: others
  bool repeats_ = false;       ///< an input or numbers of channels, along the pixels
  std::int64_t columns_ = 1;   ///< computed at once, as are so many rows
  std::int64_t rows_ = 1;
};

void check_elementwise(const LayerCheck& of) {
  if (of.layer.kind == LayerKind::Activate) return of.require_same_values();
  const auto channels = static_cast<std::size_t>(of.output().channels());
  if (const auto* params = std::get_if<ScaleParams>(&of.layer.params)) {
    for (const std::vector<float>* numbers : {&params->scale, &params->bias}) {
      of.require(numbers->empty() || numbers->size() == channels,
                 "has numbers for another number of channels");
    }
  }
  const TensorShape repeated = {of.output().channels()};
  for (const std::size_t each : of.layer.inputs) {
    const NetworkTensor& tensor = of.network.tensors[each];
    of.require(tensor.shape == of.output() || tensor.shape == repeated ||
                   lie_alike(tensor, of.network.tensors[of.layer.output]),
               "combines tensors of other shapes");
  }
}

}  // namespace

void activate_run(const Kernels& kernels, const Activation& activation, float* values,
                  std::int64_t count) {
  if (activation.kind == ActivationKind::None) return;
  const std::int64_t whole = count / kernels.lanes * kernels.lanes;
  kernels.activate(activation, values, values, whole);
  if (whole == count) return;
  std::array<float, 16> rest{};
  std::copy(values + whole, values + count, rest.begin());
  kernels.activate(activation, rest.data(), rest.data(), kernels.lanes);
  std::copy_n(rest.begin(), count - whole, values + whole);
}

extern const LayerFamily kElementwiseFamily = {check_elementwise, make_op<Elementwise>};

}  // namespace lenet::native
