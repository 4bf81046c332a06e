// Operators of images: resized, transposed convolutions.

#include <utility>

#include "engines/native/network_reader.h"
#include "model/resampling.h"

namespace lenet::native {

void NetworkReader::read_resize() {
  require(!quantized_, "kernel for this operator in int8");
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  require(has_image_axis("X"), "kernel for channels of images that are not first");
  const Shape from = sizes("X");
  const Shape to = given_sizes();
  const std::size_t rank = from.size();
  require(rank == 3 || rank == 4, "kernel but for images in one or two dimensions");
  require(from[1] == to[1], "kernel that resizes channels");
  for (std::size_t i = 2; i < rank; ++i) layer_memory_.add(taps_bytes(to[i]));
  std::vector<Taps> taps = read_resampling(*view_);
  if (taps[rank - 1].empty() && (rank == 3 || taps[2].empty())) return read_identity();
  Layer& made = layer(LayerKind::Resize, {shaped("X")});
  if (rank == 4) made.taps[0] = std::move(taps[2]);
  made.taps[1] = std::move(taps[rank - 1]);
}

}  // namespace lenet::native
