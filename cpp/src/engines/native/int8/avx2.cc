#define LENET_LANES 8
#define LENET_REGISTERS 16
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kAvx2
#define LENET_NAME "avx2"
#include "engines/native/int8/implementation.h"
