#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "description/description.h"
#include "description/metadata.h"
#include "description/step_changes.h"
#include "description/units.h"
#include "images/decoders.h"
#include "lenet/image_pipeline.h"
#include "lenet/interruption.h"
#include "model/model.h"
#include "platform/platform.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

PixelFormat format_of(std::int64_t channels, bool is_reversed) {
  if (channels == 1) return PixelFormat::Grey;
  if (channels == 4) return PixelFormat::Rgba;
  return is_reversed ? PixelFormat::Bgr : PixelFormat::Rgb;
}

constexpr const char* kUnnamed = "the image";

/// Views pixels where they lie. Rows may be apart, and the channels may run backwards, as in
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

/// The contents of all files of a model, by their paths in its folder: of its program, which comes
/// first, its parameters, the files with values of an .onnx, and those of read_files_beside.
/// \param params empty: the program has no file of parameters
/// \throws Error as load_model and read_files_beside; Unsupported: two files have the same name
py::dict read_model_files(const std::filesystem::path& program,
                          const std::filesystem::path& params) {
  Config config;
  config.model_file = program.string();
  config.params_file = params.string();
  const auto model = load_model(find_model_files(config), config);
  const FileContents beside = read_files_beside(config.model_file, true);
  std::map<std::string, std::string_view> known;
  py::dict files;
  const auto add = [&](const std::string& name, std::string_view content) {
    const auto [found, is_new] = known.emplace(name, content);
    if (!is_new && found->second != content) {
      throw Error(ErrorCode::Unsupported, "'" + config.model_file +
                                              "' has two files that would both be called '" + name +
                                              "': rename the one with its values");
    }
    files[py::str(name)] = py::bytes(content.data(), content.size());
  };
  add(program.filename().string(), model->program->contents());
  if (!params.empty()) add(params.filename().string(), model->params->contents());
  for (const auto& [path, file] : model->external) {
    add(path.substr(platform::begin_of_name(model->path)), file->contents());
  }
  for (const auto& [name, content] : beside) add(name, content);
  return files;
}

using ChangeTexts = std::map<std::string, std::string>;  // by the names of kStepOptions

/// \throws Error as StepOption::set
void set_change(StepChanges& changes, const std::string& name, const std::string& shown,
                const std::string& text) {
  for (const StepOption& option : kStepOptions) {
    if (option.name == name) option.set(changes, shown, text);
  }
}

StepChanges changes_of(const ChangeTexts& texts) {
  StepChanges changes;
  for (const auto& [name, text] : texts) set_change(changes, name, name, text);
  return changes;
}

}  // namespace

void register_images(py::module_& module) {
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
  module.def("read_model_files", &read_model_files, py::arg("program"), py::arg("params"));
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
         const std::string& dtype, const std::string& producer, const ChangeTexts& changes) {
        const UndescribedModel model{program.string(), file, {"", shape, dtype}, producer};
        const ReadDescription found = usual_description(model, changes_of(changes));
        return std::make_tuple(found.text, found.note);
      },
      py::arg("program"), py::arg("file"), py::arg("shape"), py::arg("dtype"), py::arg("producer"),
      py::arg("changes"));
  module.def(
      "changed_description",
      [](const std::string& text, const std::string& source, const std::string& file,
         const ChangeTexts& changes) {
        const ReadDescription found = changed_description(text, source, file, changes_of(changes));
        return std::make_tuple(found.text, found.note);
      },
      py::arg("text"), py::arg("source"), py::arg("file"), py::arg("changes"));
  module.def("step_options", [] {
    std::vector<std::array<std::string, 3>> options;
    for (const StepOption& each : kStepOptions) {
      options.push_back({std::string(each.name), each.argument, each.help});
    }
    return options;
  });
  module.def(
      "check_change",
      [](const std::string& name, const std::string& shown, const std::string& text) {
        StepChanges changes;
        set_change(changes, name, shown, text);
      },
      py::arg("name"), py::arg("shown"), py::arg("text"));
  module.def(
      "unit_note",
      [](const std::string& text) { return unit_note(parse_preparation(text, "").normalize); },
      py::arg("text"));
  module.attr("DARK_NOTE") = kDarkNote;
  module.def("is_decoded_in_cpp", &is_decoded_in_cpp, py::arg("begin"));
  module.def("exif_orientation",
             [](const std::string_view& tiff) { return exif_orientation(tiff); });
}

}  // namespace lenet::bindings
