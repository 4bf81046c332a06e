#include "grpc/grpc_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "grpc/call.h"
#include "grpc/open_inference.grpc.pb.h"
#include "grpc/translate.h"
#include "http/transport.h"
#include "infer.h"
#include "repository.h"
#include "workers.h"

namespace lenet::serve {
namespace {

using Context = grpc::CallbackServerContext;
using SystemClock = std::chrono::system_clock;

constexpr std::size_t kMaxQuery = std::size_t{1} << 16;  // bytes of all but inferences
constexpr std::size_t kMaxName = 256;                    // of a method that is not there
constexpr std::chrono::milliseconds kLastAnswers(200);   // for what was answered to be sent
constexpr std::chrono::milliseconds kLook(1);
constexpr int kPingSeconds = 10;       // how often a client may ask whether the server is there
constexpr int kKeepaliveSeconds = 30;  // how often the server asks, while nothing comes

template <typename Message>
Message parse(Bytes& in, std::size_t size) {
  if (size > kMaxQuery) throw Refusal(413, "the message is too long");
  Message message;
  if (!message.ParseFromZeroCopyStream(&in)) throw Refusal(400, "the message is damaged");
  return message;
}

Request get(std::string path) {
  Request request;
  request.method = "GET";
  request.path = std::move(path);
  return request;
}

Request post(std::string path, std::string body) {
  Request request = get(std::move(path));
  request.method = "POST";
  request.body = std::move(body);
  return request;
}

template <typename Query>
Request change(const Query& query, const char* what) {
  if (!is_model_name(query.model_name())) {
    throw Refusal(400, "the name of the model is not valid");
  }
  const bool has_config = query.parameters().count("config") > 0;
  return post("/v2/repository/models/" + query.model_name() + what,
              has_config ? R"({"parameters":{"config":""}})" : "");
}

template <typename Answer>
grpc::Status by_json(const Response& response, Answer& answer) {
  const grpc::Status status = status_of(response);
  if (status.ok()) write_message(response.body, answer);
  return status;
}

/// Puts a value of JSON into an object.
Response wrapped(const Response& response, const char* member) {
  Response in_object = response;
  if (response.status == 200) {
    in_object.body = std::string("{\"") + member + "\":" + response.body + "}";
  }
  return in_object;
}

template <typename Answer>
grpc::Status by_readiness(const Response& response, Answer& answer) {
  answer.set_ready(response.status == 200);
  const bool is_answer = response.status == 404 || response.status == 503;
  return is_answer ? grpc::Status::OK : status_of(response);
}

/// GRPCInferenceService. All methods take bytes: how many is looked at before they are read.
class Methods final : public inference::GRPCInferenceService::Service {
 public:
  explicit Methods(Calls& calls);

 private:
  /// \param ask makes a request of HTTP out of the client's message
  /// \param fill makes the answer out of the response to it
  template <typename Query, typename Answer>
  void add(const char* name, Request (*ask)(const Query&),
           grpc::Status (*fill)(const Response&, Answer&) = by_json<Answer>,
           bool needs_token = true);
  template <typename Answer>
  void add_infer(const char* name, void (*fill)(const Response&, const Echo&, Answer&));
  void add(const char* name, Method method);

  Calls& calls_;
};

/// What this server does not have, shared memory for one.
class Others final : public grpc::CallbackGenericService {
  using Reactor = grpc::ServerGenericBidiReactor;

  Reactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    class Refused final : public Reactor {
      void OnDone() override { delete this; }
    };
    auto* const reactor = new Refused;
    reactor->Finish({grpc::StatusCode::UNIMPLEMENTED,
                     "this server does not support " + context->method().substr(0, kMaxName)});
    return reactor;
  }
};

void Methods::add(const char* name, Method method) {
  const auto* const described =
      inference::ModelInferRequest::descriptor()->file()->service(0)->FindMethodByName(name);
  method.path = "/" + described->service()->full_name() + "/" + name;
  if (described->client_streaming()) {
    MarkMethodRawCallback(
        described->index(),
        new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
            [this, method](Context* context) { return begin_stream(calls_, method, *context); }));
    return;
  }
  MarkMethodRawCallback(
      described->index(),
      new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
          [this, method](Context* context, const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
            return begin_call(calls_, method, *context, *in, *out);
          }));
}

