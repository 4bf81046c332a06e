#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "description/description.h"
#include "description/metadata.h"
#include "description/output_plan.h"
#include "description/outputs.h"
#include "images/decoders.h"
#include "lenet/image_pipeline.h"
#include "lenet/interruption.h"
#include "lenet/predictor_pool.h"
#include "model/element_types.h"
#include "platform/platform.h"
#include "shared_predictor.h"

namespace pybind11::detail {

/// To an array that owns the tensor's values.
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

namespace py = pybind11;

namespace lenet::bindings {
namespace {

/// C-contiguous and aligned; the Python side makes any other array so beforehand.
template <typename Number>
using Array = py::array_t<Number, py::array::c_style>;

Shape shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

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

PixelFormat format_of(std::int64_t channels, bool is_reversed) {
  if (channels == 1) return PixelFormat::Grey;
  if (channels == 4) return PixelFormat::Rgba;
  return is_reversed ? PixelFormat::Bgr : PixelFormat::Rgb;
}

constexpr const char* kUnnamed = "the image";

/// Pixels where they lie. Rows may be apart, and the channels may run backwards, as in
/// `picture[..., ::-1]`; nothing for pixels that lie otherwise.
/// \param pixels uint8 [height, width, 1, 3 or 4], of which none is empty
std::optional<ImageView> view_of_pixels(const py::array& pixels) {
  const auto channels = static_cast<py::ssize_t>(pixels.shape(2));
  const bool is_reversed = channels == 3 && pixels.strides(2) == -1;
  const bool rows_are_whole = pixels.strides(1) == channels || pixels.shape(1) == 1;
  const bool pixels_are_whole = is_reversed || channels == 1 || pixels.strides(2) == 1;
  if (!rows_are_whole || !pixels_are_whole) return std::nullopt;
  if (pixels.shape(0) > 1 && pixels.strides(0) < channels * pixels.shape(1)) return std::nullopt;
  ImageView view;
  view.pixels = static_cast<const std::uint8_t*>(pixels.data()) - (is_reversed ? 2 : 0);
  view.height = pixels.shape(0);
  view.width = pixels.shape(1);
  view.row_bytes = pixels.shape(0) > 1 ? static_cast<std::size_t>(pixels.strides(0)) : 0;
  view.format = format_of(channels, is_reversed);
  return view;
}

/// \param pixels uint8 [height, width, 1, 3 or 4]
Tensor prepare(const ImagePipeline& pipeline, const py::array& pixels) {
  if (!py::isinstance<py::array_t<std::uint8_t>>(pixels) || pixels.ndim() != 3 ||
      pixels.size() == 0 ||
      (pixels.shape(2) != 1 && pixels.shape(2) != 3 && pixels.shape(2) != 4)) {
    throw Error(ErrorCode::BadInput, "expected uint8 pixels [H, W, 1, 3 or 4]");
  }
  py::array held = pixels;
  std::optional<ImageView> view = view_of_pixels(held);
  if (!view) {
    held = Array<std::uint8_t>::ensure(pixels);
    view = view_of_pixels(held);
  }
  const WithoutGil release;
  const Interruption watch(look_for_signals);
  return pipeline(view.value());
}

/// Decodes an image file and prepares it.
/// \returns nothing where C++ does not read this kind of file; else the tensor, and whether the
///   picture is a dark one (decode_bytes)
/// \throws Error with a message that continues the name of the image
std::optional<std::pair<Tensor, bool>> prepare_file(const ImagePipeline& pipeline,
                                                    std::string_view bytes) try {
  const WithoutGil release;
  const Interruption watch(look_for_signals);
  bool is_dark = false;
  const std::unique_ptr<EncodedImage> image =
      open_known({bytes, kUnnamed, kMaxImagePixels, pipeline.depth(), &is_dark});
  if (image == nullptr) return std::nullopt;
  return std::pair(pipeline(*image), is_dark);
} catch (const Error& error) {
  const std::string said = error.what();
  // Python has the name, which need not be UTF-8.
  const std::string quoted = "'" + std::string(kUnnamed) + "'";
  throw Error(error.code(), names_file(error, kUnnamed) ? said.substr(quoted.size()) : ": " + said);
}

OutputRole parse_role(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(OutputRole::MultiHot); ++i) {
    const auto role = static_cast<OutputRole>(i);
    if (name == to_string(role)) return role;
  }
  throw py::value_error("no role of an output: " + name);
}

/// \param outputs float32 arrays of a batch, as a plan wants them
std::vector<TensorView> views_of(const std::vector<Array<float>>& outputs) {
  std::vector<TensorView> views;
  for (const Array<float>& output : outputs) views.push_back({output.data(), shape_of(output)});
  return views;
}

std::int64_t images_of(const std::vector<TensorView>& outputs) {
  return outputs.empty() || outputs[0].shape.empty() ? 0 : outputs[0].shape[0];
}

/// \param labels_given the labels are those of the user, who is told when they are too many
/// \returns for each image its classes, (number, label, value, score, head), its attributes and
///   flags, and its features where there are no classes
py::list interpret_rows(const OutputPlan& plan, const std::vector<Array<float>>& outputs,
                        const std::string& postprocess, std::vector<std::string> labels,
                        const std::string& labels_source, bool labels_given,
                        const std::string& output_name, std::optional<std::int64_t> topk,
                        std::optional<double> threshold) {
  Described described;
  if (!postprocess.empty()) described.description.outputs = parse_result_rule(postprocess);
  described.description.labels = std::move(labels);
  described.labels_source = labels_source;
  described.labels_given = labels_given;
  Config config;
  config.output_name = output_name;
  const std::vector<TensorView> views = views_of(outputs);
  py::list images;
  for (std::int64_t image = 0; image < images_of(views); ++image) {
    const Finding found = interpret(plan, views, image, described, config, {topk, threshold});
    py::list predictions;
    for (const Prediction& one : found.predictions) {
      const py::object head = one.head.empty() ? py::object(py::none()) : py::cast(one.head);
      predictions.append(py::make_tuple(one.class_id, one.label, one.value, one.score, head));
    }
    images.append(py::make_tuple(predictions, found.attributes, found.flags, found.features));
  }
  return images;
}

/// \returns the number of each image that has no class, and what is wrong with its outputs
std::vector<std::pair<std::int64_t, std::string>> find_problems(
    const OutputPlan& plan, const std::vector<Array<float>>& outputs,
    const std::string& postprocess) {
  ResultRule rule;
  if (!postprocess.empty()) rule = parse_result_rule(postprocess);
  const std::vector<TensorView> views = views_of(outputs);
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (std::int64_t image = 0; image < images_of(views); ++image) {
    std::string problem = problem_of(plan, rule, views, image);
    if (!problem.empty()) found.emplace_back(image, std::move(problem));
  }
  return found;
}

/// An output as Python describes it.
struct KnownOutput {
  TensorSpec spec;
  OutputMeaning meaning;
};

KnownOutput make_known(std::string name, std::vector<std::int64_t> shape, std::string dtype,
                       const std::string& role, bool picked, bool ranked,
                       std::optional<std::size_t> partner, std::int64_t num_classes, int class_axis,
                       std::size_t source, std::size_t family) {
  return {{std::move(name), std::move(shape), std::move(dtype)},
          {parse_role(role), picked, ranked, partner.value_or(kNoOutput), num_classes, class_axis,
           source, family}};
}

void register_outputs(py::module_& module) {
  py::class_<KnownOutput>(module, "KnownOutput").def(py::init(&make_known));
  py::class_<OutputPlan>(module, "OutputPlan")
      .def_readonly("wanted", &OutputPlan::wanted)
      .def_readonly("note", &OutputPlan::note)
      .def_readonly("num_classes", &OutputPlan::num_classes)
      .def_readonly("gives_several", &OutputPlan::gives_several)
      .def_property_readonly("is_plain", &OutputPlan::is_plain)
      .def_property_readonly("role", [](const OutputPlan& plan) { return to_string(plan.role()); })
      .def_property_readonly("heads", [](const OutputPlan& plan) { return plan.heads.size(); })
      .def_property_readonly("features",
                             [](const OutputPlan& plan) {
                               return plan.features == kNoOutput ? py::object(py::none())
                                                                 : py::cast(plan.features);
                             })
      .def("gives_classes",
           [](const OutputPlan& plan, const std::string& postprocess) {
             return gives_classes(
                 plan, postprocess.empty() ? ResultRule() : parse_result_rule(postprocess));
           })
      .def("value_name", [](const OutputPlan& plan, const std::string& postprocess) {
        return value_name(plan,
                          postprocess.empty() ? ResultRule() : parse_result_rule(postprocess));
      });
  module.def(
      "plan_outputs",
      [](const std::string& model, const std::vector<KnownOutput>& outputs, std::size_t labels,
         std::optional<bool> softmax, std::optional<bool> manifest_softmax) {
        std::vector<TensorSpec> specs;
        std::vector<OutputMeaning> meanings;
        for (const KnownOutput& output : outputs) {
          specs.push_back(output.spec);
          meanings.push_back(output.meaning);
        }
        return plan_outputs(model, specs, meanings, {labels, softmax, manifest_softmax});
      },
      py::arg("model"), py::arg("outputs"), py::arg("labels"), py::arg("softmax"),
      py::arg("manifest_softmax"));
  module.def("interpret", &interpret_rows, py::arg("plan"), py::arg("outputs"),
             py::arg("postprocess"), py::arg("labels"), py::arg("labels_source"),
             py::arg("labels_given"), py::arg("output_name"), py::arg("topk"),
             py::arg("threshold"));
  module.def("find_problems", &find_problems, py::arg("plan"), py::arg("outputs"),
             py::arg("postprocess"));
}

}  // namespace

void register_predictors(py::module_& module) {
  py::class_<TensorSpec>(module, "TensorSpec")
      .def_readonly("name", &TensorSpec::name)
      .def_property_readonly("shape",
                             [](const TensorSpec& spec) { return py::tuple(py::cast(spec.shape)); })
      .def_readonly("dtype", &TensorSpec::dtype);
  py::class_<ImagePipeline>(module, "ImagePipeline")
      .def(py::init([](const std::string& description) {
             return ImagePipeline(parse_description(description, "").images);
           }),
           py::arg("description"))
      .def("__call__", &prepare, py::arg("pixels"))
      .def("prepare_file", &prepare_file, py::arg("content"))
      .def("require_layout", &ImagePipeline::require_layout, py::arg("shape"), py::arg("source"))
      .def_property_readonly("channels_last", &ImagePipeline::channels_last);
  module.def("find_description", [](const std::filesystem::path& program) {
    const std::string path = find_description(program.string());
    return path.empty() ? py::object(py::none()) : py::cast(std::filesystem::path(path));
  });
  module.def(
      "describe_metadata",
      [](const Metadata& entries) {
        const MetadataDescription found = describe_metadata(entries);
        return std::make_tuple(found.preprocess, found.classes);
      },
      py::arg("entries"));
  module.def(
      "find_labels",
      [](const std::filesystem::path& program, bool check_hashes) {
        NamedLabels found = find_labels(program.string(), check_hashes);
        return std::make_tuple(std::move(found.labels), std::move(found.source));
      },
      py::arg("program"), py::arg("check_hashes"));
  module.def("hint_of_missing", &platform::hint_of_missing, py::arg("path"));
  module.def("read_class_names",
             [](const std::filesystem::path& path) { return read_class_names(path.string()); });
  module.def(
      "read_description",
      [](const std::filesystem::path& path, bool check_hashes) {
        const ReadDescription read = read_description(path.string(), check_hashes);
        return std::make_tuple(read.text, read.note);
      },
      py::arg("path"), py::arg("check_hashes"));
  module.def(
      "usual_description",
      [](const std::filesystem::path& program, const std::string& file, const Shape& shape,
         const std::string& dtype) {
        const ReadDescription found = usual_description(program.string(), file, {"", shape, dtype});
        return std::make_tuple(found.text, found.note);
      },
      py::arg("program"), py::arg("file"), py::arg("shape"), py::arg("dtype"));
  module.def("no_class",
             [](const std::string& image, const std::string& problem, const std::string& origin) {
               return std::string(no_class(image, problem, origin).what());
             });
  module.attr("DARK_NOTE") = kDarkNote;
  module.def("is_decoded_in_cpp", &is_decoded_in_cpp, py::arg("begin"));
  module.def("exif_orientation",
             [](const std::string_view& tiff) { return exif_orientation(tiff); });
  register_outputs(module);
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
