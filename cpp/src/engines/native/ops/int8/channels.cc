#include <cstring>
#include <vector>

#include "engines/native/ops/int8/integers.h"

namespace lenet::native::int8 {
namespace {

/// Whole channels, pixel by pixel.
class MoveChannels final : public Op {
 public:
  explicit MoveChannels(const PlacedLayer& source)
      : kind_(source.layer.kind), inputs_(source.inputs), to_(source.output) {
    for (const ChannelSource& each : source.sources()) add(each);
  }

  void run(const Frame& frame) const override {
    const std::int64_t bytes = to_.element_bytes;
    frame.each_rows(frame.count, to_.shape.height(),
                    [&](std::int64_t unit, std::int64_t begin, std::int64_t end) {
                      for (const Run& run : runs_) {
                        const Placement& from = inputs_[run.input];
                        for (std::int64_t y = begin; y < end; ++y) {
                          move(frame.at<char>(from, unit) + (y * from.row + run.from) * bytes,
                               from.column * bytes,
                               frame.at<char>(to_, unit) + (y * to_.row + run.to) * bytes,
                               run.count * bytes);
                        }
                      }
                    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(kind_); }

 private:
  /// Channels that lie side by side on both sides.
  struct Run {
    std::size_t input;
    std::int64_t from;
    std::int64_t to;
    std::int64_t count;
  };

  void add(const ChannelSource& source) {
    const std::int64_t to = runs_.empty() ? 0 : runs_.back().to + runs_.back().count;
    const bool follows = !runs_.empty() && runs_.back().input == source.input &&
                         runs_.back().from + runs_.back().count == source.channel;
    if (follows) {
      ++runs_.back().count;
    } else {
      runs_.push_back({source.input, source.channel, to, 1});
    }
  }

  /// \param step bytes from a pixel of the input to the next
  /// \param count bytes of a pixel
  void move(const char* from, std::int64_t step, char* to, std::int64_t count) const {
    const std::int64_t to_step = to_.column * to_.element_bytes;
    for (std::int64_t x = 0; x < to_.shape.width(); ++x, from += step, to += to_step) {
      if (count == 1) {  // as where two halves are shuffled
        *to = *from;
      } else {
        std::memcpy(to, from, static_cast<std::size_t>(count));
      }
    }
  }

  LayerKind kind_;
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<Run> runs_;
};

}  // namespace

std::unique_ptr<Op> make_integer_channels(const PlacedLayer& source) {
  return std::make_unique<MoveChannels>(source);
}

}  // namespace lenet::native::int8
