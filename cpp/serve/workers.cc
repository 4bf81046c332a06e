#include "workers.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "io/json.h"
#include "lenet/interruption.h"

namespace lenet::serve {
namespace {

using Kind = InferRequest::Kind;

constexpr std::size_t kKeptBytes = std::size_t{16} << 20;  // of memory, from one batch to the next
// What a worker's priority is below the loop's. With the same one, where workers keep all cores
// busy, a probe of the health waits for the end of a time slice, some milliseconds.
constexpr int kNicer = 10;
// A request that probably takes more microseconds is long.
constexpr double kLongUs = 100'000;
// Microseconds to decode and prepare a pixel, about: most pictures take 2 to 10 ns for one.
constexpr double kPixelUs = 0.006;

template <typename T>
void trim(std::vector<T>& memory) {
  if (memory.capacity() * sizeof(T) > kKeptBytes) memory = {};
}

/// The bytes of all requests, one after another.
template <typename T>
const T* join_inputs(JobRange jobs, std::vector<T>& memory) {
  const std::string_view only = (*jobs.first)->infer.input_bytes();
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(only.data()) % alignof(T) == 0;
  if (jobs.count == 1 && is_aligned && !only.empty()) {
    return reinterpret_cast<const T*>(only.data());
  }
  std::size_t size = 0;
  for (const auto& job : jobs) size += job->infer.input_bytes().size();
  memory.resize(std::max<std::size_t>((size + sizeof(T) - 1) / sizeof(T), 1));
  char* at = reinterpret_cast<char*>(memory.data());
  for (const auto& job : jobs) {
    const std::string_view bytes = job->infer.input_bytes();
    at = std::copy(bytes.begin(), bytes.end(), at);
  }
  return memory.data();
}

/// Whether the inputs of two requests can be one batch.
bool can_join(const Job& a, const Job& b) {
  const InferRequest& x = a.infer;
  const InferRequest& y = b.infer;
  const auto same_output = [](const Wanted& one, const Wanted& other) {
    return one.index == other.index;
  };
  // The work of the first was checked, that of the others for open sizes was not.
  const bool is_known = a.model->multiply_adds > 0 || y.images() <= x.images();
  // A batch of a short request and a long one would be long, and other short ones wait behind it.
  const bool is_as_short = a.is_long || !b.is_long;
  return a.is_parsed && b.is_parsed && is_known && is_as_short && a.model == b.model &&
         !a.model->joins_images && x.kind == y.kind && x.kind != Kind::Files &&
         x.shape.size() == y.shape.size() && !x.shape.empty() &&
         std::equal(x.shape.begin() + 1, x.shape.end(), y.shape.begin() + 1) &&
         std::equal(x.outputs.begin(), x.outputs.end(), y.outputs.begin(), y.outputs.end(),
                    same_output);
}

}  // namespace

template <typename Action>
bool Job::prepare_by(Clock::time_point begin, const Action& action) noexcept try {
  action();
  input_time += Clock::now() - begin;
  return true;
} catch (const std::exception& error) {
  answer(failure_response(error));
  return false;
}

bool Job::prepare(const Limits& limits, Clock::time_point begin) noexcept {
  return prepare_by(begin, [&] {
    if (begin > request.deadline) throw Refusal(503, "the request waited too long");
    if (!is_parsed) infer = parse_infer(request, *model, limits);
    is_parsed = true;
  });
}

bool Job::weigh(const Limits& limits) noexcept {
  const Clock::time_point begin = Clock::now();
  if (!prepare(limits, begin)) return false;
  is_weighed = true;
  return prepare_by(Clock::now(), [&] {
    if (infer.kind == Kind::Files) weigh_files(infer, limits);
    const bool is_measured = std::isfinite(model->image_us);
    const double run_us = is_measured ? static_cast<double>(infer.images()) * model->image_us : 0;
    is_long = run_us + static_cast<double>(infer.decode_work) * kPixelUs > kLongUs;
  });
}

bool Job::prepare_all(const Limits& limits, const std::atomic<bool>& stop) noexcept {
  const Clock::time_point begin = Clock::now();
  if (!prepare(limits, begin)) return false;
  Clock::time_point end = request.deadline;
  if (limits.request_ms > 0) {
    end = std::min(end, arrival + std::chrono::milliseconds(limits.request_ms));
  }
  return prepare_by(Clock::now(), [&] {
    const Interruption watch([&] {
      if (stop) throw Refusal(503, "the server is stopping");
      if (Clock::now() > end) throw Refusal(503, "the request took too long to decode");
    });
    if (infer.kind == Kind::Files) decode_files(infer, *model, limits);
    if (model->multiply_adds == 0) require_work(infer, *model, limits);
  });
}

void Job::answer(Response response, Clock::time_point now) {
  model->statistics.add_request(response.status < 400, now - arrival);
  done(std::move(response));
}

void join_waiting(Jobs& jobs, std::deque<std::unique_ptr<Job>>& queue,
                  std::int64_t max_images) noexcept try {
  std::int64_t images = jobs.front()->infer.images();
  for (std::size_t i = 0; i < queue.size() && images < max_images;) {
    const std::int64_t more = queue[i]->infer.images();
    if (!can_join(*jobs.front(), *queue[i]) || more > max_images - images) {
      ++i;
      continue;
    }
    images += more;
    jobs.emplace_back();
    jobs.back() = std::move(queue[i]);
    queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(i));
  }
} catch (const std::bad_alloc&) {  // the others run later
}

