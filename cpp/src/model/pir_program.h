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
Graph read_pir_program(std::string_view bytes, const std::string& path);

/// The parameters of a program that the above refuses, such as one with control flow; nothing else.
/// \throws Error BadModel naming `path`
Graph read_pir_parameters(std::string_view bytes, const std::string& path);

}  // namespace lenet
