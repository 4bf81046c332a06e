#include "description/units.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "io/printable.h"

namespace lenet {
namespace {

constexpr double kWhite = 255;
/// 1 / kWhite as a file can have it.
constexpr const char* kShare = "0.00392156862745098 (1/255)";

struct Channel {
  double scale;
  double mean;
  double std;

  double black() const { return -mean / std; }
  double white() const { return (kWhite * scale - mean) / std; }
  double span() const { return std::abs(white() - black()); }
  double largest() const { return std::max(std::abs(black()), std::abs(white())); }
};

bool contradicts(const Channel& channel) {
  constexpr double kLeastSpan = 0.02;
  constexpr double kFar = 20;
  constexpr double kMostSpan = 256;
  constexpr double kBeyondWhite = 1.05;
  if (channel.span() < kLeastSpan) return true;
  if (channel.largest() <= kFar) return false;
  const double share = std::abs(channel.mean / (kWhite * channel.scale));  // 0: black, 1: white
  const bool is_below_a_level = share > 0 && share < 1 / kWhite;
  return channel.span() > kMostSpan || share > kBeyondWhite || is_below_a_level;
}

/// Whether the values are as most networks take them.
bool is_usual(const Channel& channel) {
  constexpr double kMost = 10;
  constexpr double kLeastSpan = 0.5;
  return channel.largest() <= kMost && channel.span() >= kLeastSpan;
}

std::string shown(double value) { return print("%.4g", value); }

/// What was probably meant; nothing where no change of one or two units gives usual values.
std::string remedy_of(const Channel& channel) {
  const auto [scale, mean, std] = channel;
  const double small_mean = mean / kWhite;
  const double small_std = std / kWhite;
  const std::array<Channel, 6> tries = {{{1 / kWhite, mean, std},
                                         {scale, mean, small_std},
                                         {1, mean, std},
                                         {scale, small_mean, std},
                                         {scale, small_mean, small_std},
                                         {1 / kWhite, small_mean, std}}};
  for (const Channel& each : tries) {
    if (!is_usual(each) || contradicts(each)) continue;
    std::string text;
    const auto add = [&](const char* name, double now, double then) {
      if (now == then) return;
      const std::string value = then == 1 / kWhite ? kShare : shown(then);
      text += std::string(text.empty() ? "" : " and ") + name + " " + value;
    };
    add("scale", scale, each.scale);
    add("mean", mean, each.mean);
    add("std", std, each.std);
    return "; " + text + " was probably meant";
  }
  return std::string("; give all three for pixels from 0 to 1, with scale ") + kShare +
         ", or for pixels from 0 to 255, with scale 1";
}

}  // namespace

std::string unit_note(const Normalize& normalize) {
  for (std::size_t i = 0; i < normalize.mean.size(); ++i) {
    const Channel channel{normalize.scale, normalize.mean[i], normalize.std[i]};
    if (!contradicts(channel)) continue;
    return "a white pixel becomes " + shown(channel.white()) + " and a black one " +
           shown(channel.black()) + ": scale " + shown(channel.scale) + ", mean " +
           shown(channel.mean) + " and std " + shown(channel.std) +
           " of the preprocessing are not in one unit" + remedy_of(channel);
  }
  return "";
}

}  // namespace lenet
