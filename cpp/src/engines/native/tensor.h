/// \file
/// The tensors of a network: their shapes, how they lie in memory, and how they are rounded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>

#include "lenet/tensor.h"

namespace lenet::native {

/// The sizes of a tensor of one image, of any rank, the outermost first. Convolutions, pools and
/// all else that knows channels see it as an image: the first size is that of the channels, the
/// last one the width, and those between make up the height. A vector has one pixel.
class TensorShape {
 public:
  TensorShape() = default;  ///< of a tensor that is not computed from the image
  TensorShape(std::initializer_list<std::int64_t> sizes);
  /// \param sizes one at least
  explicit TensorShape(Shape sizes);
  // Operators hold many copies of it: inline, these would make the library larger.
  TensorShape(const TensorShape& other);
  TensorShape(TensorShape&& other) noexcept;
  TensorShape& operator=(const TensorShape& other);
  TensorShape& operator=(TensorShape&& other) noexcept;
  ~TensorShape();

  Shape sizes() const;
  std::int64_t values() const { return channels_ * pixels(); }

  // As an image has them.
  std::int64_t channels() const { return channels_; }
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  std::int64_t pixels() const { return height_ * width_; }
  /// Channels, height and width.
  std::array<std::int64_t, 3> image() const { return {channels_, height_, width_}; }
  /// Whether both are the same image, and so lie alike in each layout. Their ranks may differ.
  bool operator==(const TensorShape& other) const { return image() == other.image(); }

 private:
  std::int64_t channels_ = 0;
  std::int64_t height_ = 1;
  std::int64_t width_ = 1;
  std::size_t rank_ = 1;
  std::shared_ptr<const Shape> sizes_;  ///< of a higher rank than an image has; else null
};

/// In which order the values of a tensor lie in memory. The drawings show an image of 6 channels a
/// to f with 1 x 2 pixels, in vectors of 4 numbers; `.` fills a vector, `|` begins a new one.
enum class Layout : std::uint8_t {
  /// [channels / lanes][height][width][lanes], the layout of most convolutions and pools. They
  /// compute a vector of channels at a time. What fills a vector is 0, behind the last channel: a
  /// convolution multiplies it by weights of 0, which give 0 only of finite numbers. StepIo tells
  /// who writes these zeros.
  ///
  ///     a0 b0 c0 d0 | a1 b1 c1 d1 | e0 f0 . . | e1 f1 . .
  Vectors,
  /// [channels][height][width] without gaps: the order of the program, in which tokens, matrices
  /// and whatever is moved within an image are computed.
  ///
  ///     a0 a1 b0 b1 c0 c1 d0 d1 e0 e1 f0 f1
  Order,
  /// [channels][height][width], in rows of whole pairs of vectors: the image that convolutions
  /// read, and what those of few channels give. They compute a vector of columns at a time. What
  /// fills a row may be any number, as each column is computed from its own window.
  ///
  ///     a0 a1 . . | . . . . | b0 b1 . . | . . . . | ...
  Planes,
  /// [height][width][channels]: tensors of quantized networks, whose integers are summed up along
  /// the channels.
  ///
  ///     a0 b0 c0 d0 e0 f0 a1 b1 c1 d1 e1 f1
  ChannelsLast,
  /// [height][width][channels][images]: as many images as a vector has lanes, A to D below.
  ///
  ///     Aa0 Ba0 Ca0 Da0 | Ab0 Bb0 Cb0 Db0 | ... | Aa1 Ba1 Ca1 Da1 | ...
  Images,
};

/// Integer multiples of a scale, 256 of them: from -128 to 127, or from 0 to 255, or others. A
/// value is divided by the scale and rounded to even.
struct QuantParams {
  float scale = 0;                ///< what the integer 1 stands for; 0: not rounded
  std::int32_t zero_point = 128;  ///< so many of the integers are below 0; from 0 to 255

  explicit operator bool() const { return scale > 0; }
  bool operator==(const QuantParams& other) const {
    return scale == other.scale && zero_point == other.zero_point;
  }
};

/// The least and the most of the 256 integers.
struct IntegerBounds {
  float least;
  float most;
};
inline IntegerBounds bounds_of(const QuantParams& quant) {
  return {static_cast<float>(-quant.zero_point), static_cast<float>(255 - quant.zero_point)};
}

/// What is to be added to the elements of a tensor, which are from -128 to 127.
inline std::int32_t shift_of(const QuantParams& quant) { return 128 - quant.zero_point; }

/// A tensor of one image.
struct NetworkTensor {
  NetworkTensor() = default;
  /// Makes a tensor of float32 in Layout::Vectors.
  NetworkTensor(const TensorShape& image) : shape(image) {}  // not explicit: the rest has defaults

  TensorShape shape;
  Layout layout = Layout::Vectors;
  QuantParams quant;  ///< of integers, as Layout::ChannelsLast has them; without: float32
};

}  // namespace lenet::native
