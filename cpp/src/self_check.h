/// \file
/// Compares a predictor with the plain program when it is loaded (`Config::self_check`).
#pragma once

#include "lenet/predictor.h"

namespace lenet {

/// Runs three images of random values, each alone and all together, or as many as the model is for.
/// Integers and bools of a model that is quantized, or not computed in fp32, are not compared: they
/// hang on rounding.
/// \param predictor whose time limit and `max_sizes` do not count here
/// \param bytes the model of a predictor that has no files; or null
/// \throws Error BackendFailure: an output differs, with the layer that differs first where the
///   engine gives it; Unsupported: the plain program does not run the model, or no output can be
///   compared.
void self_check(Predictor& predictor, const ModelBytes* bytes);

}  // namespace lenet
