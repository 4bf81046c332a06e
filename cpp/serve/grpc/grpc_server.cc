#include "grpc/grpc_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "grpc/open_inference.grpc.pb.h"
#include "grpc/translate.h"
#include "http/transport.h"
#include "infer.h"
#include "repository.h"
#include "workers.h"

namespace lenet::serve {
namespace {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;
using SystemClock = std::chrono::system_clock;

constexpr std::size_t kMaxQuery = std::size_t{1} << 16;  // bytes of all but inferences
constexpr std::chrono::milliseconds kLastAnswers(200);   // for what was answered to be sent
constexpr std::chrono::milliseconds kLook(1);
constexpr int kPingSeconds = 10;       // how often a client may ask whether the server is there
constexpr int kKeepaliveSeconds = 30;  // how often the server asks, while nothing comes

/// Such as "127.0.0.1:50000", as HTTP's log has it, of what gRPC calls "ipv4:127.0.0.1:50000" and
/// "ipv6:%5B::1%5D:50000".
std::string client_of(const Context& context) {
  std::string peer = context.peer();
  peer.erase(0, peer.find(':') + 1);
  for (const auto& [escaped, plain] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    if (const auto at = peer.find(escaped); at != peer.npos) peer.replace(at, 3, plain);
  }
  return peer;
}

/// A call, counted until its answer is sent.
class Call final : public Reactor {
 public:
  Call(std::atomic<std::size_t>& open, AccessLog& log) : open_(open), log_(log) { ++open_; }

  /// What the log is to say of it.
  void describe(const Context& context, const std::string& method, std::size_t received) {
    if (!log_) return;
    exchange_.client = client_of(context);
    exchange_.method = "gRPC";
    exchange_.path = method;
    exchange_.received = received;
  }
  /// Logs and sends the answer, which is nothing unless the status is OK.
  void end(const grpc::Status& status, const grpc::ByteBuffer& answer) {
    exchange_.status = status.error_code();
    exchange_.sent = status.ok() ? answer.Length() : 0;
    exchange_.time = Clock::now() - begin_;
    log_.write(exchange_);
    // The threads of HTTP, which flush it now and then, sleep while they have no connections.
    log_.flush();
    Finish(status);
  }
  void OnDone() override {
    --open_;
    delete this;
  }

 private:
  std::atomic<std::size_t>& open_;
  AccessLog& log_;
  const Clock::time_point begin_ = Clock::now();
  Exchange exchange_;
};

/// The time until which a client waits, on the clock of the service.
Clock::time_point deadline_of(const Context& context) {
  const auto left = context.deadline() - SystemClock::now();
  // Nobody waits for a day; "for ever" would not fit.
  return left > std::chrono::hours(24) ? Clock::time_point::max()
                                       : Clock::now() + std::chrono::nanoseconds(left);
}

template <typename Message>
Message parse(const grpc::ByteBuffer& bytes) {
  if (bytes.Length() > kMaxQuery) throw Refusal(413, "the message is too long");
  grpc::ByteBuffer readable(bytes);  // the same memory
  grpc::ProtoBufferReader reader(&readable);
  Message message;
  if (!message.ParseFromZeroCopyStream(&reader)) throw Refusal(400, "the message is damaged");
  return message;
}

grpc::Status send(const google::protobuf::Message& message, grpc::ByteBuffer& to) {
  bool own = false;
  return grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &to, &own);
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

/// The calls of GRPCInferenceService. All take bytes: how many is looked at before they are read.
class Calls final : public inference::GRPCInferenceService::Service {
 public:
  Calls(lenet::serve::Service& service, std::string token, AccessLog& log);

  std::atomic<std::size_t> open{0};  ///< calls without an answer
  std::atomic<bool> closed{false};   ///< to calls that come
  std::shared_mutex in_use;          ///< the service, by those that hold it shared

 private:
  /// \param name of the method
  /// \param ask makes a request of HTTP out of the client's message
  /// \param fill makes the answer out of the response to it
  template <typename Query, typename Answer>
  void add(const char* name, Request (*ask)(const Query&),
           grpc::Status (*fill)(const Response&, Answer&) = by_json<Answer>,
           bool needs_token = true);
  /// \param ask(bytes, typed) is the request; `fill` gets what it leaves in `typed`
  /// \param fill(response, typed, bytes) writes the answer
  template <typename Ask, typename Fill>
  void add_raw(const char* name, bool needs_token, const Ask& ask, const Fill& fill);
  void require_token(const Context& context) const;

