// Classifies each frame of a film: video MODEL_DIR FILM, for example a file or /dev/video0
#include <lenet/c_api.h>

#include <cstdio>
#include <cstdlib>
#include <opencv2/opencv.hpp>

namespace {

void check(lenet_status status, const lenet_error& error) {
  if (status == LENET_OK) return;
  std::fprintf(stderr, "video: %s\n", error.message);
  std::exit(status);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: video MODEL_DIR FILM\n");
    return 2;
  }
  lenet_error error;
  lenet_classifier* classifier = nullptr;
  lenet_config* config = lenet_config_create();
  check(lenet_config_set(config, "model_dir", argv[1], &error), error);
  check(lenet_classifier_create(config, nullptr, &classifier, &error), error);
  cv::VideoCapture film(argv[2]);
  cv::Mat frame;  // of blue, green and red
  for (int number = 0; film.read(frame); ++number) {
    const lenet_pixels pixels{frame.data, frame.rows, frame.cols, frame.step, LENET_BGR};
    lenet_result* result = nullptr;
    check(lenet_classifier_classify_pixels(classifier, &pixels, 1, nullptr, &result, &error),
          error);
    const lenet_prediction& best = result->predictions[0];
    std::printf("%d\t%s\t%.6f\n", number, best.label ? best.label : "", best.value);
    lenet_result_free(result);
  }
  lenet_classifier_free(classifier);
  lenet_config_free(config);
}
