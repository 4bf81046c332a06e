/// \file
/// Loading a model into Paddle.
#pragma once

#include <paddle_inference_api.h>

#include <memory>
#include <string>

#include "lenet/predictor.h"
#include "model/model.h"

namespace lenet {

using PaddlePredictor = std::shared_ptr<paddle_infer::Predictor>;

/// Such as "3.3.1"; "unknown" when Paddle does not say.
std::string paddle_version();

bool is_paddle_3_1();

/// Configures Paddle, and gives it the files of the model as it expects them.
/// \throws Error BackendFailure: a file cannot be written; and what Paddle throws
PaddlePredictor load_predictor(const Config& config, const Model& model);

}  // namespace lenet