  lenet::serve::Service& service_;
  const std::string token_;
  AccessLog& log_;
};

void Calls::require_token(const Context& context) const {
  if (token_.empty()) return;
  const auto& fields = context.client_metadata();
  const auto field = fields.find("authorization");
  if (field != fields.end() && has_token({field->second.data(), field->second.size()}, token_)) {
    return;
  }
  throw Refusal(401, "expected the server's token: the metadata authorization: Bearer ...");
}

template <typename Ask, typename Fill>
void Calls::add_raw(const char* name, bool needs_token, const Ask& ask, const Fill& fill) {
  const auto* const method =
      inference::ModelInferRequest::descriptor()->file()->service(0)->FindMethodByName(name);
  const std::string path = "/" + method->service()->full_name() + "/" + name;
  const auto handle = [this, needs_token, ask, fill, path](
                          Context* context, const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
    auto* const call = new Call(open, log_);
    try {
      call->describe(*context, path, in->Length());
      if (needs_token) require_token(*context);
      // The threads are gRPC's: none has a loop of its own.
      const std::shared_lock<std::shared_mutex> use(in_use);
      if (closed) throw Refusal(503, "the server is stopping");
      lenet::serve::Service::Loop loop(service_);
      bool typed = false;
      Request request = ask(*in, typed);
      request.deadline = deadline_of(*context);
      if (request.deadline < Clock::now()) throw Refusal(408, "the deadline has passed");
      loop.handle(std::move(request), [call, fill, typed, out](const Response& response) {
        grpc::Status status;
        try {
          status = fill(response, typed, *out);
        } catch (const std::exception& error) {
          status = status_of(failure_response(error));
        }
        call->end(status, *out);
      });
    } catch (const std::exception& error) {
      call->end(status_of(failure_response(error)), *out);
    }
    return call;
  };
  MarkMethodRawCallback(
      method->index(),
      new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(handle));
}

template <typename Query, typename Answer>
void Calls::add(const char* name, Request (*ask)(const Query&),
                grpc::Status (*fill)(const Response&, Answer&), bool needs_token) {
  add_raw(
      name, needs_token, [ask](const grpc::ByteBuffer& in, bool&) { return ask(parse<Query>(in)); },
      [fill](const Response& response, bool, grpc::ByteBuffer& out) {
        Answer answer;
        grpc::Status status = fill(response, answer);
        return status.ok() ? send(answer, out) : status;
      });
}

Calls::Calls(lenet::serve::Service& service, std::string token, AccessLog& log)
    : service_(service), token_(std::move(token)), log_(log) {
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
  add_raw(
      "ModelInfer", true,
      [](const grpc::ByteBuffer& in, bool& typed) {
        grpc::ByteBuffer readable(in);  // the same memory
        grpc::ProtoBufferReader reader(&readable);
        google::protobuf::io::CodedInputStream stream(&reader);
        return read_infer_request(stream, in.Length(), typed);
      },
      [](const Response& response, bool typed, grpc::ByteBuffer& out) {
        const grpc::Status status = status_of(response);
        if (!status.ok()) return status;
        ModelInferResponse answer;
        write_infer_response(response, typed, answer);
        return send(answer, out);
      });
}

/// Of a server with the limits of the options.
std::unique_ptr<grpc::Server> build_server(Calls& calls, const ServeOptions& options, int& port) {
  const HttpOptions& http = options.http;
  const bool is_v6 = http.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + http.host + "]" : http.host;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(host + ":" + std::to_string(options.grpc_port),
                           grpc::InsecureServerCredentials(), &port);
  constexpr std::size_t kMaxInt = std::numeric_limits<int>::max();
  builder.SetMaxReceiveMessageSize(static_cast<int>(std::min(http.request.body_bytes, kMaxInt)));
  // Nothing limits what gRPC would unpack.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
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
  };
  for (const auto& [name, value] : arguments) builder.AddChannelArgument(name, value);
  builder.RegisterService(&calls);
  return builder.BuildAndStart();
}

}  // namespace

void require_grpc(char**) {}

struct GrpcServer::State {
  State(Service& service, const std::string& token, AccessLog& log) : calls(service, token, log) {}

  Calls calls;
  std::string address;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(Service& service, const ServeOptions& options, AccessLog& log)
    : state_(std::make_unique<State>(service, options.http.token, log)) {
  // What it would say is said by the error.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  state_->server = build_server(state_->calls, options, port);
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
  state_->calls.closed = true;
}

bool GrpcServer::running() const { return state_->calls.open > 0; }

std::size_t GrpcServer::stop() {
  state_->calls.closed = true;
  const std::unique_lock<std::shared_mutex> unused(state_->calls.in_use);
  return state_->calls.open;
}

}  // namespace lenet::serve
