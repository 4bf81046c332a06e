#include "engines/native/contradiction.h"

#include "lenet/error.h"

namespace lenet::native {

void contradict(const std::string& what) {
  throw Error(ErrorCode::BackendFailure,
              "the plan of the native engine contradicts itself: " + what +
                  "; this is a fault of lenet_cpp: please report it, and use another engine");
}

}  // namespace lenet::native
