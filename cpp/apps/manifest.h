/// \file
/// What the outputs of a model are: from `manifest.json` beside it, or a file of labels.
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

/// The names of classes in a text file: one a line, in output order; or "0 name", "1 name" and so
/// on in every line, as PaddleClas has it. Space around a name and empty lines do not count.
/// \throws Error FileNotFound; BadInput when there is none, or it is not UTF-8.
std::vector<std::string> read_class_names(const std::string& path);

}  // namespace lenet::apps
