/// \file
/// Shapes and arrays that go into and come out of a predictor. All are row-major (C order).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lenet/export.h"

namespace lenet {

/// Dimensions, outermost first; for images [N, channels, height, width].
using Shape = std::vector<std::int64_t>;

/// What a model declares about an input or output. A dimension of -1 (the batch) is free.
struct TensorSpec {
  std::string name;
  Shape shape;
  /// The NumPy name of the element type: "float32". Of a model whose input is of another one, that,
  /// which is "uint8", "int32", "int64", "float64", "float16" or "bfloat16"; a run takes
  /// `TensorView::numbers` of that type, or values or pixels that must be numbers of that type, or
  /// for the last two are rounded to it. Of an output that of the
  /// model, such as "int64", "bool" or "float64": a run gives it as float32.
  std::string dtype;
  /// Whether the first dimension is the number of images, as of most outputs. An output without
  /// that, such as a scalar, belongs to a run as a whole: its images are never cut into pieces.
  bool by_image = true;
};

struct PixelTable;

/// float32 values owned by somebody else, who keeps them alive and unchanged meanwhile; as the
/// input of a run, also pixels.
struct TensorView {
  const float* data = nullptr;
  Shape shape;
  /// Instead of `data`: values from 0 to 255. They become float32 where an engine reads them, with
  /// the bits of a conversion beforehand, and without the memory of one with the native engine.
  const std::uint8_t* pixels = nullptr;
  /// Null: pixels have the shape of the model's input, and are divided by 255, as Paddle's ToTensor
  /// does; those for a model of another type than float32 are the numbers that it takes. Otherwise
  /// what `ImagePipeline::view` names.
  const PixelTable* table = nullptr;
  /// Instead of both, for a model whose input is not of float32: numbers of the type that
  /// `TensorSpec::dtype` names, in the order of bytes of the processor, aligned as the type is.
  /// They are taken as they are, with no float32 on the way.
  const void* numbers = nullptr;
};

/// float32 values with their shape.
struct Tensor {
  std::vector<float> data;
  Shape shape;

  TensorView view() const { return {data.data(), shape}; }
};

/// The number of elements of a shape without free dimensions.
/// \throws Error BadInput when a dimension is negative or the product does not fit.
LENET_API std::size_t element_count(const Shape& shape);

/// Whether the tensor of so many images has a shape that the model declares. An .onnx may declare
/// none, as `[]` with `by_image`, and of an output a wrong one.
LENET_API bool fits(const Shape& shape, const TensorSpec& declared, std::int64_t images);

/// "[2, 1, 28, 28]"; a free first dimension prints as N, any other as -1.
LENET_API std::string to_string(const Shape& shape);

}  // namespace lenet
