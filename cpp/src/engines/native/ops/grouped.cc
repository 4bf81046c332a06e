#include <algorithm>
#include <vector>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// A convolution of groups that begin or end within a vector.
class Grouped final : public Op {
 public:
  explicit Grouped(const PlacedLayer& source)
      : kernel_(source.kernel),
        from_(source.inputs[0]),
        to_(source.output),
        convolve_(source.kernels.conv_grouped),
        first_(-source.layer.convolution().window.padding[0] * from_.row -
               source.layer.convolution().window.padding[2] * from_.column),
        inputs_(from_.shape.channels() / source.layer.convolution().groups),
        outputs_(to_.shape.channels() / source.layer.convolution().groups) {
    pack(source);
  }

  void run(const Frame& frame) const override {
    const auto run_rows = [&](std::int64_t index, std::int64_t row, std::int64_t end) {
      const std::int64_t unit = index / to_.planes;
      const std::int64_t plane = index % to_.planes;
      GroupedTask task = tasks_[static_cast<std::size_t>(plane)];
      task.input = frame.at<float>(from_, unit) + first_ + row * task.input_row;
      task.output = frame.at<float>(to_, unit) + plane * to_.block + row * task.output_row;
      task.rows = static_cast<std::int32_t>(end - row);
      convolve_(task);
    };
    frame.each_rows(frame.count * to_.planes, to_.shape.height(), run_rows);
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return kernel_; }

 private:
  /// A vector of input values that a vector of output channels takes.
  struct Source {
    std::size_t place;   ///< among the input channels of a group
    std::int64_t first;  ///< planes
    std::int64_t second;
    std::vector<std::int64_t>
        lanes;  ///< which have their channel there; the weights of others are 0
  };
  /// The channels that lanes take may lie in more than two planes: then there are several sources
  /// of one place.
  std::vector<Source> find_sources(std::int64_t plane) const {
    const std::int64_t vector = to_.lanes;
    const std::int64_t count = std::min(vector, to_.shape.channels() - plane * vector);
    std::vector<Source> found;
    for (std::int64_t i = 0; i < inputs_; ++i) {
      const auto plane_of = [&](std::int64_t lane) {
        return ((plane * vector + lane) / outputs_ * inputs_ + i) / vector;
      };
      for (std::int64_t lane = 0; lane < count;) {
        Source next{static_cast<std::size_t>(i), plane_of(lane), plane_of(lane), {}};
        for (; lane < count; ++lane) {
          const std::int64_t wanted = plane_of(lane);
          if (wanted != next.first && next.second == next.first) next.second = wanted;
          if (wanted != next.first && wanted != next.second) break;
          next.lanes.push_back(lane);
        }
        found.push_back(std::move(next));
      }
    }
    return found;
  }

  void pack(const PlacedLayer& source) {
    const Layer& layer = source.layer;
    const Window& window = layer.convolution().window;
    const std::int64_t vector = to_.lanes;
    const auto taps = static_cast<std::size_t>(window.kernel[0] * window.kernel[1]);
    std::vector<std::vector<Source>> sources;
    std::size_t count = 0;
    for (std::int64_t plane = 0; plane < to_.planes; ++plane) {
      sources.push_back(find_sources(plane));
      count += sources.back().size();
    }
    const std::size_t lanes = count * static_cast<std::size_t>(vector);
    source.memory.add(static_cast<double>(lanes * (taps + 2) * sizeof(float)));
    const auto values = static_cast<std::int64_t>(lanes);
    float* const packed = source.arena.take<float>(values * static_cast<std::int64_t>(taps));
    float* weights = packed;
    std::int32_t* places = source.arena.take<std::int32_t>(values);
    float* const bias = source.arena.take<float>(to_.planes * vector);
    std::copy(layer.bias.begin(), layer.bias.end(), bias);
    terms_.reserve(count);

    GroupedTask task{};
    task.height = static_cast<std::int32_t>(window.kernel[0]);
    task.width = static_cast<std::int32_t>(window.kernel[1]);
    task.tap_row = window.dilations[0] * from_.row;
    task.tap_column = window.dilations[1] * from_.column;
    task.input_row = window.strides[0] * from_.row;
    task.input_column = window.strides[1] * from_.column;
    task.output_row = to_.row;
    task.rows = static_cast<std::int32_t>(to_.shape.height());
    task.columns = static_cast<std::int32_t>(to_.shape.width());
    task.epilogue.activation = source.activation();
    const WeightView from = layer.view_weights();
    const bool depthwise = source.method == Method::Depthwise;
    for (std::int64_t plane = 0; plane < to_.planes; ++plane) {
      const std::vector<Source>& of_plane = sources[static_cast<std::size_t>(plane)];
      task.weights = weights;
      task.epilogue.bias = bias + plane * vector;
      task.term = terms_.data() + terms_.size();
      task.terms = static_cast<std::int32_t>(of_plane.size());
      const bool single = std::all_of(of_plane.begin(), of_plane.end(),
                                      [](const Source& one) { return one.first == one.second; });
      task.sources = depthwise ? 0 : single ? 1 : 2;
      for (const Source& one : of_plane) {
        terms_.push_back({places, one.first * from_.block, one.second * from_.block});
        for (const std::int64_t lane : one.lanes) {
          const std::int64_t channel = plane * vector + lane;
          const std::int64_t input =
              channel / outputs_ * inputs_ + static_cast<std::int64_t>(one.place);
          const bool second = input / vector != one.first;
          places[lane] = static_cast<std::int32_t>(input % vector + (second ? vector : 0));
          for (std::size_t t = 0; t < taps; ++t) {
            weights[t * static_cast<std::size_t>(vector) + static_cast<std::size_t>(lane)] =
                from.at(static_cast<std::size_t>(channel), one.place * taps + t);
          }
        }
        places += vector;
        weights += taps * static_cast<std::size_t>(vector);
      }
      tasks_.push_back(task);
    }
    source.arena.share(packed, tasks_);
  }

  const char* kernel_;
  Placement from_;
  Placement to_;
  void (*convolve_)(const GroupedTask&);
  std::int64_t first_;   ///< floats from the image's first pixel to that of the first window
  std::int64_t inputs_;  ///< channels of a group
  std::int64_t outputs_;
  std::vector<GroupedTask> tasks_;  ///< by plane of the output
  std::vector<GroupedTerm> terms_;
};

}  // namespace

std::unique_ptr<Op> make_grouped(const PlacedLayer& source) {
  return std::make_unique<Grouped>(source);
}

}  // namespace lenet::native
