/// \file
/// The function that sees each operator's output. For `Predictor::set_layer_callback`.
#pragma once

#include <functional>
#include <string>

#include "lenet/tensor.h"

namespace lenet {

/// Called with each operator's output while the network runs: operator type, variable name, values
/// (valid during the call only).
using LayerCallback =
    std::function<void(const std::string& op_type, const std::string& name, const TensorView&)>;

}  // namespace lenet
