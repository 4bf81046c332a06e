#include "lenet/predictor.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "arrays.h"
#include "python_threads.h"
#include "register.h"
#include "shared_predictor.h"

namespace py = pybind11;

namespace lenet::bindings {
void register_predictor(py::module_& module) {
  py::class_<TensorSpec>(module, "TensorSpec")
      .def_readonly("name", &TensorSpec::name)
      .def_property_readonly("shape",
                             [](const TensorSpec& spec) { return py::tuple(py::cast(spec.shape)); })
      .def_readonly("dtype", &TensorSpec::dtype)
      .def("__repr__", [](const TensorSpec& spec) {
        return "TensorSpec(name='" + spec.name + "', shape=" + to_string(spec.shape) + ", dtype='" +
               spec.dtype + "')";
      });

  const auto tuple_of = [](const Shape& shape) { return py::tuple(py::cast(shape)); };
  py::class_<PlanStep>(module, "PlanStep")
      .def_readonly("name", &PlanStep::name)
      .def_readonly("kernel", &PlanStep::kernel)
      .def_property_readonly("output",
                             [tuple_of](const PlanStep& step) { return tuple_of(step.output); })
      .def_readonly("multiply_adds", &PlanStep::multiply_adds)
      .def_readonly("microseconds", &PlanStep::microseconds);
  py::class_<PlanPart>(module, "PlanPart")
      .def_readonly("layout", &PlanPart::layout)
      .def_readonly("images", &PlanPart::images)
      .def_readonly("at_once", &PlanPart::at_once)
      .def_readonly("steps", &PlanPart::steps);
  py::class_<Plan>(module, "Plan")
      .def_readonly("engine", &Plan::engine)
      .def_readonly("reason", &Plan::reason)
      .def_readonly("instructions", &Plan::instructions)
      .def_readonly("images", &Plan::images)
      .def_readonly("runs", &Plan::runs)
      .def_readonly("multiply_adds", &Plan::multiply_adds)
      .def_readonly("microseconds", &Plan::microseconds)
      .def_readonly("limit", &Plan::limit)
      .def_readonly("parts", &Plan::parts);

  using Release = py::call_guard<WithoutGil>;
  py::class_<SharedPredictor, Held<SharedPredictor>>(module, "Predictor")
      .def(py::init([](const Config& config, std::optional<std::string_view> program,
                       std::string_view params) {
             // Not a call guard: it would last until pybind11 has registered the new object in a
             // table that the GIL protects.
             const WithoutGil release;
             auto predictor = std::make_unique<SharedPredictor>(
                 program ? Predictor(config, {*program, params}) : Predictor(config));
             note_workers(predictor->accelerator(1), predictor->config());
             return Held<SharedPredictor>(predictor.release());
           }),
           py::arg("config"), py::arg("program") = py::none(), py::arg("params") = "")
      .def("run", &run_without_gil<SharedPredictor>, py::arg("images").noconvert())
      .def(
          "run_layers",
          [](SharedPredictor& self, const FloatArray& images) {
            const TensorView view = view_of(images);
            std::vector<Layer> layers;
            {
              const WithoutGil release;
              layers = self.run_layers(view);
            }
            std::vector<std::tuple<std::string, std::string, FloatArray>> result;
            for (Layer& layer : layers) {
              result.emplace_back(layer.op_type, layer.name, to_numpy(std::move(layer.output)));
            }
            return result;
          },
          py::arg("images").noconvert())
      .def(
          "clone",
          [](SharedPredictor& self) {
            return Held<SharedPredictor>(new SharedPredictor(self.clone()));
          },
          Release())
      .def("explain", &SharedPredictor::explain, py::arg("images"), py::arg("runs"), Release())
      .def(
          "accelerator",
          [](const SharedPredictor& self, std::int64_t images) {
            return std::string(to_string(self.accelerator(images)));
          },
          py::arg("images"), Release())
      .def_property_readonly("input_spec",
                             [](const SharedPredictor& self) { return self.get().input_spec(); })
      .def_property_readonly("output_spec",
                             [](const SharedPredictor& self) { return self.get().output_spec(); })
      .def_property_readonly("quantized",
                             [](const SharedPredictor& self) { return self.get().quantized(); })
      .def_property_readonly("config", py::cpp_function(&SharedPredictor::config, Release()));
}

}  // namespace lenet::bindings
