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

/// \param token_file gets the file of the token
CommandLine command_line(ServeOptions& options, std::string& token_file) {
  Options& service = options.service;
  HttpOptions& http = options.http;
  Limits& limits = service.limits;
  CommandLine line;
  /// Adds an option for a number of any integer type. Its help text ends with the default.
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
    // The server takes models as arguments, and has its own options for the last two.
    constexpr std::array<std::string_view, 5> kOthers = {"model_file", "params_file", "model_dir",
                                                         "max_batch_size", "time_limit_ms"};
    if (std::find(kOthers.begin(), kOthers.end(), option.name) != kOthers.end()) continue;
    line.add(option.name, option.argument,
             option.help + (option.name == "engine" ? engine_names() : ""),
             [&](const std::string& shown, const std::string& value) {
               option.set(service.config, shown, value);
             });
  }
  for (const StepOption& option : kStepOptions) {
    line.add(option.name, option.argument, option.help + std::string("; for a server of one model"),
             [&](const std::string& shown, const std::string& value) {
               option.set(service.changes, shown, value);
             });
  }
  line.add(
      "labels", "FILE",
      "names of the classes of the only model, one in each line, as NAME or '0 NAME' (default: "
      "those that the model's files name, such as labels.txt beside it)",
      service.labels);
  number("versions", "number of versions of each model to serve, the newest first",
         service.versions, 1);
  number("poll_seconds",
         "seconds between two searches for new versions; 0: search after SIGHUP only",
         service.poll_seconds, 0);
  number(
      "trial_seconds",
      "time limit of the first run of a model; a model that exceeds it is not served. The Paddle "
      "engine cannot stop a run",
      service.trial_seconds, 1);
  line.add("skip_trial", "",
           "load a new model without loading it in a process of its own first, which takes the "
           "model's time and memory once more; a file that crashes the load then ends the server",
           options.skip_trial);
  line.add("check_model", "MODEL",
           "do not serve, but load and run this file or folder once as a server with the same "
           "options does, and end with its exit code",
           [&](const std::string&, const std::string& value) { options.check_model = value; });
  line.add("allow_load", "",
           "let clients load and unload models (POST /v2/repository/models/NAME/load)",
           service.allow_load);
  line.add(
      "insecure_load", "",
      "permit --allow_load without a token: every client of the server can load and unload models",
      service.insecure_load);
  number("max_batch_size", "number of images, also of different requests, that run together",
         service.max_batch_size, 1);
  number("workers",
         "threads for the models whose runs take longer than --loop_us; 0: one for each core",
         service.workers, 0, 1024);
  number("loop_us",
         "a model whose run takes at most N microseconds runs in the threads that read requests",
         service.loop_us, 0, std::numeric_limits<int>::max());

  line.heading("Address and access");
  line.add("host", "ADDRESS",
           "address to listen on; 0.0.0.0: all networks (default: " + http.host + ")",
           [&](const std::string&, const std::string& value) { http.host = value; });
  number("port", "port of HTTP; 0: any free port, which is printed", http.port, 0);
  line.add("token_file", "FILE",
           std::string("file with a token that clients must send: 'Authorization: Bearer TOKEN'. "
                       "Requests for the server's health need no token (default: the environment "
                       "variable ") +
               kTokenVariable + ", or else no token)",
           [&](const std::string&, const std::string& value) { token_file = value; });
  list("allowed_host", "NAME,...",
       "accepted host names in addition to the server's address and localhost; a request for "
       "another host gets 421. Needed if the server listens on this machine only, behind a proxy",
       http.allowed_hosts);
  list("allow_origin", "ORIGIN,...",
       "other origins whose pages may use this server, such as https://example.org; *: all "
       "origins. Pages of any other origin get 403",
       http.allowed_origins);
  line.add("page", "DIR", "also serve the files of this folder, with index.html at /", http.page);
  line.add("access_log", "FILE",
           "write a line of JSON for each request; -: to standard output. Lines that cannot be "
           "written are dropped, and /metrics counts them",
           http.access_log);
  number("http_threads", "threads that read requests; 0: one for each core, at most 8",
         http.threads, 0, 1024);
  line.heading("Limits of the transport");
  number("max_connections",
         "number of open connections; a further one replaces the connection that has been idle "
         "longest in its thread, or gets 503 if none is idle",
         http.connections, 1, 1 << 20);
  number("max_connections_per_address",
         "connections of one client address; further ones get 503 or are closed; 0: no limit, as "
         "is needed behind a proxy, where all clients have the same address",
         http.connections_of_an_address, 0, 1 << 20);
  number("max_header_bytes", "size of the header of a request; a larger one gets 431",
         http.request.header_bytes, 1024, 1 << 20);
  number("max_headers", "fields in the header of a request; more get 431",
         http.request.header_count, 1, 10'000);
  number("max_body_bytes",
         "size of the body of a request, also after decompression; a larger one gets 413",
         http.request.body_bytes, 1, std::int64_t{1} << 40);
  number("max_buffered_bytes",
         "size of all request bodies and unsent responses together; above it, requests get 503",
         http.buffered_bytes, 1);
  number("header_seconds", "time to receive a header; a slower request gets 408",
         http.header_seconds, 1);
  number("body_seconds", "time to receive a body, and time for the client to read the response",
         http.body_seconds, 1);
  number("idle_seconds", "time after which a connection without a new request is closed",
         http.idle_seconds, 1);
  number("stop_seconds", "time to answer the accepted requests after SIGTERM", options.stop_seconds,
         0);

  line.heading("gRPC (uses the same models, address, token and limits)");
  line.add("grpc_port", "N",
           "also serve gRPC on this port; 0: any free port, which is printed (default: no gRPC)",
           [&](const std::string& shown, const std::string& value) {
             options.grpc_port = static_cast<int>(parse_integer(shown, value, 0, 65535));
           });
  number("max_grpc_streams", "simultaneous calls of a connection; further calls wait",
         options.grpc_streams, 1, 1 << 20);

  line.heading("Limits of a request");
  number(
      "request_ms",
      "time to wait for a worker and decode image files, and again for the run; a slower request "
      "gets 503; 0: no limit",
      limits.request_ms, 0);
  number("max_queued_requests",
         "number of requests and compressed bodies that wait for a worker; further ones get 429",
         limits.queued_requests, 0);
  number("max_queued_bytes", "size of the bodies of these requests; further ones get 429",
         limits.queued_bytes, 0);
  number("max_tensors", "number of inputs, and number of outputs", limits.tensors, 1);
  number("max_values", "number of values in all inputs together", limits.values, 1);
  number("max_multiply_adds", "work for all images of a request; more gets 413",
         limits.multiply_adds, 1);
  number("max_image_pixels", "number of pixels in an image file", limits.image_pixels, 1);
  number("max_id_bytes", "size of a request's id", limits.id_bytes, 0);

  line.heading("Information");
  line.add("version", "", "print the version of lenet_serve and of the engines", options.version);
  line.add("help", "", "print the options that most users need", options.help);
  line.add("help_all", "", "print all options and the exit codes", options.help_all);
  for (const char* name : {"model", "model_file", "model_dir"}) {
    line.add_hint(name, "give the model as an argument, without an option");
  }
  return line;
}

