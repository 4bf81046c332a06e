#include "engines/native/onnx/step.h"

#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {

std::string OnnxStep::gives() const {
  return node_.outputs.empty() ? "nothing" : "'" + printable(node_.outputs[0]) + "'";
}

const OnnxAttribute& OnnxStep::attribute(const std::string& name, OnnxAttribute::Type type) const {
  const auto found = node_.attributes.find(name);
  if (found == node_.attributes.end()) damaged("it has no " + name);
  if (found->second.type != type) damaged("its " + name + " is of the wrong type");
  return found->second;
}

std::int64_t OnnxStep::integer(const std::string& name, std::int64_t otherwise) const {
  return has(name) ? attribute(name, OnnxAttribute::kInteger).integer : otherwise;
}

bool OnnxStep::flag(const std::string& name, bool otherwise) const {
  const std::int64_t value = integer(name, otherwise ? 1 : 0);
  if (value != 0 && value != 1) damaged("its " + name + " is neither 0 nor 1");
  return value == 1;
}

float OnnxStep::number(const std::string& name, float otherwise) const {
  return has(name) ? attribute(name, OnnxAttribute::kFloat).number : otherwise;
}

std::string OnnxStep::text(const std::string& name, const std::string& otherwise) const {
  return has(name) ? attribute(name, OnnxAttribute::kText).text : otherwise;
}

Integers OnnxStep::integers(const std::string& name, const Integers& otherwise) const {
  return has(name) ? attribute(name, OnnxAttribute::kIntegers).integers : otherwise;
}

std::size_t OnnxStep::axis(std::int64_t given, std::size_t rank) const {
  const auto size = static_cast<std::int64_t>(rank);
  if (given < -size || given >= size) damaged("its axis is outside the tensor");
  return static_cast<std::size_t>(given < 0 ? given + size : given);
}

void OnnxStep::unsupported(const std::string& what) const {
  throw Error(ErrorCode::Unsupported, "'" + path_ + "': the native engine has no " + what + " (" +
                                          printable(node_.type) + ", which gives " + gives() +
                                          "); use engine onnxruntime");
}

void OnnxStep::damaged(const std::string& what) const {
  throw Error(ErrorCode::BadModel, "'" + path_ + "' is damaged: of the node " +
                                       printable(node_.type) + ", which gives " + gives() + ", " +
                                       what);
}

}  // namespace lenet::native
