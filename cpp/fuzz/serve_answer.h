/// The service that the fuzzers ask.
#pragma once

#include "service.h"

namespace lenet::fuzz {

/// The one response to a request.
serve::Response answer(serve::Request request);

}  // namespace lenet::fuzz
