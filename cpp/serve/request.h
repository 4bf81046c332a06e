/// \file
/// What the service is asked, what it answers, and its options.
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

#include "description/step_changes.h"
#include "lenet/config.h"

namespace lenet::serve {

struct Asked;     // infer.h
struct Inferred;  // infer.h

struct Request {
  std::string method;  ///< "GET", "POST", ...; HEAD is answered as GET, with a body
  std::string path;    ///< as sent: escapes such as %20 are not decoded, without the query
  std::string query;   ///< as sent, behind the '?' of the address
  std::string body;    ///< unpacked, by the time that the service gets it
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
  /// Limits the work for all images of a request; a request with more is answered with 413. It
  /// holds where the check of the model knows the work, also for open sizes. The default is 64 of
  /// VGG16.
  std::size_t multiply_adds = 1'000'000'000'000;
  std::size_t queued_requests = 1024;               ///< that wait; then 429
  std::size_t queued_bytes = std::size_t{1} << 28;  ///< of the bodies of these; then 429
  /// Milliseconds after which a request that waits, or whose files are still being decoded, is
  /// answered with 503, as is one whose run takes as long again where the engine can be stopped; 0:
  /// none.
  int request_ms = 60'000;
};

struct Options {
  std::vector<ModelSource> models;
  /// Engine, precision, threads of one run; names no files, no limit of time.
  Config config;
  StepChanges changes;  ///< of how images are prepared; of a server of one model
  std::string labels;   ///< file with the labels of the only model; empty: the model's own
  int workers = 0;      ///< threads that run what the loop does not; 0: one a core
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
  /// The command that loads the model at a path in a process of its own, as try_load() takes it. A
  /// model is loaded so before the server loads it, but not at the start of a server that neither
  /// polls nor lets clients load models. Empty: never.
  std::function<std::vector<std::string>(const std::string& path)> trial_command;
  /// Gets one line for each model that was loaded, replaced, refused or unloaded; from any thread.
  std::function<void(const std::string& line)> log = [](const std::string&) {};
};

/// What is going on, for limits, logs and a graceful stop.
struct Backlog {
  std::size_t queued_requests = 0;  ///< that wait for a worker
  std::size_t queued_bytes = 0;
  std::size_t running_requests = 0;  ///< handed over to workers and not answered yet
};

}  // namespace lenet::serve
