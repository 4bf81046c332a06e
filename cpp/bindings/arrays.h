/// NumPy's arrays, and tensors that become arrays.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <utility>

#include "lenet/tensor.h"

namespace pybind11::detail {

/// Gives Python an array that owns the tensor's values.
template <>
struct type_caster<lenet::Tensor> {
  static constexpr auto name = const_name("numpy.ndarray");
  static handle cast(lenet::Tensor&& tensor, return_value_policy /*policy*/, handle /*parent*/) {
    auto owned = std::make_unique<lenet::Tensor>(std::move(tensor));
    const lenet::Tensor& values = *owned;
    const capsule owner(owned.release(),
                        [](void* pointer) { delete static_cast<lenet::Tensor*>(pointer); });
    return array_t<float>(values.shape, values.data.data(), owner).release();
  }
};

}  // namespace pybind11::detail

namespace lenet::bindings {

/// C-contiguous and aligned; the Python side makes any other array so beforehand.
template <typename Number>
using Array = pybind11::array_t<Number, pybind11::array::c_style>;

inline Shape shape_of(const pybind11::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

}  // namespace lenet::bindings
