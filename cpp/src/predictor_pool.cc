#include "lenet/predictor_pool.h"

#include <condition_variable>
#include <mutex>
#include <queue>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace lenet {

struct PredictorPool::State {
  /// A predictor that nobody else uses until the pointer is gone.
  auto lend() {
    std::unique_lock<std::mutex> lock(mutex);
    freed.wait(lock, [&] { return !free.empty(); });
    const auto give_back = [this](Predictor* predictor) {
      {
        const std::lock_guard<std::mutex> giving(mutex);
        free.push_back(predictor);
      }
      freed.notify_one();
    };
    std::unique_ptr<Predictor, decltype(give_back)> lent(free.back(), give_back);
    free.pop_back();
    return lent;
  }

  ~State() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ending = true;
    }
    submitted.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  void run_submitted() {
    for (std::unique_lock<std::mutex> lock(mutex);; lock.lock()) {
      submitted.wait(lock, [&] { return ending || !tasks.empty(); });
      if (tasks.empty()) return;
      std::packaged_task<Tensor()> task = std::move(tasks.front());
      tasks.pop();
      lock.unlock();
      task();
    }
  }

  std::vector<Predictor> predictors;
  std::mutex mutex;              // guards what follows
  std::vector<Predictor*> free;  // of predictors
  std::condition_variable freed;
  std::queue<std::packaged_task<Tensor()>> tasks;
  std::condition_variable submitted;
  bool ending = false;
  std::vector<std::thread> threads;
};

PredictorPool::PredictorPool(const Config& config, std::size_t size)
    : PredictorPool(Predictor(config), size) {}

PredictorPool::PredictorPool(const Config& config, const ModelBytes& model, std::size_t size)
    : PredictorPool(Predictor(config, model), size) {}

PredictorPool::PredictorPool(Predictor first, std::size_t size)
    : state_(std::make_unique<State>()) {
  if (size == 0) throw Error(ErrorCode::BadInput, "a predictor pool needs at least one predictor");
  state_->predictors.reserve(size);
  state_->predictors.push_back(std::move(first));
  while (state_->predictors.size() < size) {
    state_->predictors.push_back(state_->predictors.front().clone());
  }
  for (Predictor& predictor : state_->predictors) state_->free.push_back(&predictor);
}

PredictorPool::~PredictorPool() = default;
PredictorPool::PredictorPool(PredictorPool&&) noexcept = default;
PredictorPool& PredictorPool::operator=(PredictorPool&&) noexcept = default;

Tensor PredictorPool::run(const TensorView& input) { return state_->lend()->run(input); }

void PredictorPool::run(const TensorView& input, Tensor& output) {
  state_->lend()->run(input, output);
}

void PredictorPool::run(const TensorView& input, float* output, std::size_t size) {
  state_->lend()->run(input, output, size);
}

std::future<Tensor> PredictorPool::submit(Tensor input) {
  State& state = *state_;
  std::packaged_task<Tensor()> task(
      [&state, input = std::move(input)] { return state.lend()->run(input.view()); });
  std::future<Tensor> output = task.get_future();
  const std::lock_guard<std::mutex> lock(state.mutex);
  try {
    if (state.threads.size() < size()) state.threads.emplace_back(&State::run_submitted, &state);
  } catch (const std::system_error&) {
    if (state.threads.empty()) throw Error(ErrorCode::BackendFailure, "cannot start a thread");
  }
  state.tasks.push(std::move(task));
  state.submitted.notify_one();
  return output;
}

std::size_t PredictorPool::size() const noexcept { return state_->predictors.size(); }

const TensorSpec& PredictorPool::input_spec() const noexcept {
  return state_->predictors.front().input_spec();
}

const TensorSpec& PredictorPool::output_spec() const noexcept {
  return state_->predictors.front().output_spec();
}

const Config& PredictorPool::config() const noexcept { return state_->predictors.front().config(); }

bool PredictorPool::quantized() const noexcept { return state_->predictors.front().quantized(); }

Accelerator PredictorPool::accelerator(std::int64_t images) const {
  return state_->predictors.front().accelerator(images);
}

}  // namespace lenet
