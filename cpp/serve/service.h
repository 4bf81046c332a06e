/// \file
/// The server without HTTP: from a request whose header and body were read to the response that is
/// to be written. It speaks the Open Inference Protocol, version 2 (docs/serve.md).
///
///     Service service(options);        // loads and warms the models
///     Service::Loop loop(service);     // one for each thread that reads requests
///     const bool waits = loop.handle(std::move(request), [](Response response) { ... });
///     if (waits) loop.run_waiting();   // once all requests that had arrived were handled
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "repository.h"
#include "request.h"
#include "workers.h"

namespace lenet::serve {

/// Thread-safety: everything but the constructor and the destructor may be called from any number
/// of threads at once; a Loop belongs to one thread.
class Service {
 public:
  /// Loads, checks and warms all models. The destructor stops what runs, where the engine can be
  /// stopped, and answers what waits with 503. Loops must then be gone, and what the callbacks
  /// refer to must still be there.
  /// \throws Error as Predictor does, and BadInput for options and names of models that cannot be.
  explicit Service(Options options)
      : options_(std::move(options)), repository_(options_), workers_(options_, stops_) {}
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Whether no shutdown has begun.
  bool answers() const { return !is_stopping_; }
  /// Why the server is not ready, for /v2/health/ready; empty where it is: all models are loaded,
  /// no shutdown has begun, and models of every engine can still be loaded.
  std::string not_ready() const;
  /// From now on it is not ready. Requests are still answered.
  void begin_shutdown() { is_stopping_ = true; }
  Backlog backlog() const { return workers_.backlog(); }
  /// In the text format of Prometheus; ends with a new line.
  std::string metrics() const;
  /// Has a thread that runs models do something else, in turn with requests.
  /// \param task called once, with whether the service ends and it is left; must not throw
  /// \param bytes of memory that it keeps while it waits
  /// \returns false, without a call, when too much is waiting
  bool run(std::function<void(bool)> task, std::size_t bytes) noexcept {
    return workers_.add(std::move(task), bytes);
  }
  /// Makes the thread that loads models look at the folders now (SIGHUP). Does not wait for it.
  void look_for_models() { repository_.look(); }

  /// One thread's requests that run in it. Its methods are called by that thread.
  class Loop {
   public:
    explicit Loop(Service& service) : service_(service), runner_(service.stops_) {}
    ~Loop() { run_waiting(); }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Calls `done` before it returns, or in `run_waiting`, or later from a thread of the service.
    /// Never throws.
    /// \param done must not throw
    /// \returns whether there are requests that wait for `run_waiting`
    bool handle(Request request, Done done) noexcept;

    /// Runs, as batches, the short requests that `handle` left waiting. To call when all requests
    /// that had arrived are handled, before the thread sleeps.
    void run_waiting() noexcept;

   private:
    /// \param done taken when nothing is returned
    std::optional<Response> answer(Request& request, Done& done);
    /// /v2/models/NAME[/versions/VERSION]
    std::optional<Response> answer_model(std::string_view path, Request& request, Done& done);
    /// /v2/repository/models/NAME
    std::optional<Response> answer_change(std::string_view path, const Request& request,
                                          Done& done);
    void infer(std::shared_ptr<Model> model, Request& request, Done& done);

    Service& service_;
    Runner runner_;
    std::deque<std::unique_ptr<Job>> waiting_;
    Jobs batch_;  // has room for one
  };

 private:
  Options options_;
  std::atomic<bool> is_stopping_{false};  // but answers
  std::atomic<bool> stops_{false};        // answers no more
  // In this order: requests that run hold models, whose folders nobody watches any more.
  Repository repository_;
  Workers workers_;
};

}  // namespace lenet::serve
