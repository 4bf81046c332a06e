#include <vector>

#include "model/parameters.h"
#include "model/readers.h"
#include "support.h"
#include "targets.h"
#include "whole_model.h"

namespace lenet::fuzz {

void json(std::string_view bytes) {
  std::vector<ParameterSpec> specs;
  const bool accepted = accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, [&] {
    specs = list_parameters(read_pir_program(bytes, "model.json"), "model.json");
    require(specs.size() <= bytes.size(), "no more parameters than bytes");
  });
  if (accepted) check_whole_model(ModelFormat::Json, bytes, specs);
}

}  // namespace lenet::fuzz