template <typename Query, typename Answer>
void Methods::add(const char* name, Request (*ask)(const Query&),
                  grpc::Status (*fill)(const Response&, Answer&), bool needs_token) {
  add(name, {"", [ask](Bytes& in, std::size_t size, Echo&) { return ask(parse<Query>(in, size)); },
             [fill](const Response& response, const Echo&, grpc::ByteBuffer& out) {
               Answer answer;
               grpc::Status status = fill(response, answer);
               return status.ok() ? to_bytes(answer, out) : status;
             },
             needs_token});
}

template <typename Answer>
void Methods::add_infer(const char* name, void (*fill)(const Response&, const Echo&, Answer&)) {
  add(name, {"",
             [](Bytes& in, std::size_t size, Echo& echo) {
               google::protobuf::io::CodedInputStream stream(&in);
               return read_infer_request(stream, size, echo);
             },
             [fill](const Response& response, const Echo& echo, grpc::ByteBuffer& out) {
               const grpc::Status status = status_of(response);
               if (!status.ok()) return status;
               Answer answer;
               fill(response, echo, answer);
               return to_bytes(answer, out);
             }});
}

Methods::Methods(Calls& calls) : calls_(calls) {
  using namespace inference;  // NOLINT: here alone, where some twenty of its names stand
  add<ServerLiveRequest, ServerLiveResponse>(
      "ServerLive", [](const auto&) { return get("/v2/health/live"); }, by_json, false);
  add<ServerReadyRequest, ServerReadyResponse>(
      "ServerReady", [](const auto&) { return get("/v2/health/ready"); }, by_readiness, false);
  add<ServerMetadataRequest, ServerMetadataResponse>("ServerMetadata",
                                                     [](const auto&) { return get("/v2"); });
  add<ModelReadyRequest, ModelReadyResponse>(
      "ModelReady",
      [](const auto& query) { return get(model_path(query.name(), query.version(), "/ready")); },
      by_readiness);
  add<ModelMetadataRequest, ModelMetadataResponse>("ModelMetadata", [](const auto& query) {
    return get(model_path(query.name(), query.version(), ""));
  });
  add<ModelConfigRequest, ModelConfigResponse>(
      "ModelConfig",
      [](const auto& query) { return get(model_path(query.name(), query.version(), "/config")); },
      [](const Response& response, ModelConfigResponse& answer) {
        return by_json(wrapped(response, "config"), answer);
      });
  add<ModelStatisticsRequest, ModelStatisticsResponse>("ModelStatistics", [](const auto& query) {
    return get(query.name().empty() ? "/v2/models/stats"
                                    : model_path(query.name(), query.version(), "/stats"));
  });
  add<RepositoryIndexRequest, RepositoryIndexResponse>(
      "RepositoryIndex",
      [](const auto& query) {
        return post("/v2/repository/index", query.ready() ? R"({"ready":true})" : "");
      },
      [](const Response& response, RepositoryIndexResponse& answer) {
        return by_json(wrapped(response, "models"), answer);
      });
  add<RepositoryModelLoadRequest, RepositoryModelLoadResponse>(
      "RepositoryModelLoad", [](const auto& query) { return change(query, "/load"); });
  add<RepositoryModelUnloadRequest, RepositoryModelUnloadResponse>(
      "RepositoryModelUnload", [](const auto& query) { return change(query, "/unload"); });
  add_infer<ModelInferResponse>("ModelInfer", write_infer_response);
  add_infer<ModelStreamInferResponse>(
      "ModelStreamInfer",
      [](const Response& response, const Echo& echo, ModelStreamInferResponse& answer) {
        ModelInferResponse& inner = *answer.mutable_infer_response();
        write_infer_response(response, echo, inner);
        // For clients that know models with more than one answer.
        (*inner.mutable_parameters())["triton_final_response"].set_bool_param(true);
      });
}

