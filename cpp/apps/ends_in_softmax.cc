#include "ends_in_softmax.h"

#include <string>
#include <string_view>

#include "io/file.h"
#include "lenet/predictor.h"
#include "model/model_files.h"
#include "model/onnx_model.h"

namespace lenet::apps {
namespace {

/// The plain name of an operator: "softmax" of "pd_op.softmax_:3".
std::string_view plain(std::string_view type) {
  constexpr std::string_view kDialect = "pd_op.";
  if (type.substr(0, kDialect.size()) == kDialect) type.remove_prefix(kDialect.size());
  type = type.substr(0, type.find(':'));
  if (!type.empty() && type.back() == '_') type.remove_suffix(1);
  return type;
}

/// What scales or gives the result another name.
bool is_neutral(std::string_view name) {
  return name == "scale" || name == "assign" || name == "shadow_output";
}

}  // namespace

bool ends_in_softmax(Config config, const Shape& input) {
  config.model_dir.clear();  // a configuration in force names the files
  if (find_model_files(config).format == ModelFormat::Onnx) {
    return read_onnx_model(read_file(config.model_file), config.model_file).ends_in_softmax;
  }
  config.accelerator = Accelerator::Plain;
  config.precision = "fp32";  // the only one that it has
  config.ir_optim = false;
  Predictor predictor(config);
  std::string last;
  predictor.set_layer_callback(
      [&last](const std::string& type, const std::string&, const TensorView&) {
        if (!is_neutral(plain(type))) last = plain(type);
      });
  Tensor image{{}, input};
  image.shape[0] = 1;
  image.data.resize(element_count(image.shape));
  predictor.run(image.view());
  return last == "softmax";
}

}  // namespace lenet::apps
