/// For scripts/benchmark.py --serve: a client that loads a server, and a server to compare with.
///
/// http_load --port=N [--connections=N] [--milliseconds=N | --requests=N] [--reconnect=N]
///           [--pause_ms=N] [--http2] REQUEST...
///     sends the bytes of the files in turn over each connection, and prints one line of JSON.
///     --reconnect closes a connection after N responses; --pause_ms waits before each request;
///     with --http2 a file holds the frames of a request, of any stream
/// http_load --echo --port=N [--threads=N] REQUEST RESPONSE
///     answers each request of that size with the bytes of RESPONSE, and looks at none of it
///
/// wrk and h2load give the same median over one connection; over 32 they take more of the
/// processors that the server shares with them, they mix no requests, wrong ones among them, with
/// gRPC's, and wrk's p99 is not one of its requests: for each stall it adds those that it would
/// have sent.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "command_line.h"
#include "lenet/error.h"

namespace lenet::apps {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadAtOnce = 64 << 10;
constexpr int kBacklog = 1024;

// HTTP/2 (RFC 9113): the header of a frame, the frames and flags that matter here, and what a
// client says first. Its window for responses is as large as can be, so that none is held back.
constexpr std::size_t kFrameHeader = 9;
constexpr char kData = 0;
constexpr char kHeaders = 1;
constexpr char kReset = 3;
constexpr char kSettings = 4;
constexpr char kPing = 6;
constexpr char kGoAway = 7;
constexpr char kEndStream = 1;
constexpr char kAcknowledge = 1;
constexpr std::string_view kHttp2Begin(
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\0\0\0\4\0\0\0\0\0"
    "\0\0\4\10\0\0\0\0\0\x7f\xff\0\0",
    24 + 9 + 13);

struct Settings {
  bool echo = false;
  bool http2 = false;
  int port = 0;
  int threads = 1;
  int connections = 1;
  int milliseconds = 1000;
  std::int64_t requests = 0;
  int reconnect = 0;
  int pause_ms = 0;
};

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::BackendFailure, what + ": " + std::strerror(errno));
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::FileNotFound, "cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void set(int socket, int level, int option) {
  const int one = 1;
  setsockopt(socket, level, option, &one, sizeof one);
}

void watch(int epoll, int socket, std::size_t index) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = index;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0) fail("epoll_ctl");
}

/// \returns whether the other end took it all
bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

// ---- The server --------------------------------------------------------------------------------

/// Counts bytes: a server cannot do less.
[[noreturn]] void echo(int port, std::size_t request, const std::string& response) {
  const sockaddr_in address = loopback(port);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  set(listener, SOL_SOCKET, SO_REUSEADDR);
  set(listener, SOL_SOCKET, SO_REUSEPORT);  // each thread has one: the system shares them out
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, kBacklog) != 0) {
    fail("cannot listen");
  }
  const int epoll = epoll_create1(0);
  watch(epoll, listener, static_cast<std::size_t>(listener));
  std::map<int, std::size_t> received;
  std::array<epoll_event, 64> events{};
  std::string buffer(kReadAtOnce, '\0');
  while (true) {
    const int count = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int socket = static_cast<int>(events.at(static_cast<std::size_t>(i)).data.u64);
      if (socket == listener) {
        const int accepted = accept(listener, nullptr, nullptr);
        if (accepted < 0) continue;
        set(accepted, IPPROTO_TCP, TCP_NODELAY);
        watch(epoll, accepted, static_cast<std::size_t>(accepted));
        continue;
      }
      const ssize_t got = recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got <= 0) {
        received.erase(socket);
        close(socket);
        continue;
      }
      std::size_t& all = received[socket];
      for (all += static_cast<std::size_t>(got); all >= request; all -= request) {
        send_all(socket, response);
      }
    }
  }
}

// ---- The client --------------------------------------------------------------------------------

/// What came of it.
struct Results {
  std::vector<float> microseconds;
  std::map<int, std::int64_t> statuses;
  std::int64_t broken = 0;  ///< without a whole response
};

