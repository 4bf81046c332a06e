#include "images.h"
#include "targets.h"

namespace lenet::fuzz {

void npy(std::string_view bytes) { read_both("\x93NUMPY", bytes); }

}  // namespace lenet::fuzz
