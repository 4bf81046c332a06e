/// \file
/// How a plan is printed.
#pragma once

#include <string>

#include "lenet/config.h"
#include "lenet/plan.h"
#include "options.h"

namespace lenet::apps {

/// \param program the name of the program that says it
std::string format_plan(const std::string& program, const Plan& plan, const Config& config,
                        Format format);

}  // namespace lenet::apps
