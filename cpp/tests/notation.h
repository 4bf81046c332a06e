/// Models made for tests, as protocol buffers, from one line of text:
///
///     x[-1,4] y[-1,3] w[4,3]*: matmul_v2 x Y=w -> y | trans_x=false trans_y=false
///
/// is a program of Paddle: its variables, those with a star parameters, and its operators, between
/// which stand semicolons. Of arguments X and Out the name is left out. The nodes of an ONNX graph
/// are written likewise, without names of arguments; `_` is an input that is left out, and
/// `Relu@domain` an operator of another domain.
///
/// Attributes are `1` (an integer), `[1,2]`, `1.0` (a float), `[1.0,2.0]`, `true`, or else a text,
/// which may stand between apostrophes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support.h"

namespace lenet::tests {

using Arguments = std::vector<std::pair<std::string, std::string>>;  ///< keys and values

std::string delimited(int number, const std::string& bytes);  ///< a field that holds bytes
std::string number_field(int number, std::int64_t value);     ///< a field that holds a number
std::string paddle_variable(const std::string& name, const Shape& shape, bool parameter = false);
std::string paddle_list(const std::string& name, int kind);  ///< the variable of a list
std::string paddle_operator(const std::string& text);

/// A program, of which a test may change the encoded parts.
struct TestProgram {
  explicit TestProgram(const std::string& text);
  std::string bytes() const;

  Names variables;
  Names operators;
  std::string heading = number_field(1, 0) + number_field(2, -1);
  std::string feed = paddle_operator("feed feed -> x | col=0");
  std::string fetch = paddle_operator("fetch y -> fetch | col=0");
};

inline std::string program(const std::string& text) { return TestProgram(text).bytes(); }

void accept(const std::string& program);
/// Expects an error that names the file.
void refuse(const std::string& program, std::string_view text,
            ErrorCode code = ErrorCode::BadModel);

std::string onnx_node(const std::string& text);
std::string onnx_tensor(const std::string& name, const Shape& shape,
                        const std::vector<float>& values);
/// A tensor of which the values are in another file.
std::string onnx_external_tensor(const std::string& name, const Shape& shape,
                                 const Arguments& entries);
/// An input or output, as `x[-1,2]`, where -1 is free, or as `x` without a shape.
std::string onnx_value(const std::string& text, int type = 1);
/// \param nodes as at the top
/// \param tensors as `w[2,2]=1,2,3` of float32, or `s[2]i=0,-1` of int64; the rest are zeros
/// \param values the inputs and the outputs, as `x[-1,2] -> y[-1,3]`
std::string onnx_graph(const std::string& nodes, const std::string& tensors = "",
                       const std::string& values = "");
std::string onnx_model(const std::string& graph, int opset = 13);

/// The file of a model that runs on the native engine unless another is named.
Config write_onnx(const TemporaryFolder& folder, const std::string& graph);

}  // namespace lenet::tests
