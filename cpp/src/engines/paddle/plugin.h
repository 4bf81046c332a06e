/// \file
/// The boundary between liblenet and liblenet_paddle, the shared object that holds all that knows
/// Paddle's types and is opened when a predictor first asks for it.
#pragma once

#include <string>

#include "engines/engine.h"

namespace lenet {

struct PaddlePlugin {
  Engine* (*create)(const Config&, const Model&);  ///< a new engine, owned by the caller
  std::string version;  ///< the library's, such as "3.3.1"; "unknown" when it does not say
};

/// What the plug-in exports. Never gives null.
constexpr const char* kPaddlePluginSymbol = "lenet_paddle_plugin";
using GetPaddlePlugin = const PaddlePlugin* (*)();

/// Opens the plug-in and the Paddle library on first use. Thread-safe.
/// \throws Error FileNotFound, VersionMismatch, Unsupported, BackendFailure; a later call tries
///   again.
const PaddlePlugin& load_paddle_plugin();

}  // namespace lenet
