/// \file
/// NumPy arrays to and from tensors, without copying.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <utility>

#include "lenet/tensor.h"
#include "python_threads.h"

namespace lenet::bindings {

/// float32, C-contiguous and aligned; the Python side makes any other array so beforehand.
using FloatArray = pybind11::array_t<float, pybind11::array::c_style>;

inline TensorView view_of(const FloatArray& array) {
  return {array.data(), Shape(array.shape(), array.shape() + array.ndim())};
}

/// An array that owns the tensor's values.
inline FloatArray to_numpy(Tensor tensor) {
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  Tensor& values = *owned;
  const pybind11::capsule owner(owned.release(),
                                [](void* pointer) { delete static_cast<Tensor*>(pointer); });
  return FloatArray(values.shape, values.data.data(), owner);
}

/// What `runner.run` gives for the images, computed without the GIL.
template <typename Runner>
FloatArray run_without_gil(Runner& runner, const FloatArray& images) {
  const TensorView view = view_of(images);
  Tensor output;
  {
    const WithoutGil release;
    output = runner.run(view);
  }
  return to_numpy(std::move(output));
}

}  // namespace lenet::bindings
