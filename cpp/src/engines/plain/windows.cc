#include "engines/plain/windows.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "engines/plain/products.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// The numbers of an attribute for each axis of the image; one number is for all.
Integers for_axes(const Call& call, const char* name, std::size_t axes, std::int64_t otherwise) {
  Integers found = call.integers(name, Integers(axes, otherwise));
  if (found.size() == 1) found.resize(axes, found[0]);
  return found;
}

/// Moves the axis of the channels. \param to_front whether from the end to behind the images
Array move_channels(const Array& x, bool to_front) {
  std::vector<std::size_t> order(x.shape.size());
  std::iota(order.begin(), order.end(), 0);
  if (to_front) {
    std::rotate(order.begin() + 1, order.end() - 1, order.end());
  } else {
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  }
  const Integers own = steps_of_shape(x.shape);
  Shape shape;
  Integers steps;
  for (const std::size_t axis : order) {
    shape.push_back(x.shape[axis]);
    steps.push_back(own[axis]);
  }
  return taken(x, places_of(shape, steps), shape);
}

/// Calls `work(window, place of the kernel, place of the image)` for each value of an image that
/// lies in a window; windows and places are counted through all three axes.
template <typename Work>
void each_in_windows(const WindowAxes& axes, const Work& work) {
  const auto& [d, h, w] = axes;
  for (std::int64_t kd = 0; kd < d.kernel; ++kd) {
    for (std::int64_t kh = 0; kh < h.kernel; ++kh) {
      for (std::int64_t kw = 0; kw < w.kernel; ++kw) {
        const std::int64_t of_kernel = (kd * h.kernel + kh) * w.kernel + kw;
        for (std::int64_t od = 0; od < d.outputs; ++od) {
          if (!d.holds(d.place(od, kd))) continue;
          for (std::int64_t oh = 0; oh < h.outputs; ++oh) {
            if (!h.holds(h.place(oh, kh))) continue;
            for (std::int64_t ow = 0; ow < w.outputs; ++ow) {
              if (!w.holds(w.place(ow, kw))) continue;
              const std::int64_t window = (od * h.outputs + oh) * w.outputs + ow;
              const std::int64_t place =
                  (d.place(od, kd) * h.inputs + h.place(oh, kh)) * w.inputs + w.place(ow, kw);
              work(window, of_kernel, place);
            }
          }
        }
      }
    }
  }
}

struct Counts {
  std::int64_t kernel;
  std::int64_t inputs;
  std::int64_t outputs;
};
Counts counts_of(const WindowAxes& axes) {
  const auto& [d, h, w] = axes;
  return {d.kernel * h.kernel * w.kernel, d.inputs * h.inputs * w.inputs,
          d.outputs * h.outputs * w.outputs};
}

/// The values of an image's channels at each place of the windows: [channels * kernel][outputs].
Numbers values_of_windows(const WindowAxes& axes, const double* image, std::int64_t channels) {
  const Counts counts = counts_of(axes);
  Numbers values(static_cast<std::size_t>(channels * counts.kernel * counts.outputs));
  for (std::int64_t c = 0; c < channels; ++c) {
    const double* const from = image + c * counts.inputs;
    double* const to = values.data() + c * counts.kernel * counts.outputs;
    each_in_windows(axes, [&](std::int64_t window, std::int64_t of_kernel, std::int64_t place) {
      to[of_kernel * counts.outputs + window] = from[place];
    });
  }
  return values;
}

/// Adds values at each place of windows, as values_of_windows has them, to an image.
void add_windows(const WindowAxes& axes, const double* values, std::int64_t channels,
                 double* image) {
  const Counts counts = counts_of(axes);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double* const from = values + c * counts.kernel * counts.outputs;
    double* const to = image + c * counts.inputs;
    each_in_windows(axes, [&](std::int64_t window, std::int64_t of_kernel, std::int64_t place) {
      to[place] += from[of_kernel * counts.outputs + window];
    });
  }
}

