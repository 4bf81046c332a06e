#include "lenet/onnxruntime_library.h"
#include "lenet/paddle_library.h"
#include "lenet/version.h"
#include "model/ends_in_softmax.h"
#include "python_threads.h"
#include "register.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ predictor; use it through the lenet_cpp package.";
  lenet::bindings::register_errors(module);
  lenet::bindings::register_python_threads(module);
  lenet::bindings::register_config(module);
  lenet::bindings::register_image_pipeline(module);
  lenet::bindings::register_predictor(module);
  lenet::bindings::register_predictor_pool(module);
  module.def("ends_in_softmax", py::overload_cast<lenet::Config>(&lenet::ends_in_softmax),
             py::arg("config"), py::call_guard<lenet::bindings::WithoutGil>());
  module.def("version", &lenet::version);
  module.def("paddle_version", &lenet::paddle_version,
             py::call_guard<lenet::bindings::WithoutGil>());
  module.def("set_paddle_library", &lenet::set_paddle_library, py::arg("path"));
  module.def("onnxruntime_version", &lenet::onnxruntime_version,
             py::call_guard<lenet::bindings::WithoutGil>());
  module.def("set_onnxruntime_library", &lenet::set_onnxruntime_library, py::arg("path"));
  module.def("paddle_library_name", &lenet::paddle_library_name);
}
