#include "engines/native/tensor.h"

#include <utility>

namespace lenet::native {
namespace {

constexpr std::size_t kRankOfImage = 3;

}  // namespace

TensorShape::TensorShape(std::initializer_list<std::int64_t> sizes) : TensorShape(Shape(sizes)) {}
TensorShape::TensorShape(Shape sizes) : channels_(sizes.front()), rank_(sizes.size()) {
  if (rank_ > 1) width_ = sizes.back();
  for (std::size_t i = 1; i + 1 < rank_; ++i) height_ *= sizes[i];
  if (rank_ > kRankOfImage) sizes_ = std::make_shared<const Shape>(std::move(sizes));
}
TensorShape::TensorShape(const TensorShape& other) = default;
TensorShape::TensorShape(TensorShape&& other) noexcept = default;
TensorShape& TensorShape::operator=(const TensorShape& other) = default;
TensorShape& TensorShape::operator=(TensorShape&& other) noexcept = default;
TensorShape::~TensorShape() = default;

Shape TensorShape::sizes() const {
  if (sizes_ != nullptr) return *sizes_;
  return rank_ == kRankOfImage ? Shape{channels_, height_, width_}
         : rank_ == 2          ? Shape{channels_, width_}
                               : Shape{channels_};
}

}  // namespace lenet::native
