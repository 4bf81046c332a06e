/// \file
/// Pools, in float32 and of integers.
#pragma once

#include <string>
#include <vector>

#include "engines/native/runtime/program.h"

namespace lenet::native {

/// The windows of a pool in one direction, clipped to the image.
struct Windows {
  std::vector<std::int32_t> begins;
  std::vector<std::int32_t> ends;
  std::vector<float> sizes;  ///< to divide a sum by
};

/// \param direction 0: rows, 1: columns
/// \throws Error Unsupported: a window outside the image.
Windows pool_windows(const Layer& layer, std::size_t direction, std::int64_t image,
                     std::int64_t count);

/// \tparam Task of a kernel that pools
template <class Task>
class Pool : public Op {
 public:
  /// \param task what else the kernel wants to know
  Pool(void (*pool)(const Task&), const Layer& layer, const Placement& from, const Placement& to,
       Task task)
      : pool_(pool),
        from_(from),
        to_(to),
        rows_(pool_windows(layer, 0, from.shape.height, to.shape.height)),
        columns_(pool_windows(layer, 1, from.shape.width, to.shape.width)),
        task_(task) {
    task_.input_column = from.column;
    task_.input_row = from.row;
    task_.output_column = to.column;
    task_.output_row = to.row;
    task_.column_begin = columns_.begins.data();
    task_.column_end = columns_.ends.data();
    task_.row_begin = rows_.begins.data();
    task_.row_end = rows_.ends.data();
    task_.columns = static_cast<std::int32_t>(to.shape.width);
    task_.rows = static_cast<std::int32_t>(to.shape.height);
  }
  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      Task task = task_;
      task.input = frame.at<float>(from_, unit);
      task.output = frame.at<float>(to_, unit);
      pool_(task);
    }
  }
  std::string kernel() const override { return to_string(LayerKind::Pool); }

 protected:
  void (*pool_)(const Task&);
  Placement from_;
  Placement to_;
  Windows rows_;
  Windows columns_;
  Task task_;
};

}  // namespace lenet::native
