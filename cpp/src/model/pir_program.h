/// \file
/// Strict reading of a `.json` (PIR) program.
#pragma once

#include <string>
#include <string_view>

#include "model/graph.h"

namespace lenet {

/// \throws Error BadModel naming `path`: members of another name or type than Paddle's serializer
///   writes, numbers out of the range of their type, values used before their operator or defined
///   twice, more regions or blocks than one (control flow).
/// \param lenient reads the parameters of a program that is refused else, such as one with control
///   flow, and nothing else of it
Graph read_pir_program(std::string_view bytes, const std::string& path, bool lenient = false);

}  // namespace lenet
