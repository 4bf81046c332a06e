/// \file
/// The errors of loading a model that the native engine does not run.
#pragma once

#include <string>

#include "lenet/error.h"

namespace lenet::native {

/// Returns the error with the model's file, if its text does not have that yet, and with the engine
/// that may run the model instead.
/// \param other as of name_other_engine; may be empty
Error add_remedy(const Error& error, const std::string& other, const std::string& file);

/// Does a part of the loading, and adds the remedy to an error Unsupported.
/// \param work is called once; its result is returned
template <typename Work>
auto load_part(const std::string& other, const std::string& file, Work work) try {
  return work();
} catch (const Error& error) {
  if (error.code() != ErrorCode::Unsupported) throw;
  throw add_remedy(error, other, file);
}

}  // namespace lenet::native
