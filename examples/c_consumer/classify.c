/* Classifies the images of an IDX file with an exported model: classify MODEL_DIR IMAGES */
#include <lenet/c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The images of an IDX file as grey levels from 0 to 255; NULL when it is none. */
static uint8_t* read_images(const char* path, int64_t shape[4]) {
  unsigned char head[16];
  uint8_t* images = NULL;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return NULL;
  if (fread(head, 1, sizeof head, file) == sizeof head && head[2] == 8 && head[3] == 3) {
    for (int i = 0; i < 3; ++i) {
      const unsigned char* size = head + 4 + 4 * i;
      shape[i == 0 ? 0 : i + 1] = (int64_t)size[0] << 24 | size[1] << 16 | size[2] << 8 | size[3];
    }
    shape[1] = 1; /* channel */
    if (shape[0] <= 100000 && shape[2] <= 1000 && shape[3] <= 1000) {
      const size_t pixels = (size_t)(shape[0] * shape[2] * shape[3]);
      images = malloc(pixels + 1);
      if (images != NULL && fread(images, 1, pixels, file) != pixels) {
        free(images); /* shorter than its head says */
        images = NULL;
      }
    }
  }
  fclose(file);
  return images;
}

static void print_classes(const lenet_output* logits) {
  const int64_t classes = logits->shape[1];
  for (int64_t row = 0; row < logits->shape[0]; ++row) {
    const float* values = logits->data + row * classes;
    int64_t best = 0;
    for (int64_t i = 1; i < classes; ++i) {
      if (values[i] > values[best]) best = i;
    }
    printf("%d\n", (int)best);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: classify MODEL_DIR IMAGES\n");
    return 2;
  }
  int64_t shape[4];
  uint8_t* images = read_images(argv[2], shape);
  if (images == NULL) {
    fprintf(stderr, "classify: %s is no IDX file of images\n", argv[2]);
    return 1;
  }
  lenet_error error;
  lenet_output logits;
  lenet_predictor* predictor = NULL;
  lenet_config* config = lenet_config_create();
  lenet_status status = lenet_config_set(config, "model_dir", argv[1], &error);
  if (status == LENET_OK) status = lenet_config_set(config, "threads", "2", &error);
  if (status == LENET_OK) status = lenet_predictor_create(config, &predictor, &error);
  if (status == LENET_OK) {
    const lenet_input input = {.pixels = images, .shape = shape, .rank = 4};
    status = lenet_predictor_run(predictor, &input, &logits, &error);
  }
  if (status == LENET_OK) {
    print_classes(&logits);
  } else {
    fprintf(stderr, "classify: error %d: %s\n", (int)error.code, error.message);
  }
  lenet_predictor_free(predictor);
  lenet_config_free(config);
  free(images);
  return status;
}
