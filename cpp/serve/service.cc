#include "service.h"

#include <array>
#include <atomic>
#include <cmath>
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

/// The parts of a path between slashes, decoded once.
class Path {
 public:
  /// \throws Refusal 400: no path, or an escape that is none
  explicit Path(std::string_view path) {
    if (path.empty() || path[0] != '/') throw Refusal(400, "the path does not begin with '/'");
    decoded_.reserve(path.size());
    path.remove_prefix(1);
    for (bool more = !path.empty(); more && count_ <= parts_.size();) {
      const std::size_t end = path.find('/');
      const std::string_view part = decode(path.substr(0, end));
      more = end != std::string_view::npos;
      if (more) path.remove_prefix(end + 1);
      if (count_ < parts_.size()) parts_[count_] = part;
      ++count_;
    }
    // "/v2/" is "/v2".
    if (count_ == 2 && parts_[1].empty()) count_ = 1;
  }

  /// Empty where there is none.
  std::string_view operator[](std::size_t i) const { return i < count_ ? parts_[i] : ""; }
  /// More than there is room for are a path that is not known.
  std::size_t size() const { return count_; }

 private:
  static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  }

  std::string_view decode(std::string_view part) {
    if (part.find('%') == std::string_view::npos) return part;
    const std::size_t begin = decoded_.size();
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (part[i] != '%') {
        decoded_ += part[i];
        continue;
      }
      const int high = i + 2 < part.size() ? digit(part[i + 1]) : -1;
      const int low = high < 0 ? -1 : digit(part[i + 2]);
      if (low < 0) throw Refusal(400, "the path has a '%' without two hexadecimal digits");
      decoded_ += static_cast<char>(high * 16 + low);
      i += 2;
    }
    return std::string_view(decoded_).substr(begin);
  }

  std::string decoded_;  // has room from the beginning: views of it stay valid
  std::array<std::string_view, 7> parts_;
  std::size_t count_ = 0;
};

/// \throws Refusal 405
void require_method(const Request& request, std::string_view method) {
  const bool is = request.method == method || (method == "GET" && request.method == "HEAD");
  if (!is) throw Refusal(405, "this address takes " + std::string(method));
}

Response json_response(std::string json, int status = 200) {
  Response response;
  response.status = status;
  response.body = std::move(json);
  return response;
}

Response ready_response(bool ready, const std::string& json) {
  return json_response(json + "\"ready\":" + (ready ? "true}" : "false}"), ready ? 200 : 503);
}

Response metrics_response(std::string text) {
  Response response = json_response(std::move(text));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

std::string index_json(const Catalog& catalog, bool only_ready) {
  std::string json = "[";
  const auto add = [&](const std::string& name, const std::string& version, const char* state,
                       const std::string& reason) {
    json += json.size() > 1 ? ",{\"name\":" : "{\"name\":";
    append_json(json, name);
    json.append(",\"version\":\"").append(version).append("\",\"state\":\"").append(state);
    append_json(json += "\",\"reason\":", reason);
    json += '}';
  };
  for (const auto& [name, entry] : catalog.models) {
    for (const auto& model : entry.versions) add(name, model->version, "READY", "");
    for (const auto& [version, reason] : entry.failures) {
      // A version whose files were replaced by broken ones is still served as it was.
      if (only_ready || catalog.find(name, std::to_string(version))) continue;
      add(name, std::to_string(version), "UNAVAILABLE", reason);
    }
  }
  return json + "]";
}

/// Body of a request for the index: {"ready": true} leaves out what is not served.
bool parse_only_ready(const std::string& body) {
  bool only_ready = false;
  if (body.empty()) return only_ready;
  JsonReader in(body);
  constexpr std::string_view kNames[] = {"ready"};
  in.object(kNames, [&](std::size_t) { only_ready = in.boolean(); });
  in.end();
  return only_ready;
}

/// A client may say nothing about how, or from where, a model is loaded.
void require_no_parameters(const std::string& body) {
  if (body.empty()) return;
  JsonReader in(body);
  constexpr std::string_view kNames[] = {"parameters"};
  constexpr std::string_view kRefused[] = {"config"};
  in.object(kNames, [&](std::size_t) {
    in.object(kRefused, [&](std::size_t) {
      throw Refusal(400, "this server does not take a configuration from a client");
    });
  });
  in.end();
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
      : options(std::move(given)), repository(options), workers(options) {}

  Options options;
  std::atomic<bool> is_stopping{false};
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
    return metrics_response(service.metrics());
  }
  if (path[0] != "v2" || path.size() > 7) throw Refusal(404, "there is nothing at this address");
  if (path[1] == "models" && path.size() > 2) return answer_model(path, request, done);
  if (path[1] == "repository") return answer_repository(path, request, done);
  for (const char* missing : {"systemsharedmemory", "cudasharedmemory", "trace", "logging"}) {
    if (path[1] == missing) {
      throw Refusal(501, std::string("this server does not support ") + missing);
    }
  }
  if (path.size() == 1) {
    require_method(request, "GET");
    return json_response(std::string(R"({"name":"lenet_serve","version":")") + version() +
                         R"(","extensions":["binary_tensor_data","classification",)" +
                         R"("model_configuration","model_repository","statistics"]})");
  }
  if (path[1] == "health" && path.size() == 3 && path[2] == "live") {
    require_method(request, "GET");
    return json_response("{\"live\":true}");
  }
  if (path[1] == "health" && path.size() == 3 && path[2] == "ready") {
    require_method(request, "GET");
    return ready_response(service.ready(), "{");
  }
  throw Refusal(404, "there is nothing at this address");
}

/// /v2/models/stats, /v2/models/M[/versions/V] and what follows it.
std::optional<Response> Service::Loop::State::answer_model(const Path& path, Request& request,
                                                           Done& done) {
  const auto catalog = shared.repository.catalog();
  if (path[2] == "stats" && path.size() == 3) {
    require_method(request, "GET");
    std::string json;
    for (const auto& [name, entry] : catalog->models) {
      for (const auto& model : entry.versions) {
        json += (json.empty() ? "" : ",") + model->statistics_json();
      }
    }
    return json_response("{\"model_stats\":[" + json + "]}");
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
  if (what == "config") return json_response(model->config_json());
  if (what == "stats") {
    return json_response("{\"model_stats\":[" + model->statistics_json() + "]}");
  }
  if (what.empty()) return json_response(model->metadata_json());
  std::string json = "{\"name\":";
  append_json(json, model->name);
  return ready_response(service.ready(), json + ",");
}

/// /v2/repository/index, /v2/repository/models/M/load and /unload.
std::optional<Response> Service::Loop::State::answer_repository(const Path& path,
                                                                const Request& request,
                                                                Done& done) {
  if (path[2] == "index" && path.size() == 3) {
    require_method(request, "POST");
    return json_response(index_json(*shared.repository.catalog(), parse_only_ready(request.body)));
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
  require_no_parameters(request.body);
  const auto shared_done = std::make_shared<Done>(done);
  const bool added = shared.repository.change(
      std::string(path[3]), load, [shared_done](const std::string& problem) {
        (*shared_done)(problem.empty() ? json_response("{}") : error_response(400, problem));
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
    : state_(std::make_unique<State>(State{service, *service.state_, {}, {}})) {}

Service::Loop::~Loop() { run_waiting(); }

bool Service::Loop::handle(Request request, Done done) noexcept {
  std::optional<Response> response;
  try {
    response = state_->answer(request, done);
  } catch (const InvalidJson& error) {
    response = error_response(400, error.what());
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
