#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "lenet/engines.h"
#include "lenet/version.h"
#include "model/ends_in_softmax.h"
#include "names.h"
#include "python_threads.h"
#include "register.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ predictor; use it through the lenet_cpp package.";
  using Release = py::call_guard<lenet::bindings::WithoutGil>;
  lenet::bindings::register_errors(module);
  lenet::bindings::register_python_threads(module);
  lenet::bindings::register_config(module);
  lenet::bindings::register_image_pipeline(module);
  lenet::bindings::register_predictor(module);
  lenet::bindings::register_predictor_pool(module);
  module.def("ends_in_softmax", py::overload_cast<lenet::Config>(&lenet::ends_in_softmax),
             py::arg("config"), Release());
  module.def("version", &lenet::version);
  module.def(
      "available_engines",
      [] {
        std::vector<std::tuple<std::string, std::string, std::string>> found;
        for (const lenet::EngineInfo& engine : lenet::available_engines()) {
          found.emplace_back(engine.name, engine.version, engine.unavailable);
        }
        return found;
      },
      Release());
  module.def("engine_version", &lenet::engine_version, py::arg("engine"), Release());
  module.def("engine_library_name", &lenet::engine_library_name, py::arg("engine"));
  module.def("set_engine_library", &lenet::set_engine_library, py::arg("engine"), py::arg("path"));
}
