#include "images.h"
#include "targets.h"

namespace lenet::fuzz {

void idx(std::string_view bytes) { read_both({"\0\0", 2}, bytes); }

}  // namespace lenet::fuzz
