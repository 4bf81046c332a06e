/// What the Paddle engine can do, and how to load it. All that knows Paddle's types is in a
/// plug-in, liblenet_paddle, which is opened when a predictor first asks for it.
#pragma once

#include <cstdint>
#include <memory>

#include "engines/engine.h"

namespace lenet {

extern const EngineLibrary kPaddleLibrary;

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

/// \throws Error BadInput: an accelerator or ir_optim that the precision does not go with.
void require_paddle_options(const Config& config);

/// \throws Error Unsupported: not of this model; as load_paddle_plugin and the plug-in do.
std::unique_ptr<Engine> create_paddle_engine(const Config& config, const Model& model);

/// The fastest by measurement.
Accelerator choose_paddle_accelerator(const Config& config, const Model& model,
                                      const ProgramTraits& traits, std::int64_t images);

/// With float32 alone there is another than oneDNN and OpenVINO.
bool leave_out_paddle_accelerator(const Config& config, ProgramTraits& traits, Accelerator failed);

/// Whether the processor has AVX-512 (what oneDNN calls avx512_core) with its bf16 instructions.
/// Without these oneDNN imitates them, slower than float32, and fails in a .json for several
/// images.
bool has_bf16() noexcept;

}  // namespace lenet
