#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "config_option.h"
#include "engines/engine.h"
#include "io/file.h"
#include "lenet/engines.h"
#include "lenet/error.h"
#include "lenet/version.h"
#include "lenet/wrong_layer.h"
#include "model/parameters.h"
#include "model/readers.h"
#include "platform/platform.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

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
    } catch (const std::bad_alloc&) {  // docs/errors.md
      py::set_error(py::module_::import("lenet_cpp.errors").attr("BackendFailure"),
                    "out of memory");
    }
  });
}

void register_config(py::module_& module) {
  py::class_<Config>(module, "Config")
      .def(py::init<>())
      .def_readwrite("model_file", &Config::model_file)
      .def_readwrite("params_file", &Config::params_file)
      .def_readwrite("model_dir", &Config::model_dir)
      .def_readwrite("engine", &Config::engine)
      .def_readwrite("precision", &Config::precision)
      .def_readwrite("accelerator", &Config::accelerator)
      .def_readwrite("device", &Config::device)
      .def_readwrite("gpu_mem", &Config::gpu_mem)
      .def_readwrite("threads", &Config::threads)
      .def_readwrite("ir_optim", &Config::ir_optim)
      .def_readwrite("memory_optim", &Config::memory_optim)
      .def_readwrite("check_finite", &Config::check_finite)
      .def_readwrite("check_program", &Config::check_program)
      .def_readwrite("check_hashes", &Config::check_hashes)
      .def_readwrite("max_batch_size", &Config::max_batch_size)
      .def_readwrite("time_limit_ms", &Config::time_limit_ms)
      .def_readwrite("load_seconds", &Config::load_seconds)
      .def_readwrite("output_name", &Config::output_name)
      .def_readwrite("max_sizes", &Config::max_sizes)
      .def_readwrite("self_check", &Config::self_check);
}

/// The parameters of a program of Paddle's, in the order of a combined file; of one that nothing
/// here runs, too.
std::vector<std::string> parameter_names(const std::filesystem::path& program) {
  const std::string path = program.string();
  const std::string bytes = read_file(path);
  const bool pir = bytes.rfind('{', 0) == 0;
  const Graph graph =
      pir ? read_pir_program(bytes, path, true) : read_program_desc(bytes, path, true);
  std::vector<std::string> names;
  for (const ParameterSpec& one : list_parameters(graph, path)) names.push_back(one.name);
  return names;
}

/// Of each of the `count` variables in a file of Paddle's: the type (VarType.Type), the shape and
/// the values.
std::vector<std::tuple<int, Shape, py::bytes>> read_variables(const std::filesystem::path& file,
                                                              std::size_t count) {
  const std::string path = file.string();
  std::string bytes;
  std::vector<ParameterSpec> records;
  {
    const WithoutGil release;
    bytes = read_file(path);
    records = read_parameter_records(bytes, path);
  }
  if (records.size() != count) {  // before any of them takes memory of Python's
    refuse_program(path, "holds " + std::to_string(records.size()) + " variables; expected " +
                             std::to_string(count));
  }
  std::vector<std::tuple<int, Shape, py::bytes>> found;
  for (const ParameterSpec& one : records) {
    found.emplace_back(one.dtype, one.shape, py::bytes(one.data.data(), one.data.size()));
  }
  return found;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ predictor; use it through the lenet_cpp package.";
  module.def("gpu_number", &gpu_number);
  using Release = py::call_guard<WithoutGil>;
  register_errors(module);
  register_python_threads(module);
  register_config(module);
  register_images(module);
  register_outputs(module);
  register_predictors(module);
  module.def("hint_of_missing", &platform::hint_of_missing, py::arg("path"));
  module.def("parameter_names", &parameter_names);
  module.def("read_variables", &read_variables);
  module.def(
      "find_wrong_layer",
      [](const Config& config,
         const std::function<std::optional<bool>(const std::string&)>& is_wrong) {
        const auto layer = find_wrong_layer(config, is_wrong);
        return layer ? std::optional(std::pair(layer->type, layer->name)) : std::nullopt;
      },
      py::arg("config"), py::arg("is_wrong"));
  module.def("plain_tolerance", &plain_tolerance, py::arg("config"), py::arg("quantized"));
  module.def("version", &version);
  module.def(
      "available_engines",
      [] {
        std::vector<std::tuple<std::string, std::string, std::string>> found;
        for (const EngineInfo& engine : available_engines()) {
          found.emplace_back(engine.name, engine.version, engine.unavailable);
        }
        return found;
      },
      Release());
  module.def("describe_bf16", &describe_bf16, Release());
  module.def("engine_version", &engine_version, py::arg("engine"), Release());
  module.def("engine_library_name", &engine_library_name, py::arg("engine"));
  module.def("set_engine_library", &set_engine_library, py::arg("engine"), py::arg("path"));
}

}  // namespace lenet::bindings
