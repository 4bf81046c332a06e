/// \file
/// What `manifest.json` beside an exported model says of its outputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lenet::apps {

struct Manifest {
  std::vector<std::string> classes;  ///< in output order; empty when they are not known
  std::optional<bool> softmax;       ///< whether the outputs are probabilities; none: not known
};

/// \param program the model's; its manifest lies beside it
/// \returns nothing said when there is no manifest, or it is another model's
/// \throws Error BadModel naming the manifest when it is damaged.
Manifest read_manifest(const std::string& program, bool check_hashes);

}  // namespace lenet::apps
