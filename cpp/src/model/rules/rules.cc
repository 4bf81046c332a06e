#include "model/rules/rules.h"

#include <algorithm>

namespace lenet {
namespace {

bool has_word(std::string_view words, std::string_view wanted) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(' '));
    if (word == wanted) return true;
    words.remove_prefix(std::min(word.size() + 1, words.size()));
  }
  return false;
}

}  // namespace

const OperatorRule* find_rule(std::string_view type, Dialect dialect) {
  const bool pir = dialect == Dialect::Pir;
  if (pir && type.substr(0, 2) != "1.") return nullptr;
  if (pir) type.remove_prefix(2);
  for (const auto family : {activation_rules, constants_rules, convolution_rules, elementwise_rules,
                            linear_rules, normalization_rules, parts_rules, pooling_rules,
                            quantization_rules, reduction_rules, resize_rules, shape_rules}) {
    for (const OperatorRule& rule : family()) {
      if ((rule.dialects & bit(dialect)) != 0 && has_word(rule.types, type)) return &rule;
    }
  }
  return nullptr;
}

std::string_view common_attributes(Dialect dialect) {
  return dialect == Dialect::Pir
             ? "struct_name:str? op_role:int? chunk_id:int? op_callstack:strs|empty?"
             : "op_role:int? op_role_var:strs? op_namescope:str? op_callstack:strs? "
               "op_device:str? with_quant_attr:bool? use_mkldnn:bool? use_onednn:bool? "
               "use_cudnn:bool? use_quantizer:bool? mkldnn_data_type:str? "
               "onednn_data_type:str? is_test:bool? use_addto:bool? force_fp32_output:bool? "
               "exhaustive_search:bool? workspace_size_MB:int? Scale_out:float? Scale_x:float? "
               "Scale_y:float? Scale_in:float? Scale_in_eltwise:float? Scale_weights:floats? "
               "fuse_relu:bool? fuse_with_relu:bool? fuse_brelu:bool? fuse_brelu_threshold:float? "
               "fuse_activation:str? fuse_alpha:float? fuse_beta:float? "
               "fuse_residual_connection:bool? fuse_relu_before_depthwise_conv:bool? "
               "data_format:str? x_data_format:str? y_data_format:str? moving_rate:float? "
               "quantization_type:str? out_threshold:float? skip_quant:bool|int?";
}

}  // namespace lenet