Response failure_response(const std::exception& error) noexcept {
  if (const auto* refusal = dynamic_cast<const Refusal*>(&error)) {
    return error_response(refusal->status(), refusal->what());
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return error_response(503, "out of memory");
  }
  const auto* known = dynamic_cast<const Error*>(&error);
  const bool is_input = dynamic_cast<const InvalidJson*>(&error) != nullptr ||
                        (known != nullptr && known->code() == ErrorCode::BadInput);
  const bool is_unsupported = known != nullptr && known->code() == ErrorCode::Unsupported;
  return error_response(is_input ? 400 : is_unsupported ? 501 : 500, error.what());
}

void Runner::run(JobRange jobs) noexcept {
  bool again = false;
  try {
    run_together(jobs);
  } catch (const std::exception& error) {
    const auto* known = dynamic_cast<const Error*>(&error);
    again = jobs.count > 1 && known != nullptr && known->code() == ErrorCode::BadInput;
    for (const auto& job : jobs) {
      if (again || !job->done) continue;
      const int limit = job->model->options().time_limit_ms;
      const bool is_late =
          limit > 0 && Clock::now() - job->arrival > std::chrono::milliseconds(limit);
      job->answer(stop_     ? error_response(503, "the server is stopping")
                  : is_late ? error_response(503, "the request took too long")
                            : failure_response(error));
    }
  }
  for (std::size_t i = 0; again && i < jobs.count; ++i) run({jobs.first + i, 1});
  trim(values_);
  trim(numbers_);
  trim(pixels_);
  // A response that keeps a large output takes it along.
  if (outputs_.use_count() > 1) outputs_.reset();
  if (!outputs_) return;
  for (Tensor& output : *outputs_) trim(output.data);
}

TensorView Runner::gather(JobRange jobs) {
  const InferRequest& first = (*jobs.first)->infer;
  Shape shape = first.shape;
  for (std::size_t i = 1; i < jobs.count; ++i) shape[0] += jobs.first[i]->infer.images();
  if (first.kind == Kind::Values) return {join_inputs(jobs, values_), std::move(shape)};
  if (first.kind == Kind::Numbers) {
    return {nullptr, std::move(shape), nullptr, nullptr, join_inputs(jobs, numbers_)};
  }
  const std::uint8_t* const pixels = join_inputs(jobs, pixels_);
  if (first.kind == Kind::Pixels) return {nullptr, std::move(shape), pixels};
  return (*jobs.first)->model->pipeline->view(pixels, std::move(shape));
}

