#include "serve_options.h"

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

/// Adds a flag for a number that the options hold as a type of their own.
template <class Field>
void add_number(CommandLine& line, const char* name, const char* argument, const std::string& help,
                Field& field, std::int64_t least,
                std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  line.add(name, argument, help + " (default: " + std::to_string(field) + ")",
           [&field, least, most](const std::string& shown, const std::string& value) {
             field = static_cast<Field>(parse_integer(shown, value, least, most));
           });
}

void add_list(CommandLine& line, const char* name, const char* argument, const char* help,
              std::vector<std::string>& list) {
  line.add(name, argument, help, [&list](const std::string&, const std::string& value) {
    for (std::size_t begin = 0; begin <= value.size();) {
      const std::size_t end = std::min(value.find(',', begin), value.size());
      list.push_back(value.substr(begin, end - begin));
      begin = end + 1;
    }
  });
}

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();

void add_model_flags(CommandLine& line, Options& options) {
  line.heading("Models and engine");
  for (const ConfigOption& option : kConfigOptions) {
    // The models are no flags, and these two limits are the server's.
    constexpr std::array<std::string_view, 5> kOthers = {"model_file", "params_file", "model_dir",
                                                         "max_batch_size", "time_limit_ms"};
    bool other = false;
    for (const std::string_view name : kOthers) other = other || name == option.name;
    if (other) continue;
    line.add(option.name, option.argument,
             option.help + (option.name == "engine" ? engine_names() : ""),
             [&](const std::string& shown, const std::string& value) {
               option.set(options.config, shown, value);
             });
  }
  add_number(line, "versions", "N", "versions of a model to serve, the newest", options.versions,
             1);
  add_number(line, "poll_seconds", "N", "look for new versions so often; 0: only after SIGHUP",
             options.poll_seconds, 0, kMaxInt);
  add_number(
      line, "trial_seconds", "N",
      "for the first run of a model, which else is not served; Paddle's engine does not stop",
      options.trial_seconds, 1, kMaxInt);
  line.add("allow_load", "",
           "let clients load and unload models (POST /v2/repository/models/NAME/load)",
           options.allow_load);
  line.add("insecure_load", "", "allow --allow_load without a token, to all who reach the server",
           options.insecure_load);
  add_number(line, "max_batch_size", "N", "images of different requests to run at once",
             options.max_batch_size, 1);
  add_number(line, "workers", "N", "threads that run models of longer runs; 0: one for each core",
             options.workers, 0, 1024);
  line.add("loop_us", "N",
           "microseconds that a run may take in the thread that reads requests (default: 200)",
           [&](const std::string& shown, const std::string& value) {
             options.loop_us = static_cast<double>(parse_integer(shown, value, 0, kMaxInt));
           });
}

