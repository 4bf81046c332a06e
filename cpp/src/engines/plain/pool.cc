// Definitions of pools.

#include <algorithm>
#include <limits>

#include "engines/plain/windows.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// The places of an image that one window takes along one axis.
struct Span {
  Integers places;             ///< inside the image
  std::int64_t positions = 0;  ///< also those of the padding
};

/// Pools adaptively: the windows share the image out.
Span share_of(std::int64_t window, std::int64_t windows, std::int64_t size) {
  Span span;
  const std::int64_t end = ((window + 1) * size + windows - 1) / windows;
  for (std::int64_t at = window * size / windows; at < end; ++at) span.places.push_back(at);
  span.positions = static_cast<std::int64_t>(span.places.size());
  return span;
}

/// A window that goes beyond the padding, where sizes are rounded up, has no positions there.
/// \param behind places of padding behind the image, as the divisor counts them
Span span_of(const WindowAxis& axis, std::int64_t window, std::int64_t behind) {
  Span span;
  for (std::int64_t k = 0; k < axis.kernel; ++k) {
    const std::int64_t at = axis.place(window, k);
    if (axis.holds(at)) span.places.push_back(at);
    if (at < axis.inputs + behind) ++span.positions;
  }
  return span;
}

void pool(const Call& call) {
  const Array x = with_channels_first(call);
  const bool largest = call.kind().find("Max") != std::string_view::npos;
  const bool shares =
      call.kind() != "MaxPool" && call.kind() != "AveragePool";  // global or adaptive
  const bool counts_padding = call.flag("count_include_pad") ||
                              (call.view().has_attribute("exclusive") && !call.flag("exclusive"));
  const Shape image = image_sizes(x);
  Shape shape = call.shape();
  if (call.channels_last()) std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
  Array made = make_array(x.dtype, shape);
  const Shape windows = image_sizes(made);
  std::array<std::vector<Span>, 3> spans;
  const WindowAxes axes =
      shares ? WindowAxes()
             : read_windows(call, read_kernel(call, "kernel_shape", image.size()), image, windows);
  const std::size_t first = 3 - image.size();
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int64_t count = i < first ? 1 : windows[i - first];
    // Paddle's kernel takes as many places behind the image as there are before it.
    const std::int64_t behind = call.flag("in_pairs") ? axes[i].before : axes[i].behind;
    for (std::int64_t window = 0; window < count; ++window) {
      spans[i].push_back(shares ? share_of(window, count, i < first ? 1 : image[i - first])
                                : span_of(axes[i], window, behind));
    }
  }
  const std::int64_t height = image.size() < 2 ? 1 : *(image.end() - 2);
  const std::int64_t width = image.back();
  const std::int64_t size = count_of(image);
  std::size_t at = 0;
  for (std::int64_t channel = 0; channel < x.shape[0] * x.shape[1]; ++channel) {
    for (const Span& d : spans[0]) {
      for (const Span& h : spans[1]) {
        for (const Span& w : spans[2]) {
          double most = -std::numeric_limits<double>::infinity();
          double sum = 0;
          for (const std::int64_t z : d.places) {
            for (const std::int64_t y : h.places) {
              for (const std::int64_t column : w.places) {
                const double value = x.number(
                    static_cast<std::size_t>(channel * size + (z * height + y) * width + column));
                sum += value;
                most = value > most || value != value ? value : most;
              }
            }
          }
          const auto inside =
              static_cast<std::int64_t>(d.places.size() * h.places.size() * w.places.size());
          const std::int64_t divisor =
              counts_padding ? d.positions * h.positions * w.positions : inside;
          made.set(at++, largest ? most : sum / static_cast<double>(divisor));
        }
      }
    }
  }
  give_image(call, std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"MaxPool AveragePool GlobalMaxPool GlobalAveragePool AdaptiveMaxPool AdaptiveAveragePool",
     pool},
};

}  // namespace

Definitions pool_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
