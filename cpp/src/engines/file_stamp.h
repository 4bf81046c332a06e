/// \file
/// Notices that a model's files were replaced after they were first loaded.
#pragma once

#include <string>

#include "model/model_files.h"

namespace lenet {

/// What tells one state of a model's files from another: device, inode, size and time of change.
/// \throws Error FileNotFound.
std::string stamp_of(const ModelFiles& files);

/// \throws Error BadModel when the files are no longer those that `stamp` was taken of.
void require_unchanged(const ModelFiles& files, const std::string& stamp);

}  // namespace lenet
