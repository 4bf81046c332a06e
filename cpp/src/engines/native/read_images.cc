// Operators that resize images or build them: resampling, transposed convolutions, sums of windows.

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "engines/native/network_reader.h"
#include "model/resampling.h"
#include "model/rules/windows.h"

namespace lenet::native {
namespace {

void read_resize(NetworkReader& reader) {
  reader.require_channels_first();
  reader.require(reader.has_image_axis("X"), "kernel for channels of images that are not first");
  const Shape from = reader.sizes("X");
  const Shape to = reader.given_sizes();
  const std::size_t rank = from.size();
  reader.require(rank == 3 || rank == 4, "kernel but for images in one or two dimensions");
  reader.require(from[1] == to[1], "kernel that resizes channels");
  for (std::size_t i = 2; i < rank; ++i) reader.count_memory(taps_bytes(from[i], to[i]));
  std::vector<Taps> taps = read_resampling(reader.view());
  if (taps[rank - 1].empty() && (rank == 3 || taps[2].empty())) return reader.add_identity();
  Layer& made = reader.layer(LayerKind::Resize, {reader.shaped("X")});
  made.params = ResizeParams{rank == 4 ? std::move(taps[2]) : Taps(), std::move(taps[rank - 1])};
}

/// One axis of a transposed convolution. Output `count * stride + phase` is a sum over the inputs
/// at `count` plus some shifts.
struct TransposedAxis {
  std::int64_t stride;
  std::int64_t dilation;
  std::int64_t padding;
  std::int64_t taps;
  std::int64_t inputs;
  std::int64_t outputs;

