#include "grpc/call.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <utility>

#include "http/content_coding.h"
#include "infer.h"
#include "workers.h"

namespace lenet::serve {
namespace {

using Buffer = grpc::ByteBuffer;
using Context = grpc::CallbackServerContext;

const char* const kStopping = "the server is stopping";
constexpr std::chrono::seconds kPatience(1);  // with a stream in whose place another one could be

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

/// The time until which a client waits, on the clock of the service.
Clock::time_point deadline_of(const Context& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  // Nobody waits for a day; "for ever" would not fit.
  return left > std::chrono::hours(24) ? Clock::time_point::max()
                                       : Clock::now() + std::chrono::nanoseconds(left);
}

/// A message as it came.
class Reader final : public grpc::ProtoBufferReader {
 public:
  using ProtoBufferReader::ProtoBufferReader;

  Coding coding() {
    const auto packed = reader()->buffer_in->data.raw.compression;
    return packed == GRPC_COMPRESS_GZIP      ? Coding::Gzip
           : packed == GRPC_COMPRESS_DEFLATE ? Coding::Deflate
                                             : Coding::Identity;
  }
};

std::string read_all(Bytes& in) {
  std::string all;
  const void* piece = nullptr;
  for (int size = 0; in.Next(&piece, &size);) {
    all.append(static_cast<const char*>(piece), static_cast<std::size_t>(size));
  }
  return all;
}

/// A call, counted until its end is sent. One message at a time is answered.
class Call {
 public:
  Call(Calls& calls, const Method& method, const Context& context)
      : calls_(calls), method_(method), context_(context) {
    if (calls_.log) {
      exchange_.client = client_of(context);
      exchange_.method = "gRPC";
      exchange_.path = method.path;
    }
    ++calls_.open;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual ~Call() { --calls_.open; }

 protected:
  /// \throws Refusal 401, 503
  void require_open() const;
  /// Answers a message by `send`, at once or from a thread of the service.
  void take(Buffer in) noexcept;
  /// Logs and sends.
  void end(const grpc::Status& status, Buffer answer = {}) noexcept;
  /// \param answer nothing unless the status is OK
  virtual void send(const grpc::Status& status, Buffer answer) = 0;

  Calls& calls_;
  Echo echo_;

 private:
  /// Has a worker unpack a message. \throws Refusal 429, 503
  void unpack(Coding coding, std::string packed);
  void ask(Bytes& in, std::size_t size) noexcept;
  void answer(const Response& response) noexcept;

  const Method& method_;
  const Context& context_;
  Clock::time_point begin_ = Clock::now();
  Exchange exchange_;
};

void Call::require_open() const {
  if (calls_.closed) throw Refusal(503, kStopping);
  const std::string& token = calls_.options.token;
  if (token.empty() || !method_.needs_token) return;
  const auto& fields = context_.client_metadata();
  const auto field = fields.find("authorization");
  if (field != fields.end() && has_token({field->second.data(), field->second.size()}, token)) {
    return;
  }
  throw Refusal(401, "expected the server's token: the metadata authorization: Bearer ...");
}

void Call::take(Buffer in) noexcept try {
  ++calls_.unanswered;
  begin_ = Clock::now();
  exchange_.received = in.Length();
  echo_ = {};
  require_open();
  if (!in.Valid()) throw Refusal(400, "the call has no message");
  Reader reader(&in);
  if (reader.coding() == Coding::Identity) return ask(reader, in.Length());
  unpack(reader.coding(), read_all(reader));
} catch (const std::exception& error) {
  end(status_of(failure_response(error)));
}

void Call::unpack(Coding coding, std::string packed) {
  const std::size_t size = packed.size();
  const auto held = std::make_shared<std::string>(std::move(packed));
  const auto task = [this, coding, held](bool ends) noexcept {
    if (ends) return end(status_of(error_response(503, kStopping)));
    std::string& bytes = *held;
    const auto failure = serve::unpack(bytes, coding, calls_.max_bytes(), deadline_of(context_));
    if (failure) return end(status_of(error_response(failure->status, failure->message)));
    google::protobuf::io::ArrayInputStream in(bytes.data(), static_cast<int>(bytes.size()));
    ask(in, bytes.size());
  };
  const auto use = calls_.use();
  if (!calls_.service.run(task, size)) throw Refusal(429, "too many requests are waiting");
}

void Call::ask(Bytes& in, std::size_t size) noexcept try {
  const auto use = calls_.use();
  // The thread is gRPC's, or a worker: it has no loop of its own.
  Service::Loop loop(calls_.service);
  Request request = method_.ask(in, size, echo_);
  request.deadline = deadline_of(context_);
  if (request.deadline < Clock::now()) throw Refusal(408, "the deadline has passed");
  loop.handle(std::move(request), [this](const Response& response) { answer(response); });
} catch (const std::exception& error) {
  end(status_of(failure_response(error)));
}

void Call::answer(const Response& response) noexcept {
  Buffer answer;
  grpc::Status status;
  try {
    status = method_.fill(response, echo_, answer);
  } catch (const std::exception& error) {
    status = status_of(failure_response(error));
  }
  end(status, std::move(answer));
}

void Call::end(const grpc::Status& status, Buffer answer) noexcept {
  exchange_.status = status.error_code();
  exchange_.sent = status.ok() ? answer.Length() : 0;
  exchange_.time = Clock::now() - begin_;
  calls_.log.write(exchange_);
  // The threads of HTTP, which flush it now and then, sleep while they have no connections.
  calls_.log.flush();
  --calls_.unanswered;  // sent, the call may be gone
  send(status, std::move(answer));
}

/// A call of one message.
class Unary final : public grpc::ServerUnaryReactor, public Call {
 public:
  Unary(Calls& calls, const Method& method, const Context& context, const Buffer& in, Buffer& out)
      : Call(calls, method, context), out_(out) {
    take(in);
  }
  void OnDone() override { delete this; }

