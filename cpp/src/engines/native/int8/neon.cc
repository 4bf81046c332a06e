#define LENET_LANES 4
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kNeon
#define LENET_NAME "neon"
#include "engines/native/int8/implementation.h"
