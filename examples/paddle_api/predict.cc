// The guides' C++ program, against Paddle's own interface: one image of zeros, ten logits.
#include <paddle_inference_api.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

std::shared_ptr<paddle_infer::Predictor> make_predictor(int count, char** paths) {
  paddle_infer::Config config;
  if (count == 1) {
    config.SetModel(paths[0]);  // a folder with __model__ and a file for each variable
  } else {
    config.SetModel(paths[0], paths[1]);
  }
  config.DisableGpu();
  config.DisableGlogInfo();
  // With EnableMemoryOptim, creation fails on a .json without these two; a .pdmodel runs with them.
  config.EnableNewExecutor(true);
  config.EnableNewIR(true);
  return paddle_infer::CreatePredictor(config);
}

int main(int argc, char** argv) try {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: predict PROGRAM PARAMETERS\n       predict FOLDER\n");
    return 2;
  }
  const auto predictor = make_predictor(argc - 1, argv + 1);

  const std::vector<float> image(1 * 1 * 28 * 28, 0.0F);
  const auto input = predictor->GetInputHandle(predictor->GetInputNames().at(0));
  input->Reshape({1, 1, 28, 28});
  input->CopyFromCpu(image.data());
  if (!predictor->Run()) {
    std::fprintf(stderr, "predict: the run failed\n");
    return 1;
  }

  const auto output = predictor->GetOutputHandle(predictor->GetOutputNames().at(0));
  const std::vector<int> shape = output->shape();
  std::vector<float> logits(std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<>()));
  output->CopyToCpu(logits.data());
  for (const float logit : logits) std::printf("%.9g\n", logit);
} catch (const std::exception& error) {
  std::fprintf(stderr, "predict: %s\n", error.what());
  return 1;
}
