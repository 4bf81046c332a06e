// How many threads the native engine starts: counted where all of them are, at the C library's
// function.

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>

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
std::atomic<int> allowed{1000000};  // beyond them the system has no more

}  // namespace

// That of the program comes before that of the C library, for liblenet and libstdc++ too.
extern "C" __attribute__((visibility("default"))) int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*),
    void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (started >= allowed) return EAGAIN;
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
  const int before = started;
  Predictor predictor(bundled("threads=4"));
  Predictor clone = predictor.clone();
  CHECK(started == before);
  for (const std::int64_t images : {1, 8, 31}) {  // not worth two
    CAPTURE(images);
    CHECK(started_by_run(predictor, images) == 0);
    CHECK(started_by_run(clone, images) == 0);
  }
}

TEST_CASE(
    "threads are started for as many pieces as a batch has, at most those allowed, and kept") {
  // The caller's own is one of them.
  for (const int threads : {1, 2, 4}) {
    CAPTURE(threads);
    Predictor predictor(bundled("threads=" + std::to_string(threads)));
    const int few = std::min(threads, 2) - 1;
    CHECK(started_by_run(predictor, 32) == few);
    CHECK(started_by_run(predictor, 47) == 0);
    CHECK(started_by_run(predictor, 1) == 0);
    CHECK(started_by_run(predictor, 1000) == threads - 1 - few);
    for (const std::int64_t images : {1000, 64, 2000}) {
      CHECK(started_by_run(predictor, images) == 0);
    }
    Predictor clone = predictor.clone();
    CHECK(started_by_run(clone, 1000) == threads - 1);
  }
}

TEST_CASE("where no more threads can be started, those there are do the work") {
  const Tensor images = random_images(1000);
  Predictor predictor(bundled("threads=4"));
  const Tensor expected = Predictor(bundled()).run(images.view());
  for (const int more : {0, 1, 1}) {
    CAPTURE(more);
    allowed = started + more;
    CHECK(started_by_run(predictor, 1000) == more);
    CHECK(predictor.run(images.view()).data == expected.data);
  }
  allowed = 1000000;
  CHECK(started_by_run(predictor, 1000) == 1);
}

}  // namespace
}  // namespace lenet::tests

#endif
