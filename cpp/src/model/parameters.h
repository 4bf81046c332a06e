/// What a model's program says of its parameters, and what its parameter file holds. Paddle itself
/// does not compare the two: parameters of another model, or a file cut short, give wrong answers
/// without an error.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "model/graph.h"

namespace lenet {

struct ParameterSpec {
  std::string name;  ///< empty when it comes from a parameter file, which holds no names
  int dtype = 0;     ///< VarType.Type of Paddle's framework.proto (5: float32)
  Shape shape;
  std::string_view data = {};  ///< of a parameter file: the values, as long as its bytes live
  /// Only dequantize_linear takes it: declared float32, an int8 tensor is in the file.
  bool quantized = false;
  /// Only quantize_linear and dequantize_linear take it, as scales or zero points. Paddle declares
  /// [1] or [6] and writes [] or [1, 6]; to the kernels it is all the same.
  bool scale = false;
  /// Only a softmax takes it, as masks_of says: it may hold -infinity.
  bool mask = false;
  std::size_t value = kNone;  ///< of a program: the index in its graph
};

/// The parameters of a program, sorted by name, which is their order in a combined parameter file.
/// \throws Error BadModel naming `path`: two have one name.
std::vector<ParameterSpec> list_parameters(const Graph& graph, const std::string& path);

/// The tensors of a `.pdiparams` file (a sequence of records as written by Paddle's
/// SerializeToStream, paddle/fluid/framework/lod_tensor.cc), or of a one-variable file.
/// \throws Error BadModel when a record is damaged or cut short.
std::vector<ParameterSpec> read_parameter_records(std::string_view bytes, const std::string& path);

/// \param check_finite whether to refuse NaN and infinity, which a relu or a max-pool would hide,
/// but
///   for -infinity in a mask
/// \throws Error BadModel when count, type or shape differ, or a number is not finite, naming the
///   first such parameter.
void require_parameters(const std::vector<ParameterSpec>& expected,
                        const std::vector<ParameterSpec>& found, const std::string& path,
                        bool check_finite);

/// Gives the graph the contents of its parameters. Both as for `require_parameters`, which has
/// accepted them.
void set_parameters(Graph& graph, const std::vector<ParameterSpec>& expected,
                    const std::vector<ParameterSpec>& found);

}  // namespace lenet
