#include "model/model.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "io/printable.h"
#include "model/element_types.h"
#include "model/graph.h"
#include "model/hash_check.h"
#include "model/other_contents.h"
#include "model/parameters.h"
#include "model/readers.h"
#include "platform/platform.h"

namespace lenet {
namespace {

class Loader {
 public:
  Loader(const ModelFiles& files, const Config& config, const ModelBytes* bytes)
      : files_(files), config_(config), bytes_(bytes) {}

  std::shared_ptr<const Model> load() {
    model_->format = files_.format;
    model_->path = files_.program;
    model_->program = read(files_.program);
    refuse_other_contents(model_->path, program(), "a model", "name a .pdmodel, .json or .onnx",
                          files_.format == ModelFormat::Json);
    model_->checked_program = model_->program;
    if (files_.format == ModelFormat::Onnx) {
      load_onnx();
    } else {
      load_paddle();
    }
    model_->class_names = class_names(model_->graph);
    return model_;
  }

 private:
  std::shared_ptr<const MemoryFile> read(const std::string& path) {
    std::shared_ptr<const MemoryFile> file;
    if (bytes_ == nullptr) {
      file = MemoryFile::read(path);
      check_hash_(path, file->contents());
    } else {
      file = std::make_shared<const MemoryFile>(given(path));
    }
    model_->file_bytes += file->contents().size();
    return file;
  }
  std::string_view program() const { return model_->program->contents(); }

  /// The contents of a file of a model in memory.
  std::string_view given(const std::string& path) const {
    if (path == files_.program) return bytes_->program;
    if (path == files_.params) return bytes_->params;
    const auto found = bytes_->external.find(path);
    if (found == bytes_->external.end()) {
      refuse_program(model_->path, "keeps values in the file '" + printable(path) +
                                       "', which was not given with the model in memory");
    }
    return found->second;
  }

  void set_output(Graph& graph) const {
    graph.shows_all = config_.output_name == kEveryValue;
    if (!graph.shows_all) {
      graph.output_name = config_.output_name;
      return;
    }
    std::map<std::string, int> names;  // of values that print alike, all but the first get a number
    const auto name = [&](std::size_t index) {
      Value& value = graph.values[index];
      const bool computed =
          value.producer != kNone && graph.operators[value.producer].kind != "Feed";
      const int before = computed ? names[printable(value.name)]++ : 0;
      if (before > 0) value.name += " (" + std::to_string(before + 1) + ")";
    };
    const std::set<std::size_t> outputs(graph.outputs.begin(), graph.outputs.end());
    for (const std::size_t index : outputs) name(index);
    for (std::size_t i = 0; i < graph.values.size(); ++i) {
      if (outputs.count(i) == 0) name(i);
    }
  }

  void load_onnx() {
    OnnxProgram found = read_onnx_program(program(), model_->path);
    set_external_contents(
        found, model_->path,
        [this](const std::string& file) {
          return (model_->external[file] = read(file))->contents();
        },
        bytes_ != nullptr);
    model_->quantized = found.quantized;
    Graph& graph = model_->graph = std::move(found.graph);
    const std::vector<std::size_t> outputs = graph.outputs;
    set_output(graph);
    const auto is_answer = [&](std::size_t output) {
      return is_output(graph.values[output].dtype);
    };
    const bool is_for_images = graph.inputs.size() == 1 &&
                               !graph.values[graph.inputs[0]].shape.empty() &&
                               std::any_of(graph.outputs.begin(), graph.outputs.end(), is_answer);
    try {
      check_graph(graph, model_->path);
    } catch (const TooSmall&) {  // onnxruntime might end the process
      throw;
    } catch (const Error& error) {
      if (!is_for_images) throw;  // of no engine
      model_->refusal = error;
    }
    describe(outputs);
  }

  void load_paddle() try {
    read_program();
    load_parameters();
    check_program();
  } catch (const Error& error) {
    const std::string what = error.what();
    const auto has = [&](std::string_view remedy) {
      return what.find(remedy) != std::string::npos;
    };
    const bool advises = has(kUncheckedRemedy) || has(kLoopRemedy);
    const bool plain =
        config_.precision == Precision::Fp32 &&
        (config_.accelerator == Accelerator::Auto || config_.accelerator == Accelerator::Plain);
    if (!advises || plain) throw;
    throw Error(error.code(), what + std::string(kPlainRemedy));
  }