void Runner::run_together(JobRange jobs) {
  Model& model = *(*jobs.first)->model;
  const std::vector<Wanted>& wanted = (*jobs.first)->infer.outputs;
  const Clock::time_point begin = Clock::now();
  const TensorView input = gather(jobs);
  if (!outputs_) outputs_ = std::make_shared<std::vector<Tensor>>();
  outputs_->resize(1);
  {
    const Model::Lease predictor = model.lend();
    if (wanted.size() == 1 && wanted[0].index == 0) {
      predictor->run(input, outputs_->front());
    } else {
      std::vector<std::string> names;
      for (const Wanted& one : wanted) names.push_back(model.outputs[one.index].name);
      *outputs_ = predictor->run_outputs(input, names);
    }
    const std::int64_t images = input.shape.empty() ? 1 : input.shape[0];
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const TensorSpec& spec = model.outputs[wanted[i].index];
      if (fits((*outputs_)[i].shape, spec, images)) continue;
      throw Error(ErrorCode::Unsupported, "model '" + model.name + "': its output '" + spec.name +
                                              "' has the shape " + to_string((*outputs_)[i].shape) +
                                              ", but is declared as " + to_string(spec.shape) +
                                              "; export it anew");
    }
  }
  const Clock::time_point end = Clock::now();
  Statistics& statistics = model.statistics;
  statistics.runs.fetch_add(1, std::memory_order_relaxed);
  statistics.images.fetch_add(input.shape.empty() ? 0 : static_cast<std::uint64_t>(input.shape[0]),
                              std::memory_order_relaxed);
  statistics.last_run_ms.store(
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                 std::chrono::milliseconds(1)),
      std::memory_order_relaxed);
  std::int64_t first = 0;
  Clock::time_point now = end;
  for (const auto& job : jobs) {
    Response response;
    try {
      response = infer_response(job->infer, model, outputs_, first);
    } catch (const std::exception& error) {
      response = failure_response(error);
    }
    first += job->infer.images();
    // A look at the clock is some 30 ns: one a response, which has the sending of the one before.
    const Clock::time_point start = std::exchange(now, Clock::now());
    if (response.status < 400) {
      statistics.queue.add(begin - job->arrival - job->input_time);
      statistics.input.add(job->input_time);
      statistics.infer.add(end - begin);
      statistics.output.add(now - start);
    }
    job->answer(std::move(response), now);
    job->done = nullptr;
  }
}

Workers::Workers(const Options& options, std::atomic<bool>& stop)
    : options_(options),
      most_(options.workers > 0 ? static_cast<std::size_t>(options.workers)
                                : std::max(1U, std::thread::hardware_concurrency())),
      stop_(stop) {
  running_.reserve(most_ + 1);
}

Workers::~Workers() {
  std::unique_lock<std::mutex> lock(mutex_);
  stop_ = true;
  woken_.notify_all();
  queued_.notify_all();
  while (!queue_.empty()) {
    std::unique_ptr<Job> job = take(0);
    lock.unlock();
    job->answer(error_response(503, "the server is stopping"));
    job.reset();  // which may end a model
    lock.lock();
  }
  // Again and again: a run that is about to begin does not see that it is cancelled.
  while (alive_ > 0) {
    for (Model* const model : running_) model->cancel();
    ended_.wait_for(lock, std::chrono::milliseconds(20));
  }
  lock.unlock();
  for (std::thread& thread : threads_) thread.join();
  if (refusing_.joinable()) refusing_.join();
  for (const Task& task : tasks_) task.run(true);
}

bool Workers::has_room(std::size_t bytes) const {
  const Limits& limits = options_.limits;
  return !stop_ && waiting() < limits.queued_requests &&
         bytes <= limits.queued_bytes - std::min(queued_bytes_, limits.queued_bytes);
}

bool Workers::wake() {
  if (idle_ > waiting() || threads_.size() >= places()) return true;
  try {
    Jobs jobs;
    jobs.reserve(1);
    threads_.emplace_back([this, jobs = std::move(jobs)]() mutable { work(std::move(jobs)); });
    ++alive_;
  } catch (const std::exception&) {  // the system gives no more threads
  }
  return !threads_.empty();
}

bool Workers::add(std::function<void(bool)> task, std::size_t bytes) noexcept try {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!has_room(bytes) || !wake()) return false;
  tasks_.push_back({std::move(task), bytes});
  queued_bytes_ += bytes;
  woken_.notify_one();
  return true;
} catch (const std::exception&) {  // no memory
  return false;
}

bool Workers::add(std::unique_ptr<Job>& job) noexcept try {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::size_t bytes = job->request.body.size();
  if (!has_room(bytes) || !wake()) return false;
  // Only what finds no idle worker can be late.
  if (idle_ <= waiting()) watch_late();
  queue_.emplace_back();
  queue_.back() = std::move(job);
  queued_bytes_ += bytes;
  woken_.notify_one();
  return true;
} catch (const std::exception&) {  // no memory, no thread
  return false;
}

Backlog Workers::backlog() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {waiting(), queued_bytes_, running_requests_};
}

