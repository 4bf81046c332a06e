#define LENET_LANES 16
#define LENET_REGISTERS 32
#define LENET_KERNELS kAvx512
#define LENET_NAME "avx512"
#include "engines/native/kernels/implementation.h"
