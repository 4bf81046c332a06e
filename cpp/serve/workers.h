/// \file
/// Running requests: together where they can be, in the thread of a loop or in a pool.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "infer.h"
#include "model.h"
#include "request.h"

namespace lenet::serve {

/// A request for an inference on its way to its response.
struct Job {
  Request request;
  std::shared_ptr<Model> model;
  Done done;
  bool is_parsed = false;
  InferRequest infer;  ///< refers to the request's body
  Clock::time_point arrival = Clock::now();
  Clock::duration input_time{};  ///< of reading and decoding
  bool is_weighed = false;
  bool is_long = false;  ///< others should not wait behind it; false until it is weighed

  /// Reads the request, if it was not yet.
  /// \param begin now
  /// \returns false when it is answered: it was refused
  bool prepare(const Limits& limits, Clock::time_point begin) noexcept;
  /// Prepares the request as prepare() does, and finds out whether it is long by the headers of its
  /// files and by the time that its model takes for an image.
  bool weigh(const Limits& limits) noexcept;
  /// Prepares the request as prepare() does, and does what takes long: decodes and prepares its
  /// files, which ends when `stop` becomes true, when the request has waited for request_ms, and at
  /// its deadline; and checks what it asks of a model of open sizes.
  bool prepare_all(const Limits& limits, const std::atomic<bool>& stop) noexcept;
  /// Counts the response, and hands it to `done`.
  void answer(Response response, Clock::time_point now = Clock::now());

 private:
  /// \param action part of the preparation; what it throws is the answer
  /// \returns false when it is answered
  template <typename Action>
  bool prepare_by(Clock::time_point begin, const Action& action) noexcept;
};
using Jobs = std::vector<std::unique_ptr<Job>>;

/// Some of them, one after another.
struct JobRange {
  const std::unique_ptr<Job>* first = nullptr;
  std::size_t count = 0;

  const std::unique_ptr<Job>* begin() const { return first; }
  const std::unique_ptr<Job>* end() const { return first + count; }
};

/// Moves what can be one batch with the first of `jobs` from the queue to them.
/// \param max_images of the batch
void join_waiting(Jobs& jobs, std::deque<std::unique_ptr<Job>>& queue,
                  std::int64_t max_images) noexcept;

/// The response to a request that failed.
Response failure_response(const std::exception& error) noexcept;

/// Runs batches in one thread, which keeps their memory.
class Runner {
 public:
  /// \param stop whether runs that fail were ended because the server stops
  explicit Runner(const std::atomic<bool>& stop) : stop_(stop) {}

  /// Runs requests that can join as one batch, and answers each. When the batch is refused, each
  /// runs alone, so that one bad input is one client's.
  /// \param jobs parsed, no Files among them
  void run(JobRange jobs) noexcept;

 private:
  void run_together(JobRange jobs);
  TensorView gather(JobRange jobs);

  const std::atomic<bool>& stop_;
  std::vector<float> values_;
  std::vector<std::uint64_t> numbers_;  ///< of any type, as its alignment is the largest
  std::vector<std::uint8_t> pixels_;
  std::shared_ptr<std::vector<Tensor>> outputs_;
};

/// Threads that take requests in the order of their arrival. One that becomes free takes all those
/// that are waiting and can join the first, up to max_batch_size images: a batch never waits.
///
/// Long requests, such as pictures that take long to decode, must not hold the others. While they
/// occupy all threads, one more thread runs the requests that are not long, one after another.
class Workers {
 public:
  /// \param stop set by the destructor
  Workers(const Options& options, std::atomic<bool>& stop);
  /// Stops the runs that can be stopped, and answers what waits with 503.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// \returns false, and leaves the job, when too much is waiting
  bool add(std::unique_ptr<Job>& job) noexcept;
  /// As Service::run.
  bool add(std::function<void(bool)> task, std::size_t bytes) noexcept;
  Backlog backlog() const;

 private:
  /// \param jobs with room for one
  void work(Jobs jobs);
  /// Answers the requests that have waited for request_ms, also while every worker is busy.
  void refuse_late();
  // With the lock:
  bool has_room(std::size_t bytes) const;
  std::size_t waiting() const { return queue_.size() + tasks_.size(); }
  /// \returns false when the system gives no thread, and there is none
  bool wake();
  /// Has `refuse_late` watch what waits. \throws std::exception when there is no thread for it
  void watch_late();
  /// How many requests may run at once now.
  std::size_t places() const { return most_ + (busy_long_ >= most_ ? 1 : 0); }
  /// The first that waits and may run now; the size of the queue: none may.
  std::size_t next() const;
  std::unique_ptr<Job> take(std::size_t at);
  /// \param job that was weighed
  /// \returns whether it has to wait, because it is long and all places for such are occupied; it
  /// is
  ///   then in the queue again
  bool waits_again(std::unique_ptr<Job>& job);
  void run_task(std::unique_lock<std::mutex>& lock);
  /// \param jobs one, which was taken; empty afterwards
  void run_job(Jobs& jobs, Runner& runner, std::unique_lock<std::mutex>& lock);

  const Options& options_;
  const std::size_t most_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable woken_;
  std::condition_variable ended_;
  std::condition_variable queued_;  // for `refuse_late`
  std::atomic<bool>& stop_;
  std::deque<std::unique_ptr<Job>> queue_;
  struct Task {
    std::function<void(bool)> run;
    std::size_t bytes;
  };
  std::deque<Task> tasks_;
  bool task_is_next_ = false;  // where both wait
  std::size_t queued_bytes_ = 0;
  std::size_t running_requests_ = 0;
  std::size_t busy_ = 0;         // threads that have a request or a task
  std::size_t busy_long_ = 0;    // of these, the ones with a long request
  std::size_t idle_ = 0;         // threads
  std::size_t alive_ = 0;        // threads
  std::vector<Model*> running_;  // one for each batch
  std::vector<std::thread> threads_;
  std::thread refusing_;
  bool refusing_sleeps_ = false;  // as nothing was waiting
};

}  // namespace lenet::serve
