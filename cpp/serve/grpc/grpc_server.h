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
  virtual ~GrpcServer() = default;

  /// Such as "grpc://127.0.0.1:8001".
  virtual std::string address() const = 0;
  /// Begins a graceful stop: what comes from now on is refused (UNAVAILABLE), streams that wait for
  /// a message end, and the health is NOT_SERVING.
  virtual void begin_stop() = 0;
  /// Whether calls are waiting for their answers.
  virtual bool running() const = 0;
  /// Waits until no thread uses the service, which may still answer calls, but gets no more.
  /// \returns how many calls have got no answer.
  virtual std::size_t stop() = 0;
};

/// Listens, and serves.
/// \param service must outlive `stop`, and end before the server
/// \param log must outlive the server, as the options
/// \throws Error BackendFailure for an address or a port that is taken or not allowed
std::unique_ptr<GrpcServer> start_grpc(Service& service, const ServeOptions& options,
                                       AccessLog& log);

}  // namespace lenet::serve
