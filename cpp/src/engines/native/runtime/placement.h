/// \file
/// Where a tensor lies in the memory of a run.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engines/native/runtime/aligned.h"
#include "engines/native/tensor.h"
#include "model/rules/windows.h"

namespace lenet::native {

/// A place in one of a run's memories, which all begin at 0: the bytes to it alone mean nothing.
class Place {
 public:
  enum Memory : std::uint8_t { Shared, OfUnit };  ///< all units use the same, or each has its own

  Place() = default;
  Place(Memory memory, std::int64_t bytes) : memory_(memory), bytes_(bytes) {}
  Memory memory() const { return memory_; }
  Place operator+(std::int64_t bytes) const { return {memory_, bytes_ + bytes}; }
  /// Bytes from another place. \pre of the same memory
  std::int64_t operator-(const Place& other) const { return bytes_ - other.bytes_; }
  bool operator==(const Place& other) const {
    return memory_ == other.memory_ && bytes_ == other.bytes_;
  }
  bool operator<(const Place& other) const {
    return memory_ != other.memory_ ? memory_ < other.memory_ : bytes_ < other.bytes_;
  }
  char* in(char* shared, char* of_unit) const {
    return (memory_ == OfUnit ? of_unit : shared) + bytes_;
  }

 private:
  Memory memory_ = Shared;
  std::int64_t bytes_ = 0;
};

/// Where a tensor of one unit lies, and the steps from one of its values to another. A unit is one
/// image, or as many as a vector has lanes.
struct Placement {
  TensorShape shape;
  Layout layout = Layout::Vectors;
  QuantParams quant;        ///< as NetworkTensor::quant
  Place place;              ///< of the first pixel inside the border
  std::int64_t border = 0;  ///< pixels around the image that stand for 0
  std::int64_t element_bytes = sizeof(float);
  std::int64_t zero = 0;  ///< the element that stands for 0
  // lay_out() sets these.
  std::int64_t planes = 1;  ///< each [height][width][some channels]
  std::int64_t column = 0;  ///< elements from a pixel to the next
  std::int64_t row = 0;     ///< from a row to the next
  std::int64_t lanes = 1;   ///< channels that lie side by side
  std::int64_t block = 0;   ///< elements from so many channels to the next; 0: there are no others
  std::int64_t size = 0;    ///< elements in all, with the border; 0: no step uses the tensor
  std::int64_t beyond = 0;  ///< of these at the end, that kernels may touch and nobody needs

  /// Elements from the first channel to another one.
  std::int64_t channel_offset(std::int64_t channel) const {
    return channel / lanes * block + channel % lanes;
  }

  /// Where the border begins.
  Place begin() const { return place + -border * (row + column) * element_bytes; }
  /// Memory for it, in whole cache lines.
  std::int64_t bytes() const { return round_up(size * element_bytes, kCacheLine); }
  Place end() const { return begin() + (size - beyond) * element_bytes; }
  /// Whether both have the same grid of pixels, in memory of the same kind.
  bool is_like(const Placement& other) const {
    return place.memory() == other.place.memory() && element_bytes == other.element_bytes &&
           border == other.border && lanes == other.lanes && block == other.block &&
           column == other.column && row == other.row;
  }

  /// Makes the border as large as a convolution of the tensor needs.
  void pad(const Window& window) {
    for (const std::int64_t pad : window.padding) border = std::max(border, pad);
  }

  /// Lays the tensor out with its border, for vectors of so many elements.
  /// \throws Error Unsupported: it takes too much memory.
  void lay_out(std::int64_t vector);

  /// Whether the values lie as in Layout::Order. They do so too in a Layout::Vectors of one pixel.
  bool is_in_order() const {
    const bool vector = shape.pixels() == 1 && border == 0;
    return vector ? block == lanes
                  : lanes == 1 && column == 1 && row == shape.width() && block == shape.pixels();
  }

  /// How many numbers fill the last vector of each pixel, behind the last channel.
  std::int64_t behind() const { return round_up(shape.channels(), lanes) - shape.channels(); }
  /// Sets these to 0. \param first the tensor's first pixel
  void clear_behind(float* first) const;
};

/// Bytes of a tensor as float32 without a border, in whole cache lines.
inline std::int64_t float_bytes(const TensorShape& shape) {
  return round_up(shape.values() * static_cast<std::int64_t>(sizeof(float)), kCacheLine);
}

}  // namespace lenet::native
