/// \file
/// One node of an .onnx under conversion: its attributes, and errors that name it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/graph.h"
#include "model/onnx_graph.h"

namespace lenet::native {

class OnnxStep {
 public:
  /// All are to outlive the step.
  OnnxStep(const OnnxNode& node, std::int64_t opset, const std::string& path)
      : node_(node), opset_(opset), path_(path) {}

  const OnnxNode& node() const { return node_; }
  std::int64_t opset() const { return opset_; }
  bool has_input(std::size_t index) const {
    return index < node_.inputs.size() && !node_.inputs[index].empty();
  }
  /// What it gives first, fit for a message.
  std::string gives() const;

  bool has(const std::string& name) const { return node_.attributes.count(name) > 0; }
  /// Attributes, or what they are when the node leaves them out. \throws Error BadModel: the
  /// attribute is of another type.
  std::int64_t integer(const std::string& name, std::int64_t otherwise) const;
  bool flag(const std::string& name, bool otherwise) const;
  float number(const std::string& name, float otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
  Integers integers(const std::string& name, const Integers& otherwise) const;
  const OnnxAttribute& attribute(const std::string& name, OnnxAttribute::Type type) const;

  /// An axis counted from the front; a negative one counts from the end.
  /// \throws Error BadModel: a tensor of that rank has none.
  std::size_t axis(std::int64_t given, std::size_t rank) const;

  /// \throws Error Unsupported: there is no `what`.
  [[noreturn]] void unsupported(const std::string& what) const;
  /// \throws Error BadModel: `what` is wrong.
  [[noreturn]] void damaged(const std::string& what) const;
  void require(bool condition, const char* what) const {
    if (!condition) unsupported(what);
  }
  void check(bool condition, const char* what) const {
    if (!condition) damaged(what);
  }

 private:
  const OnnxNode& node_;
  std::int64_t opset_;
  const std::string& path_;
};

}  // namespace lenet::native
