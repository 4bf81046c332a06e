/// \file
/// What the files of the module share: what each registers, and enumerators that Python reads and
/// writes by name.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "lenet/config.h"

namespace lenet::bindings {

void register_predictors(pybind11::module_& module);
void register_python_threads(pybind11::module_& module);

}  // namespace lenet::bindings

namespace pybind11::detail {

/// \tparam Parse throws lenet::Error for a name that is none
template <typename Value, Value (*Parse)(std::string_view)>
struct NameCaster {
  PYBIND11_TYPE_CASTER(Value, const_name("str"));
  bool load(handle source, bool /*convert*/) {
    if (!isinstance<str>(source)) return false;
    value = Parse(source.cast<std::string>());
    return true;
  }
  static handle cast(Value from, return_value_policy /*policy*/, handle /*parent*/) {
    return str(lenet::to_string(from)).release();
  }
};

template <>
struct type_caster<lenet::EngineKind> : NameCaster<lenet::EngineKind, lenet::parse_engine> {};
template <>
struct type_caster<lenet::Precision> : NameCaster<lenet::Precision, lenet::parse_precision> {};
template <>
struct type_caster<lenet::Accelerator> : NameCaster<lenet::Accelerator, lenet::parse_accelerator> {
};

}  // namespace pybind11::detail
