#include "lenet/error.h"
#include "register.h"

namespace py = pybind11;

namespace lenet::bindings {

void register_errors(py::module_& module) {
  py::dict exit_codes;
  for (const ErrorCode code :
       {ErrorCode::FileNotFound, ErrorCode::BadModel, ErrorCode::BadInput, ErrorCode::Unsupported,
        ErrorCode::VersionMismatch, ErrorCode::BackendFailure}) {
    exit_codes[to_string(code)] = static_cast<int>(code);
  }
  module.attr("exit_codes") = exit_codes;

  // The classes live in Python, where they derive from built-in exceptions too.
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const py::object type = py::module_::import("lenet_cpp.errors").attr(to_string(error.code()));
      py::set_error(type, error.what());
    }
  });
}

}  // namespace lenet::bindings
