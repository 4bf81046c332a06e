#include "service.h"

#include <array>
#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>

#include "infer.h"
#include "json_reader.h"
#include "lenet/version.h"
#include "metrics.h"
#include "repository.h"
#include "workers.h"

namespace lenet::serve {
namespace {

/// JSON of more bytes is read by a worker: it takes longer than a short run.
constexpr std::size_t kLoopJsonBytes = std::size_t{1} << 16;

/// The parts of a path between slashes. No name of ours has a character that needs an escape.
class Path {
 public:
  /// \throws Refusal 400
  explicit Path(std::string_view path) {
    if (path.empty() || path[0] != '/' || path.find('%') != std::string_view::npos) {
      throw Refusal(400, "the path does not begin with '/', or has a '%'");
    }
    for (; !path.empty() && size_ < parts_.size(); ++size_) {
      path.remove_prefix(1);
      parts_[size_] = path.substr(0, path.find('/'));
      path.remove_prefix(parts_[size_].size());
    }
    if (!path.empty()) size_ = 0;                    // longer than any that is known
    if (size_ == 2 && parts_[1].empty()) size_ = 1;  // "/v2/" is "/v2"
  }

  /// Empty where there is none.
  std::string_view operator[](std::size_t i) const { return i < size_ ? parts_[i] : ""; }
  std::size_t size() const { return size_; }

