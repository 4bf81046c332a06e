/// \file
/// ONNX models made for tests, as protocol buffers; the numbers are those of onnx.proto.
#pragma once

#include <string>
#include <vector>

#include "program_builder.h"

namespace lenet::tests {

using Names = std::vector<std::string>;

inline std::string onnx_tensor(const std::string& name, const Shape& shape,
                               const std::vector<float>& values) {
  std::string bytes;
  for (const auto size : shape) bytes += number_field(1, size);
  std::string raw;
  for (const float value : values) raw += bytes_of(value);
  return bytes + number_field(2, 1) + delimited(8, name) + delimited(9, raw);
}

/// A tensor of which the values are in another file; `entries` are pairs of key and value.
inline std::string onnx_external_tensor(const std::string& name, const Shape& shape,
                                        const Arguments& entries) {
  std::string bytes;
  for (const auto size : shape) bytes += number_field(1, size);
  bytes += number_field(2, 1) + delimited(8, name);
  for (const auto& [key, value] : entries) {
    bytes += delimited(13, delimited(1, key) + delimited(2, value));
  }
  return bytes + number_field(14, 1);
}

/// Attributes of a node, encoded, with their types.
inline std::string onnx_integer(const std::string& name, std::int64_t value) {
  return delimited(1, name) + number_field(3, value) + number_field(20, 2);
}
inline std::string onnx_integers(const std::string& name, const Shape& values) {
  std::string bytes = delimited(1, name);
  for (const auto value : values) bytes += number_field(8, value);
  return bytes + number_field(20, 7);
}
inline std::string onnx_float(const std::string& name, float value) {
  return delimited(1, name) + varint(2U << 3U | 5U) + bytes_of(value) + number_field(20, 1);
}
inline std::string onnx_text(const std::string& name, const std::string& value) {
  return delimited(1, name) + delimited(4, value) + number_field(20, 3);
}
inline std::string onnx_attribute(const std::string& name, const std::string& tensor) {
  return delimited(1, name) + delimited(5, tensor) + number_field(20, 4);
}

/// \param attributes encoded
inline std::string onnx_node(const std::string& type, const Names& inputs, const Names& outputs,
                             const Names& attributes = {}, const std::string& domain = "") {
  std::string bytes;
  for (const auto& input : inputs) bytes += delimited(1, input);
  for (const auto& output : outputs) bytes += delimited(2, output);
  bytes += delimited(4, type);
  for (const auto& attribute : attributes) bytes += delimited(5, attribute);
  return bytes + delimited(7, domain);
}

/// An input or output. A size of -1 is free.
inline std::string onnx_value(const std::string& name, const Shape& shape, int type = 1) {
  std::string dimensions;
  for (const auto size : shape) {
    dimensions += delimited(1, size < 0 ? delimited(2, "N") : number_field(1, size));
  }
  const std::string tensor = number_field(1, type) + delimited(2, dimensions);
  return delimited(1, name) + delimited(2, delimited(1, tensor));
}

inline std::string onnx_graph(const Names& nodes, const Names& tensors, const Names& inputs,
                              const Names& outputs) {
  std::string bytes = delimited(2, "graph");
  for (const auto& node : nodes) bytes += delimited(1, node);
  for (const auto& tensor : tensors) bytes += delimited(5, tensor);
  for (const auto& input : inputs) bytes += delimited(11, input);
  for (const auto& output : outputs) bytes += delimited(12, output);
  return bytes;
}

inline std::string onnx_model(const std::string& graph, int opset = 13) {
  return number_field(1, 7) + delimited(7, graph) +
         delimited(8, delimited(1, "") + number_field(2, opset));
}

/// Writes a model from x to y; run on the native engine unless another is named.
/// \param input and output without the images
inline Config write_onnx(const TemporaryFolder& folder, const Names& nodes, const Names& tensors,
                         Shape input, Shape output) {
  for (Shape* shape : {&input, &output}) shape->insert(shape->begin(), -1);
  Config config;
  config.engine = "native";
  config.model_file = write_file(
      folder / "m.onnx",
      onnx_model(onnx_graph(nodes, tensors, {onnx_value("x", input)}, {onnx_value("y", output)})));
  return config;
}

}  // namespace lenet::tests
