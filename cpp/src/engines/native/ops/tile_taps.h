/// \file
/// The taps of a convolution as tiles take them (kernels/tiles.h): in chunks of 64 bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "engines/native/network.h"
#include "engines/native/runtime/aligned.h"

namespace lenet::native {

/// Taps side by side, a row of them or each by itself, fill chunks; what is left of the last one
/// has weights of 0, and whatever numbers lie there.
class TileTaps {
 public:
  static constexpr std::int64_t kChunkBytes = 64;

  /// \param layer for messages
  /// \param window of a convolution without groups
  /// \param channels of the input
  /// \param pixel numbers of a pixel in memory, the channels and what fills them up
  /// \param bytes of a number
  TileTaps(const Layer& layer, const Window& window, std::int64_t channels, std::int64_t pixel,
           std::int64_t bytes)
      : layer_(layer),
        window_(window),
        channels_(channels),
        pixel_(pixel),
        of_chunk_(kChunkBytes / bytes) {
    const auto [height, width] = window.kernel;
    taps_ = window.dilations[1] == 1 ? width : 1;
    runs_ = height * width / taps_;
    chunks_ = round_up(taps_ * pixel, of_chunk_) / of_chunk_;
  }

  /// Whether a quarter at least of what is multiplied is there.
  bool pays() const { return 4 * taps_ * channels_ >= chunks_ * of_chunk_; }
  /// Numbers of all chunks.
  std::int64_t count() const { return runs_ * chunks_ * of_chunk_; }
  /// Which weight a number is multiplied by, among [input channel][height][width]; -1: by 0.
  std::int64_t place(std::int64_t number) const {
    const auto [height, width] = window_.kernel;
    const std::int64_t run = number / (chunks_ * of_chunk_);
    const std::int64_t tap = number % (chunks_ * of_chunk_) / pixel_;
    const std::int64_t channel = number % (chunks_ * of_chunk_) % pixel_;
    const bool is_tap = tap < taps_ && channel < channels_;
    return is_tap ? channel * height * width + run * taps_ + tap : -1;
  }
  /// Numbers from the first tap to each chunk. \param column, row to the next pixel, and row of
  /// them
  std::vector<std::int32_t> offsets(std::int64_t column, std::int64_t row) const {
    std::vector<std::int32_t> found;
    for (std::int64_t run = 0; run < runs_; ++run) {
      const std::int64_t tap = run * taps_;
      const std::int64_t first = tap / window_.kernel[1] * window_.dilations[0] * row +
                                 tap % window_.kernel[1] * window_.dilations[1] * column;
      for (std::int64_t c = 0; c < chunks_; ++c) {
        found.push_back(tap_offset(first + c * of_chunk_, layer_));
      }
    }
    return found;
  }

 private:
  const Layer& layer_;
  Window window_;
  std::int64_t channels_;
  std::int64_t pixel_;
  std::int64_t of_chunk_;
  std::int64_t taps_;  ///< of a run
  std::int64_t runs_;
  std::int64_t chunks_;  ///< of a run
};

}  // namespace lenet::native
