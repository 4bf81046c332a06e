#include "model/model.h"

#include <filesystem>
#include <functional>
#include <new>
#include <string_view>
#include <utility>

#include "io/printable.h"
#include "lenet/error.h"
#include "model/check_graph.h"
#include "model/hash_check.h"
#include "model/onnx_program.h"
#include "model/parameters.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

/// Gives the contents of a file of the model.
using Read = std::function<std::shared_ptr<const MemoryFile>(const std::string& path)>;

class Loader {
 public:
  Loader(const ModelFiles& files, const Config& config, Read read)
      : files_(files), config_(config), read_(std::move(read)) {}

  std::shared_ptr<const Model> load() {
    model_->format = files_.format;
    model_->path = files_.program;
    model_->program = read(files_.program);
    if (files_.format == ModelFormat::Onnx) {
      load_onnx();
    } else {
      read_program();
      load_parameters();
      check_program();
    }
    return model_;
  }

 private:
  std::shared_ptr<const MemoryFile> read(const std::string& path) {
    auto contents = read_(path);
    model_->file_bytes += contents->contents().size();
    return contents;
  }
  std::string_view program() const { return model_->program->contents(); }

  void load_onnx() {
    OnnxProgram found = read_onnx_program(program(), model_->path);
    if (files_.directory.empty() && !found.external.empty()) {
      refuse_program(model_->path, "keeps values in files, of which a model in memory has none");
    }
    for (const std::string& file : find_external_files(found.external, model_->path)) {
      model_->external[file] = read(file);
    }
    set_external_contents(found, model_->path, [this](const std::string& file) {
      return model_->external.at(file)->contents();
    });
    model_->traits.quantized = found.quantized;
    model_->graph = std::move(found.graph);
    try {
      check_graph(model_->graph, model_->path);
    } catch (const Error& error) {
      model_->refusal = error;
    }
  }

  void read_program() {
    const bool json = files_.format == ModelFormat::Json;
    try {
      model_->graph = json ? read_pir_program(program(), model_->path)
                           : read_program_desc(program(), model_->path);
    } catch (const Error& error) {
      if (config_.check_program) throw;
      trust(error);
      model_->graph = json ? read_pir_parameters(program(), model_->path)
                           : read_program_desc_parameters(program(), model_->path);
    }
  }

  void load_parameters() {
    const auto specs = list_parameters(model_->graph, model_->path);
    std::string path = files_.params;
    if (files_.format == ModelFormat::Separate) {
      std::string all;
      for (const ParameterSpec& spec : specs) {
        path = path_of(spec.name);
        const std::shared_ptr<const MemoryFile> one = read(path);
        read_parameters({spec}, *one, path);
        all += one->contents();
      }
      path = model_->path;
      model_->params = std::make_shared<const MemoryFile>(all);
    } else {
      model_->params = read(path);
    }
    set_parameters(model_->graph, specs, read_parameters(specs, *model_->params, path));
  }

  /// Of a variable, in the folder of the program.
  std::string path_of(const std::string& name) const {
    const std::string shown = printable(name);
    if (name.find('/') != std::string::npos || shown != name) {
      refuse_program(model_->path, "names a variable that is no file of its folder: " + shown);
    }
    return (fs::path(files_.directory) / name).string();
  }

  std::vector<ParameterSpec> read_parameters(const std::vector<ParameterSpec>& specs,
                                             const MemoryFile& file,
                                             const std::string& path) const {
    auto records = read_parameter_records(file.contents(), path);
    require_same_parameters(specs, records, path);
    if (config_.check_finite) require_finite_parameters(specs, records, path);
    return records;
  }

  void check_program() {
    Graph& graph = model_->graph;
    if (model_->refusal) {  // only its parameters were read
      model_->traits.openvino_refusal = "a program that cannot be checked";
      return;
    }
    // The check changes the graph, so that a program that fails is looked at before it.
    if (!config_.check_program) model_->traits = read_program_traits(graph);
    try {
      check_graph(graph, model_->path);
    } catch (const Error& error) {
      if (config_.check_program) throw;
      trust(error);
    }
    if (config_.check_program) model_->traits = read_program_traits(graph);
  }

  /// What is wrong with the program, for an engine that relies on the check.
  void trust(const Error& error) {
    model_->refusal.emplace(
        ErrorCode::Unsupported,
        std::string(error.what()) + "; the native engine runs checked programs: use engine paddle");
  }

  const ModelFiles& files_;
  const Config& config_;
  const Read read_;
  std::shared_ptr<Model> model_ = std::make_shared<Model>();
};

std::shared_ptr<const Model> load(const ModelFiles& files, const Config& config, Read read) {
  try {
    return Loader(files, config, std::move(read)).load();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::BackendFailure, "out of memory while reading '" + files.program + "'");
  }
}

}  // namespace

std::shared_ptr<const Model> load_model(const ModelFiles& files, const Config& config) {
  HashCheck check_hash(config.check_hashes);
  return load(files, config, [&](const std::string& path) {
    auto contents = MemoryFile::read(path);
    check_hash(path, contents->contents());
    return contents;
  });
}

std::shared_ptr<const Model> load_model(const ModelFiles& files, const ModelBytes& bytes,
                                        const Config& config) {
  return load(files, config, [&](const std::string& path) {
    return std::make_shared<const MemoryFile>(path == files.program ? bytes.program : bytes.params);
  });
}

}  // namespace lenet