void add_transport_flags(CommandLine& line, HttpOptions& options, int& stop_seconds) {
  line.heading("Address and access");
  line.add("host", "ADDRESS",
           "where to listen; 0.0.0.0 for all networks (default: " + options.host + ")",
           [&](const std::string&, const std::string& value) { options.host = value; });
  add_number(line, "port", "N", "0: any that is free, which is printed", options.port, 0, 65535);
  line.add("token_file", "FILE",
           std::string("clients must send this file's text: 'Authorization: Bearer TEXT'; but not "
                       "for the server's health (default: the variable ") +
               kTokenVariable + ", or no token)",
           [&](const std::string&, const std::string& value) {
             const std::string text = read_file(value);
             options.token = trimmed(text.substr(0, text.find_first_of("\r\n")));
           });
  add_list(line, "allowed_host", "NAME,...",
           "names of this server besides its address and localhost; a request for another one gets "
           "421. Needed where only this machine reaches the server and a proxy is in front of it",
           options.allowed_hosts);
  add_list(line, "allow_origin", "ORIGIN,...",
           "pages that may use this server, such as https://example.org; * for all; pages of other "
           "origins than its own get 403",
           options.allowed_origins);
  line.add("page", "DIR", "also serve the files of this folder, with index.html at /",
           options.page);
  line.add("access_log", "FILE",
           "a line of JSON for each request; - for standard output; lines that nobody takes are "
           "dropped, and counted in /metrics",
           options.access_log);
  add_number(line, "http_threads", "N", "that read requests; 0: one for each core, at most 8",
             options.threads, 0, 1024);
  line.heading("Limits of the transport");
  add_number(line, "max_connections", "N",
             "for one more, an idle one goes, that which a thread has had idle longest; where none "
             "is, it gets 503",
             options.connections, 1, 1 << 20);
  add_number(line, "max_connections_per_address", "N",
             "more get 503, or no answer; 0: any number, for behind a proxy all have one address",
             options.connections_of_an_address, 0, 1 << 20);
  add_number(line, "max_header_bytes", "N", "of a request; then 431", options.request.header_bytes,
             1024, 1 << 20);
  add_number(line, "max_headers", "N", "fields of a header; then 431", options.request.header_count,
             1, 10'000);
  add_number(line, "max_body_bytes", "N", "of a request, also when unpacked; then 413",
             options.request.body_bytes, 1, std::int64_t{1} << 40);
  add_number(line, "max_buffered_bytes", "N", "of all bodies and unsent responses; then 503",
             options.buffered_bytes, 1);
  add_number(line, "header_seconds", "N", "for a header to arrive; then 408",
             options.header_seconds, 1, kMaxInt);
  add_number(line, "body_seconds", "N", "for a body to arrive, or a response to be taken",
             options.body_seconds, 1, kMaxInt);
  add_number(line, "idle_seconds", "N", "that a connection may wait for its next request",
             options.idle_seconds, 1, kMaxInt);
  add_number(line, "stop_seconds", "N", "to answer all requests after SIGTERM", stop_seconds, 0,
             kMaxInt);
}

void add_grpc_flags(CommandLine& line, ServeOptions& options) {
  line.heading("gRPC, with the same models, address, token and limits");
  line.add("grpc_port", "N",
           "also answer gRPC, on this port; 0: any that is free, which is printed (default: no "
           "gRPC)",
           [&](const std::string& shown, const std::string& value) {
             options.grpc_port = static_cast<int>(parse_integer(shown, value, 0, 65535));
           });
  add_number(line, "max_grpc_streams", "N", "calls at once on a connection; more wait",
             options.grpc_streams, 1, 1 << 20);
}

void add_limit_flags(CommandLine& line, Limits& limits) {
  line.heading("Limits of a request");
  add_number(line, "request_ms", "N", "to wait for a run, and for the run; then 503; 0: none",
             limits.request_ms, 0, kMaxInt);
  add_number(line, "max_queued_requests", "N",
             "that wait for a worker; then 429; so does a packed body", limits.queued_requests, 0);
  add_number(line, "max_queued_bytes", "N", "of the bodies of these; then 429", limits.queued_bytes,
             0);
  add_number(line, "max_tensors", "N", "inputs, and outputs", limits.tensors, 1);
  add_number(line, "max_values", "N", "of all inputs", limits.values, 1);
  add_number(line, "max_multiply_adds", "N", "of all images, of a model with fixed sizes",
             limits.multiply_adds, 1);
  add_number(line, "max_image_pixels", "N", "of an image file", limits.image_pixels, 1);
  add_number(line, "max_id_bytes", "N", "of a request's id", limits.id_bytes, 0);
}

CommandLine command_line(ServeOptions& options) {
  CommandLine line;
  add_model_flags(line, options.service);
  add_transport_flags(line, options.http, options.stop_seconds);
  add_grpc_flags(line, options);
  add_limit_flags(line, options.service.limits);
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
  return R"(Serves models over HTTP with the Open Inference Protocol, version 2.

Usage: lenet_serve MODEL... [options]

Examples:
  lenet_serve inference_model/lenet
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
