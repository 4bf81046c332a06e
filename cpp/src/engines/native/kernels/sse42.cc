#define LENET_LANES 4
#define LENET_REGISTERS 16
#define LENET_KERNELS kSse42
#define LENET_NAME "sse42"
#include "engines/native/kernels/implementation.h"
