/// \file
/// The boundary between liblenet and liblenet_paddle, the shared object that holds all that knows
/// Paddle's types and is opened when a predictor first asks for it.
#pragma once

#include "engines/engine.h"

extern "C" {

/// \returns the library's version, such as "3.3.1"; "unknown" when it does not say. Never null.
using LenetPaddleVersion = const char* (*)();

/// \returns a new engine, owned by the caller.
using LenetPaddleCreate = lenet::Engine* (*)(const lenet::Config&, const lenet::Model&);
}

namespace lenet {

constexpr const char* kPaddleVersionSymbol = "lenet_paddle_version";
constexpr const char* kPaddleCreateSymbol = "lenet_paddle_create";

struct PaddlePlugin {
  LenetPaddleCreate create = nullptr;
  std::string version;
};

/// Opens the plug-in and the Paddle library on first use. Thread-safe.
/// \throws Error FileNotFound, VersionMismatch, Unsupported, BackendFailure; a later call tries
/// again.
const PaddlePlugin& load_paddle_plugin();

}  // namespace lenet