/// A connection, which sends a request when the last one is answered.
class Client {
 public:
  Client(const Settings& settings, const std::vector<std::string>& requests, int epoll,
         std::size_t index, Results& results)
      : settings_(settings),
        requests_(requests),
        epoll_(epoll),
        index_(index),
        next_(index),
        results_(results) {
    connect();
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void ask() {
    if (settings_.pause_ms > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(settings_.pause_ms));
    }
    std::string copy;
    std::string_view request = requests_[next_++ % requests_.size()];
    if (settings_.http2) request = copy = with_stream(request);
    begin_ = Clock::now();
    send_all(socket_, request);  // a server may refuse it before it has all, and says so
  }

  /// Takes what has come. \returns whether a request is done: then ask() sends the next one
  bool receive() {
    static std::string buffer(kReadAtOnce, '\0');
    const ssize_t count = recv(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (count > 0) received_.append(buffer, 0, static_cast<std::size_t>(count));
    bool closes = count <= 0;
    int status = 0;
    if (!closes && !(settings_.http2 ? read_frames(status) : read_response(status, closes))) {
      return false;
    }
    if (status == 0) {
      ++results_.broken;
    } else {
      ++results_.statuses[status];
      const std::chrono::duration<float, std::micro> taken = Clock::now() - begin_;
      results_.microseconds.push_back(taken.count());
    }
    if (closes || status == 0 || ++answered_ == settings_.reconnect) {
      close(socket_);
      connect();
    }
    return true;
  }

 private:
  void connect() {
    const sockaddr_in address = loopback(settings_.port);
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      fail("cannot connect");
    }
    set(socket_, IPPROTO_TCP, TCP_NODELAY);
    watch(epoll_, socket_, index_);
    received_.clear();
    answered_ = 0;
    stream_ = -1;
    if (settings_.http2) send_all(socket_, kHttp2Begin);
  }

  /// \returns whether there is a whole response; it is then taken away
  bool read_response(int& status, bool& closes) {
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    std::size_t body = 0;
    // Line by line: strcasestr takes more time than all else of a response.
    for (std::size_t at = 0; at < end; at = received_.find('\n', at + 1)) {
      const char* const line = received_.c_str() + at + 1;
      if ((*line | 0x20) != 'c') continue;
      if (strncasecmp(line, "content-length:", 15) == 0)
        body = std::strtoull(line + 15, nullptr, 10);
      if (strncasecmp(line, "connection: close", 17) == 0) closes = true;
    }
    if (received_.size() < end + 4 + body) return false;
    status = std::atoi(received_.c_str() + std::strlen("HTTP/1.1 "));
    received_.erase(0, end + 4 + body);
    return true;
  }

  /// The frames of a request, which has any stream, with the next one.
  std::string with_stream(std::string_view request) {
    stream_ += 2;
    std::string frames(request);
    for (std::size_t at = 0; at < frames.size(); at += kFrameHeader + frame_size(frames, at)) {
      for (std::size_t i = 0; i < 4; ++i) {
        frames[at + 5 + i] = static_cast<char>(stream_ >> (24 - 8 * i));
      }
    }
    return frames;
  }

