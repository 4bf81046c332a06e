// Definitions of normalizations that have parameters or go over several axes.

#include <algorithm>
#include <cmath>

#include "engines/plain/call.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

constexpr double kEpsilon = 1e-5;

/// The mean of numbers, and the mean of the squares of how far they are from it.
struct Moments {
  double mean = 0;
  double variance = 0;
};

/// \param place of each of so many numbers
template <typename Place>
Moments moments_of(const Numbers& numbers, std::int64_t count, const Place& place) {
  Moments found;
  for (std::int64_t i = 0; i < count; ++i) found.mean += numbers[place(i)];
  found.mean /= static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) {
    const double apart = numbers[place(i)] - found.mean;
    found.variance += apart * apart;
  }
  found.variance /= static_cast<double>(count);
  return found;
}

/// A parameter for each channel, or one for all where it is left out.
double parameter(const Call& call, const char* name, std::size_t at, double otherwise) {
  return call.has(name) ? call.in(name).reals.at(at) : otherwise;
}

/// Normalizes by the statistics that are given, or while training by those of the values.
void normalize_batch(const Call& call) {
  Array made = call.in();
  const Lines lines = lines_of(made.shape, call.channel_axis());
  const bool of_paddle = call.view().has_attribute("is_test");
  const bool trains = !of_paddle && call.flag("training_mode", call.view().outputs("MeanOut") > 0);
  const double epsilon = call.number("epsilon", kEpsilon);
  for (std::int64_t c = 0; c < lines.count; ++c) {
    const auto place = [&](std::int64_t i) {
      return static_cast<std::size_t>((i / lines.inner * lines.count + c) * lines.inner +
                                      i % lines.inner);
    };
    const std::int64_t count = lines.outer * lines.inner;
    const auto channel = static_cast<std::size_t>(c);
    const Moments moments =
        trains ? moments_of(made.reals, count, place)
               : Moments{call.in("Mean").reals.at(channel), call.in("Variance").reals.at(channel)};
    const double factor =
        parameter(call, "Scale", channel, 1) / std::sqrt(moments.variance + epsilon);
    const double bias = parameter(call, "Bias", channel, 0);
    for (std::int64_t i = 0; i < count; ++i) {
      double& number = made.reals[place(i)];
      number = (number - moments.mean) * factor + bias;
    }
  }
  call.give(std::move(made));
}

void scale_channels(const Call& call) {
  Array made = call.in();
  const Lines lines = lines_of(made.shape, call.channel_axis());
  for (std::size_t i = 0; i < made.count(); ++i) {
    const auto channel =
        static_cast<std::size_t>(static_cast<std::int64_t>(i) / lines.inner % lines.count);
    made.reals[i] =
        made.reals[i] * call.in("Scale").reals.at(channel) + call.in("Bias").reals.at(channel);
  }
  call.give(std::move(made));
}

/// Over groups of the channels of each image; of an InstanceNormalization each channel is one.
void normalize_groups(const Call& call) {
  Array made = call.in();
  const Lines lines = lines_of(made.shape, call.channel_axis());
  const std::int64_t images = made.shape[0];
  const std::int64_t channels = lines.count;
  const bool instance = call.kind() == "InstanceNormalization";
  const std::int64_t groups = instance ? channels : call.integer("group");
  const std::int64_t of_group = channels / groups;
  const std::int64_t pixels = static_cast<std::int64_t>(made.count()) / (images * channels);
  const double epsilon = call.number("epsilon", kEpsilon);
  const bool last = call.channels_last();
  for (std::int64_t part = 0; part < images * groups; ++part) {
    const std::int64_t image = part / groups;
    const std::int64_t first = part % groups * of_group;
    const auto place = [&](std::int64_t i) {
      const std::int64_t channel = first + i / pixels;
      const std::int64_t pixel = i % pixels;
      return static_cast<std::size_t>(last ? (image * pixels + pixel) * channels + channel
                                           : (image * channels + channel) * pixels + pixel);
    };
    const Moments moments = moments_of(made.reals, of_group * pixels, place);
    for (std::int64_t i = 0; i < of_group * pixels; ++i) {
      const std::int64_t channel = first + i / pixels;
      // Before operator set 21 ONNX has one scale for each group.
      const bool by_group =
          call.has("Scale") && static_cast<std::int64_t>(call.in("Scale").count()) == groups;
      const auto at = static_cast<std::size_t>(by_group ? part % groups : channel);
      double& number = made.reals[place(i)];
      number = (number - moments.mean) / std::sqrt(moments.variance + epsilon) *
                   parameter(call, "Scale", at, 1) +
               parameter(call, "Bias", at, 0);
    }
  }
  call.give(std::move(made));
}