 private:
  std::array<std::string_view, 6> parts_;
  std::size_t size_ = 0;
};

/// \throws Refusal 405
void require_method(const Request& request, std::string_view method) {
  const bool is = request.method == method || (method == "GET" && request.method == "HEAD");
  if (!is) throw Refusal(405, "this address takes " + std::string(method));
}

Response json_response(const nlohmann::json& json, int status = 200) {
  Response response;
  response.status = status;
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

Response ready_response(bool ready, nlohmann::json json = {}) {
  json["ready"] = ready;
  return json_response(json, ready ? 200 : 503);
}

/// The body of a request to the repository.
nlohmann::json parse_body(const std::string& body) {
  nlohmann::json json = parse_json(body.empty() ? "{}" : body);
  if (!json.is_object()) throw Refusal(400, "the body is no JSON object");
  return json;
}

nlohmann::json index(const Catalog& catalog, bool only_ready) {
  auto index = nlohmann::json::array();
  const auto add = [&](const std::string& name, const std::string& version, const char* state,
                       const std::string& reason) {
    index.push_back({{"name", name}, {"version", version}, {"state", state}, {"reason", reason}});
  };
  for (const auto& [name, entry] : catalog.models) {
    for (const auto& model : entry.versions) add(name, model->version, "READY", "");
    for (const auto& [number, reason] : entry.failures) {
      // A version whose files were replaced by broken ones is still served as it was.
      const std::string version = std::to_string(number);
      if (!only_ready && !catalog.find(name, version)) add(name, version, "UNAVAILABLE", reason);
    }
  }
  return index;
}

void require_options(const Options& options) {
  const auto require = [](bool fits, const char* what) {
    if (!fits) throw Error(ErrorCode::BadInput, what);
  };
  require(options.workers >= 0 && options.workers <= 1024, "workers: expected 0 to 1024");
  require(options.max_batch_size >= 1, "max_batch_size: expected 1 or more");
  require(options.loop_us >= 0, "loop_us: expected 0 or more");
  require(options.versions >= 1, "versions: expected 1 or more");
  require(options.poll_seconds >= 0, "poll_seconds: expected 0 or more");
  require(options.limits.request_ms >= 0, "request_ms: expected 0 or more");
  require(options.config.model_file.empty() && options.config.model_dir.empty(),
          "models are named by Options::models");
}

}  // namespace

Response error_response(int status, std::string_view message) {
  Response response;
  response.status = status;
  append_json(response.body = "{\"error\":", message);
  response.body += '}';
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

struct Service::State {
  explicit State(Options given)
      : options(std::move(given)), repository(options), workers(options, stops) {}

  Options options;
  std::atomic<bool> is_stopping{false};  // but answers
  std::atomic<bool> stops{false};        // answers no more
  // In this order: requests that run hold models, whose folders nobody watches any more.
  Repository repository;
  Workers workers;
};

struct Service::Loop::State {
  Service& service;
  Service::State& shared;
  Runner runner;
  Jobs waiting;

  /// \param done taken when nothing is returned
  std::optional<Response> answer(Request& request, Done& done);
  std::optional<Response> answer_model(const Path& path, Request& request, Done& done);
  std::optional<Response> answer_repository(const Path& path, const Request& request, Done& done);
  std::optional<Response> infer(std::shared_ptr<Model> model, Request& request, Done& done);
};

std::optional<Response> Service::Loop::State::answer(Request& request, Done& done) {
  const Path path(request.path);
  if (path[0] == "metrics" && path.size() == 1) {
    require_method(request, "GET");
    Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = service.metrics();
    return response;
  }
  if (path[0] != "v2") throw Refusal(404, "there is nothing at this address");
  if (path[1] == "models" && path.size() > 2) return answer_model(path, request, done);
  if (path[1] == "repository") return answer_repository(path, request, done);
  for (const char* missing : {"systemsharedmemory", "cudasharedmemory", "trace", "logging"}) {
    if (path[1] == missing) {
      throw Refusal(501, std::string("this server does not support ") + missing);
    }
  }
  if (path.size() == 1) {
    require_method(request, "GET");
    return json_response({{"name", "lenet_serve"},
                          {"version", version()},
                          {"extensions",
                           {"binary_tensor_data", "classification", "model_configuration",
                            "model_repository", "statistics"}}});
  }
  if (path[1] == "health" && path.size() == 3 && path[2] == "live") {
    require_method(request, "GET");
    return json_response({{"live", true}});
  }
  if (path[1] == "health" && path.size() == 3 && path[2] == "ready") {
    require_method(request, "GET");
    return ready_response(service.ready());
  }
  throw Refusal(404, "there is nothing at this address");
}

/// /v2/models/stats, /v2/models/M[/versions/V] and what follows it.
std::optional<Response> Service::Loop::State::answer_model(const Path& path, Request& request,
                                                           Done& done) {
  const auto catalog = shared.repository.catalog();
  if (path[2] == "stats" && path.size() == 3) {
    require_method(request, "GET");
    auto all = nlohmann::json::array();
    for (const auto& [name, entry] : catalog->models) {
      for (const auto& model : entry.versions) all.push_back(model->counted());
    }
    return json_response({{"model_stats", all}});
  }
  if (!is_model_name(path[2])) throw Refusal(400, "the name of the model is not valid");
  const bool has_version = path[3] == "versions";
  if (has_version && !parse_version(path[4])) {
    throw Refusal(400, "the version is not valid; versions are integers from 1 on");
  }
  std::shared_ptr<Model> model = catalog->find(path[2], has_version ? path[4] : "");
  if (!model) {
    throw Refusal(404, "there is no model '" + std::string(path[2]) + "'" +
                           (has_version ? " of version " + std::string(path[4]) : ""));
  }
  const std::size_t last = has_version ? 5 : 3;
  const std::string_view what = path[last];
  if (what == "infer" && path.size() == last + 1) {
    require_method(request, "POST");
    return infer(std::move(model), request, done);
  }
  if (what == "trace") throw Refusal(501, "this server does not support trace");
  const bool is_known = what == "ready" || what == "config" || what == "stats";
  if (path.size() != (is_known ? last + 1 : last)) {
    throw Refusal(404, "there is nothing at this address");
  }
  require_method(request, "GET");
  if (what == "config") return json_response(model->config());
  if (what == "stats")
    return json_response({{"model_stats", nlohmann::json::array({model->counted()})}});
  if (what.empty()) return json_response(model->metadata());
  return ready_response(service.ready(), {{"name", model->name}});
}

/// /v2/repository/index, /v2/repository/models/M/load and /unload.
std::optional<Response> Service::Loop::State::answer_repository(const Path& path,
                                                                const Request& request,
                                                                Done& done) {
  if (path[2] == "index" && path.size() == 3) {
    require_method(request, "POST");
    const bool only_ready = parse_body(request.body).value("ready", false);
    return json_response(index(*shared.repository.catalog(), only_ready));
  }
  const bool load = path[4] == "load";
  if (path[2] != "models" || path.size() != 5 || (!load && path[4] != "unload")) {
    throw Refusal(404, "there is nothing at this address");
  }
  require_method(request, "POST");
  if (!shared.options.allow_load) {
    throw Refusal(501, "this server does not load models on request");
  }
  if (!is_model_name(path[3])) throw Refusal(400, "the name of the model is not valid");
  // A client may say nothing about how, or from where, a model is loaded.
  if (parse_body(request.body).value("parameters", nlohmann::json()).contains("config")) {
    throw Refusal(400, "this server does not take a configuration from a client");
  }
  const auto shared_done = std::make_shared<Done>(done);
  const bool added = shared.repository.change(
      std::string(path[3]), load, [shared_done](const std::string& problem) {
        (*shared_done)(problem.empty() ? json_response(nlohmann::json::object())
                                       : error_response(400, problem));
      });
  if (!added) return error_response(503, "too many requests to load models are waiting");
  return std::nullopt;
}

std::optional<Response> Service::Loop::State::infer(std::shared_ptr<Model> model, Request& request,
                                                    Done& done) {
  auto job = std::make_unique<Job>();
  job->request = std::move(request);
  job->model = std::move(model);
  const Options& options = shared.options;
  bool is_short = json_bytes(job->request) <= kLoopJsonBytes;
  if (is_short) {
    try {
      job->parse(options.limits);
    } catch (const std::exception&) {
      job->model->statistics.add_request(false, Clock::now() - job->arrival);
      throw;
    }
    is_short = job->infer.kind != InferRequest::Kind::Files &&
               static_cast<double>(job->infer.images()) * job->model->image_us <= options.loop_us;
  }
  if (is_short) {
    waiting.emplace_back();
    waiting.back() = std::move(job);
    waiting.back()->done = std::move(done);
    return std::nullopt;
  }
  job->done = std::move(done);
  if (shared.workers.add(job)) return std::nullopt;
  done = std::move(job->done);
  return error_response(429, "too many requests are waiting");
}

Service::Loop::Loop(Service& service)
    : state_(std::make_unique<State>(
          State{service, *service.state_, Runner(service.state_->stops), {}})) {}

Service::Loop::~Loop() { run_waiting(); }

bool Service::Loop::handle(Request request, Done done) noexcept {
  std::optional<Response> response;
  try {
    response = state_->answer(request, done);
  } catch (const InvalidJson& error) {
    response = error_response(400, error.what());
  } catch (const nlohmann::json::exception&) {
    response = error_response(400, "a member of the body has the wrong type");
  } catch (const std::exception& error) {
    response = failure_response(error);
    const auto* refusal = dynamic_cast<const Refusal*>(&error);
    if (refusal != nullptr && refusal->status() == 405) {
      response->headers.emplace_back("Allow", request.method == "POST" ? "GET, HEAD" : "POST");
    }
  }
  if (response) done(std::move(*response));
  return !state_->waiting.empty();
}

void Service::Loop::run_waiting() noexcept {
  Jobs& jobs = state_->waiting;
  const std::int64_t most = state_->shared.options.max_batch_size;
  for (std::size_t first = 0; first < jobs.size();) {
    std::size_t count = 1;
    std::int64_t images = jobs[first]->infer.images();
    while (first + count < jobs.size() && can_join(*jobs[first], *jobs[first + count]) &&
           jobs[first + count]->infer.images() <= most - images) {
      images += jobs[first + count]->infer.images();
      ++count;
    }
    state_->runner.run({jobs.data() + first, count});
    first += count;
  }
  jobs.clear();
}

Service::Service(Options options) {
  require_options(options);
  state_ = std::make_unique<State>(std::move(options));
}

Service::~Service() = default;

bool Service::ready() const { return !state_->is_stopping; }

void Service::begin_shutdown() { state_->is_stopping = true; }

Backlog Service::backlog() const { return state_->workers.backlog(); }

std::string Service::metrics() const {
  return metrics_text(*state_->repository.catalog(), backlog(), ready());
}

void Service::look_for_models() { state_->repository.look(); }

}  // namespace lenet::serve
