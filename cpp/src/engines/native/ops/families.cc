#include "engines/native/ops/families.h"

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "engines/native/contradiction.h"

namespace lenet::native {

// The file of each family defines its own. The table below alone reads them.
extern const LayerFamily kAlongLayers;
extern const LayerFamily kAttentions;
extern const LayerFamily kAxisLayers;
extern const LayerFamily kBroadcasts;
extern const LayerFamily kChannelLayers;
extern const LayerFamily kConstants;
extern const LayerFamily kConvolutions;
extern const LayerFamily kCopies;
extern const LayerFamily kElementwiseLayers;
extern const LayerFamily kNormalizations;
extern const LayerFamily kPools;
extern const LayerFamily kProducts;
extern const LayerFamily kResizes;

namespace {

/// Layers without an operator of float32: passes leave no View and no Identity, and IntegerOps
/// makes the operator of a Quantize.
constexpr LayerFamily kOthers = {[](const LayerCheck& of) { of.require_same_values(); }, nullptr};

struct FamilyRow {
  LayerKind kind;
  const LayerFamily& family;
};

/// A row for each LayerKind, in their order.
constexpr FamilyRow kFamilies[] = {
    {LayerKind::Convolution, kConvolutions},
    {LayerKind::Pool, kPools},
    {LayerKind::Resize, kResizes},
    {LayerKind::ChannelScale, kElementwiseLayers},
    {LayerKind::Activate, kElementwiseLayers},
    {LayerKind::Add, kElementwiseLayers},
    {LayerKind::Subtract, kElementwiseLayers},
    {LayerKind::Multiply, kElementwiseLayers},
    {LayerKind::Divide, kElementwiseLayers},
    {LayerKind::Maximum, kElementwiseLayers},
    {LayerKind::Minimum, kElementwiseLayers},
    {LayerKind::PRelu, kElementwiseLayers},
    {LayerKind::Concat, kChannelLayers},
    {LayerKind::Channels, kChannelLayers},
    {LayerKind::Copy, kCopies},
    {LayerKind::View, kOthers},
    {LayerKind::Convert, kCopies},
    {LayerKind::Softmax, kAxisLayers},
    {LayerKind::Reduce, kAxisLayers},
    {LayerKind::Along, kAlongLayers},
    {LayerKind::MatMul, kProducts},
    {LayerKind::Broadcast, kBroadcasts},
    {LayerKind::Normalize, kNormalizations},
    {LayerKind::Attention, kAttentions},
    {LayerKind::Constant, kConstants},
    {LayerKind::Quantize, kOthers},
    {LayerKind::Identity, kOthers},
};

static_assert(std::size(kFamilies) == static_cast<std::size_t>(LayerKind::Identity) + 1 &&
                  rows_are_in_order(kFamilies),
              "kFamilies has a row for each LayerKind, in their order");

}  // namespace

const LayerFamily& family_of(LayerKind kind) noexcept {
  return kFamilies[static_cast<std::size_t>(kind)].family;
}

void LayerCheck::require(bool condition, const char* what) const {
  if (!condition) contradict("the layer " + layer.name + " " + what);
}

void LayerCheck::require_same_values() const {
  require(output().values() == input().values(), "gives another number of values than it takes");
}

void LayerCheck::require_axis(const Axis& axis) const {
  require(axis.count > 0 && axis.inner > 0 && input().values() % (axis.count * axis.inner) == 0,
          "has an axis that does not divide its values");
}

void LayerCheck::require_matrices(const Product& product, const ProductSide& side,
                                  std::int64_t values) const {
  const char* const outside = "has matrices that lie outside of a tensor";
  const Product::Matrix& matrix = product.*side.matrix;
  const std::int64_t rows = product.*side.rows;
  const std::int64_t columns = product.*side.columns;
  require(matrix.begin >= 0 && matrix.row >= 0 && matrix.column >= 0, outside);
  std::int64_t last = matrix.begin + (rows - 1) * matrix.row + (columns - 1) * matrix.column;
  for (const Product::Loop& loop : product.matrices) {
    require(loop.*side.step >= 0, outside);
    last += (loop.count - 1) * (loop.*side.step);
  }
  require(last < values, outside);
  require(rows == 1 || columns == 1 || matrix.row == 1 || matrix.column == 1,
          "has matrices in which no values lie side by side");
}

}  // namespace lenet::native
