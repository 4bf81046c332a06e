#include "lenet/config.h"

#include "names.h"
#include "register.h"

namespace py = pybind11;

namespace lenet::bindings {

void register_config(py::module_& module) {
  py::class_<Config>(module, "Config")
      .def(py::init<>())
      .def_readwrite("model_file", &Config::model_file)
      .def_readwrite("params_file", &Config::params_file)
      .def_readwrite("model_dir", &Config::model_dir)
      .def_readwrite("engine", &Config::engine)
      .def_readwrite("precision", &Config::precision)
      .def_readwrite("accelerator", &Config::accelerator)
      .def_readwrite("threads", &Config::threads)
      .def_readwrite("ir_optim", &Config::ir_optim)
      .def_readwrite("memory_optim", &Config::memory_optim)
      .def_readwrite("check_finite", &Config::check_finite)
      .def_readwrite("check_program", &Config::check_program)
      .def_readwrite("check_hashes", &Config::check_hashes)
      .def_readwrite("max_batch_size", &Config::max_batch_size)
      .def_readwrite("time_limit_ms", &Config::time_limit_ms);
}

}  // namespace lenet::bindings