  void read_program() {
    const auto read = files_.format == ModelFormat::Json ? read_pir_program : read_program_desc;
    try {
      model_->graph = read(program(), model_->path, false);
    } catch (const Error& error) {
      if (config_.check_program) throw;
      model_->refusal.emplace(ErrorCode::Unsupported, error.what());
      model_->graph = read(program(), model_->path, true);
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

  /// The file of a variable, in the folder of the program.
  std::string path_of(const std::string& name) const {
    const std::string shown = printable(name);
    if (!platform::is_plain_name(name) || shown != name) {
      refuse_program(model_->path, "names a variable that is no file of its folder: " + shown);
    }
    return platform::beside(model_->path, name);
  }

  std::vector<ParameterSpec> read_parameters(const std::vector<ParameterSpec>& specs,
                                             const MemoryFile& file,
                                             const std::string& path) const {
    if (!specs.empty()) {
      refuse_other_contents(path, file.contents(), "the parameters of a model",
                            "name its .pdiparams", false);
    }
    auto records = read_parameter_records(file.contents(), path);
    require_parameters(specs, records, path, config_.check_finite);
    return records;
  }

  void check_program() {
    Graph& graph = model_->graph;
    const std::vector<std::size_t> outputs = graph.outputs;
    set_output(graph);
    if (model_->refusal) {  // only its parameters were read
      model_->unchecked = true;
      return describe(outputs);
    }
    for (const Operator& op : graph.operators) {
      if (op.kind != "DequantizeByRange") continue;
      model_->quantized = true;
      const auto weights = op.inputs.find("X");
      const bool one = weights != op.inputs.end() && weights->second.size() == 1;
      if (!one || weights->second[0] == kNone) continue;  // not checked yet: it may lack them
      const Value& value = graph.values[weights->second[0]];
      model_->float_weights |= value.parameter && value.data_dtype != kInt8;
    }
    if (graph.loops && config_.check_program) {
      unsupported(model_->path, "has control flow: a loop (while), which may never end" +
                                    std::string(kLoopRemedy));
    }
    try {
      check_graph(graph, model_->path);
    } catch (const Error& error) {
      // No engine takes several.
      if (config_.check_program || graph.inputs.size() != 1) throw;
      model_->refusal.emplace(ErrorCode::Unsupported, error.what());
    }
    describe(outputs);
    if (!config_.check_program) graph.require_images = nullptr;
    const bool changes = graph.differs || !graph.rewritten.empty();
    model_->unchecked = model_->refusal || (!config_.check_program && changes);
    const bool whole = graph.output_name.empty();  // else it is not for Paddle's engine
    if (config_.check_program && graph.differs && whole) {
      model_->checked_program =
          std::make_shared<const MemoryFile>(write_checked_program(program(), graph, model_->path));
    }
  }

  /// \param declared the outputs of the program, of which the check may leave some out
  void describe(const std::vector<std::size_t>& declared) {
    const Graph& graph = model_->graph;
    std::vector<NamedMeaning>& found = model_->output_meanings;
    found = describe_outputs(graph, declared);
    if (graph.output_name.empty() || graph.outputs.size() != 1) return;
    const std::size_t chosen = graph.outputs[0];
    const auto own = std::find(declared.begin(), declared.end(), chosen);
    if (own != declared.end()) {
      found = {found[static_cast<std::size_t>(own - declared.begin())]};
      found[0].meaning.partner = kNoOutput;
      return;
    }
    OutputMeaning inner;
    if (graph.output_name == kFeatures) inner.role = OutputRole::Features;
    found = {{printable(graph.values[chosen].name), inner}};
  }

  const ModelFiles& files_;
  const Config& config_;
  const ModelBytes* bytes_;  ///< null: the files are read
  HashCheck check_hash_{config_.check_hashes};
  std::shared_ptr<Model> model_ = std::make_shared<Model>();
};

}  // namespace

std::shared_ptr<const Model> Model::without_contents() const {
  auto rest = std::make_shared<Model>();
  static_cast<ModelFacts&>(*rest) = *this;
  return rest;
}

std::shared_ptr<const Model> load_model(const ModelFiles& files, const Config& config,
                                        const ModelBytes* bytes) {
  return Loader(files, config, bytes).load();
}

}  // namespace lenet
