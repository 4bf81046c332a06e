#define LENET_LANES 16
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::uint8_t
#define LENET_KERNELS kAvx512Vnni
#define LENET_NAME "avx512vnni"
#include "engines/native/int8/implementation.h"
