#define LENET_LANES 4
#define LENET_REGISTERS 16
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kSse42
#define LENET_NAME "sse42"
#include "engines/native/int8/implementation.h"