/// Of a server with the limits of the options.
std::unique_ptr<grpc::Server> build_server(const Calls& calls, Methods& methods, Others& others,
                                           const ServeOptions& options, int& port) {
  const HttpOptions& http = options.http;
  const bool is_v6 = http.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + http.host + "]" : http.host;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(host + ":" + std::to_string(options.grpc_port),
                           grpc::InsecureServerCredentials(), &port);
  constexpr std::size_t kMaxInt = std::numeric_limits<int>::max();
  builder.SetMaxReceiveMessageSize(static_cast<int>(calls.max_bytes()));
  grpc::ResourceQuota quota("lenet_serve");
  quota.Resize(http.buffered_bytes);
  builder.SetResourceQuota(quota);
  const auto milliseconds = [](int seconds) {
    return static_cast<int>(std::min<std::int64_t>(std::int64_t{seconds} * 1000, kMaxInt));
  };
  const std::pair<const char*, int> arguments[] = {
      {GRPC_ARG_ALLOW_REUSEPORT, 0},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, options.grpc_streams},
      {GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(http.request.header_bytes)},
      {GRPC_ARG_MAX_CONNECTION_IDLE_MS, milliseconds(http.idle_seconds)},
      {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, milliseconds(http.header_seconds)},
      {GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(kKeepaliveSeconds)},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(http.header_seconds)},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, milliseconds(kPingSeconds)},
      {GRPC_ARG_ENABLE_CHANNELZ, 0},
      // gRPC has no limit for what it unpacks: it looks at the size afterwards.
      {GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0},
  };
  for (const auto& [name, value] : arguments) builder.AddChannelArgument(name, value);
  builder.RegisterService(&methods);
  builder.RegisterCallbackGenericService(&others);
  return builder.BuildAndStart();
}

}  // namespace

void require_grpc(char**) {}

struct GrpcServer::State {
  State(Service& service, const ServeOptions& options, AccessLog& log)
      : http(options.http), calls(service, http, log) {}

  const HttpOptions http;
  Calls calls;
  Methods methods{calls};
  Others others;
  std::string address;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(Service& service, const ServeOptions& options, AccessLog& log)
    : state_(std::make_unique<State>(service, options, log)) {
  // What it would say is said by the error.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  state_->server = build_server(state_->calls, state_->methods, state_->others, options, port);
  if (!state_->server || port == 0) {
    throw Error(ErrorCode::BackendFailure, "cannot listen on " + options.http.host + ":" +
                                               std::to_string(options.grpc_port) +
                                               "; name another: --grpc_port, --host");
  }
  const auto* const methods = inference::ModelInferRequest::descriptor()->file()->service(0);
  state_->server->GetHealthCheckService()->SetServingStatus(methods->full_name(), true);
  state_->address = "grpc://" + options.http.host + ":" + std::to_string(port);
}

GrpcServer::~GrpcServer() {
  stop();
  if (!state_->server) return;
  // Ends also those who watch the health.
  state_->server->Shutdown(SystemClock::now() + kLastAnswers);
  while (running()) std::this_thread::sleep_for(kLook);
}

const std::string& GrpcServer::address() const { return state_->address; }

void GrpcServer::begin_stop() {
  state_->server->GetHealthCheckService()->SetServingStatus(false);
  state_->calls.begin_stop();
}

bool GrpcServer::running() const { return state_->calls.open > 0; }

std::size_t GrpcServer::stop() { return state_->calls.stop(); }

}  // namespace lenet::serve
