#define LENET_LANES 4
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::int8_t
#define LENET_KERNELS kNeonDotprod
#define LENET_NAME "neondotprod"
#define LENET_DOTPROD
#include "engines/native/int8/implementation.h"
