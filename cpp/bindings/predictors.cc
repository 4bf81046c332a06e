#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "lenet/image_pipeline.h"
#include "lenet/interruption.h"
#include "lenet/predictor_pool.h"
#include "model/element_types.h"
#include "shared_predictor.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

/// Whether these are numbers of the type of a model that does not take float32.
bool has_own_type(const py::array& images, const TensorSpec& spec) {
  if (spec.dtype == "int32") return Array<std::int32_t>::check_(images);
  if (spec.dtype == "int64") return Array<std::int64_t>::check_(images);
  if (spec.dtype == "float64") return Array<double>::check_(images);
  return false;
}

/// \param images float32 values, uint8 pixels, or numbers of the model's type
TensorView view_of(const py::array& images, const TensorSpec& spec) {
  if (Array<float>::check_(images)) {
    return {static_cast<const float*>(images.data()), shape_of(images)};
  }
  if (Array<std::uint8_t>::check_(images)) {
    return {nullptr, shape_of(images), static_cast<const std::uint8_t*>(images.data())};
  }
  if (!has_own_type(images, spec)) throw py::type_error("images: a wrong kind of array");
  return {nullptr, shape_of(images), nullptr, nullptr, images.data()};
}

/// Whether this is an array as `view_of` takes it, of the model's shape; of any class of its own
/// Python knows better.
bool is_ready(py::handle images, const Shape& shape) {
  using Numpy = py::detail::npy_api;
  if (Py_TYPE(images.ptr()) != Numpy::get().PyArray_Type_) return false;
  const auto array = py::reinterpret_borrow<py::array>(images);
  const auto rank = static_cast<std::size_t>(array.ndim());
  return (array.flags() & Numpy::NPY_ARRAY_ALIGNED_) != 0 &&
         (Array<float>::check_(array) || Array<std::uint8_t>::check_(array)) && rank > 0 &&
         rank == shape.size() && std::equal(shape.begin() + 1, shape.end(), array.shape() + 1);
}

/// What `use` gives of the predictor, without the GIL.
template <typename Use>
auto in_turn(SharedPredictor& shared, const Use& use) {
  const WithoutGil release;
  return shared.in_turn(use);
}
template <typename Use>
auto in_turn(PredictorPool& pool, const Use& use) {
  const WithoutGil release;
  return use(pool);
}

/// For what never changes.
const Predictor& at_once(SharedPredictor& shared) { return shared.at_once(); }
const PredictorPool& at_once(PredictorPool& pool) { return pool; }

/// Warns where an .onnx declares another shape of an output than it has.
void check_shape(const Tensor& output, const TensorSpec& declared, std::int64_t images) {
  if (fits(output.shape, declared, images)) return;
  const std::string text = "the output '" + declared.name + "' has the shape " +
                           to_string(output.shape) + "; the model declares " +
                           to_string(declared.shape);
  if (PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1) != 0) throw py::error_already_set();
}

/// The output in an array of its own.
template <typename Runner>
py::object run(Runner& self, const TensorView& input) {
  constexpr std::size_t kFew = 4096;  // are copied in less time than an array takes their memory
  thread_local Tensor output;
  in_turn(self, [&](auto& runner) { runner.run(input, output); });
  const TensorSpec& spec = at_once(self).output_spec();
  check_shape(output, spec, input.shape.empty() ? 1 : input.shape[0]);
  if (!is_real(spec.dtype)) return py::cast(std::move(output)).attr("astype")(spec.dtype);
  if (output.data.size() > kFew) return py::cast(std::move(output));
  py::array_t<float> copy(output.shape);
  std::copy(output.data.begin(), output.data.end(), copy.mutable_data());
  return copy;
}

/// \param make gives what `Runner` is made of; called without the GIL
template <typename Runner, typename Make>
Held<Runner> load(const Make& make) {
  // Not a call guard: it would last until pybind11 has registered the new object in a table that
  // the GIL protects.
  const WithoutGil release;
  const Interruption watch(look_for_signals);
  auto runner = std::make_unique<Runner>(make());
  note_workers(at_once(*runner).accelerator(1), at_once(*runner).config());
  return Held<Runner>(runner.release());
}

/// What a predictor and a pool have in common.
template <typename Runner>
py::class_<Runner, Held<Runner>> register_runner(py::module_& module, const char* name) {
  return py::class_<Runner, Held<Runner>>(module, name)
      .def(
          "run",
          [](Runner& self, const py::array& images) {
            return run(self, view_of(images, at_once(self).input_spec()));
          },
          py::arg("images"))
      .def(
          "run_if_ready",
          [](Runner& self, py::handle images) -> py::object {
            const TensorSpec& spec = at_once(self).input_spec();
            if (!is_ready(images, spec.shape)) return py::none();
            return run(self, view_of(py::reinterpret_borrow<py::array>(images), spec));
          },
          py::arg("images"))
      .def(
          "run_pixels",
          [](Runner& self, const Array<std::uint8_t>& pixels, const ImagePipeline& pipeline) {
            return run(self, pipeline.view(pixels.data(), shape_of(pixels)));
          },
          py::arg("pixels").noconvert(), py::arg("pipeline"))
      .def(
          "accelerator",
          [](Runner& self, std::int64_t images) {  // run_layers may exchange the engine
            return in_turn(self, [&](auto& runner) { return runner.accelerator(images); });
          },
          py::arg("images"))
      .def_property_readonly("input_spec", [](Runner& self) { return at_once(self).input_spec(); })
      .def_property_readonly("output_spec",
                             [](Runner& self) { return at_once(self).output_spec(); })
      .def_property_readonly("quantized", [](Runner& self) { return at_once(self).quantized(); })
      .def_property_readonly("config", [](Runner& self) {
        return in_turn(self, [](auto& runner) { return runner.config(); });
      });
}

