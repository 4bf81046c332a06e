#include "serve_options.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "command_line.h"
#include "http/content_coding.h"
#include "io/file.h"
#include "lenet/engines.h"

namespace lenet::serve {
namespace {

using apps::CommandLine;
using apps::UsageError;

constexpr const char* kTokenVariable = "LENET_SERVE_TOKEN";
constexpr std::size_t kMinToken = 16;

template <class Field>
constexpr std::int64_t kMaxOf = sizeof(Field) < sizeof(std::int64_t)
                                    ? static_cast<std::int64_t>(std::numeric_limits<Field>::max())
                                    : std::numeric_limits<std::int64_t>::max();

CommandLine command_line(ServeOptions& options) {
  Options& service = options.service;
  HttpOptions& http = options.http;
  Limits& limits = service.limits;
  CommandLine line;
  /// For a number that the options hold as a type of their own.
  const auto number = [&line](const char* name, const std::string& help, auto& field,
                              std::int64_t least, std::int64_t most = 0) {
    if (most == 0) most = kMaxOf<std::decay_t<decltype(field)>>;
    const auto usual = static_cast<std::int64_t>(field);
    line.add(name, "N", help + " (default: " + std::to_string(usual) + ")",
             [&field, least, most](const std::string& shown, const std::string& value) {
               field = static_cast<std::decay_t<decltype(field)>>(
                   parse_integer(shown, value, least, most));
             });
  };
  const auto list = [&line](const char* name, const char* argument, const char* help,
                            std::vector<std::string>& to) {
    line.add(name, argument, help, [&to](const std::string&, const std::string& value) {
      for (std::size_t begin = 0; begin <= value.size();) {
        const std::size_t end = std::min(value.find(',', begin), value.size());
        to.push_back(value.substr(begin, end - begin));
        begin = end + 1;
      }
    });
  };

  line.heading("Models and engine");
  for (const ConfigOption& option : kConfigOptions) {
    // The models are no flags, and these two limits are the server's.
    constexpr std::array<std::string_view, 5> kOthers = {"model_file", "params_file", "model_dir",
                                                         "max_batch_size", "time_limit_ms"};
    if (std::find(kOthers.begin(), kOthers.end(), option.name) != kOthers.end()) continue;
    line.add(option.name, option.argument,
             option.help + (option.name == "engine" ? engine_names() : ""),
             [&](const std::string& shown, const std::string& value) {
               option.set(service.config, shown, value);
             });
  }
  number("versions", "versions of a model to serve, the newest", service.versions, 1);
  number("poll_seconds", "look for new versions so often; 0: only after SIGHUP",
         service.poll_seconds, 0);
  number("trial_seconds",
         "for the first run of a model, which else is not served; Paddle's engine does not stop",
         service.trial_seconds, 1);
  line.add("allow_load", "",
           "let clients load and unload models (POST /v2/repository/models/NAME/load)",
           service.allow_load);
  line.add("insecure_load", "", "allow --allow_load without a token, to all who reach the server",
           service.insecure_load);
  number("max_batch_size", "images of different requests to run at once", service.max_batch_size,
         1);
  number("workers", "threads that run models of longer runs; 0: one for each core", service.workers,
         0, 1024);
  number("loop_us", "microseconds that a run may take in the thread that reads requests",
         service.loop_us, 0, std::numeric_limits<int>::max());

  line.heading("Address and access");
  line.add("host", "ADDRESS",
           "where to listen; 0.0.0.0 for all networks (default: " + http.host + ")",
           [&](const std::string&, const std::string& value) { http.host = value; });
  number("port", "0: any that is free, which is printed", http.port, 0);
  line.add("token_file", "FILE",
           std::string("clients must send this file's text: 'Authorization: Bearer TEXT'; but not "
                       "for the server's health (default: the variable ") +
               kTokenVariable + ", or no token)",
           [&](const std::string&, const std::string& value) {
             const std::string text = read_file(value);
             http.token = trimmed(text.substr(0, text.find_first_of("\r\n")));
           });
  list("allowed_host", "NAME,...",
       "names of this server besides its address and localhost; a request for another one gets "
       "421. Needed where only this machine reaches the server and a proxy is in front of it",
       http.allowed_hosts);
  list("allow_origin", "ORIGIN,...",
       "pages that may use this server, such as https://example.org; * for all; pages of other "
       "origins than its own get 403",
       http.allowed_origins);
  line.add("page", "DIR", "also serve the files of this folder, with index.html at /", http.page);
  line.add("access_log", "FILE",
           "a line of JSON for each request; - for standard output; lines that nobody takes are "
           "dropped, and counted in /metrics",
           http.access_log);
  number("http_threads", "that read requests; 0: one for each core, at most 8", http.threads, 0,
         1024);
  line.heading("Limits of the transport");
  number("max_connections",
         "for one more, an idle one goes, that which a thread has had idle longest; where none "
         "is, it gets 503",
         http.connections, 1, 1 << 20);
  number("max_connections_per_address",
         "more get 503, or no answer; 0: any number, for behind a proxy all have one address",
         http.connections_of_an_address, 0, 1 << 20);
  number("max_header_bytes", "of a request; then 431", http.request.header_bytes, 1024, 1 << 20);
  number("max_headers", "fields of a header; then 431", http.request.header_count, 1, 10'000);
  number("max_body_bytes", "of a request, also when unpacked; then 413", http.request.body_bytes, 1,
         std::int64_t{1} << 40);
  number("max_buffered_bytes", "of all bodies and unsent responses; then 503", http.buffered_bytes,
         1);
  number("header_seconds", "for a header to arrive; then 408", http.header_seconds, 1);
  number("body_seconds", "for a body to arrive, or a response to be taken", http.body_seconds, 1);
  number("idle_seconds", "that a connection may wait for its next request", http.idle_seconds, 1);
  number("stop_seconds", "to answer all requests after SIGTERM", options.stop_seconds, 0);

  line.heading("gRPC, with the same models, address, token and limits");
  line.add("grpc_port", "N",
           "also answer gRPC, on this port; 0: any that is free, which is printed (default: no "
           "gRPC)",
           [&](const std::string& shown, const std::string& value) {
             options.grpc_port = static_cast<int>(parse_integer(shown, value, 0, 65535));
           });
  number("max_grpc_streams", "calls at once on a connection; more wait", options.grpc_streams, 1,
         1 << 20);

  line.heading("Limits of a request");
  number("request_ms", "to wait and decode files, and for the run; then 503; 0: none",
         limits.request_ms, 0);
  number("max_queued_requests", "that wait for a worker; then 429; so does a packed body",
         limits.queued_requests, 0);
  number("max_queued_bytes", "of the bodies of these; then 429", limits.queued_bytes, 0);
  number("max_tensors", "inputs, and outputs", limits.tensors, 1);
  number("max_values", "of all inputs", limits.values, 1);
  number("max_multiply_adds", "of all images of a request; then 413", limits.multiply_adds, 1);
  number("max_image_pixels", "of an image file", limits.image_pixels, 1);
  number("max_id_bytes", "of a request's id", limits.id_bytes, 0);

  line.heading("Information");
  line.add("version", "", "print our version and those of the engines", options.version);
  line.add("help", "", "print this text", options.help);
  return line;
}

/// NAME=PATH, or PATH.
ModelSource parse_model(const std::string& text) {
  const std::size_t equals = text.find('=');
  const bool is_named = equals != std::string::npos && text.find('/') > equals;
  if (!is_named) return {text, ""};
  if (equals == 0 || equals + 1 == text.size()) {
    throw UsageError("'" + text + "': expected NAME=MODEL");
  }
  return {text.substr(equals + 1), text.substr(0, equals)};
}

}  // namespace

ServeOptions parse_serve_options(int argc, char** argv) {
  ServeOptions options;
  const char* const token = std::getenv(kTokenVariable);
  if (token != nullptr) options.http.token = token;
  const std::vector<std::string> models = command_line(options).parse(argc, argv);
  if (options.help || options.version) return options;
  if (models.empty()) throw UsageError("name a model: a file or a folder");
  for (const std::string& model : models) options.service.models.push_back(parse_model(model));
  const std::string& secret = options.http.token;
  if (!secret.empty() && secret.size() < kMinToken) {
    throw UsageError("the token has " + std::to_string(secret.size()) + " characters; expected " +
                     std::to_string(kMinToken) + " or more");
  }
  if (options.service.insecure_load && !options.service.allow_load) {
    throw UsageError("--insecure_load says how --allow_load may be used, which is not given");
  }
  if (options.service.allow_load && secret.empty() && !options.service.insecure_load) {
    throw UsageError(
        "--allow_load lets all who reach the server load and unload models: name a "
        "--token_file, or add --insecure_load");
  }
  // After the service's own limits, which it answers for: it may wait as long, and run as long.
  constexpr int kMoreSeconds = 2;
  const int request_ms = options.service.limits.request_ms;
  options.http.request_seconds = request_ms == 0 ? 0 : request_ms / 500 + kMoreSeconds;
  return options;
}

std::string serve_help() {
  ServeOptions unused;
  return R"(Serves models over HTTP: a picture gets its classes, and clients of the Open Inference Protocol,
version 2, get the outputs.

Usage: lenet_serve MODEL... [options]

Examples:
  lenet_serve inference_model/lenet
  curl -T photo.jpg http://localhost:8000/v2/models/lenet/infer
  curl localhost:8000/v2/models/lenet
  curl -H 'Inference-Header-Content-Length: 0' --data-binary @digit.f32 \
       localhost:8000/v2/models/lenet/infer
  lenet_serve digits=model.onnx repository/ --host=0.0.0.0 --token_file=token

MODEL is a model's program or folder, a folder of its versions (named 1, 2, ...), or a folder
of models; NAME=MODEL names it. TLS is up to a proxy in front.
)" + command_line(unused).help() +
         R"(
SIGTERM and Ctrl-C stop it: what was accepted is answered first; again: at once. SIGHUP looks
for new versions of the models.
Exit code: 0 stopped; 2 wrong usage; 3 FileNotFound; 4 BadModel; 5 BadInput; 6 Unsupported;
7 VersionMismatch; 8 BackendFailure, such as a port that is taken, or requests that were not
answered within --stop_seconds.
)";
}

}  // namespace lenet::serve
