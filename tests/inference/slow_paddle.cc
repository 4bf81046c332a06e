// Preloaded, a Paddle that never comes to an end with the first predictor that it is to create
// while the file NEVER_LOADS is there. All else is that of the library REAL_PADDLE.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace paddle {
struct AnalysisConfig;
}

namespace paddle_infer {

struct Predictor;

std::shared_ptr<Predictor> CreatePredictor(const paddle::AnalysisConfig& config) {
  static volatile bool goes_on = true;
  if (unlink(std::getenv("NEVER_LOADS")) == 0) {  // of others this one is not the first
    while (goes_on) {
    }
  }
  constexpr const char* kName = "_ZN12paddle_infer15CreatePredictorERKN6paddle14AnalysisConfigE";
  using Create = std::shared_ptr<Predictor> (*)(const paddle::AnalysisConfig&);
  static const auto create =
      reinterpret_cast<Create>(dlsym(dlopen(std::getenv("REAL_PADDLE"), RTLD_NOW), kName));
  return create(config);
}

}  // namespace paddle_infer
