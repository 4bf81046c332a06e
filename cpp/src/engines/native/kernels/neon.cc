#define LENET_LANES 4
#define LENET_REGISTERS 32
#define LENET_KERNELS kNeon
#define LENET_NAME "neon"
#include "engines/native/kernels/implementation.h"
