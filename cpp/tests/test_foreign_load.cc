#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "engines/foreign_load.h"
#include "lenet/engines.h"
#include "lenet/interruption.h"
#include "support.h"

namespace lenet::tests {
namespace {

/// Holds loads until it is opened.
class Gate {
 public:
  ~Gate() { open(); }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

/// Says when it is destroyed, after which it may use its model no more.
class Loaded final : public Engine {
 public:
  explicit Loaded(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  ~Loaded() override { CHECK(model_->path == "m.onnx"); }
  TensorSpec input_spec() const override { return {model_->path, {}, ""}; }
  std::vector<TensorSpec> output_specs() const override { return {}; }
  void run(const TensorView&, Outputs&, RunControl&) override {}
  std::unique_ptr<Engine> clone() const override { return nullptr; }

 private:
  std::shared_ptr<const Model> model_;
};

std::shared_ptr<const Model> some_model() {
  auto model = std::make_shared<Model>();
  model->path = "m.onnx";
  return model;
}

Config limited(int seconds) {
  Config config;
  config.load_seconds = seconds;
  return config;
}

/// What no test gets: the load of a model that waits at the gate.
std::unique_ptr<Engine> load_behind(const std::shared_ptr<Gate>& gate, int seconds) {
  const std::shared_ptr<const Model> model = some_model();
  return load_in_time(limited(seconds), *model, [gate, model](const GivenUp&) {
    gate->wait();
    return std::make_unique<Loaded>(model);
  });
}

void wait_until_none_is_given_up() {
  while (given_up_loads() > 0) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a load in time gives what it made, or what it threw") {
  const std::shared_ptr<const Model> model = some_model();
  const auto here = std::this_thread::get_id();
  for (const int seconds : {0, 1, 120}) {
    const auto engine = load_in_time(limited(seconds), *model, [&](const GivenUp& given_up) {
      CHECK_FALSE(*given_up);
      CHECK(std::this_thread::get_id() != here);
      return std::make_unique<Loaded>(model);
    });
    CHECK(engine->input_spec().name == "m.onnx");
  }
  const auto fails = [&](const GivenUp&) -> std::unique_ptr<Engine> {
    throw Error(ErrorCode::VersionMismatch, "too old");
  };
  CHECK_ERROR(VersionMismatch, "too old", load_in_time(limited(1), *model, fails));
  CHECK(given_up_loads() == 0);
}

TEST_CASE("a load that takes too long is given up, and four of them are the most") {
  const auto gate = std::make_shared<Gate>();
  for (int given_up = 0; given_up < kMostGivenUpLoads; ++given_up) {
    CHECK(given_up_loads() == given_up);
    CHECK_ERROR(BackendFailure, "'m.onnx': its load takes longer than load_seconds, 1",
                load_behind(gate, 1));
  }
  CHECK_ERROR(BackendFailure, "4 loads were given up", load_behind(gate, 1));
  gate->open();
  wait_until_none_is_given_up();  // of itself: what they made is gone
  CHECK(load_behind(gate, 1) != nullptr);
}

TEST_CASE("an Interruption ends the wait for a load") {
  const auto gate = std::make_shared<Gate>();
  int asked = 0;
  {
    const Interruption outer([] { throw std::runtime_error("the outer one"); });
    {
      const Interruption watch([&] {
        if (++asked == 3) throw std::out_of_range("enough");
      });
      CHECK_THROWS_AS(load_behind(gate, 0), std::out_of_range);
      CHECK(asked == 3);
    }
    CHECK_THROWS_AS(load_behind(gate, 0), std::runtime_error);
  }
  CHECK_ERROR(BackendFailure, "load_seconds", load_behind(gate, 1));
  CHECK(given_up_loads() == 3);
  gate->open();
  wait_until_none_is_given_up();
}

}  // namespace lenet::tests
