#include "lenet/image_pipeline.h"

#include <string>
#include <utility>

#include "arrays.h"
#include "python_threads.h"
#include "register.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

using Pixels = py::array_t<std::uint8_t, py::array::c_style>;

/// \param pixels uint8 [height, width, channels]
FloatArray run(const ImagePipeline& pipeline, const Pixels& pixels) {
  if (pixels.ndim() != 3) throw Error(ErrorCode::BadInput, "expected pixels [H, W, channels]");
  Image image{{}, pixels.shape(0), pixels.shape(1), pixels.shape(2)};
  Tensor tensor;
  {
    const WithoutGil release;
    image.pixels.assign(pixels.data(), pixels.data() + pixels.size());
    tensor = pipeline(image);
  }
  return to_numpy(std::move(tensor));
}

}  // namespace

void register_image_pipeline(py::module_& module) {
  py::class_<ImagePipeline>(module, "ImagePipeline")
      .def(py::init(&ImagePipeline::parse), py::arg("description"))
      .def("__call__", &run, py::arg("pixels").noconvert());
}

}  // namespace lenet::bindings
