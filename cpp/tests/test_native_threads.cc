// How many threads the native engine starts: counted where all of them are, at the C library's
// function.

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "lenet/predictor.h"
#include "support.h"

// The sanitizers have a function of their own in that place.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LENET_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LENET_SANITIZED
#endif

#ifndef LENET_SANITIZED

namespace {

std::atomic<int> started{0};

}  // namespace

// That of the program comes before that of the C library, for liblenet and libstdc++ too.
extern "C" __attribute__((visibility("default"))) int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*),
    void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  ++started;
  return next(thread, attributes, routine, argument);
}

namespace lenet::tests {
namespace {

int started_by_run(Predictor& predictor, std::int64_t images) {
  const Tensor input = random_images(images);
  const int before = started;
  predictor.run(input.view());
  return started - before;
}

TEST_CASE("no thread is started to load a model or for one image") {
  Config config;
  config.model_dir = kModelDir;
  config.engine = "native";
  config.threads = 4;
  const int before = started;
  Predictor predictor(config);
  Predictor clone = predictor.clone();
  CHECK(started == before);
  for (const std::int64_t images : {1, 8, 64}) {  // what one thread takes at a time
    CAPTURE(images);
    CHECK(started_by_run(predictor, images) == 0);
    CHECK(started_by_run(clone, images) == 0);
  }
}

TEST_CASE("a batch is shared out among as many threads as it has pieces, at most those allowed") {
  Config config;
  config.model_dir = kModelDir;
  config.engine = "native";
  // The caller's own is one of them.
  for (const int threads : {1, 2, 4}) {
    CAPTURE(threads);
    config.threads = threads;
    Predictor predictor(config);
    CHECK(started_by_run(predictor, 65) == std::min(threads, 2) - 1);
    CHECK(started_by_run(predictor, 1000) == threads - 1);
    CHECK(started_by_run(predictor, 1) == 0);
  }
}

}  // namespace
}  // namespace lenet::tests

#endif
