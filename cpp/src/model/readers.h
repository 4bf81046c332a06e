/// \file
/// The readers of the three formats of programs, each in a file of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/graph.h"

namespace lenet {

/// Reading of a `.pdmodel` or `__model__`: a ProgramDesc of Paddle's framework.proto, as Paddle 1.8
/// to 3.3 write it. Fields that are not known are left out, and a variable that is written twice
/// becomes two values.
/// Operators of control flow stand behind those of their blocks (Graph::blocks).
/// \throws Error BadModel naming `path`: missing or repeated fields, values out of the range of
///   their type, variables declared twice or not at all; Unsupported: loops, other control flow
///   than an `if` of Paddle, sequences, names that cannot be printed.
/// \param lenient reads the parameters of a program that is refused else, such as one with control
///   flow, and which values and attributes its operators have, as far as it is understood
Graph read_program_desc(std::string_view bytes, const std::string& path, bool lenient = false);

/// What Paddle is given in place of a `.pdmodel` of which the check has dropped arguments and
/// attributes, or filled some in (`Graph::differs`).
/// \param graph checked
std::string write_checked_program(std::string_view program, const Graph& graph,
                                  const std::string& path);

/// A `.pdmodel` whose intermediate variables have `suffix` at the end of their names. Inputs,
/// outputs and parameters keep theirs, so it computes the same and loads the same parameters.
/// \param graph what was read of the program
std::string with_renamed_variables(std::string_view program, const Graph& graph,
                                   const std::string& suffix, const std::string& path);

/// Strict reading of a `.json` (PIR) program.
/// \throws Error BadModel naming `path`: members of another name or type than Paddle's serializer
///   writes, numbers out of the range of their type, values used before their operator or defined
///   twice; Unsupported: other control flow than `if` and `while`, which stand behind the operators
///   of their regions.
/// \param lenient as read_program_desc has it
Graph read_pir_program(std::string_view bytes, const std::string& path, bool lenient = false);

inline constexpr std::uint64_t kMaxConstantBytes = std::uint64_t{1} << 40;  ///< of an .onnx

/// Values of a tensor that are kept in another file.
struct ExternalData {
  std::string tensor;
  std::string location;  ///< as the model has it: relative to its folder
  std::uint64_t offset = 0;
  std::uint64_t length = 0;   ///< 0: to the end of the file
  std::size_t value = kNone;  ///< whose contents they are, in the graph
};

struct OnnxProgram {
  Graph graph;  ///< the main one; its contents lie in the bytes it was read of
  std::vector<ExternalData> external;  ///< also of tensors in subgraphs and functions
  /// Some of it is computed in integers, or from integers that are dequantized.
  bool quantized = false;
};

/// Reads the whole protocol buffer of an .onnx file, subgraphs and functions too.
/// \param path for errors
/// \throws Error BadModel when it is no whole ONNX model, or values are missing or left over.
OnnxProgram read_onnx_program(std::string_view bytes, const std::string& path);

/// Makes of onnxruntime's operators of integers, such as QLinearConv, those of floating-point
/// numbers between DequantizeLinear and QuantizeLinear, which say the same.
void expand_quantized_operators(Graph& graph);

/// Reads the files of `external`, each once, and gives the graph the contents that are in them.
/// \param read gives the contents of the file at a path, which live as long as the graph
/// \param in_memory the files are not on a disk, so that no link can lead out of the folder
/// \throws Error as `read`; FileNotFound; BadModel when a file is not in the model's folder or
///   shorter than the model says, or contents are not as many as a shape says, or overlap.
void set_external_contents(OnnxProgram& program, const std::string& path,
                           const std::function<std::string_view(const std::string&)>& read,
                           bool in_memory = false);

}  // namespace lenet
