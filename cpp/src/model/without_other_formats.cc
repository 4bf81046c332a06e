// In place of pir_program.cc, onnx_program.cc and external_data.cc, for builds that read no other
// format than .pdmodel.
#include "lenet/error.h"
#include "model/readers.h"

namespace lenet {
namespace {

[[noreturn]] void refuse_format(const std::string& path) {
  throw Error(ErrorCode::Unsupported, "'" + path + "': only a .pdmodel runs in a browser");
}

}  // namespace

Graph read_pir_program(std::string_view /*bytes*/, const std::string& path, bool /*lenient*/) {
  refuse_format(path);
}
OnnxProgram read_onnx_program(std::string_view /*bytes*/, const std::string& path) {
  refuse_format(path);
}
void set_external_contents(OnnxProgram& /*program*/, const std::string& path,
                           const std::function<std::string_view(const std::string&)>& /*read*/,
                           bool /*in_memory*/) {
  refuse_format(path);
}

}  // namespace lenet
