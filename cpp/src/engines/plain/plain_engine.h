/// \file
/// The plain program: each operator of a checked program by its definition, in double, over the
/// whole batch. Nothing is fused, laid out or left out, so that it judges what other engines make
/// of a program. It is slow, and never chosen by itself.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

/// It shares the readers and the inference of shapes with the native engine, and nothing else.
/// \throws Error Unsupported: an operator has no definition here, or the check refused the program
std::unique_ptr<Engine> create_plain_engine(const Config& config,
                                            const std::shared_ptr<const Model>& model);

}  // namespace lenet
