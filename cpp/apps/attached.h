/// A model at the end of the program's own file, where `lenet-cpp bundle --single-file` puts it.
#pragma once

#include <string>

#include "lenet/config.h"
#include "lenet/predictor.h"

namespace lenet::apps {

struct AttachedModel {
  std::string contents;  ///< what the others are parts of
  std::string name;      ///< of the program, as it was in its folder
  ModelBytes bytes;      ///< with every other file of that folder that the model consists of
};

/// \returns null when the program's file holds no model. It is read once.
/// \throws Error BadModel: it was cut short or changed; FileNotFound: it cannot be read.
const AttachedModel* attached_model();

/// The one that is run with this configuration: null when that names another.
const AttachedModel* attached_model(const Config& config);

/// A predictor of the model that the configuration names, or of the attached one. Says on standard
/// error, after the program's name, when another file than the named one is read.
/// \throws Error as Predictor and attached_model
Predictor make_predictor(const char* program, const Config& config);

}  // namespace lenet::apps
