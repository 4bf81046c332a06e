/// \file
/// gRPC around a service: the GRPCInferenceService of the Open Inference Protocol, and
/// grpc.health.v1. One of two programs has it: gRPC's libraries take more memory, and more time to
/// be loaded, than all the rest.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "serve_options.h"
#include "service.h"

namespace lenet::serve {

/// Runs lenet_serve_grpc in place of this program, if this is not the one with gRPC.
/// \throws Error Unsupported: it was not built
void require_grpc(char** argv);

class GrpcServer {
 public:
  /// Listens, and serves.
  /// \param service must outlive `stop`, and end before this object
  /// \param log must outlive this object
  /// \throws Error BackendFailure for an address or a port that is taken or not allowed
  GrpcServer(Service& service, const ServeOptions& options, AccessLog& log);
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;
  ~GrpcServer();

  /// Such as "grpc://127.0.0.1:8001".
  const std::string& address() const;
  /// Begins a graceful stop: calls that come from now on are refused (UNAVAILABLE), and the health
  /// is NOT_SERVING.
  void begin_stop();
  /// Whether calls are waiting for their answers.
  bool running() const;
  /// Waits until no thread uses the service, which may still answer calls, but gets no more.
  /// \returns how many calls have got no answer.
  std::size_t stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lenet::serve
