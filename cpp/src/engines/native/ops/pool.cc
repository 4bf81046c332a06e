#include "engines/native/ops/ops.h"
#include "engines/native/ops/pool_windows.h"

namespace lenet::native {
namespace {

class Pool final : public Op {
 public:
  explicit Pool(const FloatLayer& source)
      : kernels_(source.kernels),
        from_(source.inputs[0]),
        to_(source.output),
        rows_(pool_windows(source.layer, 0, from_.shape.height, to_.shape.height)),
        columns_(pool_windows(source.layer, 1, from_.shape.width, to_.shape.width)) {
    task_.input_column = from_.column;
    task_.input_row = from_.row;
    task_.output_column = to_.column;
    task_.output_row = to_.row;
    task_.column_begin = columns_.begins.data();
    task_.column_end = columns_.ends.data();
    task_.row_begin = rows_.begins.data();
    task_.row_end = rows_.ends.data();
    task_.column_size = columns_.sizes.data();
    task_.row_size = rows_.sizes.data();
    task_.columns = static_cast<std::int32_t>(to_.shape.width);
    task_.rows = static_cast<std::int32_t>(to_.shape.height);
    task_.values = static_cast<std::int32_t>(source.pixel());
    task_.average = source.layer.pool != PoolKind::Max;
    task_.relu = source.relu();
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      PoolTask task = task_;
      task.input = frame.at<float>(from_, unit);
      task.output = frame.at<float>(to_, unit);
      kernels_.pool(task);
    }
  }
  std::string kernel() const override { return to_string(LayerKind::Pool); }

 private:
  const Kernels& kernels_;
  Placement from_;
  Placement to_;
  Windows rows_;
  Windows columns_;
  PoolTask task_{};
};

}  // namespace

std::unique_ptr<Op> make_pool(const FloatLayer& source) { return std::make_unique<Pool>(source); }

}  // namespace lenet::native