/// The token in the first line of a file.
std::string read_token(const std::string& file) {
  const std::string text = read_file(file);
  std::string token(trimmed(text.substr(0, text.find_first_of("\r\n"))));
  // An empty token would leave the server open, which is not what the user asked for.
  if (token.empty()) {
    throw UsageError("--token_file: the first line of '" + file + "' is empty; write a token of " +
                     std::to_string(kMinToken) + " or more characters into it");
  }
  return token;
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
  std::string token_file;
  const std::vector<std::string> models = command_line(options, token_file).parse(argc, argv);
  if (options.help || options.help_all || options.version || !options.check_model.empty())
    return options;
  if (!token_file.empty()) options.http.token = read_token(token_file);
  if (models.empty()) throw UsageError("name a model: a file or a folder");
  for (const std::string& model : models) options.service.models.push_back(parse_model(model));
  if (!options.service.labels.empty() && models.size() > 1) {
    throw UsageError("--labels names the classes of one model, and there are " +
                     std::to_string(models.size()) + ": put a file labels.txt beside each model");
  }
  const std::string& secret = options.http.token;
  if (!secret.empty() && secret.size() < kMinToken) {
    throw UsageError("the token has " + std::to_string(secret.size()) + " characters; expected " +
                     std::to_string(kMinToken) + " or more");
  }
  if (options.service.insecure_load && !options.service.allow_load) {
    throw UsageError("--insecure_load needs --allow_load");
  }
  if (options.service.allow_load && secret.empty() && !options.service.insecure_load) {
    throw UsageError(
        "--allow_load lets every client load and unload models: give --token_file, or add "
        "--insecure_load to permit that");
  }
  // The service answers with 503 after request_ms of waiting, and after request_ms of running. The
  // transport gives up later than both together.
  constexpr int kMoreSeconds = 2;
  const int request_ms = options.service.limits.request_ms;
  options.http.request_seconds = request_ms == 0 ? 0 : request_ms / 500 + kMoreSeconds;
  return options;
}

std::string serve_help(bool all) {
  ServeOptions unused;
  std::string unused_file;
  const CommandLine line = command_line(unused, unused_file);
  const std::string text =
      R"(Serve models over HTTP. Send a picture to get its classes, or use the Open Inference Protocol,
version 2, to get the outputs.

Usage: lenet_serve MODEL... [options]

Examples:
  lenet_serve model.onnx --labels=labels.txt
  curl -T photo.jpg http://localhost:8000/v2/models/model/infer
  lenet_serve digits=lenet.onnx repository/ --host=0.0.0.0 --token_file=token

MODEL is a model's program or folder, a folder with its versions (named 1, 2, ...), or a folder
of models. NAME=MODEL serves it under that name. For TLS, put a proxy in front of the server.
)";
  if (!all) {
    return text + "\n" +
           line.help({"labels", "mean", "std", "engine", "threads", "host", "port", "token_file",
                      "page", "grpc_port", "poll_seconds", "version", "help", "help_all"});
  }
  return text + R"(
More requests:
  curl localhost:8000/v2/models
  curl localhost:8000/v2/models/model
  curl -H 'Inference-Header-Content-Length: 0' --data-binary @digit.f32 \
       localhost:8000/v2/models/model/infer
)" + line.help() +
         R"(
SIGTERM and Ctrl-C stop the server after it has answered the accepted requests; a second signal
stops it immediately. After SIGHUP it looks for new versions of the models.
Exit code: 0 stopped; 2 wrong usage; 3 FileNotFound; 4 BadModel; 5 BadInput; 6 Unsupported;
7 VersionMismatch; 8 BackendFailure (such as a port that is in use, or requests that were not
answered within --stop_seconds).
)";
}

}  // namespace lenet::serve
