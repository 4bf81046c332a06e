#include "images.h"
#include "targets.h"

namespace lenet::fuzz {

void pgm(std::string_view bytes) { read_both("P5", bytes); }

}  // namespace lenet::fuzz
