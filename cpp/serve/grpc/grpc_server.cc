#include "grpc/grpc_server.h"

#include <google/protobuf/stubs/common.h>
#if GOOGLE_PROTOBUF_VERSION < 4022000
#include <google/protobuf/stubs/logging.h>
#endif
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
#include "grpc/translate.h"
#include "http/transport.h"
#include "infer.h"
#include "repository.h"
#include "workers.h"

namespace lenet::serve {
namespace {

using google::protobuf::Message;

constexpr std::size_t kMaxQuery = std::size_t{1} << 16;  // bytes of all but inferences
constexpr std::size_t kMaxName = 256;                    // of a method that is not there
constexpr std::chrono::milliseconds kLastAnswers(200);   // for what was answered to be sent
constexpr std::chrono::milliseconds kLook(1);
constexpr int kPingSeconds = 10;       // how often a client may ask whether the server is there
constexpr int kKeepaliveSeconds = 30;  // how often the server asks, while nothing comes

/// A method that is an address of HTTP with JSON.
struct Address {
  const char* name;
  const char* method;
  const char* path;              ///< with * for the model
  const char* member = nullptr;  ///< of the answer, which the JSON is; null: it is all
  const char* all = nullptr;     ///< the path where no model is named
};
constexpr Address kAddresses[] = {
    {"ServerLive", "GET", "/v2/health/live"},
    {"ServerReady", "GET", "/v2/health/ready"},
    {"ServerMetadata", "GET", "/v2"},
    {"ModelReady", "GET", "/v2/models/*/ready"},
    {"ModelMetadata", "GET", "/v2/models/*"},
    {"ModelConfig", "GET", "/v2/models/*/config", "config"},
    {"ModelStatistics", "GET", "/v2/models/*/stats", nullptr, "/v2/models/stats"},
    {"RepositoryIndex", "POST", "/v2/repository/index", "models"},
    {"RepositoryModelLoad", "POST", "/v2/repository/models/*/load"},
    {"RepositoryModelUnload", "POST", "/v2/repository/models/*/unload"},
};

std::unique_ptr<Message> make(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

/// \returns nothing when messages of this type have no such field
std::string field_of(const Message& message, const char* name) {
  const auto* const field = message.GetDescriptor()->FindFieldByName(name);
  return field == nullptr ? "" : message.GetReflection()->GetString(message, field);
}

Request ask(const Address& address, const Message& query) {
  Request request;
  request.method = address.method;
  request.path = address.path;
  const std::string name = field_of(query, "name") + field_of(query, "model_name");
  if (name.empty() && address.all != nullptr) {
    request.path = address.all;
  } else if (const auto star = request.path.find('*'); star != std::string::npos) {
    request.path.replace(star, 1, model_path(name, field_of(query, "version")));
  }
  if (request.method == "POST") request.body = read_message(query);
  return request;
}

grpc::Status answer(const Address& address, const Response& response, Message& to) {
  const bool is_probe = to.GetDescriptor()->FindFieldByName("ready") != nullptr;
  if (is_probe && (response.status == 404 || response.status == 503)) return grpc::Status::OK;
  const grpc::Status status = status_of(response);
  if (!status.ok()) return status;
  write_message(address.member == nullptr
                    ? response.body
                    : std::string("{\"") + address.member + "\":" + response.body + "}",
                to);
  return status;
}

Method method_of(const Address& address, const google::protobuf::MethodDescriptor& described) {
  Method method;
  method.needs_token = std::string_view(address.path).rfind("/v2/health/", 0) != 0;
  method.ask = [&address, type = described.input_type()](Bytes& in, std::size_t size, Echo&) {
    if (size > kMaxQuery) throw Refusal(413, "the message is too long");
    const auto query = make(type);
    if (!query->ParseFromZeroCopyStream(&in)) throw Refusal(400, "the message is damaged");
    return ask(address, *query);
  };
  method.fill = [&address, type = described.output_type()](const Response& response, const Echo&,
                                                           grpc::ByteBuffer& out) {
    const auto to = make(type);
    const grpc::Status status = answer(address, response, *to);
    return status.ok() ? to_bytes(*to, out) : status;
  };
  return method;
}

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

/// ModelInfer, and ModelStreamInfer.
template <typename Answer>
Method infer_method(void (*fill)(const Response&, const Echo&, Answer&)) {
  Method method;
  method.ask = [](Bytes& in, std::size_t size, Echo& echo) {
    google::protobuf::io::CodedInputStream stream(&in);
    return read_infer_request(stream, size, echo);
  };
  method.fill = [fill](const Response& response, const Echo& echo, grpc::ByteBuffer& out) {
    const grpc::Status status = status_of(response);
    if (!status.ok()) return status;
    Answer answer;
    fill(response, echo, answer);
    return to_bytes(answer, out);
  };
  return method;
}

void write_stream_response(const Response& response, const Echo& echo,
                           inference::ModelStreamInferResponse& to) {
  inference::ModelInferResponse& answer = *to.mutable_infer_response();
  write_infer_response(response, echo, answer);
  // For clients that know models with more than one answer.
  (*answer.mutable_parameters())["triton_final_response"].set_bool_param(true);
}

class Server final : public GrpcServer {
 public:
  Server(Service& service, const ServeOptions& options, AccessLog& log)
      : calls_(service, options.http, log) {
    // What it would say is said by the error.
    setenv("GRPC_VERBOSITY", "NONE", 0);
#if GOOGLE_PROTOBUF_VERSION < 4022000  // newer ones have no handler
    // A line for each text that is not UTF-8: a client could fill the disk. The call gets an error.
    google::protobuf::SetLogHandler(nullptr);
#endif
    grpc::EnableDefaultHealthCheckService(true);
    const auto& methods = *inference::ModelInferRequest::descriptor()->file()->service(0);
    for (const Address& address : kAddresses) {
      const auto& described = *methods.FindMethodByName(address.name);
      calls_.add(described, method_of(address, described));
    }
    calls_.add(*methods.FindMethodByName("ModelInfer"), infer_method(write_infer_response));
    calls_.add(*methods.FindMethodByName("ModelStreamInfer"), infer_method(write_stream_response));
    int port = 0;
    listen(options, port);
    if (!server_ || port == 0) {
      throw Error(ErrorCode::BackendFailure, "cannot listen on " + options.http.host + ":" +
                                                 std::to_string(options.grpc_port) +
                                                 "; name another: --grpc_port, --host");
    }
    health().SetServingStatus(methods.full_name(), true);
    address_ = "grpc://" + options.http.host + ":" + std::to_string(port);
  }

  ~Server() override {
    stop();
    if (!server_) return;
    // Ends also those who watch the health.
    server_->Shutdown(std::chrono::system_clock::now() + kLastAnswers);
    while (running()) std::this_thread::sleep_for(kLook);
  }

  std::string address() const override { return address_; }
  void begin_stop() override {
    // Who is told that nothing is served any more must find it so.
    calls_.begin_stop();
    health().SetServingStatus(false);
  }
  bool running() const override { return calls_.open > 0; }
  std::size_t stop() override { return calls_.stop(); }

 private:
  grpc::HealthCheckServiceInterface& health() { return *server_->GetHealthCheckService(); }
  /// With the limits of the options.
  void listen(const ServeOptions& options, int& port);

  Calls calls_;
  Others others_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

void Server::listen(const ServeOptions& options, int& port) {
  const HttpOptions& http = options.http;
  const bool is_v6 = http.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + http.host + "]" : http.host;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(host + ":" + std::to_string(options.grpc_port),
                           grpc::InsecureServerCredentials(), &port);
  constexpr std::size_t kMaxInt = std::numeric_limits<int>::max();
  builder.SetMaxReceiveMessageSize(static_cast<int>(calls_.max_bytes()));
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
  builder.RegisterService(&calls_);
  builder.RegisterCallbackGenericService(&others_);
  server_ = builder.BuildAndStart();
}

}  // namespace

void require_grpc(char**) {}

std::unique_ptr<GrpcServer> start_grpc(Service& service, const ServeOptions& options,
                                       AccessLog& log) {
  return std::make_unique<Server>(service, options, log);
}

}  // namespace lenet::serve
