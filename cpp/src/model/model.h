/// A model in memory: the bytes of its files, and what was read of them and checked.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/file.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "model/graph.h"
#include "model/model_files.h"
#include "model/output_meanings.h"

namespace lenet {

/// What there is of a model beside the files and the graph; takes hardly any memory.
struct ModelFacts {
  ModelFormat format = ModelFormat::Pdmodel;
  std::string path;            ///< of the program, for messages
  std::size_t file_bytes = 0;  ///< of all files
  /// Why check_graph refuses the graph, which then may be anything: of an .onnx, or of a program
  /// that is trusted (`check_program`). For engines that rely on the check.
  std::optional<Error> refusal;
  /// What Paddle gets was not checked: Auto asks for no accelerator.
  bool unchecked = false;
  /// The weights are quantized: the program dequantizes them, or an .onnx computes in integers.
  bool quantized = false;
  /// They are stored as float32, as Paddle's PTQ and QAT leave them (`convert`). Plain arithmetic
  /// is right then; the int8 passes quantize them once more, and answers are wrong without an
  /// error.
  bool float_weights = false;
  /// What each output is that the program declares, or the one that `Config::output_name` chooses.
  std::vector<NamedMeaning> output_meanings;
  std::vector<std::string> class_names;  ///< as class_names() of the graph gives them
};

/// Read once and never changed: what an engine runs is what was hashed and checked. Engines, their
/// clones and threads share it.
struct Model : ModelFacts {
  Model() = default;
  Model(const Model&) = delete;  // the graph's contents lie in the files below
  Model& operator=(const Model&) = delete;

  std::shared_ptr<const MemoryFile> program;
  /// What Paddle gets: `program`, or what the check has made of one that Paddle 3 would not write.
  std::shared_ptr<const MemoryFile> checked_program;
  /// Null for Onnx; of Separate all variables, as one file holds them.
  std::shared_ptr<const MemoryFile> params;
  std::map<std::string, std::shared_ptr<const MemoryFile>> external;  ///< of Onnx, by path
  Graph graph;

  /// The facts alone.
  std::shared_ptr<const Model> without_contents() const;
};

/// Reads the files and checks that they are whole and belong together: SHA256SUMS beside them where
/// `check_hashes`, the structure of each, the same parameters in both, finite ones where
/// `check_finite`, and where `check_program` that Paddle runs the program without harm
/// (graph.h).
/// \param bytes what to copy instead, of files as model_files.h finds them for these bytes; no
///   SHA256SUMS are beside them
/// \throws Error FileNotFound, BadModel; Unsupported (an operator that is not known to
///   check_graph); BackendFailure (memory, as std::bad_alloc).
std::shared_ptr<const Model> load_model(const ModelFiles& files, const Config& config,
                                        const ModelBytes* bytes = nullptr);

}  // namespace lenet
