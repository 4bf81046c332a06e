/// \file
/// Where one output of one operator has the images of a batch, as the operator's rule says it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/graph.h"
#include "model/rules/operator_view.h"

namespace lenet {

/// Where an axis of an input goes in the output; nothing: the output does not have it.
using AxisMap = std::function<std::optional<std::size_t>(std::size_t)>;

/// What a rule needs to say where one output of one operator has the images. Each image of the
/// output must be computed from that image of the inputs alone, and in the same way at each place
/// of the batch. A rule takes the inputs that decide about the place of the images. Where it does
/// not take an input that has images, it is not known whether they stay apart.
class ImageFollower {
 public:
  /// All are to outlive the follower.
  /// \param at of the operator, by index into Graph::operators
  /// \param lost of each value, whether the place of the images is not known
  /// \param name the argument of the output
  /// \param fixed the number of images of a program that takes no other; else 1 or less
  ImageFollower(const Graph& graph, std::size_t at, const std::string& path,
                const std::vector<bool>& lost, std::string_view name, const Value& output,
                std::int64_t fixed);

  const OperatorView& op() const { return op_; }
  std::string_view kind() const { return op_.kind(); }
  std::string_view name() const { return name_; }
  const Value& output() const { return output_; }
  /// The number of dimensions of the output.
  std::size_t rank() const { return output_.shape.size(); }
  std::int64_t fixed() const { return fixed_; }
  /// Whether the indices of a ScatterND name a slice that has all images.
  bool indices_are_slices() const;

  /// Says where the axes of each value of an input go.
  void take(std::string_view argument, const AxisMap& to);
  /// Says so of one of the values of an input.
  void take(std::string_view argument, std::size_t index, const AxisMap& to);
  /// Says so of an input that is repeated along the output, by the last axes or from `axis` on.
  void take_repeated(std::string_view argument, std::int64_t axis = -1);
  /// Says that what an input holds does not matter.
  void ignore(std::string_view argument) { ignored_.push_back(argument); }
  /// Says where the output has the images of an input, for a rule that finds out without axes.
  void place(std::string_view argument, const Images& images);
  /// Says that it is not known whether the images stay apart.
  void lose() { lost_ = true; }
  void lose_if(bool condition) { lost_ |= condition; }

  /// The axis of the images in the output, as found so far; kNone: no input with images was taken.
  std::size_t axis() const { return found_.axis; }
  /// Where the output has the images: Images::axis is kNone where it is the same for any of them.
  /// \returns nothing where it is not known whether they stay apart
  std::optional<Images> result() const;
  bool is_ignored(std::string_view argument) const;

 private:
  void add(const Images& images);
  bool is_taken(std::string_view argument) const;

  const Graph& graph_;
  std::size_t at_;
  const std::string& path_;
  OperatorView op_;
  const std::vector<bool>& lost_values_;
  std::string_view name_;
  const Value& output_;
  std::int64_t fixed_;
  std::vector<std::string_view> taken_;
  std::vector<std::string_view> ignored_;
  std::vector<std::size_t> varying_;  ///< axes of the output along which an input has other values
  Images found_;
  bool lost_ = false;
};

}  // namespace lenet