  static std::size_t frame_size(const std::string& frames, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(frames[at + i]); };
    return static_cast<std::size_t>(byte(0) << 16 | byte(1) << 8 | byte(2));
  }

  /// \param status 200 for a response with a message; gRPC sends its errors without one
  /// \returns whether there is a whole response, or the server ended it
  bool read_frames(int& status) {
    std::size_t at = 0;
    bool is_done = false;
    while (!is_done && received_.size() >= at + kFrameHeader) {
      const std::size_t size = kFrameHeader + frame_size(received_, at);
      if (received_.size() < at + size) break;
      const char type = received_[at + 3];
      const char flags = received_[at + 4];
      if ((type == kSettings || type == kPing) && (flags & kAcknowledge) == 0) {
        std::string reply = received_.substr(at, type == kPing ? size : kFrameHeader);
        if (type == kSettings) reply.replace(0, 3, 3, '\0');
        reply[4] = kAcknowledge;
        send_all(socket_, reply);
      }
      has_message_ |= type == kData && size > kFrameHeader;
      is_done = type == kReset || type == kGoAway;
      if ((type == kData || type == kHeaders) && (flags & kEndStream) != 0) {
        status = has_message_ ? 200 : 500;
        has_message_ = false;
        is_done = true;
      }
      at += size;
    }
    received_.erase(0, at);
    return is_done;
  }

  const Settings& settings_;
  const std::vector<std::string>& requests_;
  const int epoll_;
  const std::size_t index_;
  std::size_t next_;
  Results& results_;
  int socket_ = -1;
  int answered_ = 0;
  int stream_ = -1;
  bool has_message_ = false;
  std::string received_;
  Clock::time_point begin_;
};

void print(Results& results, double seconds) {
  std::vector<float>& times = results.microseconds;
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {  // by nearest rank
    if (times.empty()) return 0.0F;
    const double rank = share * static_cast<double>(times.size());
    return times.at(static_cast<std::size_t>(std::max(0.0, std::ceil(rank) - 1)));
  };
  std::string statuses;
  for (const auto& [status, count] : results.statuses) {
    if (!statuses.empty()) statuses += ", ";
    statuses += '"' + std::to_string(status) + "\": " + std::to_string(count);
  }
  std::printf(
      "{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
      "\"max_us\": %.2f, \"broken\": %lld, \"statuses\": {%s}}\n",
      times.size(), seconds, at(0.5), at(0.99), at(1), static_cast<long long>(results.broken),
      statuses.c_str());
}

void load(const Settings& settings, const std::vector<std::string>& requests) {
  const int epoll = epoll_create1(0);
  Results results;
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < static_cast<std::size_t>(settings.connections); ++i) {
    clients.push_back(std::make_unique<Client>(settings, requests, epoll, i, results));
  }
  const Clock::time_point begin = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  std::int64_t asked = 0;
  std::int64_t answered = 0;
  const auto ask = [&](Client& client) {
    if (settings.requests > 0 ? asked == settings.requests
                              : elapsed() * 1e3 > settings.milliseconds)
      return;
    ++asked;
    client.ask();
  };
  for (const auto& client : clients) ask(*client);
  std::array<epoll_event, 64> events{};
  while (answered < asked) {
    const int count = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      Client& client = *clients.at(events.at(static_cast<std::size_t>(i)).data.u64);
      if (!client.receive()) continue;
      ++answered;
      ask(client);
    }
  }
  print(results, elapsed());
}

void work(int argc, char** argv) {
  Settings settings;
  CommandLine line;
  line.add("port", "N", "", settings.port, 1);
  line.add("connections", "N", "", settings.connections, 1);
  line.add("milliseconds", "N", "", settings.milliseconds, 1);
  line.add("requests", "N", "", settings.requests, 1);
  line.add("reconnect", "N", "", settings.reconnect, 1);
  line.add("pause_ms", "N", "", settings.pause_ms, 1);
  line.add("http2", "", "", settings.http2);
  line.add("echo", "", "", settings.echo);
  line.add("threads", "N", "", settings.threads, 1);
  std::vector<std::string> texts;
  for (const std::string& path : line.parse(argc, argv)) texts.push_back(read_file(path));
  if (texts.size() < (settings.echo ? 2U : 1U) || texts[0].empty()) {
    throw UsageError("name a file with a request, and for --echo one with the response");
  }
  if (settings.echo) {
    for (int i = 1; i < settings.threads; ++i) {
      std::thread([&] { echo(settings.port, texts[0].size(), texts[1]); }).detach();
    }
    echo(settings.port, texts[0].size(), texts[1]);
  }
  load(settings, texts);
}

}  // namespace
}  // namespace lenet::apps

int main(int argc, char** argv) {
  try {
    lenet::apps::work(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "http_load: %s\n", error.what());
    return 1;
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
