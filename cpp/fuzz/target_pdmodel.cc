#include <string>
#include <vector>

#include "model/parameters.h"
#include "model/readers.h"
#include "support.h"
#include "targets.h"
#include "whole_model.h"

namespace lenet::fuzz {

void pdmodel(std::string_view bytes) {
  const std::string path = "model.pdmodel";
  std::vector<ParameterSpec> specs;
  const bool accepted = accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, [&] {
    specs = list_parameters(read_program_desc(bytes, path, true), path);
    require(specs.size() <= bytes.size(), "no more parameters than bytes");
  });
  if (accepted) check_whole_model(ModelFormat::Pdmodel, bytes, specs);
  std::string renamed;
  const bool rewritten = accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, [&] {
    renamed = with_renamed_variables(bytes, read_program_desc(bytes, path), "_lenet1", path);
  });
  if (!accepted || !rewritten) return;
  Graph graph = read_program_desc(bytes, path);
  const bool checked =
      accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, [&] { check_graph(graph, path); });
  if (checked) {  // what Paddle gets passes again
    const std::string program = write_checked_program(bytes, graph, path);
    Graph written = read_program_desc(program, path);
    check_graph(written, path);
  }
  // Parameters keep their names, types and shapes.
  const auto again = list_parameters(read_program_desc(renamed, path, true), path);
  require(again.size() == specs.size(), "renaming keeps the number of parameters");
  for (std::size_t i = 0; i < specs.size(); ++i) {
    require(again[i].name == specs[i].name, "renaming keeps the parameters' names");
  }
}

}  // namespace lenet::fuzz