void Workers::watch_late() {
  if (options_.limits.request_ms <= 0) return;
  if (!refusing_.joinable()) refusing_ = std::thread([this] { refuse_late(); });
  if (std::exchange(refusing_sleeps_, false)) queued_.notify_one();
}

std::size_t Workers::next() const {
  if (busy_ >= places()) return queue_.size();
  const bool takes_long = busy_ < most_;
  const auto found = std::find_if(queue_.begin(), queue_.end(),
                                  [&](const auto& job) { return takes_long || !job->is_long; });
  return static_cast<std::size_t>(found - queue_.begin());
}

std::unique_ptr<Job> Workers::take(std::size_t at) {
  std::unique_ptr<Job> job = std::move(queue_[at]);
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(at));
  queued_bytes_ -= job->request.body.size();
  return job;
}

bool Workers::waits_again(std::unique_ptr<Job>& job) try {
  if (!job->is_long || busy_ <= most_) return false;
  const std::size_t bytes = job->request.body.size();
  const auto later = std::find_if(queue_.begin(), queue_.end(),
                                  [&](const auto& other) { return other->arrival > job->arrival; });
  watch_late();
  *queue_.emplace(later) = std::move(job);
  queued_bytes_ += bytes;
  return true;
} catch (const std::exception&) {  // no memory, no thread: it runs now
  return false;
}

void Workers::refuse_late() {
  const std::chrono::milliseconds limit(options_.limits.request_ms);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    if (queue_.empty()) {
      refusing_sleeps_ = true;
      queued_.wait(lock);
    } else if (const Clock::time_point end = queue_.front()->arrival + limit; Clock::now() < end) {
      queued_.wait_until(lock, end);
    } else {
      std::unique_ptr<Job> late = take(0);
      lock.unlock();
      late->answer(error_response(503, "the request waited too long"));
      late.reset();  // which may end a model
      lock.lock();
    }
  }
}

void Workers::run_task(std::unique_lock<std::mutex>& lock) {
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  queued_bytes_ -= task.bytes;
  ++running_requests_;
  ++busy_;
  task_is_next_ = false;
  lock.unlock();
  task.run(false);
  task.run = nullptr;
  lock.lock();
  --busy_;
  --running_requests_;
}

void Workers::run_job(Jobs& jobs, Runner& runner, std::unique_lock<std::mutex>& lock) {
  Job& first = *jobs.front();
  bool is_ready = true;
  if (!first.is_weighed) {
    lock.unlock();
    is_ready = first.weigh(options_.limits);
    lock.lock();
    if (is_ready && waits_again(jobs.front())) {
      jobs.clear();
      --running_requests_;
      return;
    }
  }
  const bool is_long = first.is_long;
  if (is_long) {
    ++busy_long_;
    // There may be a place more now, for what waits.
    if (waiting() > 0 && wake()) woken_.notify_one();
  }
  lock.unlock();
  is_ready = is_ready && first.prepare_all(options_.limits, stop_);
  lock.lock();
  if (is_ready && !stop_) join_waiting(jobs, queue_, options_.max_batch_size);
  const std::size_t more = jobs.size() - 1;
  for (std::size_t i = 1; i <= more; ++i) queued_bytes_ -= jobs[i]->request.body.size();
  running_requests_ += more;
  Model* const model = first.model.get();
  running_.push_back(model);
  lock.unlock();
  if (is_ready) runner.run({jobs.data(), jobs.size()});
  lock.lock();
  running_.erase(std::find(running_.begin(), running_.end(), model));
  running_requests_ -= 1 + more;
  lock.unlock();
  jobs.clear();  // which may end a model
  lock.lock();
  if (is_long) --busy_long_;
}

void Workers::work(Jobs jobs) {
  // Of this thread: in Linux each has its own. Without it, requests are answered all the same.
  static_cast<void>(!nice(kNicer));
  Runner runner(stop_);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    const std::size_t at = next();
    const bool has_task = !tasks_.empty() && busy_ < places();
    if (at == queue_.size() && !has_task) {
      ++idle_;
      woken_.wait(lock);
      --idle_;
      continue;
    }
    if (at == queue_.size() || (task_is_next_ && has_task)) {
      run_task(lock);
      continue;
    }
    task_is_next_ = true;
    jobs.push_back(take(at));  // for which there is room
    ++running_requests_;
    ++busy_;
    run_job(jobs, runner, lock);
    --busy_;
  }
  --alive_;
  ended_.notify_all();
}

}  // namespace lenet::serve
