// In place of engines.cc, for builds with the native engine alone.
#include "engines/engine.h"

namespace lenet {

std::string name_other_engine(const Config& /*config*/, const Model& /*model*/) { return ""; }

}  // namespace lenet
