#include "images/digit/ink.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "images/digit/integers.h"
#include "lenet/error.h"

namespace lenet::digit {
namespace {

/// Pixels that are connected, and how many of them lie on the edge of the image.
struct Part {
  std::vector<std::pair<Integer, Integer>> pixels;
  Integer on_edge = 0;
};

std::vector<Part> connected(Grid ink) {
  std::vector<Part> parts;
  const auto take = [&](Integer y, Integer x, Part& part) {
    ink.at(y, x) = 0;
    part.pixels.emplace_back(y, x);
    part.on_edge += y == 0 || y == ink.height - 1 || x == 0 || x == ink.width - 1;
  };
  ink.each([&](Integer first_y, Integer first_x) {
    if (ink.at(first_y, first_x) == 0) return;
    Part& part = parts.emplace_back();
    take(first_y, first_x, part);
    for (std::size_t i = 0; i < part.pixels.size(); ++i) {
      const auto [at_y, at_x] = part.pixels[i];
      const Integer bottom = std::min(at_y + 2, ink.height);
      const Integer right = std::min(at_x + 2, ink.width);
      for (Integer y = std::max<Integer>(0, at_y - 1); y < bottom; ++y) {
        for (Integer x = std::max<Integer>(0, at_x - 1); x < right; ++x) {
          if (ink.at(y, x) != 0) take(y, x, part);
        }
      }
    }
  });
  return parts;
}

/// Drops the parts that have less than 1 / `share` of the pixels of the greatest one.
void drop_small(std::vector<Part>& parts, std::size_t share) {
  std::size_t greatest = 0;
  for (const Part& part : parts) greatest = std::max(greatest, part.pixels.size());
  const auto is_small = [&](const Part& part) { return share * part.pixels.size() < greatest; };
  parts.erase(std::remove_if(parts.begin(), parts.end(), is_small), parts.end());
}

}  // namespace

void no_digit() {
  throw Error(ErrorCode::BadInput,
              "found no digit: nothing stands out from the background; write it larger or take the "
              "photo nearer, in better light");
}

Grid strength_of(Grid residual, Value noise) {
  const Value least = 2 * std::max(1, noise);
  Value sum = 0;
  for (const Value value : residual.values) sum += std::abs(value) > least ? value : 0;
  const Value sign = sum <= 0 ? -1 : 1;
  return mapped(std::move(residual), [&](Value value) {
    const Value strength = sign * value;
    return strength <= 2 * noise ? 0 : std::min(strength, kLevels - 1);
  });
}

Grid ink_of(const Grid& strength) {
  std::array<Integer, kLevels> counts{};
  for (const Value value : strength.values) {
    if (value > 0) ++counts[static_cast<std::size_t>(value)];  // the zeros are many
  }
  const auto total = static_cast<Integer>(strength.values.size());
  counts[0] = total - std::accumulate(counts.begin(), counts.end(), Integer{0});
  const Integer whole = std::accumulate(strength.values.begin(), strength.values.end(), Integer{0});
  Value threshold = -1;
  double greatest = 0;
  Integer below = 0;
  Integer sum = 0;
  for (Value t = 0; t < kLevels - 1; ++t) {
    below += counts[static_cast<std::size_t>(t)];
    sum += counts[static_cast<std::size_t>(t)] * t;
    const Integer above = total - below;
    if (below == 0 || above == 0) continue;
    const auto difference = static_cast<double>(whole * below - total * sum);
    const double between =
        difference * difference / (static_cast<double>(below) * static_cast<double>(above));
    if (threshold < 0 || between > greatest) {
      threshold = t;
      greatest = between;
    }
  }
  if (threshold < 0) no_digit();
  return mapped(strength, [&](Value value) { return Value{value > threshold}; });
}

Grid without_specks(const Grid& ink) {
  std::vector<Part> parts = connected(ink);
  drop_small(parts, 64);
  const Integer ring = 2 * (ink.height + ink.width) - 4;
  const auto within = std::stable_partition(
      parts.begin(), parts.end(), [ring](const Part& part) { return 16 * part.on_edge <= ring; });
  if (within != parts.begin()) parts.erase(within, parts.end());
  drop_small(parts, 16);
  Grid kept(ink.height, ink.width);
  for (const Part& part : parts) {
    for (const auto& [y, x] : part.pixels) kept.at(y, x) = 1;
  }
  return kept;
}

Grid ink_values(const Grid& strength, const Grid& ink, Value noise) {
  Histogram inside;
  ink.each([&](Integer y, Integer x) {
    if (ink.at(y, x) != 0) inside.add(strength.at(y, x));
  });
  const Value top = inside.quartile(3);
  if (top < std::max(12, 4 * noise)) no_digit();
  const Value low = top / 4;
  std::array<Value, kLevels> stretched{};
  for (Value value = low; value < kLevels; ++value) {
    stretched[static_cast<std::size_t>(value)] = std::min((value - low) * 255 / (top - low), 255);
  }
  const Grid near = greatest_within(ink, 1);
  return Grid(ink.height, ink.width, [&](Integer y, Integer x) {
    return near.at(y, x) == 0 ? 0 : stretched[static_cast<std::size_t>(strength.at(y, x))];
  });
}

}  // namespace lenet::digit
