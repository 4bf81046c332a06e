/// The whole way of a model, beginning with a program.
#pragma once

#include <string_view>
#include <vector>

#include "model/model_files.h"
#include "model/parameters.h"

namespace lenet::fuzz {

/// Gives the program to check_model_files, with a parameter file that fits `specs`: what is checked
/// after the parameters is reached too. What passes runs on the native engine, if it has the
/// operators, in int8 if it is quantized. Programs with large or unusual parameters are left out.
void check_whole_model(ModelFormat format, std::string_view program,
                       const std::vector<ParameterSpec>& specs);

}  // namespace lenet::fuzz
