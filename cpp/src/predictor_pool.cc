#include "lenet/predictor_pool.h"

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace lenet {

struct PredictorPool::State {
  std::vector<Predictor> predictors;
  std::vector<std::size_t> free;  // guarded by mutex
  std::mutex mutex;
  std::condition_variable freed;
};

PredictorPool::PredictorPool(const Config& config, std::size_t size)
    : state_(std::make_unique<State>()) {
  if (size == 0) throw Error(ErrorCode::BadInput, "a predictor pool needs at least one predictor");
  state_->predictors.reserve(size);
  state_->predictors.emplace_back(config);
  while (state_->predictors.size() < size) {
    state_->predictors.push_back(state_->predictors.front().clone());
  }
  for (std::size_t i = 0; i < size; ++i) state_->free.push_back(i);
}

PredictorPool::~PredictorPool() = default;
PredictorPool::PredictorPool(PredictorPool&&) noexcept = default;
PredictorPool& PredictorPool::operator=(PredictorPool&&) noexcept = default;

Tensor PredictorPool::run(const TensorView& input) {
  State& state = *state_;
  std::size_t index = 0;
  {
    std::unique_lock<std::mutex> lock(state.mutex);
    state.freed.wait(lock, [&] { return !state.free.empty(); });
    index = state.free.back();
    state.free.pop_back();
  }
  struct Return {
    State& state;
    std::size_t index;
    ~Return() {
      {
        const std::lock_guard<std::mutex> lock(state.mutex);
        state.free.push_back(index);
      }
      state.freed.notify_one();
    }
  } give_back{state, index};
  return state.predictors[index].run(input);
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