/// Calls `work(windows, first)` for some rows of windows after the other, so that there is memory
/// for the values of each window. \param values of one window \param first window of the rows
template <typename Work>
void each_block(const WindowAxes& axes, std::int64_t values, const Work& work) {
  constexpr std::int64_t kMostValues = std::int64_t{1} << 20;
  const auto& [d, h, w] = axes;
  const std::int64_t rows = std::max<std::int64_t>(kMostValues / (values * w.outputs + 1), 1);
  for (std::int64_t depth = 0; depth < d.outputs; ++depth) {
    for (std::int64_t row = 0; row < h.outputs; row += rows) {
      WindowAxes part = axes;
      part[0].outputs = 1;
      part[0].before -= depth * d.stride;
      part[1].outputs = std::min(rows, h.outputs - row);
      part[1].before -= row * h.stride;
      work(part, (depth * h.outputs + row) * w.outputs);
    }
  }
}

void add_bias(const Call& call, Array& made) {
  if (!call.has("Bias")) return;
  const Array& bias = call.in("Bias");
  const Lines lines = lines_of(made.shape, 1);
  for (std::size_t i = 0; i < made.count(); ++i) {
    const auto channel = static_cast<std::int64_t>(i) / lines.inner % lines.count;
    made.reals[i] += bias.reals[static_cast<std::size_t>(channel)];
  }
}

Shape sizes_behind(const Shape& shape, std::size_t first) {
  return {shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end()};
}

/// The shape of the result with the channels first.
Shape shape_channels_first(const Call& call) {
  Shape shape = call.shape();
  if (call.channels_last()) std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
  return shape;
}

void convolve(const Call& call) {
  const Array x = with_channels_first(call);
  const Array& filter = call.in("Filter");  // [channels given, channels of a group, kernel]
  Array made = make_array(kFloat64, shape_channels_first(call));
  const WindowAxes axes =
      read_windows(call, sizes_behind(filter.shape, 2), image_sizes(x), image_sizes(made));
  const Counts counts = counts_of(axes);
  const std::int64_t groups = call.integer("group", 1);
  const std::int64_t channels = filter.shape[1];
  const std::int64_t given = filter.shape[0] / groups;
  const std::int64_t terms = channels * counts.kernel;
  for (std::int64_t part = 0; part < x.shape[0] * groups; ++part) {
    const double* const image = x.reals.data() + part * channels * counts.inputs;
    const double* const weights = filter.reals.data() + part % groups * given * terms;
    double* const sums = made.reals.data() + part * given * counts.outputs;
    each_block(axes, terms, [&](const WindowAxes& block, std::int64_t first) {
      const std::int64_t windows = counts_of(block).outputs;
      const Numbers values = values_of_windows(block, image, channels);
      add_products<double>({weights, terms}, {values.data(), windows},
                           {sums + first, counts.outputs}, given, terms, windows);
    });
  }
  add_bias(call, made);
  give_image(call, std::move(made));
}

/// Each value of an image, times the filter, is added where the filter lies in the result.
void convolve_transposed(const Call& call) {
  const Array x = with_channels_first(call);
  const Array& filter = call.in("Filter");  // [channels taken, channels given of a group, kernel]
  Array made = make_array(kFloat64, shape_channels_first(call));
  // The result is the image that windows go over, of which there is one for each value of X.
  const WindowAxes axes =
      read_windows(call, sizes_behind(filter.shape, 2), image_sizes(made), image_sizes(x));
  const Counts counts = counts_of(axes);
  const std::int64_t groups = call.integer("group", 1);
  const std::int64_t channels = filter.shape[0] / groups;
  const std::int64_t given = filter.shape[1];
  const std::int64_t rows = given * counts.kernel;
  for (std::int64_t part = 0; part < x.shape[0] * groups; ++part) {
    const std::int64_t group = part % groups;
    Numbers turned(static_cast<std::size_t>(rows * channels));
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t row = 0; row < rows; ++row) {
        turned[static_cast<std::size_t>(row * channels + c)] =
            filter.reals[static_cast<std::size_t>((group * channels + c) * rows + row)];
      }
    }
    const double* const image = x.reals.data() + part * channels * counts.outputs;
    double* const sums = made.reals.data() + part * given * counts.inputs;
    each_block(axes, rows, [&](const WindowAxes& block, std::int64_t first) {
      const std::int64_t windows = counts_of(block).outputs;
      Numbers values(static_cast<std::size_t>(rows * windows));
      add_products<double>({turned.data(), channels}, {image + first, counts.outputs},
                           {values.data(), windows}, rows, channels, windows);
      add_windows(block, values.data(), given, sums);
    });
  }
  add_bias(call, made);
  give_image(call, std::move(made));
}

