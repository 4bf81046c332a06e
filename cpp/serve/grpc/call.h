/// \file
/// A call of gRPC from the bytes of its messages to those of their answers.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>

#include "grpc/open_inference.grpc.pb.h"
#include "grpc/translate.h"
#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

class Stream;

using Bytes = google::protobuf::io::ZeroCopyInputStream;

/// What differs between the methods.
struct Method {
  std::string path;
  /// Makes a request of HTTP out of a message.
  std::function<Request(Bytes& in, std::size_t size, Echo& echo)> ask;
  /// Writes the answer out of the response to it.
  std::function<grpc::Status(const Response&, const Echo&, grpc::ByteBuffer&)> fill;
  bool needs_token = true;
};

/// GRPCInferenceService, whose methods take bytes: how many is looked at before they are read.
/// Thread-safety: all but `add` may be called from any number of threads at once.
class Calls final : public inference::GRPCInferenceService::Service {
 public:
  /// What is referred to must outlive all calls; the service only `stop`.
  Calls(serve::Service& the_service, const HttpOptions& the_options, AccessLog& the_log)
      : service(the_service), options(the_options), log(the_log) {}

  /// A stream's messages are answered one after another, the next one read
  ///   once an answer is sent: more than that gRPC's flow control leaves with the client. One that
  ///   fails does not end the stream.
  void add(const google::protobuf::MethodDescriptor& described, Method method);

  /// Of a message, packed or not.
  std::size_t max_bytes() const;
  /// Has the service stay as long as it is held. \throws Refusal 503: it may be gone
  std::shared_lock<std::shared_mutex> use();
  /// When there are too many, the one that has waited longest for a message ends, if it has for a
  /// second: one that is in use only seems to wait.
  /// \throws Refusal 429: none has
  void enter(Stream& stream);
  void leave(Stream& stream);
  /// As GrpcServer's.
  void begin_stop();
  std::size_t stop();

  serve::Service& service;
  const HttpOptions& options;
  AccessLog& log;
  std::atomic<std::size_t> open{0};        ///< calls whose end is not sent
  std::atomic<std::size_t> unanswered{0};  ///< messages without an answer
  std::atomic<bool> closed{false};         ///< to what comes

 private:
  std::shared_mutex in_use_;  // the service, by those that hold it shared
  bool ended_ = false;
  std::mutex mutex_;
  std::set<Stream*> streams_;
};

}  // namespace lenet::serve
