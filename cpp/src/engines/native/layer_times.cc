#include "engines/native/layer_times.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace lenet::native {
namespace {

/// Times that are kept: those of 10,000 runs of a network with 1,600 layers.
constexpr std::size_t kMaxTimes = 1 << 24;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// \param runs 0: as often as half a second allows
Repetition repetition_of(int runs, std::size_t max_runs) {
  max_runs = std::max<std::size_t>(max_runs, 1);
  if (runs == 0) return {std::min<std::size_t>(max_runs, 2000), 0.5};
  return {std::min(max_runs, static_cast<std::size_t>(runs)),
          std::numeric_limits<double>::infinity()};
}

/// Work, of what the limit allows in a time that the clock could measure.
double share_of(double work, double limit, double microseconds) {
  return microseconds > 0 ? work / (limit * 1e-6 * microseconds) : 0;
}

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void measure_batch(Profile& profile, int runs, const std::function<double()>& run) {
  const auto times = measure(run, repetition_of(runs, kMaxTimes));
  profile.runs = static_cast<int>(times.size());
  profile.microseconds = 1e6 * median(times);
}

void measure_part(Profile& profile, ProfilePart part, int runs,
                  const std::function<std::vector<double>()>& run) {
  const std::size_t count = part.layers.size();
  const auto found = measure(run, repetition_of(runs, kMaxTimes / count));
  LayerProfile& total = part.total;
  total.name = "total";
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<double> seconds;
    for (const std::vector<double>& times : found) seconds.push_back(times[i]);
    LayerProfile& layer = part.layers[i];
    layer.microseconds = 1e6 * median(std::move(seconds));
    for (const auto field : {&LayerProfile::multiply_adds, &LayerProfile::weight_bytes,
                             &LayerProfile::activation_bytes, &LayerProfile::microseconds}) {
      total.*field += layer.*field;
    }
  }
  const auto images = static_cast<double>(part.at_once);
  const auto add_shares = [&](LayerProfile& layer) {
    const double time = layer.microseconds;
    layer.time_share = total.microseconds > 0 ? time / total.microseconds : 0;
    layer.multiply_add_share =
        share_of(layer.multiply_adds * images, profile.multiply_add_limit, time);
    layer.memory_share =
        share_of(layer.weight_bytes + layer.activation_bytes * images, profile.memory_limit, time);
  };
  for (LayerProfile& layer : part.layers) add_shares(layer);
  add_shares(total);
  profile.multiply_adds = total.multiply_adds;
  profile.multiply_add_share = share_of(total.multiply_adds * static_cast<double>(profile.images),
                                        profile.multiply_add_limit, profile.microseconds);
  profile.parts.push_back(std::move(part));
}

}  // namespace lenet::native
