/// \file
/// What is counted about the models, in the text format of Prometheus.
#pragma once

#include <string>

#include "repository.h"
#include "service.h"

namespace lenet::serve {

/// \returns lines
std::string metrics_text(const Catalog& catalog, const Backlog& backlog, bool ready);

}  // namespace lenet::serve