/// What Python keeps of the meaning of an output.
py::tuple facts_of(const OutputMeaning& meaning) {
  const py::object partner =
      meaning.partner == kNoOutput ? py::object(py::none()) : py::cast(meaning.partner);
  return py::make_tuple(to_string(meaning.role), meaning.picked, meaning.ranked, partner,
                        meaning.num_classes, meaning.class_axis, meaning.source, meaning.family);
}

void register_predictor(py::module_& module) {
  register_runner<SharedPredictor>(module, "Predictor")
      .def(py::init([](const Config& config, std::optional<std::string_view> program,
                       std::string_view params) {
             return load<SharedPredictor>([&] {
               return program ? Predictor(config, {*program, params}) : Predictor(config);
             });
           }),
           py::arg("config"), py::arg("program") = py::none(), py::arg("params") = "")
      .def(
          "run_outputs",
          [](SharedPredictor& self, const py::array& images, const std::vector<std::string>& names,
             const ImagePipeline* pipeline) {
            TensorView view = view_of(images, self.at_once().input_spec());
            if (pipeline != nullptr && view.pixels != nullptr) {
              view = pipeline->view(view.pixels, view.shape);
            }
            return in_turn(
                self, [&](Predictor& predictor) { return predictor.run_outputs(view, names); });
          },
          py::arg("images"), py::arg("names"), py::arg("pipeline") = py::none())
      .def(
          "run_layers",
          [](SharedPredictor& self, const py::array& images) {
            const TensorView view = view_of(images, self.at_once().input_spec());
            return in_turn(self, [&](Predictor& predictor) { return run_layers(predictor, view); });
          },
          py::arg("images"))
      .def(
          "nan_origin",
          [](SharedPredictor& self, const py::array& image, const ImagePipeline* pipeline) {
            TensorView view = view_of(image, self.at_once().input_spec());
            if (pipeline != nullptr && view.pixels != nullptr) {
              view = pipeline->view(view.pixels, view.shape);
            }
            const WithoutGil release;
            return self.nan_origin(view);
          },
          py::arg("image"), py::arg("pipeline"))
      .def("clone",
           [](SharedPredictor& self) {
             return Held<SharedPredictor>(new SharedPredictor(
                 in_turn(self, [](Predictor& predictor) { return predictor.clone(); })));
           })
      .def(
          "profile",
          [](SharedPredictor& self, std::int64_t images, int runs) {
            return in_turn(self, [&](Predictor& predictor) {
              const Profile profile = predictor.profile(images, runs);
              return std::make_tuple(to_table(profile), to_json(profile), to_trace(profile));
            });
          },
          py::arg("images"), py::arg("runs"))
      .def("cancel", [](SharedPredictor& self) { self.at_once().cancel(); })
      .def_property_readonly("output_specs",
                             [](SharedPredictor& self) { return self.at_once().output_specs(); })
      .def_property_readonly("class_names",
                             [](SharedPredictor& self) { return self.at_once().class_names(); })
      .def_property_readonly("engine_refusals",
                             [](SharedPredictor& self) { return self.at_once().engine_refusals(); })
      .def_property_readonly("precision_reason",
                             [](SharedPredictor& self) {  // run_layers may exchange the engine
                               return in_turn(self, [](Predictor& predictor) {
                                 return predictor.computed_precision().reason;
                               });
                             })
      .def_property_readonly("output_meanings", [](SharedPredictor& self) {
        py::list found;
        for (const OutputMeaning& meaning : self.at_once().output_meanings()) {
          found.append(facts_of(meaning));
        }
        return found;
      });
}

}  // namespace

void register_predictors(py::module_& module) {
  py::class_<TensorSpec>(module, "TensorSpec")
      .def_readonly("name", &TensorSpec::name)
      .def_property_readonly("shape",
                             [](const TensorSpec& spec) { return py::tuple(py::cast(spec.shape)); })
      .def_readonly("dtype", &TensorSpec::dtype);
  register_predictor(module);
  register_runner<PredictorPool>(module, "PredictorPool")
      .def(py::init([](const Config& config, std::size_t size,
                       std::optional<std::string_view> program, std::string_view params) {
             return load<PredictorPool>([&] {
               return program ? PredictorPool(config, {*program, params}, size)
                              : PredictorPool(config, size);
             });
           }),
           py::arg("config"), py::arg("size"), py::arg("program") = py::none(),
           py::arg("params") = "")
      .def("__len__", &PredictorPool::size);
}

}  // namespace lenet::bindings
