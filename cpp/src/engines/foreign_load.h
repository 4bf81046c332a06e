/// \file
/// Loads by libraries that are not ours, which nothing can stop: each has a thread of its own,
/// which is given up when it takes too long.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "engines/engine.h"

namespace lenet {

/// Becomes true when a load is given up. Null: it never is.
using GivenUp = std::shared_ptr<const std::atomic<bool>>;

/// What `load` makes, for at most Config::load_seconds and until this thread's Interruption ends
/// it. A load that is given up goes on, and what it makes is destroyed in its thread; the process
/// can end all the same, and does so without destroying static objects, which it may use.
/// \param model whose load it is
/// \param load owns all that it refers to; it may hold locks of its library for ever
/// \throws what `load` throws, and what the Interruption throws; Error BackendFailure: it takes
///   longer, kMostGivenUpLoads were given up before and still run, or there is no thread
std::unique_ptr<Engine> load_in_time(const Config& config, const Model& model,
                                     std::function<std::unique_ptr<Engine>(const GivenUp&)> load);

}  // namespace lenet
