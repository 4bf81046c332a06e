// In place of hash_check.cc, for builds without files, where no SHA256SUMS lies beside a model.
#include "io/file.h"
#include "model/hash_check.h"

namespace lenet {

void HashCheck::operator()(const std::string& path, std::string_view /*contents*/) {
  if (enabled_) read_file(path);
}

}  // namespace lenet
