/// \file
/// The server without HTTP: from a request whose header and body were read to the response that is
/// to be written. It speaks the Open Inference Protocol, version 2 (docs/serve.md).
///
///     Service service(options);        // loads and warms the models
///     Service::Loop loop(service);     // one for each thread that reads requests
///     const bool waits = loop.handle(std::move(request), [](Response response) { ... });
///     if (waits) loop.run_waiting();   // once all requests that had arrived were handled
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lenet/config.h"
#include "lenet/error.h"

namespace lenet::serve {

struct Asked;     // infer.h
struct Inferred;  // infer.h

struct Request {
  std::string method;        ///< "GET", "POST", ...; HEAD is answered as GET, with a body
  std::string path;          ///< as sent: escapes such as %20 are not decoded, without the query
  std::string body;          ///< unpacked, by the time that the service gets it
  std::string content_type;  ///< as sent; empty: there was none
  /// Value of `Inference-Header-Content-Length` as sent; nothing: there was no such header.
  std::optional<std::string> header_length;
  /// In place of JSON, where a request for an inference came another way; the body is its values.
  std::shared_ptr<const Asked> asked = nullptr;
  /// Afterwards nobody waits for the response: the request is not run any more.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

struct Response {
  int status = 200;
  std::string_view content_type = "application/json";  ///< a constant, or the page's
  /// Further headers, such as Inference-Header-Content-Length, Retry-After, Allow. Names and values
  /// hold no control characters.
  std::vector<std::pair<std::string, std::string>> headers;
  /// The body is `body` followed by `tail`, the values of a large output where the engine wrote
  /// them.
  std::string body;
  std::string_view tail;
  std::shared_ptr<const void> tail_owner;  ///< keeps the memory of `tail`
  /// In place of a body, to a request with `asked`.
  std::shared_ptr<const Inferred> inferred;

  std::size_t size() const { return body.size() + tail.size(); }
};

/// {"error": "..."} with a status from 400 to 599. Statuses 429 and 503 get Retry-After. When there
/// is no memory for it, it is a constant with the status 503.
Response error_response(int status, std::string_view message) noexcept;

/// Called exactly once for a request, with its response.
using Done = std::function<void(Response)>;

struct ModelSource {
  /// - An .onnx file or another program that `Config::model_file` takes, or a folder that
  ///   `Config::model_dir` takes: a model of one version, "1".
  /// - A folder with folders named by integers: a model, and its versions.
  /// - A folder with folders of either kind: a repository of models.
  std::string path;
  /// Empty: the name of the file without its ending, or of the folder. Not for a repository.
  std::string name;
};

/// What a client can ask for at most. 0 is no limit where it says so.
struct Limits {
  std::size_t tensors = 64;                         ///< inputs, and outputs, of a request
  std::size_t values = std::size_t{1} << 26;        ///< of one request's inputs
  std::size_t image_pixels = std::size_t{1} << 25;  ///< of an image file
  std::size_t id_bytes = 256;                       ///< of a request's `id`
  /// Of all images of a request, where the model tells how many: 64 of VGG16. Then 413.
  std::size_t multiply_adds = 1'000'000'000'000;
  std::size_t queued_requests = 1024;               ///< that wait; then 429
  std::size_t queued_bytes = std::size_t{1} << 28;  ///< of the bodies of these; then 429
  /// Milliseconds after which a request that waits is answered with 503, as is one whose run takes
  /// as long again where the engine can be stopped; 0: none.
  int request_ms = 60'000;
};

struct Options {
  std::vector<ModelSource> models;
  /// Engine, precision, threads of one run; names no files, no limit of time.
  Config config;
  int workers = 0;  ///< threads that run what the loop does not; 0: one a core
  /// Images of different requests that run at once. With 16, of 32 connections, a request for LeNet
  /// takes 1 % less processor time (with 4, 5 % more), but each thread keeps 0.3 MB more memory,
  /// and clients of a large network wait longer.
  std::int64_t max_batch_size = 8;
  /// Microseconds that a run may take in the thread of the loop. What takes longer, by a
  /// measurement when the model is loaded, goes to a worker.
  double loop_us = 200;
  std::size_t versions = 1;  ///< of a model that are served: the newest
  /// Seconds between looks at the folders for versions that are new or changed; 0: only when
  /// `look_for_models` is called.
  int poll_seconds = 5;
  int trial_seconds = 20;      ///< for the first run of a model; where its engine can be stopped
  bool allow_load = false;     ///< models may be loaded and unloaded over the network
  bool insecure_load = false;  ///< also by clients without a token
  Limits limits;
  /// Gets one line for each model that was loaded, replaced, refused or unloaded; from any thread.
  std::function<void(const std::string& line)> log = [](const std::string&) {};
};

/// What is going on, for limits, logs and a graceful stop.
struct Backlog {
  std::size_t queued_requests = 0;  ///< that wait for a worker
  std::size_t queued_bytes = 0;
  std::size_t running_requests = 0;  ///< handed over to workers and not answered yet
};

/// Thread-safety: everything but the constructor and the destructor may be called from any number
/// of threads at once; a Loop belongs to one thread.
class Service {
 public:
  /// Loads, checks and warms all models.
  /// \throws Error as Predictor does, and BadInput for options and names of models that cannot be.
  explicit Service(Options options);
  /// Stops what runs, where the engine can be stopped, and answers what waits with 503. Loops must
  /// be gone, and what the callbacks refer to must still be there.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Whether all models are loaded and no shutdown has begun: /v2/health/ready.
  bool ready() const;
  /// From now on `ready` is false. Requests are still answered.
  void begin_shutdown();
  Backlog backlog() const;
  /// In the text format of Prometheus; ends with a new line. GET /metrics gives the same.
  std::string metrics() const;
  /// Has a thread that runs models do something else; not once the service ends.
  /// \param task must not throw
  /// \param bytes of memory that it keeps while it waits
  /// \returns false, when too much is waiting
  bool run(std::function<void()> task, std::size_t bytes) noexcept;
  /// Makes the thread that loads models look at the folders now (SIGHUP). Does not wait for it.
  void look_for_models();

  /// One thread's requests that run in it. Its methods are called by that thread.
  class Loop {
   public:
    explicit Loop(Service& service);
    ~Loop();  ///< runs what waits
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
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lenet::serve
