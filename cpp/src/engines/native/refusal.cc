#include "engines/native/refusal.h"

namespace lenet::native {

Error add_remedy(const Error& error, const std::string& other, const std::string& file) {
  std::string what = error.what();
  if (what.find(file) == std::string::npos) what.insert(0, "'" + file + "': ");
  if (!other.empty()) what += "; use " + other + " instead of native";
  return {error.code(), what};
}

}  // namespace lenet::native
