/// \file
/// Finding the layer of a model at which an engine's values become wrong.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "lenet/config.h"
#include "lenet/export.h"

namespace lenet {

struct WrongLayer {
  std::string type;  ///< of the operator, as the file has it
  std::string name;  ///< of the value that it gives
};

/// Finds a wrong value that its operator computes of right values alone. Where a value is right,
/// what it is computed of is taken to be right too. Of a chain of n layers that is log2(n)
/// questions, and never more than there are values.
/// \param config of the model; its `output_name` is a value that is wrong
/// \param is_wrong says of a value, by the name that `output_name` takes, whether it is wrong;
///   nothing where that is not known
/// \param model in memory, of a configuration that names no files; or null
/// \returns nothing where the value itself is right
/// \throws Error as `Predictor` does when it reads the files; and what `is_wrong` throws
LENET_API std::optional<WrongLayer> find_wrong_layer(
    const Config& config,
    const std::function<std::optional<bool>(const std::string& name)>& is_wrong,
    const ModelBytes* model = nullptr);

}  // namespace lenet
