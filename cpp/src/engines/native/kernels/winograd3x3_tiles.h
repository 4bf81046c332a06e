/// \file
/// The sizes of winograd3x3.h, and the order in which it computes tiles.
///
/// Part of implementation.h, before winograd3x3_transforms.h and winograd3x3.h.

constexpr int kTileRows3x3 = kIsBf16 ? 2 : 4;  // of outputs
constexpr int kTile3x3 = 4;                    // outputs of a row
constexpr int kRowPoints3x3 = kTileRows3x3 + 2;
constexpr int kPoints3x3 = kTile3x3 + 2;  // inputs of a row, and products
constexpr int kPlanes3x3 = kRowPoints3x3 * kPoints3x3;
constexpr int kTaps3x3 = 9;
constexpr int kGroup3x3 = kWinograd3x3Group;
constexpr int kMaxTiles3x3 = 64;
/// Input channels of a panel, or pairs of them. Their products are added up before they are added
/// to the others: one sum of all would be less accurate.
constexpr int kPanelChannels3x3 = 64;

/// Floats from a plane to the next: an odd number of cache lines, or the same place of many planes
/// would fall into one set of the cache.
constexpr std::int64_t odd_lines(std::int64_t floats) {
  return ((floats + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
}
// Constants, so that addresses of 36 planes need no arithmetic, and no registers that there are
// not.
constexpr std::int64_t kSumsPlane = odd_lines(std::int64_t{kGroup3x3} * kMaxTiles3x3 * kLanes);
constexpr std::int64_t kPanelPlane =
    odd_lines(std::int64_t{kGroup3x3} * kPanelChannels3x3 * kLanes);

/// Whether a row of a tile with so many outputs does without a point.
constexpr bool lacks_point(int outputs, int point) {
  return (point == 4 && outputs < 4) || (point == 3 && outputs < 3);
}
/// Whether a column of a tile with so many outputs does without a point.
constexpr bool lacks_row_point(int outputs, int point) {
  return kTileRows3x3 == 4 && lacks_point(outputs, point);
}

/// A tile: its image and its first output.
struct TilePlace {
  std::int64_t image;
  std::int32_t y;
  std::int32_t x;
  int rows;  ///< of outputs
  int columns;
};

/// The tiles of all images: first the short ones at the bottom, then the whole ones, then the short
/// ones at the right, at last those that are both. The tiles that have a part in a plane are side
/// by side.
struct TileOrder {
  std::int64_t across;  ///< tiles of four columns
  std::int64_t down;
  int last_columns;  ///< columns that are left; 0
  int last_rows;
  std::int64_t ends[4];  ///< of the four kinds
};

TileOrder order_of(const Winograd3x3Task& task) {
  TileOrder order{task.width / kTile3x3,
                  task.height / kTileRows3x3,
                  task.width % kTile3x3,
                  task.height % kTileRows3x3,
                  {}};
  order.ends[0] = order.last_rows > 0 ? task.images * order.across : 0;
  order.ends[1] = order.ends[0] + task.images * order.across * order.down;
  order.ends[2] = order.ends[1] + (order.last_columns > 0 ? task.images * order.down : 0);
  order.ends[3] = order.ends[2] + (order.last_rows > 0 && order.last_columns > 0 ? task.images : 0);
  return order;
}

TilePlace place_of(const TileOrder& order, std::int64_t tile) {
  int kind = 0;
  while (tile >= order.ends[kind]) ++kind;
  if (kind > 0) tile -= order.ends[kind - 1];
  const bool bottom = kind == 0 || kind == 3;
  const bool right = kind >= 2;
  const std::int64_t across = right ? 1 : order.across;
  const std::int64_t down = bottom ? 1 : order.down;
  const std::int64_t y = bottom ? order.down : tile / across % down;
  const std::int64_t x = right ? order.across : tile % across;
  return {tile / (across * down), static_cast<std::int32_t>(y * kTileRows3x3),
          static_cast<std::int32_t>(x * kTile3x3), bottom ? order.last_rows : kTileRows3x3,
          right ? order.last_columns : kTile3x3};
}
