#include "model/parameters.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {

void pdiparams(std::string_view bytes) {
  accepts({ErrorCode::BadModel}, [&] {
    std::size_t values = 0;
    for (const ParameterSpec& spec : read_parameter_records(bytes, "model.pdiparams")) {
      values += element_count(spec.shape);
    }
    require(values <= bytes.size(), "no more values than bytes");
  });
}

}  // namespace lenet::fuzz
