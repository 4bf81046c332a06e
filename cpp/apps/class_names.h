/// \file
#pragma once

#include <string>
#include <vector>

namespace lenet::apps {

/// The names of classes in a text file: one a line, in output order; or "0 name", "1 name" and so
/// on in every line, as PaddleClas has it. Space around a name and empty lines do not count.
/// \throws Error FileNotFound; BadInput when there is none, or it is not UTF-8.
std::vector<std::string> read_class_names(const std::string& path);

}  // namespace lenet::apps
