/* Classifies image files with an exported model: classify MODEL_DIR IMAGE... */
#include <lenet/c_api.h>
#include <stdio.h>
#include <stdlib.h>

/* What a file holds; NULL when it cannot be read. */
static unsigned char* read_file(const char* path, size_t* size) {
  unsigned char* bytes = NULL;
  size_t room = 0;
  FILE* file = fopen(path, "rb");
  *size = 0;
  if (file == NULL) return NULL;
  for (size_t got = 1; got > 0; *size += got) {
    if (*size == room) {
      unsigned char* larger = realloc(bytes, room = 2 * room + 65536);
      if (larger == NULL) {
        free(bytes);
        bytes = NULL;
        break;
      }
      bytes = larger;
    }
    got = fread(bytes + *size, 1, room - *size, file);
  }
  fclose(file);
  return bytes;
}

static void print_result(const char* path, const lenet_result* result) {
  printf("%s\n", path);
  for (size_t i = 0; i < result->count; ++i) {
    const lenet_prediction* one = &result->predictions[i];
    const char* label = one->label == NULL ? "" : one->label;
    printf("  %.6f  class %d%s%s\n", one->value, (int)one->class_id, *label ? "  " : "", label);
  }
  for (size_t i = 0; i < result->attribute_count; ++i) printf("  %s\n", result->attributes[i]);
  if (result->warning != NULL) fprintf(stderr, "classify: %s: %s\n", path, result->warning);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: classify MODEL_DIR IMAGE...\n");
    return 2;
  }
  lenet_error error;
  lenet_classifier* classifier = NULL;
  lenet_config* config = lenet_config_create();
  lenet_status status = lenet_config_set(config, "model_dir", argv[1], &error);
  if (status == LENET_OK) status = lenet_config_set(config, "threads", "2", &error);
  if (status == LENET_OK) status = lenet_classifier_create(config, NULL, &classifier, &error);
  for (int i = 2; i < argc && status == LENET_OK; ++i) {
    size_t size = 0;
    unsigned char* bytes = read_file(argv[i], &size);
    if (bytes == NULL) {
      fprintf(stderr, "classify: cannot read '%s'\n", argv[i]);
      status = LENET_FILE_NOT_FOUND;
      break;
    }
    lenet_result* result = NULL;
    status = lenet_classifier_classify_file(classifier, bytes, size, 0, NULL, &result, &error);
    if (status == LENET_OK) print_result(argv[i], result);
    if (status != LENET_OK) fprintf(stderr, "classify: '%s': %s\n", argv[i], error.message);
    lenet_result_free(result);
    free(bytes);
  }
  if (classifier == NULL) fprintf(stderr, "classify: error %d: %s\n", (int)status, error.message);
  lenet_classifier_free(classifier);
  lenet_config_free(config);
  return status;
}