 private:
  void send(const grpc::Status& status, Buffer answer) override {
    out_ = std::move(answer);
    Finish(status);
  }

  Buffer& out_;
};

}  // namespace

class Stream final : public grpc::ServerBidiReactor<Buffer, Buffer>, public Call {
 public:
  Stream(Calls& calls, const Method& method, const Context& context)
      : Call(calls, method, context) {
    try {
      require_open();
      calls_.enter(*this);
      begins_ = false;
      next();
    } catch (const std::exception& error) {
      ++calls_.unanswered;
      end(status_of(failure_response(error)));
    }
  }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!std::exchange(reads_, false)) return;  // stopped
      if (!ok) return Finish(grpc::Status::OK);   // all is answered, or the client is gone
    }
    // What the client does not take keeps its answer waiting, and must not keep the message.
    take(std::exchange(in_, {}));
  }
  void OnWriteDone(bool ok) override {
    if (ok) return next();
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    calls_.leave(*this);
    delete this;
  }
  /// Ends it if it waits for a message. \returns whether it does
  bool stop(const char* why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool waits = std::exchange(reads_, false);
    if (waits) Finish({grpc::StatusCode::UNAVAILABLE, why});
    return waits;
  }
  /// \returns the greatest time where it does not wait for a message
  Clock::time_point waits_since() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reads_ ? since_ : Clock::time_point::max();
  }

 private:
  void next() {
    out_.Clear();  // else it keeps a large answer as long as nothing comes
    const std::lock_guard<std::mutex> lock(mutex_);
    if (calls_.closed) return Finish({grpc::StatusCode::UNAVAILABLE, kStopping});
    reads_ = true;
    since_ = Clock::now();
    StartRead(&in_);
  }
  void send(const grpc::Status& status, Buffer answer) override try {
    if (begins_) return Finish(status);
    out_ = std::move(answer);
    if (!status.ok()) to_bytes(stream_error(status, echo_), out_);
    StartWrite(&out_);
  } catch (const std::bad_alloc&) {
    Finish({grpc::StatusCode::UNAVAILABLE, "out of memory"});
  }

  Buffer in_;
  Buffer out_;
  bool begins_ = true;
  std::mutex mutex_;    // guards what follows
  bool reads_ = false;  // and is not stopped
  Clock::time_point since_;
};

void Calls::add(const google::protobuf::MethodDescriptor& described, Method method) {
  method.path = "/" + described.service()->full_name() + "/" + described.name();
  const auto stream = [this, method](Context* context) {
    return new Stream(*this, method, *context);
  };
  const auto unary = [this, method](Context* context, const Buffer* in, Buffer* out) {
    return new Unary(*this, method, *context, *in, *out);
  };
  if (described.client_streaming()) {
    MarkMethodRawCallback(described.index(),
                          new grpc::internal::CallbackBidiHandler<Buffer, Buffer>(stream));
  } else {
    MarkMethodRawCallback(described.index(),
                          new grpc::internal::CallbackUnaryHandler<Buffer, Buffer>(unary));
  }
}

std::size_t Calls::max_bytes() const {
  return std::min<std::size_t>(options.request.body_bytes, std::numeric_limits<int>::max());
}

std::shared_lock<std::shared_mutex> Calls::use() {
  std::shared_lock<std::shared_mutex> lock(in_use_);
  if (ended_) throw Refusal(503, kStopping);
  return lock;
}

void Calls::enter(Stream& stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (streams_.size() >= options.connections) {
    const auto longest =
        std::min_element(streams_.begin(), streams_.end(),
                         [](Stream* a, Stream* b) { return a->waits_since() < b->waits_since(); });
    const bool has_room = longest != streams_.end() &&
                          Clock::now() - (*longest)->waits_since() >= kPatience &&
                          (*longest)->stop("another stream has taken its place");
    if (!has_room) throw Refusal(429, "too many streams are open");
  }
  streams_.insert(&stream);
}

void Calls::leave(Stream& stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  streams_.erase(&stream);
}

void Calls::begin_stop() {
  closed = true;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Stream* const stream : streams_) stream->stop(kStopping);
}

std::size_t Calls::stop() {
  closed = true;
  const std::unique_lock<std::shared_mutex> unused(in_use_);
  ended_ = true;
  return unanswered;
}

}  // namespace lenet::serve
