#include <numeric>
#include <utility>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// What computes each pixel of an axis; where that stays, one tap each.
Taps all_taps(Taps taps, std::int64_t size) {
  if (!taps.empty()) return taps;
  taps.begins.resize(static_cast<std::size_t>(size) + 1);
  std::iota(taps.begins.begin(), taps.begins.end(), 0);
  taps.places.assign(taps.begins.begin(), taps.begins.end() - 1);
  taps.weights.assign(taps.places.size(), 1);
  return taps;
}

class Resize final : public Op {
 public:
  explicit Resize(const PlacedLayer& source)
      : resize_(source.kernels.resize),
        rows_(all_taps(source.layer.get<ResizeParams>().rows, source.output.shape.height())),
        columns_(all_taps(source.layer.get<ResizeParams>().columns, source.output.shape.width())),
        from_(source.inputs[0]),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    const auto view = [](const Taps& taps) {
      return ResizeTask::Taps{taps.begins.data(), taps.places.data(), taps.weights.data()};
    };
    ResizeTask task{};
    task.input_row = from_.row;
    task.output_row = to_.row;
    task.column_taps = view(columns_);
    task.input_columns = static_cast<std::int32_t>(from_.shape.width());
    task.columns = static_cast<std::int32_t>(to_.shape.width());
    task.values = static_cast<std::int32_t>(to_.column);
    task.scratch = reinterpret_cast<float*>(frame.scratch);
    const std::int64_t planes = to_.planes;
    frame.each_rows(frame.count * planes, to_.shape.height(),
                    [&](std::int64_t plane, std::int64_t begin, std::int64_t end) {
                      const std::int64_t unit = plane / planes;
                      const std::int64_t at = plane % planes;
                      task.input = frame.at<float>(from_, unit) + at * from_.block;
                      task.output = frame.at<float>(to_, unit) + at * to_.block + begin * to_.row;
                      task.rows = static_cast<std::int32_t>(end - begin);
                      task.row_taps = view(rows_);
                      task.row_taps.begins += begin;
                      resize_(task);
                    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(LayerKind::Resize); }
  std::int64_t scratch_bytes() const override {
    return from_.shape.width() * from_.column * static_cast<std::int64_t>(sizeof(float));
  }

 private:
  void (*resize_)(const ResizeTask&);
  Taps rows_;
  Taps columns_;
  Placement from_;
  Placement to_;
};

void check_taps(const LayerCheck& of, const Taps& taps, std::int64_t size, std::int64_t outputs) {
  if (taps.empty()) return of.require(size == outputs, "resizes what stays as it is");
  of.require(static_cast<std::int64_t>(taps.begins.size()) == outputs + 1 &&
                 taps.begins.back() == static_cast<std::int32_t>(taps.places.size()) &&
                 taps.places.size() == taps.weights.size(),
             "has taps for another number of pixels");
  for (std::size_t i = 0; i + 1 < taps.begins.size(); ++i) {
    of.require(taps.begins[i] < taps.begins[i + 1], "has a pixel without taps");
  }
  for (const std::int32_t place : taps.places) {
    of.require(0 <= place && place < size, "reads a pixel that there is not");
  }
}

void check_resize(const LayerCheck& of) {
  of.require(of.output().channels() == of.input().channels(), "gives other channels than it takes");
  const auto& resize = of.layer.get<ResizeParams>();
  check_taps(of, resize.rows, of.input().height(), of.output().height());
  check_taps(of, resize.columns, of.input().width(), of.output().width());
}

}  // namespace

extern const LayerFamily kResizeFamily = {check_resize, make_op<Resize>};

}  // namespace lenet::native
