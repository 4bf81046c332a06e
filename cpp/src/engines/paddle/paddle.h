/// What the Paddle engine can do, and how to load it. All that knows Paddle's types is in a
/// plug-in, liblenet_paddle, which is opened when a predictor first asks for it.
#pragma once

#include <cstdint>
#include <memory>

#include "engines/engine.h"
#include "engines/foreign_load.h"
#include "engines/paddle/program_traits.h"
#include "model/element_types.h"

namespace lenet {

extern const EngineLibrary kPaddleLibrary;

struct PaddlePlugin {
  /// A new engine, owned by the caller, with the accelerator of the Config, which is not Auto.
  Engine* (*create)(const Config&, const Model&, const ProgramTraits&, const GivenUp&);
  std::string version;  ///< the library's, such as "3.3.1"; "unknown" when it does not say
};

/// What the plug-in exports. Never gives null.
constexpr const char* kPaddlePluginSymbol = "lenet_paddle_plugin";
using GetPaddlePlugin = const PaddlePlugin* (*)();

/// Opens the plug-in and the Paddle library on first use. Thread-safe.
/// \throws Error FileNotFound, VersionMismatch, Unsupported, BackendFailure; a later call tries
///   again.
const PaddlePlugin& load_paddle_plugin();

/// Whether Paddle runs a program whose input has this element type.
inline bool takes_input(int dtype) { return is_number(dtype) && !is_half(dtype); }
/// The types that takes_input accepts, for messages.
inline constexpr const char* kInputTypes = "float32, float64, uint8, int32 or int64";

/// Ends what std::cerr writes: Paddle's passes for bf16 and int8 report there. For programs, which
/// say on stderr what they have to say.
void silence_paddle();

/// \throws Error BadInput: an accelerator or ir_optim that the precision does not go with.
void require_paddle_options(const Config& config);

/// With Auto it has several accelerators: the fastest by measurement for a number of images, which
/// is loaded when a run first asks for it; one that fails is left out from then on. \throws Error
/// Unsupported: not of this model; as load_paddle_plugin and the plug-in do.
std::unique_ptr<Engine> create_paddle_engine(const Config& config,
                                             const std::shared_ptr<const Model>& model);

/// Whether the processor has AVX-512 (what oneDNN calls avx512_core) with its bf16 instructions.
/// Without these oneDNN imitates them, slower than float32, and fails in a .json for several
/// images.
bool has_bf16() noexcept;

/// As EngineRow::takes.
bool takes_paddle_model(const Config& config, const Model& model);

}  // namespace lenet
