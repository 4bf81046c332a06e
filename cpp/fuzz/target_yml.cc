#include <string>
#include <vector>

#include "description/description.h"
#include "description/outputs.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {

void yml(std::string_view bytes) {
  static MemoryFile file;
  file.write(bytes);
  Description description;
  const bool accepted = accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, [&] {
    const ReadDescription read = read_description(file.path(), false);
    description = parse_description(read.text, "preprocess.json");
    require(description.labels.size() <= bytes.size(), "no more labels than bytes");
    require(description.images.image_steps.size() <= bytes.size(), "no more steps than bytes");
  });
  if (!accepted) return;
  for (const std::size_t classes : {1U, 2U, 6U, 19U, 26U}) {
    std::vector<float> outputs;
    for (std::size_t i = 0; i < classes; ++i) outputs.push_back(static_cast<float>(i % 7) / 7);
    accepts({ErrorCode::BadModel}, [&] {
      const Finding found = interpret(outputs.data(), classes, description, OutputRole::Scores, {});
      require(found.predictions.size() <= classes, "no more predictions than classes");
      require(found.flags.empty() || found.flags.size() == classes, "a flag for each output");
    });
  }
}

}  // namespace lenet::fuzz
