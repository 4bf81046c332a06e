#define LENET_LANES 1
#define LENET_REGISTERS 8  // smaller tiles: it is the reference, not in a hurry
#define LENET_KERNELS kScalar
#define LENET_NAME "scalar"
#include "engines/native/kernels/implementation.h"
