/// \file
/// One function per bound type; module.cc calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace lenet::bindings {

void register_errors(pybind11::module_& module);
void register_config(pybind11::module_& module);
void register_image_pipeline(pybind11::module_& module);
void register_predictor(pybind11::module_& module);
void register_predictor_pool(pybind11::module_& module);
void register_python_threads(pybind11::module_& module);

}  // namespace lenet::bindings
