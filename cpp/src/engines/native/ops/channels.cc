#include <algorithm>
#include <array>
#include <utility>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

constexpr std::size_t kMaxLanes = 16;

/// Channels of several tensors, in the order of Concat or in any other.
class Channels final : public Op {
 public:
  explicit Channels(const PlacedLayer& source)
      : gather_(source.kernels.gather), inputs_(source.inputs), to_(source.output) {
    const std::vector<ChannelSource> channels = source.sources();
    const bool interleaved = to_.layout == Layout::Images;
    if (interleaved) add_runs(channels, source.kernels.lanes);
    const std::int64_t vectors_of = interleaved ? 0 : to_.shape.channels();
    for (std::int64_t first = 0; first < vectors_of; first += to_.lanes) {
      const std::int64_t count = std::min(to_.lanes, to_.shape.channels() - first);
      const ChannelSource* const of_vector = channels.data() + first;
      if (!source.there.empty() && source.there[of_vector->input]) continue;
      add_vector(of_vector, count, to_.channel_offset(first));
    }
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      frame.each(static_cast<std::int64_t>(parts_.size()), [&](std::int64_t index) {
        const Part& part = parts_[static_cast<std::size_t>(index)];
        part.places.empty() ? copy(frame, unit, part) : gather(frame, unit, part);
      });
    }
  }
  bool splits() const override { return parts_.size() > 1; }
  std::string kernel() const override { return is_empty() ? "in place" : "channels"; }
  bool is_empty() const override { return parts_.empty(); }

 private:
  /// Some channels of an input: a vector of one image, or as many as lie side by side.
  struct Source {
    std::size_t input;
    std::int64_t offset;

    bool operator==(const Source& other) const {
      return input == other.input && offset == other.offset;
    }
  };
  /// Channels of the output that are those of the only source, or a vector gathered from several.
  struct Part {
    std::vector<Source> sources;
    std::vector<std::int32_t> places;  ///< as the kernel has them; none: a copy
    std::int64_t offset = 0;           ///< in the output
    std::int64_t floats = 0;           ///< of a pixel
  };

  /// Adds the parts of images that lie side by side.
  void add_runs(const std::vector<ChannelSource>& channels, std::int64_t images) {
    for (std::size_t c = 0; c < channels.size(); ++c) {
      const auto& [input, channel] = channels[c];
      if (c > 0 && channels[c - 1] == ChannelSource{input, channel - 1}) {
        parts_.back().floats += images;
        continue;
      }
      const Source source = {input, inputs_[input].channel_offset(channel)};
      const auto place = static_cast<std::int64_t>(c);
      parts_.push_back({{source}, {}, to_.channel_offset(place), images});
    }
  }

  void add_vector(const ChannelSource* channels, std::int64_t count, std::int64_t offset) {
    Part part{{}, {}, offset, to_.lanes};
    const auto lanes = static_cast<std::size_t>(to_.lanes);
    bool in_order = true;
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(count); ++lane) {
      const auto& [input, channel] = channels[lane];
      const std::int64_t at = channel % to_.lanes;
      const Source source = {input, inputs_[input].channel_offset(channel - at)};
      const auto found = std::find(part.sources.begin(), part.sources.end(), source);
      const auto place = static_cast<std::size_t>(found - part.sources.begin()) * lanes;
      if (found == part.sources.end()) {
        part.sources.push_back(source);
        for (std::size_t i = 0; i < lanes; ++i) {
          part.places.push_back(static_cast<std::int32_t>(i));
        }
      }
      part.places[place + lane] = static_cast<std::int32_t>(to_.lanes + at);
      in_order = in_order && at == static_cast<std::int64_t>(lane);
    }
    if (in_order && part.sources.size() == 1 && count == to_.lanes) part.places.clear();
    parts_.push_back(std::move(part));
  }

  void copy(const Frame& frame, std::int64_t unit, const Part& part) const {
    const Placement& input = inputs_[part.sources[0].input];
    const float* from = frame.at<float>(input, unit) + part.sources[0].offset;
    float* to = frame.at<float>(to_, unit) + part.offset;
    const bool dense = part.floats == input.column && part.floats == to_.column;
    const std::int64_t pixels = dense ? to_.shape.width() : 1;  // at once
    for (std::int64_t y = 0; y < to_.shape.height(); ++y) {
      for (std::int64_t x = 0; x < to_.shape.width(); x += pixels) {
        std::copy_n(from + y * input.row + x * input.column, pixels * part.floats,
                    to + y * to_.row + x * to_.column);
      }
    }
  }

  void gather(const Frame& frame, std::int64_t unit, const Part& part) const {
    const auto [_, height, width] = to_.shape.image();
    bool flat = to_.row == width * to_.column;  // without a border between rows
    std::array<const float*, kMaxLanes> inputs{};
    std::array<std::int64_t, kMaxLanes> rows{};
    for (std::size_t s = 0; s < part.sources.size(); ++s) {
      const Placement& input = inputs_[part.sources[s].input];
      inputs[s] = frame.at<float>(input, unit) + part.sources[s].offset;
      rows[s] = input.row;
      flat = flat && input.row == to_.row;
    }
    gather_({inputs.data(), rows.data(), part.places.data(),
             static_cast<std::int32_t>(part.sources.size()),
             static_cast<std::int32_t>(flat ? width * height : width),
             static_cast<std::int32_t>(flat ? 1 : height), frame.at<float>(to_, unit) + part.offset,
             to_.row});
  }

  void (*gather_)(const GatherTask&);
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<Part> parts_;
};

void check_concat(const LayerCheck& of) {
  std::int64_t channels = 0;
  for (std::size_t i = 0; i < of.layer.inputs.size(); ++i) {
    of.require(of.input(i).pixels() == of.output().pixels(), "joins images of other sizes");
    channels += of.input(i).channels();
  }
  of.require(channels == of.output().channels(), "gives other channels than it takes");
}

void check_channels(const LayerCheck& of) {
  if (of.layer.kind == LayerKind::Concat) return check_concat(of);
  const std::vector<ChannelSource>& sources = of.layer.get<ChannelsParams>().sources;
  of.require(static_cast<std::int64_t>(sources.size()) == of.output().channels(),
             "gives other channels than it takes");
  for (const ChannelSource& source : sources) {
    const TensorShape& from = of.input(source.input);
    of.require(0 <= source.channel && source.channel < from.channels(),
               "reads a channel that there is not");
    of.require(from.pixels() == of.output().pixels(), "joins images of other sizes");
  }
}

}  // namespace

extern const LayerFamily kChannelFamily = {check_channels, make_op<Channels>};

}  // namespace lenet::native
