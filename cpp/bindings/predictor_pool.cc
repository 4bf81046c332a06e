#include "lenet/predictor_pool.h"

#include "arrays.h"
#include "names.h"
#include "python_threads.h"
#include "register.h"

namespace py = pybind11;

namespace lenet::bindings {

void register_predictor_pool(py::module_& module) {
  py::class_<PredictorPool, Held<PredictorPool>>(module, "PredictorPool")
      .def(py::init([](const Config& config, std::size_t size) {
             const WithoutGil release;  // not a call guard: see Predictor's
             auto pool = std::make_unique<PredictorPool>(config, size);
             note_workers(pool->accelerator(), pool->config());
             return Held<PredictorPool>(pool.release());
           }),
           py::arg("config"), py::arg("size"))
      .def("run", &run_without_gil<PredictorPool>, py::arg("images").noconvert())
      .def("__len__", &PredictorPool::size)
      .def("accelerator", &PredictorPool::accelerator, py::arg("images"))
      .def_property_readonly("input_spec", &PredictorPool::input_spec)
      .def_property_readonly("output_spec", &PredictorPool::output_spec)
      .def_property_readonly("quantized", &PredictorPool::quantized)
      .def_property_readonly("config", &PredictorPool::config);
}

}  // namespace lenet::bindings
