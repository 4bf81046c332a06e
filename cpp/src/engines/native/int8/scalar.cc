#define LENET_LANES 1
#define LENET_REGISTERS 16
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kScalar
#define LENET_NAME "scalar"
#include "engines/native/int8/implementation.h"
