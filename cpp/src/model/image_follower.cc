#include "model/image_follower.h"

#include <algorithm>

#include "model/index_slices.h"

namespace lenet {

ImageFollower::ImageFollower(const Graph& graph, std::size_t at, const std::string& path,
                             const std::vector<bool>& lost, std::string_view name,
                             const Value& output, std::int64_t fixed)
    : graph_(graph),
      at_(at),
      path_(path),
      op_(graph, at, path),
      lost_values_(lost),
      name_(name),
      output_(output),
      fixed_(fixed) {}

bool ImageFollower::indices_are_slices() const {
  return read_index_slices(graph_, at_, path_).has_value();
}

void ImageFollower::take(std::string_view argument, const AxisMap& to) {
  for (std::size_t i = 0; i < op_.count(argument); ++i) take(argument, i, to);
}

void ImageFollower::take(std::string_view argument, std::size_t index, const AxisMap& to) {
  taken_.push_back(argument);
  const Value& value = op_.in(argument, index);
  for (std::size_t axis = 0; axis < value.shape.size(); ++axis) {
    const std::optional<std::size_t> at = to(axis);
    if (axis == value.images.axis) {
      lose_if(!at);
      if (at) add({*at, value.images.per_image, value.images.before});
    } else if (at && value.shape[axis] != 1) {
      varying_.push_back(*at);
    }
  }
}

void ImageFollower::take_repeated(std::string_view argument, std::int64_t axis) {
  for (std::size_t i = 0; i < op_.count(argument); ++i) {
    const std::size_t last = rank() - std::min(rank(), op_.in(argument, i).shape.size());
    const std::size_t begin = axis < 0 ? last : std::min(static_cast<std::size_t>(axis), last);
    take(argument, i, [begin](std::size_t at) { return at + begin; });
  }
}

void ImageFollower::place(std::string_view argument, const Images& images) {
  taken_.push_back(argument);
  add(images);
}

void ImageFollower::add(const Images& images) {
  const bool first = found_.axis == kNone;
  const bool agrees = found_.axis == images.axis && found_.per_image == images.per_image &&
                      found_.before == images.before;
  lose_if(!first && !agrees);
  found_ = images;
}

bool ImageFollower::is_taken(std::string_view argument) const {
  return std::find(taken_.begin(), taken_.end(), argument) != taken_.end();
}

bool ImageFollower::is_ignored(std::string_view argument) const {
  return std::find(ignored_.begin(), ignored_.end(), argument) != ignored_.end();
}

std::optional<Images> ImageFollower::result() const {
  // Along the axis of the images, an input that is not theirs has another value for each.
  const bool varies = std::find(varying_.begin(), varying_.end(), found_.axis) != varying_.end();
  if (lost_ || varies) return std::nullopt;
  for (const auto& [argument, values] : graph_.operators[at_].inputs) {
    for (const std::size_t value : values) {
      if (value == kNone || is_ignored(argument)) continue;
      const bool has_images = graph_.values[value].images.axis != kNone;
      if (lost_values_[value] || (has_images && !is_taken(argument))) return std::nullopt;
    }
  }
  return found_;
}

}  // namespace lenet
