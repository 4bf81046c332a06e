#include "lenet/predictor.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "arrays.h"
#include "names.h"
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
          "run_outputs",
          [](SharedPredictor& self, const FloatArray& images,
             const std::vector<std::string>& names) {
            const TensorView view = view_of(images);
            std::vector<Tensor> outputs;
            {
              const WithoutGil release;
              outputs = self.run_outputs(view, names);
            }
            std::vector<FloatArray> result;
            for (Tensor& output : outputs) result.push_back(to_numpy(std::move(output)));
            return result;
          },
          py::arg("images").noconvert(), py::arg("names"))
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
      .def(
          "profile",
          [](SharedPredictor& self, std::int64_t images, int runs) {
            const Profile profile = self.profile(images, runs);
            return std::make_tuple(to_table(profile), to_json(profile), to_trace(profile));
          },
          py::arg("images"), py::arg("runs"), Release())
      .def("cancel", &SharedPredictor::cancel)
      .def("accelerator", &SharedPredictor::accelerator, py::arg("images"), Release())
      .def_property_readonly("input_spec",
                             [](const SharedPredictor& self) { return self.get().input_spec(); })
      .def_property_readonly("output_spec",
                             [](const SharedPredictor& self) { return self.get().output_spec(); })
      .def_property_readonly("output_specs",
                             [](const SharedPredictor& self) { return self.get().output_specs(); })
      .def_property_readonly("quantized",
                             [](const SharedPredictor& self) { return self.get().quantized(); })
      .def_property_readonly("config", py::cpp_function(&SharedPredictor::config, Release()));
}

}  // namespace lenet::bindings
