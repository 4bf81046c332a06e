#include "service.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "infer.h"
#include "json_reader.h"
#include "lenet/engines.h"
#include "lenet/version.h"
#include "metrics.h"

namespace lenet::serve {
namespace {

/// JSON of more bytes is read by a worker: it takes longer than a short run.
constexpr std::size_t kLoopJsonBytes = std::size_t{1} << 16;
constexpr const char* kStopping = "the server is stopping";

/// Takes `prefix` off the beginning of `path`, if it is there.
bool take(std::string_view& path, std::string_view prefix) {
  if (path.substr(0, prefix.size()) != prefix) return false;
  path.remove_prefix(prefix.size());
  return true;
}

/// Takes what is in front of the next slash.
std::string_view take_part(std::string_view& path) {
  const std::string_view part = path.substr(0, path.find('/'));
  path.remove_prefix(part.size());
  return part;
}

constexpr const char* kReads = "GET, HEAD";

/// Refuses a method that an address does not take.
class WrongMethod : public Refusal {
 public:
  explicit WrongMethod(const std::string& allowed)
      : Refusal(405, "this address takes " + allowed), allowed_(allowed) {}
  const std::string& allowed() const { return allowed_; }

 private:
  std::string allowed_;
};

/// \param allowed methods, with ", " between them
/// \throws WrongMethod
void require_method(const Request& request, const std::string& allowed) {
  const std::string list = ", " + allowed + ",";
  if (list.find(", " + request.method + ",") == std::string::npos) throw WrongMethod(allowed);
}

/// What the protocol has and this server does not.
struct Missing {
  const char* name;  ///< also the beginning of its addresses
  const char* instead;
};

constexpr Missing kTrace = {"trace", "/metrics has counts and times"};
constexpr Missing kMissing[] = {
    {"systemsharedmemory", "send the values in the request"},
    {"cudasharedmemory", "send the values in the request"},
    {"logging", "start it with --access_log to have a line for each request"},
    kTrace,
};

[[noreturn]] void refuse_missing(const Missing& missing) {
  throw Refusal(
      501, std::string("this server does not support ") + missing.name + "; " + missing.instead);
}

/// \throws Refusal 400
void require_model_name(std::string_view name) {
  if (is_model_name(name)) return;
  throw Refusal(400,
                "the name of the model is not valid; names have letters, digits, '.', '_' and '-'");
}

Response json_response(const nlohmann::json& json, int status = 200) {
  Response response;
  response.status = status;
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

Response ready_response(const std::string& reason, nlohmann::json json = {}) {
  json["ready"] = reason.empty();
  if (!reason.empty()) json["reason"] = reason;
  return json_response(json, reason.empty() ? 200 : 503);
}

/// The body of a request to the repository.
nlohmann::json parse_body(const std::string& body) {
  nlohmann::json json = parse_json(body.empty() ? "{}" : body);
  if (!json.is_object()) throw Refusal(400, "the body is no JSON object, such as {}");
  return json;
}

nlohmann::json index(const Catalog& catalog, bool only_ready) {
  auto index = nlohmann::json::array();
  for (const auto& [name, entry] : catalog.models) {
    const auto add = [&, &model_name = name](const std::string& version, const char* state,
                                             const std::string& reason) {
      index.push_back(
          {{"name", model_name}, {"version", version}, {"state", state}, {"reason", reason}});
    };
    for (const auto& model : entry.versions) {
      const auto failure = entry.failures.find(std::stoll(model->version));
      add(model->version, "READY", failure == entry.failures.end() ? "" : failure->second);
    }
    for (const auto& [number, reason] : entry.failures) {
      const std::string version = std::to_string(number);
      if (!only_ready && !catalog.find(name, version)) add(version, "UNAVAILABLE", reason);
    }
  }
  return index;
}

/// Calls `action` with what is counted of each model, and with labels for it.
template <typename Action>
void each_model(const Catalog& catalog, const Action& action) {
  for (const auto& [name, entry] : catalog.models) {
    for (const auto& model : entry.versions) {
      // A model's name has no character that would need an escape.
      action(*model, "model=\"" + name + "\",version=\"" + model->version + "\"");
    }
  }
}

}  // namespace

Response error_response(int status, std::string_view message) noexcept try {
  Response response;
  response.status = status;
  append_json(response.body = "{\"error\":", message);
  response.body += '}';
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
} catch (const std::bad_alloc&) {
  Response response;
  response.status = 503;
  response.tail = R"({"error":"out of memory"})";
  return response;
}

std::optional<Response> Service::Loop::answer(Request& request, Done& done) {
  std::string_view path = request.path;
  // No name of ours has a character that needs an escape.
  if (path.empty() || path[0] != '/' || path.find('%') != std::string_view::npos) {
    throw Refusal(400, "the path does not begin with '/', or has a '%', as no address here has");
  }
  const auto is = [&](std::string_view address, const char* methods = kReads) {
    if (path == address) require_method(request, methods);
    return path == address;
  };
  if (is("/v2") || is("/v2/")) {
    return json_response({{"name", "lenet_serve"},
                          {"version", version()},
                          {"extensions",
                           {"binary_tensor_data", "classification", "model_configuration",
                            "model_repository", "statistics"}}});
  }
  if (is("/v2/health/live")) return json_response({{"live", true}});
  if (is("/v2/health/ready")) return ready_response(service_.not_ready());
  if (is("/v2/models/stats")) {
    auto all = nlohmann::json::array();
    each_model(*service_.repository_.catalog(),
               [&](const Model& model, const std::string&) { all.push_back(model.counted()); });
    return json_response({{"model_stats", all}});
  }
  if (is("/v2/repository/index", "POST")) {
    const bool only_ready = parse_body(request.body).value("ready", false);
    return json_response(index(*service_.repository_.catalog(), only_ready));
  }
  if (is("/v2/models") || is("/v2/models/")) {
    auto names = nlohmann::json::array();
    for (const auto& [name, entry] : service_.repository_.catalog()->models) {
      if (!entry.versions.empty()) names.push_back(name);
    }
    return json_response({{"models", names}});
  }
  if (take(path, "/v2/models/")) return answer_model(path, request, done);
  if (take(path, "/v2/repository/models/")) return answer_change(path, request, done);
  for (const Missing& missing : kMissing) {
    if (path.rfind(std::string("/v2/") + missing.name, 0) == 0) refuse_missing(missing);
  }
  throw Refusal(404, "there is nothing at this address");
}

std::optional<Response> Service::Loop::answer_model(std::string_view path, Request& request,
                                                    Done& done) {
  const std::string_view name = take_part(path);
  require_model_name(name);
  const bool has_version = take(path, "/versions/");
  const std::string_view number = has_version ? take_part(path) : "";
  if (has_version && !parse_version(number)) {
    throw Refusal(400, "the version is not valid; versions are integers from 1 on");
  }
  std::shared_ptr<Model> model = service_.repository_.catalog()->find(name, number);
  if (!model) {
    throw Refusal(404, "there is no model '" + std::string(name) + "'" +
                           (has_version ? " of version " + std::string(number) : ""));
  }
  if (path == "/infer") {
    require_method(request, "POST, PUT");
    infer(std::move(model), request, done);
    return std::nullopt;
  }
  if (take(path, "/trace")) refuse_missing(kTrace);
  if (!path.empty() && path != "/config" && path != "/stats" && path != "/ready") {
    throw Refusal(404, "there is nothing at this address");
  }
  require_method(request, kReads);
  if (path == "/config") return json_response(model->config());
  if (path == "/ready") {
    return ready_response(service_.answers() ? "" : kStopping, {{"name", model->name}});
  }
  if (path.empty()) return json_response(model->metadata());
  return json_response({{"model_stats", nlohmann::json::array({model->counted()})}});
}

std::optional<Response> Service::Loop::answer_change(std::string_view path, const Request& request,
                                                     Done& done) {
  const std::string_view name = take_part(path);
  const bool load = path == "/load";
  if (!load && path != "/unload") throw Refusal(404, "there is nothing at this address");
  require_method(request, "POST");
  if (!service_.options_.allow_load) {
    throw Refusal(501, "this server does not load models on request; start it with --allow_load");
  }
  require_model_name(name);
  // A client may say nothing about how, or from where, a model is loaded.
  if (parse_body(request.body).value("parameters", nlohmann::json()).contains("config")) {
    throw Refusal(
        400,
        "this server does not take a configuration from a client; leave out the parameter "
        "config");
  }
  const bool added = service_.repository_.change(
      std::string(name), load, [answer = done](const std::string& problem) {
        answer(problem.empty() ? json_response(nlohmann::json::object())
                               : error_response(400, problem));
      });
  if (!added) return error_response(503, "too many requests to load models are waiting");
  return std::nullopt;
}

void Service::Loop::infer(std::shared_ptr<Model> model, Request& request, Done& done) {
  auto job = std::make_unique<Job>();
  job->request = std::move(request);
  job->model = std::move(model);
  bool is_short = json_bytes(job->request) <= kLoopJsonBytes;
  job->done = std::move(done);
  const Options& options = service_.options_;
  if (is_short) {
    if (!job->prepare(options.limits, job->arrival)) return;
    is_short = job->infer.kind != InferRequest::Kind::Files &&
               static_cast<double>(job->infer.images()) * job->model->image_us <= options.loop_us;
  }
  if (is_short) {
    try {
      batch_.reserve(1);
      waiting_.emplace_back();
      waiting_.back() = std::move(job);
    } catch (const std::bad_alloc& error) {
      job->answer(failure_response(error));
    }
  } else if (!service_.workers_.add(job)) {
    job->done(error_response(429, "too many requests are waiting"));
  }
}

bool Service::Loop::handle(Request request, Done done) noexcept {
  std::optional<Response> response;
  try {
    response = answer(request, done);
  } catch (const nlohmann::json::exception&) {
    response = error_response(400,
                              "a member of the body has the wrong type; expected \"ready\": true "
                              "or false, and \"parameters\": {...}");
  } catch (const std::exception& error) {
    response = failure_response(error);
    const auto* wrong = dynamic_cast<const WrongMethod*>(&error);
    if (wrong != nullptr) response->headers.emplace_back("Allow", wrong->allowed());
  }
  if (response) done(std::move(*response));
  return !waiting_.empty();
}

void Service::Loop::run_waiting() noexcept {
  while (!waiting_.empty()) {
    batch_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    join_waiting(batch_, waiting_, service_.options_.max_batch_size);
    runner_.run({batch_.data(), batch_.size()});
    batch_.clear();
  }
}

std::string Service::not_ready() const {
  if (!answers()) return kStopping;
  const int given_up = given_up_loads();
  if (given_up < kMostGivenUpLoads) return "";
  return std::to_string(given_up) +
         " loads of models were given up (--load_seconds) and still run: models that need "
         "Paddle or onnxruntime cannot be loaded until the server is started anew";
}

std::string Service::metrics() const {
  const auto catalog = repository_.catalog();
  const Backlog waiting = backlog();
  MetricsText text;
  text.one("lenet_ready", "gauge", not_ready().empty() ? 1 : 0,
           "Whether the server is ready, as /v2/health/ready has it.");
  text.one("lenet_given_up_loads", "gauge", static_cast<std::uint64_t>(given_up_loads()),
           "Loads of models that took longer than --load_seconds and still run.");
  text.one("lenet_died_loads_total", "counter", repository_.died_trials(),
           "Loads of models that ended the process in which they were tried.");
  text.one("lenet_queued_requests", "gauge", waiting.queued_requests,
           "What waits for a worker: requests, and bodies to pack.");
  text.one("lenet_queued_bytes", "gauge", waiting.queued_bytes, "Bytes of the bodies of these.");
  text.one("lenet_running_requests", "gauge", waiting.running_requests,
           "What workers do: requests, and bodies to pack.");
  const auto each = [&](const char* name, const char* type, const char* help, const auto& add) {
    text.begin(name, type, help);
    each_model(*catalog, add);
  };
  using Labels = const std::string&;
  each("lenet_requests_total", "counter", "Requests for inference, answered.",
       [&](const Model& model, Labels labels) {
         text.add(labels + ",result=\"success\"", model.statistics.success.count);
         text.add(labels + ",result=\"failure\"", model.statistics.fail.count);
       });
  each("lenet_images_total", "counter", "Images that the network computed.",
       [&](const Model& model, Labels labels) { text.add(labels, model.statistics.images); });
  each("lenet_runs_total", "counter", "Batches that the network computed.",
       [&](const Model& model, Labels labels) { text.add(labels, model.statistics.runs); });
  each("lenet_part_seconds_total", "counter", "Parts of successful requests' time.",
       [&](const Model& model, Labels labels) {
         const Statistics& of = model.statistics;
         const std::pair<const char*, const Counter&> parts[] = {
             {"queue", of.queue}, {"input", of.input}, {"infer", of.infer}, {"output", of.output}};
         for (const auto& [part, counter] : parts) {
           text.add(labels + ",part=\"" + part + "\"", seconds_text(counter.nanoseconds));
         }
       });
  each("lenet_request_seconds", "histogram", "From arrival to response.",
       [&](const Model& model, Labels labels) { text.add(labels, model.statistics.times); });
  each("lenet_compiled_sizes", "gauge", "Sizes of images that a model is compiled for.",
       [&](const Model& model, Labels labels) {
         text.add(labels, model.compiled_sizes().sizes.size());
       });
  each("lenet_compiled_bytes", "gauge", "Bytes of the weights for all of these sizes.",
       [&](const Model& model, Labels labels) {
         text.add(labels, static_cast<std::uint64_t>(model.compiled_sizes().bytes));
       });
  each("lenet_compiled_size_bytes", "gauge", "Bytes of the weights for one, shared or not.",
       [&](const Model& model, Labels labels) {
         const CompiledSizes compiled = model.compiled_sizes();
         for (const auto& [image, bytes] : compiled.sizes) {
           text.add(labels + ",image=\"" + to_string(image) + "\"",
                    static_cast<std::uint64_t>(bytes));
         }
       });
  return text.text;
}

}  // namespace lenet::serve