/// Over all axes from one on. Without a mean (RMSNormalization) by the mean of the squares.
void normalize_trailing(const Call& call) {
  const Array& x = call.in();
  Array made = x;
  const std::size_t axis = call.axis(x.shape.size(), -1);
  const Shape normalized(x.shape.begin() + static_cast<std::ptrdiff_t>(axis), x.shape.end());
  const std::int64_t count = count_of(normalized);
  const double epsilon = call.number("epsilon", kEpsilon);
  const bool subtracts = call.kind() != "RMSNormalization";
  // Paddle's parameters are vectors of all these values; those of ONNX are repeated along them.
  const auto places = [&](const char* name) {
    if (!call.has(name)) return Integers();
    const Array& given = call.in(name);
    const bool flat = call.flag("flat");
    call.view().require(!flat || static_cast<std::int64_t>(given.count()) == count, name);
    return repeated_places(flat ? normalized : given.shape, x.shape);
  };
  const Integers of_scale = places("Scale");
  const Integers of_bias = places("Bias");
  Numbers means;
  Numbers deviations;
  for (std::size_t first = 0; first < x.count(); first += static_cast<std::size_t>(count)) {
    const auto place = [&](std::int64_t i) { return first + static_cast<std::size_t>(i); };
    Moments moments = moments_of(x.reals, count, place);
    if (!subtracts) moments = {0, moments.variance + moments.mean * moments.mean};
    const double factor = 1 / std::sqrt(moments.variance + epsilon);
    means.push_back(moments.mean);
    deviations.push_back(factor);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t at = place(i);
      double& number = made.reals[at];
      number = (number - moments.mean) * factor;
      if (call.has("Scale"))
        number *= call.in("Scale").reals[static_cast<std::size_t>(of_scale[at])];
      if (call.has("Bias")) number += call.in("Bias").reals[static_cast<std::size_t>(of_bias[at])];
    }
  }
  call.give(std::move(made));
  const auto give = [&](const char* name, Numbers numbers) {
    if (call.view().outputs(name) == 0) return;
    Array given = call.make(0, name);
    given.reals = std::move(numbers);
    call.give(std::move(given), 0, name);
  };
  give("MeanOut", std::move(means));
  give("InvStdDevOut", std::move(deviations));
}

/// Divides by a power of the sum of the squares of the channels around.
void normalize_locally(const Call& call) {
  const Array& x = call.in();
  Array made = x;
  const std::size_t axis = call.channel_axis();
  const Lines lines = lines_of(x.shape, axis);
  const std::int64_t size = call.integer("size");
  const double share = call.flag("of_sum") ? 1 : 1 / static_cast<double>(size);
  const double alpha = call.number("alpha", 1e-4) * share;
  const double beta = call.number("beta", 0.75);
  const double bias = call.number("bias", 1);
  lines.each([&](std::int64_t first) {
    for (std::int64_t c = 0; c < lines.count; ++c) {
      double sum = 0;
      const std::int64_t begin = c - (size - 1) / 2;
      const std::int64_t end = std::min(begin + size, lines.count);
      for (std::int64_t other = std::max<std::int64_t>(begin, 0); other < end; ++other) {
        const double number = x.reals[lines.at(first, other)];
        sum += number * number;
      }
      made.reals[lines.at(first, c)] /= std::pow(bias + alpha * sum, beta);
    }
  });
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"BatchNormalization", normalize_batch, true},
    {"ChannelAffine", scale_channels, true},
    {"GroupNormalization InstanceNormalization", normalize_groups, true},
    {"LayerNormalization RMSNormalization", normalize_trailing, true},
    {"LRN", normalize_locally, true},
};

}  // namespace

Definitions normalization_definitions() {
  return {std::begin(kDefinitions), std::end(kDefinitions)};
}

}  // namespace lenet::plain
