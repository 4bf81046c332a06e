// The step Digit of the pipeline. The numbers of steps are those of digit.md.
#include <algorithm>
#include <numeric>

#include "images/digit/background.h"
#include "images/digit/ink.h"
#include "images/digit/integers.h"
#include "images/digit/placement.h"
#include "images/steps.h"

namespace lenet {
namespace digit {
namespace {

constexpr Integer kWork = 256;  // longer side, in pixels, at which the digit is looked for

/// Step 1. Returns whether the image looks like one of MNIST already.
bool is_mnist(const ImageView& image, Integer size) {
  if (image.height != size || image.width != size) return false;
  Integer ring = 0;
  for (Integer y = 0; y < size; ++y) {
    for (Integer x = 0; x < size; ++x) {
      const bool edge = y == 0 || y == size - 1 || x == 0 || x == size - 1;
      if (edge) ring += row_of(image, y)[x];
    }
  }
  return ring < 64 * (4 * size - 4);
}

/// Step 2. Returns the image with a longer side of at most kWork pixels.
Grid reduced(const ImageView& image) {
  const Integer factor = (std::max(image.height, image.width) + kWork - 1) / kWork;
  const Integer rows = std::min(factor, image.height);
  const Integer columns = std::min(factor, image.width);
  Grid result(image.height / rows, image.width / columns);
  const Divisor pixels_of_block(rows * columns);
  // At most 255 * kMaxImagePixels / kWork.
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(result.width * columns));
  for (Integer y = 0; y < result.height; ++y) {
    std::fill(sums.begin(), sums.end(), 0);
    for (Integer row = y * rows; row < (y + 1) * rows; ++row) {
      const std::uint8_t* const pixels = row_of(image, row);
      for (std::size_t x = 0; x < sums.size(); ++x) sums[x] += pixels[x];
    }
    auto sum = sums.begin();
    for (Integer x = 0; x < result.width; ++x, sum += columns) {
      const Integer total = std::accumulate(sum, sum + columns, Integer{0});
      result.at(y, x) = pixels_of_block.round(static_cast<double>(total));
    }
  }
  return result;
}

}  // namespace
}  // namespace digit

Image find_digit(const Digit& step, const ImageView& image) {
  using namespace digit;
  if (is_mnist(image, step.size)) return copy_of(image);
  const Grid residual = without_background(reduced(image));
  const Value noise = median_magnitude(residual);
  const Grid strength = strength_of(residual, noise);
  const Grid ink = without_specks(ink_of(strength));
  const Grid values = ink_values(strength, ink, noise);
  const Box box = extent(values);
  return centred(scaled(thickened(cropped(values, box), cropped(ink, box)), step.box), step.size);
}

}  // namespace lenet
