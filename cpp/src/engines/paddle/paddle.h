/// \file
/// What the paddle engine can do, and how to load it. It is in a plug-in: see plugin.h.
#pragma once

#include <cstdint>
#include <memory>

#include "engines/engine.h"

namespace lenet {

extern const EngineLibrary kPaddleLibrary;

/// \throws Error BadInput: an accelerator or ir_optim that the precision does not go with.
void require_paddle_options(const Config& config);

/// \throws Error Unsupported: not of this model; as load_paddle_plugin and the plug-in do.
std::unique_ptr<Engine> create_paddle_engine(const Config& config, const Model& model);

/// The fastest by measurement.
Accelerator choose_paddle_accelerator(const Config& config, const Model& model,
                                      const ProgramTraits& traits, std::int64_t images);

/// With float32 alone there is another than oneDNN and OpenVINO.
bool leave_out_paddle_accelerator(const Config& config, ProgramTraits& traits, Accelerator failed);

}  // namespace lenet