  std::int64_t phases() const { return std::min(stride, outputs); }
  std::int64_t counts() const { return (outputs + stride - 1) / stride; }
  /// Calls `work(tap, phase, shift)` for each tap that multiplies inputs, which are those of one
  /// phase. \param shift from the count of an output to the input that it multiplies
  template <class Work>
  void each_tap(const Work& work) const {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const std::int64_t offset = tap * dilation - padding;
      const std::int64_t phase = (offset % stride + stride) % stride;
      if (phase < phases()) work(tap, phase, (phase - offset) / stride);
    }
  }
  /// The least and the largest shift; 0 lies between them.
  std::array<std::int64_t, 2> shifts() const {
    std::array<std::int64_t, 2> range = {0, 0};
    each_tap([&](std::int64_t, std::int64_t, std::int64_t shift) {
      range = {std::min(range[0], shift), std::max(range[1], shift)};
    });
    return range;
  }
  struct Part {
    std::int64_t phase;
    std::int64_t phases;
    std::int64_t counts;
  };
  /// Phases of which there are as many outputs.
  std::vector<Part> parts() const {
    const std::int64_t rest = outputs % stride;
    if (rest == 0 || phases() < stride) return {{0, phases(), counts()}};
    std::vector<Part> found = {{0, rest, counts()}};
    if (counts() > 1) found.push_back({rest, stride - rest, counts() - 1});
    return found;
  }
};

/// Reads a transposed convolution. It becomes a convolution that gives, for each pixel of the
/// input, the pixels of the output that lie between it and the next one as channels. A copy moves
/// these to their places.
void read_conv_transpose(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require_channels_first();
  const std::size_t input = reader.image_or_line("X");
  const bool line = reader.shape("X").size() == 3;
  const Value& filter = reader.float_constant("Filter");
  const TensorShape from = reader.shape_of(input);
  const TensorShape to = reader.image_shape(reader.given_sizes());
  const auto sizes_of = [&](const char* name) {
    Integers sizes = view.integers(name, Integers(line ? 1 : 2, 1));
    if (line) sizes.insert(sizes.begin(), 1);
    return sizes;
  };
  const Integers strides = sizes_of("strides");
  const Integers dilations = sizes_of("dilations");
  const Integers pads = view.integers("pads", Integers(line ? 2 : 4));
  const bool pairs = view.flag("in_pairs", false) && pads.size() == 4;
  const std::int64_t rows = line ? 1 : filter.shape[2];
  const TransposedAxis y{strides[0], dilations[0],  line ? 0 : pads[0],
                         rows,       from.height(), to.height()};
  const TransposedAxis x{strides[1],          dilations[1], line ? pads[0] : pads[pairs ? 2 : 1],
                         filter.shape.back(), from.width(), to.width()};
  const std::int64_t groups = view.integer("group", 1);
  const std::int64_t inputs = from.channels() / groups;  // of a group
  const std::int64_t outputs = filter.shape[1];
  const std::int64_t blocks = y.phases() * x.phases();
  const std::array<std::int64_t, 2> of_y = y.shifts();
  const std::array<std::int64_t, 2> of_x = x.shifts();
  Window window;
  window.kernel = {of_y[1] - of_y[0] + 1, of_x[1] - of_x[0] + 1};
  const auto behind = [](const TransposedAxis& axis, std::int64_t last) {
    return std::max<std::int64_t>(0, axis.counts() + last - axis.inputs);
  };
  window.padding = {-of_y[0], behind(y, of_y[1]), -of_x[0], behind(x, of_x[1])};
  const std::int64_t channels = to.channels() * blocks;
  const double count = static_cast<double>(channels) * static_cast<double>(inputs) *
                       static_cast<double>(window.kernel[0]) *
                       static_cast<double>(window.kernel[1]);
  reader.count_memory((count + static_cast<double>(channels)) * sizeof(float));
  std::vector<float> weights(static_cast<std::size_t>(count));
  const std::vector<float> numbers = floats_of(filter);
  // [groups][phases of rows][phases of columns][channels][inputs of the group][window]
  y.each_tap([&](std::int64_t row_tap, std::int64_t row, std::int64_t row_shift) {
    x.each_tap([&](std::int64_t column_tap, std::int64_t column, std::int64_t column_shift) {
      for (std::int64_t channel = 0; channel < to.channels(); ++channel) {
        for (std::int64_t i = 0; i < inputs; ++i) {
          const std::int64_t of_input = channel / outputs * inputs + i;
          const std::int64_t at =
              ((of_input * outputs + channel % outputs) * y.taps + row_tap) * x.taps + column_tap;
          const std::int64_t phase = (channel / outputs * y.phases() + row) * x.phases() + column;
          const std::int64_t block = phase * outputs + channel % outputs;
          const std::int64_t place =
              ((block * inputs + i) * window.kernel[0] + row_shift - of_y[0]) * window.kernel[1] +
              column_shift - of_x[0];
          weights[static_cast<std::size_t>(place)] = numbers[static_cast<std::size_t>(at)];
        }
      }
    });
  });
  std::vector<float> bias(static_cast<std::size_t>(channels));
  if (view.has("Bias")) {
    const std::vector<float> given = reader.floats("Bias");
    const auto together = static_cast<std::size_t>(outputs);
    for (std::size_t i = 0; i < bias.size(); ++i) {
      const std::size_t group = i / (together * static_cast<std::size_t>(blocks));
      bias[i] = given[group * together + i % together];
    }
  }
  const TensorShape phases{channels, y.counts(), x.counts()};
  Layer& made = blocks == 1 ? reader.layer(LayerKind::Convolution, {input})
                            : reader.add_layer(LayerKind::Convolution, input, phases,
                                               reader.name_of(reader.given()) + ", by phases");
  made.convolution().window = window;
  made.convolution().groups = groups;
  made.weights = std::move(weights);
  made.bias = std::move(bias);
  if (blocks == 1) return;
  Layer& moved = reader.layer(LayerKind::Copy, {made.output});
  const std::int64_t pixels = phases.pixels();
  for (const TransposedAxis::Part& row : y.parts()) {
    for (const TransposedAxis::Part& column : x.parts()) {
      Box box;
      box.from = (row.phase * x.phases() + column.phase) * outputs * pixels;
      box.to = row.phase * to.width() + column.phase;
      box.add({groups, blocks * outputs * pixels, outputs * to.pixels()});
      box.add({outputs, pixels, to.pixels()});
      box.add({row.counts, phases.width(), y.stride * to.width()});
      box.add({row.phases, x.phases() * outputs * pixels, to.width()});
      box.add({column.counts, 1, x.stride});
      box.add({column.phases, outputs * pixels, 1});
      moved.get<CopyParams>().boxes.push_back(std::move(box));
    }
  }
}

/// Reads a sum of windows. The values at each place of a window become an image, and these are
/// added up.
void read_fold(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require(reader.has_image_axis("X"), "kernel for channels of images that are not first");
  const std::size_t input = reader.tensor("X");
  const Shape to = reader.given_sizes();
  const std::int64_t values = product(to, 0, to.size());
  std::vector<Box> boxes = window_boxes(view, to);
  if (boxes.empty()) return reader.add_filled(0);  // all windows lie in the padding
  for (Box& box : boxes) {
    std::swap(box.from, box.to);
    for (Box::Loop& loop : box.loops) std::swap(loop.from, loop.to);
  }
  const Integers kernel = view.integers("kernel_sizes");
  const Window window = plan_window(view, kernel, {to[2], to[3]}, false).window;
  bool overlap = false;
  for (std::size_t i = 0; i < 2; ++i) {
    overlap |= (kernel[i] - 1) * window.dilations[i] >= window.strides[i];
  }
  const auto places = static_cast<std::int64_t>(boxes.size());
  if (!overlap || places < 2) {  // then each value comes from one window
    reader.layer(LayerKind::Copy, {input}).params = CopyParams{std::move(boxes)};
    return;
  }
  for (std::int64_t i = 0; i < places; ++i) boxes[static_cast<std::size_t>(i)].to += i * values;
  Layer& apart = reader.layer(LayerKind::Copy, {input});
  apart.params = CopyParams{std::move(boxes)};
  apart.output = reader.add_tensor({places, 1, values});
  const std::size_t copies = apart.output;
  Layer& sum = reader.layer(LayerKind::Reduce, {copies});
  sum.params = ReduceParams{{places, values}};
}

constexpr OperatorRow kOperators[] = {
    {"Resize", read_resize},
    {"ConvTranspose", read_conv_transpose},
    {"Col2Im", read_fold},
};

}  // namespace

OperatorRows image_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native
