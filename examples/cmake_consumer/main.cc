// Classifies the images of a file with an exported model: classify MODEL_DIR IMAGES
#include <lenet/image_io.h>
#include <lenet/predictor.h>

#include <algorithm>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: classify MODEL_DIR IMAGES\n");
    return 2;
  }
  try {
    lenet::Config config;
    config.model_dir = argv[1];
    lenet::Predictor predictor(config);

    const lenet::Tensor images = lenet::read_images(argv[2]);
    const lenet::Tensor logits = predictor.run(images.view());

    const auto classes = logits.shape[1];
    for (auto row = logits.data.begin(); row != logits.data.end(); row += classes) {
      std::printf("%td\n", std::max_element(row, row + classes) - row);
    }
  } catch (const lenet::Error& error) {
    std::fprintf(stderr, "classify: %s: %s\n", to_string(error.code()), error.what());
    return static_cast<int>(error.code());
  }
}