/// The values of each window, one below the other.
void unfold(const Call& call) {
  const Array& x = call.in();
  const Integers kernel = call.integers("kernel_sizes");
  const Shape image = image_sizes(x);
  const WindowAxes axes = read_windows(call, kernel, image, {});
  const std::int64_t values = x.shape[1] * counts_of(axes).inputs;
  Array made = make_array(kFloat64, {0});
  for (std::int64_t image_at = 0; image_at < x.shape[0]; ++image_at) {
    const Numbers of_image =
        values_of_windows(axes, x.reals.data() + image_at * values, x.shape[1]);
    made.reals.insert(made.reals.end(), of_image.begin(), of_image.end());
  }
  call.give(std::move(made));
}

/// Images that are sums of windows, the values of which lie one below the other.
void fold(const Call& call) {
  const Array& x = call.in();
  const Integers kernel = call.integers("kernel_sizes");
  Array made = call.make();
  const Shape image = image_sizes(made);
  const WindowAxes axes = read_windows(call, kernel, image, {});
  const std::int64_t channels = made.shape[1];
  const std::int64_t taken = x.shape[1] * x.shape[2];
  for (std::int64_t at = 0; at < x.shape[0]; ++at) {
    add_windows(axes, x.reals.data() + at * taken, channels,
                made.reals.data() + at * channels * counts_of(axes).inputs);
  }
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"Conv", convolve, true},
    {"ConvTranspose", convolve_transposed, true},
    {"Unfold", unfold, true},
    {"Col2Im", fold, true},
};

}  // namespace

WindowAxes read_windows(const Call& call, const Integers& kernel, const Shape& image,
                        const Shape& windows) {
  const std::size_t axes = image.size();
  const Integers strides = for_axes(call, "strides", axes, 1);
  const Integers dilations = for_axes(call, "dilations", axes, 1);
  const Integers pads = call.integers("pads", Integers(2 * axes));
  const std::string mode = call.text("auto_pad", "NOTSET");
  const bool pairs = call.flag("in_pairs");
  WindowAxes made;
  for (std::size_t i = 0; i < axes; ++i) {
    WindowAxis& axis = made[3 - axes + i];
    axis = {image[i], 1, kernel[i], strides[i], dilations[i]};
    if (mode == "SAME") axis.dilation = 1;  // of Paddle
    if (mode == "NOTSET" || mode == "EXPLICIT") {
      const bool one_for_both = pads.size() == axes;
      axis.before = pads[one_for_both ? i : (pairs ? 2 * i : i)];
      axis.behind = pads[one_for_both ? i : (pairs ? 2 * i + 1 : i + axes)];
    } else if (mode != "VALID") {  // as many windows as the image has strides
      const std::int64_t extent = (axis.kernel - 1) * axis.dilation + 1;
      const std::int64_t last = (axis.inputs + axis.stride - 1) / axis.stride - 1;
      const std::int64_t all = std::max<std::int64_t>(last * axis.stride + extent - axis.inputs, 0);
      axis.before = mode == "SAME_LOWER" ? (all + 1) / 2 : all / 2;
      axis.behind = all - axis.before;
    }
    const std::int64_t room =
        axis.inputs + axis.before + axis.behind - (axis.kernel - 1) * axis.dilation - 1;
    axis.outputs = windows.empty() ? room / axis.stride + 1 : windows[i];
  }
  return made;
}

Shape image_sizes(const Array& x) { return sizes_behind(x.shape, 2); }

Array with_channels_first(const Call& call) {
  return call.channels_last() ? move_channels(call.in(), true) : call.in();
}

void give_image(const Call& call, Array made) {
  call.give(call.channels_last() ? move_channels(made, false) : std::move(made));
}

Integers read_kernel(const Call& call, const char* name, std::size_t axes) {
  return for_axes(call, name, axes, 1);
}

Definitions window_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
