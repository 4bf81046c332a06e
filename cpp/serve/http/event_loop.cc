#include "http/event_loop.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <thread>

#include "lenet/error.h"

namespace lenet::serve {
namespace {

constexpr std::size_t kReadAtOnce = 64 << 10;
// All limits of time are looked at so often: a timer of its own would cost each request system
// calls.
constexpr std::chrono::milliseconds kTick(500);
constexpr int kAcceptAtOnce = 64;
// For memory to tell a loop of an answer.
constexpr int kTries = 100;
constexpr std::chrono::milliseconds kBetweenTries(10);
// Connections beyond the limit that get a response which says so.
constexpr std::size_t kRefusedPolitely = 64;
// Takes a millisecond, for which no client waits until a worker has time; but not one after
// another.
constexpr std::size_t kPackedHere = 64 << 10;

// Keys of what is no connection.
constexpr std::uint64_t kWakeKey = ~std::uint64_t{0};
constexpr std::uint64_t kListenerKey = kWakeKey - 1;

thread_local const EventLoop* current_loop = nullptr;

void control(int epoll, int operation, int descriptor, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(epoll, operation, descriptor, &event) != 0) {
    throw Error(ErrorCode::BackendFailure, std::string("epoll_ctl: ") + std::strerror(errno));
  }
}

void wake(int descriptor) {
  const std::uint64_t one = 1;
  static_cast<void>(!write(descriptor, &one, sizeof one));
}

void pack_body(Response& response, Coding coding) try {
  std::string packed = pack(response.body + std::string(response.tail), coding);
  response.headers.emplace_back("Content-Encoding", to_string(coding));
  response.body = std::move(packed);
  response.tail = {};
} catch (const std::bad_alloc&) {  // it is sent as it is
}

}  // namespace

std::string text_of(const boost::asio::ip::tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" +
         std::to_string(endpoint.port());
}

EventLoop::EventLoop(Transport& transport)
    : transport_(transport),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      now_(Clock::now()),
      ticked_(now_),
      read_buffer_(kReadAtOnce, '\0') {
  if (epoll_ < 0 || wake_ < 0) {
    throw Error(ErrorCode::BackendFailure, std::string("epoll: ") + std::strerror(errno));
  }
  control(epoll_, EPOLL_CTL_ADD, wake_, EPOLLIN, kWakeKey);
}

EventLoop::~EventLoop() {
  connections_.clear();
  close_listener();
  close(wake_);
  close(epoll_);
}

void EventLoop::set_listener(int listener, const EventLoops& loops) {
  listener_ = listener;
  loops_ = &loops;
  for (std::size_t i = 0; i < loops.size(); ++i)
    loops[i]->next_ = loops[(i + 1) % loops.size()].get();
  control(epoll_, EPOLL_CTL_ADD, listener_, EPOLLIN, kListenerKey);
}

void EventLoop::pause_listener(bool paused) {
  listener_paused_ = paused;
  control(epoll_, EPOLL_CTL_MOD, listener_, paused ? 0U : EPOLLIN, kListenerKey);
}

void EventLoop::close_listener() {
  if (listener_ >= 0) close(listener_);
  listener_ = -1;
  listener_paused_ = false;
}

void EventLoop::run() {
  current_loop = this;
  {
    Service::Loop service(transport_.service);
    service_ = &service;
    std::array<epoll_event, 128> events{};
    while (!aborted_.load(std::memory_order_relaxed) && !(draining_ && connections_.empty())) {
      const bool sleeps = connections_.empty() && !listener_paused_;
      if (sleeps) transport_.log.flush();
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                   sleeps ? -1 : static_cast<int>(kTick.count()));
      now_ = Clock::now();
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events.at(static_cast<std::size_t>(i));
        on_event(event.data.u64, event.events);
      }
      run_waiting();
      if (now_ - ticked_ >= kTick) tick();
    }
    each_connection([&](Connection& connection) {
      if (connection.has_request()) ++transport_.unanswered;
    });
  }
  service_ = nullptr;
  transport_.log.flush();
  connections_.clear();
  current_loop = nullptr;
}

template <typename Action>
void EventLoop::guard(std::uint64_t key, const Action& action) {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;  // it ended in this round
  Connection& connection = *found->second;
  try {
    action(connection);
  } catch (const std::exception&) {  // there is no memory: this client's fault or not
    connection.close();
  }
  if (!connection.closed()) return;
  load_.fetch_sub(1, std::memory_order_relaxed);
  connections_.erase(key);
}

template <typename Action>
void EventLoop::each_connection(const Action& action) {
  for (auto at = connections_.begin(); at != connections_.end();) guard((at++)->first, action);
}

template <typename Task>
bool EventLoop::post(Task task) noexcept {
  for (int tries = 0; tries < kTries; ++tries) {
    try {
      std::unique_lock<std::mutex> lock(mutex_);
      const bool was_empty = mailbox_.empty();
      mailbox_.emplace_back(std::move(task));
      lock.unlock();
      if (was_empty) wake(wake_);
      return true;
    } catch (const std::bad_alloc&) {  // others may give some back
      std::this_thread::sleep_for(kBetweenTries);
    }
  }
  return false;  // a client waits until its limit of time
}

void EventLoop::on_event(std::uint64_t key, std::uint32_t events) try {
  if (key == kWakeKey) return read_mailbox();
  if (key == kListenerKey) return accept_all();
  guard(key, [&](Connection& connection) { connection.on_events(events); });
} catch (const std::exception&) {
  // No memory for a new connection.
}

void EventLoop::watch(Connection& connection, std::uint32_t events) const {
  if (connection.events == events) return;
  connection.events = events;
  control(epoll_, EPOLL_CTL_MOD, connection.socket(), events, connection.key());
}

void EventLoop::handle(const Connection& connection, Request request, Coding coding) {
  const std::uint64_t key = connection.key();
  if (coding == Coding::Identity) return handle(key, std::move(request));
  const auto held = std::make_shared<Request>(std::move(request));
  const bool taken = transport_.service.run(
      [this, key, held, coding](bool ends) noexcept {
        if (ends) return;
        const std::size_t most = transport_.options.request.body_bytes;
        const auto failure = unpack(held->body, coding, most, held->deadline);
        post([this, key, held, failure] {
          if (!failure) return handle(key, std::move(*held));
          guard(key, [&](Connection& one) { one.refuse(*failure); });
        });
      },
      held->body.size());
  if (!taken) deliver(key, error_response(429, "too many requests are waiting"));
}

bool EventLoop::pack(const Connection& connection, Response& response, Coding coding) {
  if (response.size() <= kPackedHere && !connection.has_input()) {
    pack_body(response, coding);
    return false;
  }
  const std::uint64_t key = connection.key();
  const auto held = std::make_shared<Response>(std::move(response));
  const bool taken = transport_.service.run(
      [this, key, held, coding](bool ends) noexcept {
        if (ends) return;
        pack_body(*held, coding);
        post([this, key, held] { deliver(key, std::move(*held)); });
      },
      held->size());
  if (!taken) response = std::move(*held);
  return taken;
}

void EventLoop::handle(std::uint64_t key, Request request) {
  if (connections_.count(key) == 0) return;  // its client went away meanwhile
  const bool waits = service_->handle(std::move(request), [this, key](Response response) {
    if (current_loop == this) return deliver(key, std::move(response));
    post([this, key, response = std::move(response)]() mutable {
      deliver(key, std::move(response));
    });
  });
  service_waits_ = service_waits_ || waits;
}

/// The connection goes on later: it may be at work here, and would hand more to the service.
void EventLoop::deliver(std::uint64_t key, Response response) noexcept {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  try {
    answered_.push_back(key);
    found->second->take(std::move(response));
  } catch (const std::exception&) {
    found->second->close();
  }
}

void EventLoop::run_waiting() {
  while (service_waits_ || !answered_.empty()) {
    if (std::exchange(service_waits_, false)) service_->run_waiting();
    for (const std::uint64_t key : std::exchange(answered_, {})) {
      guard(key, [](Connection& connection) { connection.go_on(); });
    }
  }
}

void EventLoop::tick() {
  ticked_ = now_;
  each_connection([](Connection& connection) { connection.on_tick(); });
  transport_.log.flush();
  if (listener_paused_) pause_listener(false);
}

void EventLoop::accept_all() {
  // While draining, until there is none: they were accepted by the system before.
  for (int i = 0; i < kAcceptAtOnce || draining_; ++i) {
    boost::asio::ip::tcp::endpoint address;
    auto size = static_cast<socklen_t>(address.capacity());
    const int socket = accept4(listener_, address.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // No descriptors or no memory: to be tried again at the next tick, not all the time.
      if (errno != EAGAIN && !draining_) pause_listener(true);
      return;
    }
    const auto fewer = [](const auto& a, const auto& b) { return a->load_ < b->load_; };
    EventLoop& loop = **std::min_element(loops_->begin(), loops_->end(), fewer);
    open_in(loop, socket, address, loop);
  }
}

void EventLoop::open_in(EventLoop& loop, int socket, const Endpoint& client, EventLoop& first) {
  ++loop.load_;
  if (&loop == this) return open(socket, client, first);
  if (loop.post([&loop, socket, client, &first] { loop.open(socket, client, first); })) return;
  close(socket);
  --loop.load_;
}

void EventLoop::open(int socket, const Endpoint& client, EventLoop& first) {
  using Entry = Transport::Entry;
  const std::uint64_t key = ++last_key_;
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  Entry entry = Entry::Full;
  try {
    entry = transport_.enter(client.address());
    while (entry == Entry::Full && displace()) entry = transport_.enter(client.address());
    if (entry == Entry::Full && next_ != &first && !transport_.draining) {
      --load_;
      return open_in(*next_, socket, client, first);
    }
    std::unique_ptr<Connection>& place = connections_[key];
    place = std::make_unique<Connection>(*this, key, socket, client, entry != Entry::Ok);
  } catch (const std::bad_alloc&) {
    if (entry == Entry::Ok) transport_.leave(client.address());
    connections_.erase(key);
    close(socket);
    --load_;
    return;
  }
  guard(key, [&](Connection& connection) {
    control(epoll_, EPOLL_CTL_ADD, socket, 0, key);
    connection.go_on();
    if (entry != Entry::Ok) {
      ++transport_.refused;
      if (transport_.refusing > kRefusedPolitely) return connection.close();
      connection.refuse({503, entry == Entry::Full ? "too many connections"
                                                   : "too many connections from this address"});
    }
    if (draining_) connection.drain();
  });
}

bool EventLoop::displace() {
  std::uint64_t longest = kWakeKey;
  Clock::time_point since = Clock::time_point::max();
  for (const auto& [key, connection] : connections_) {
    if (connection->idle_since() >= since || connection->has_bytes()) continue;
    since = connection->idle_since();
    longest = key;
  }
  if (longest == kWakeKey) return false;
  ++transport_.displaced;
  guard(longest, [](Connection& connection) { connection.close(); });
  return true;
}

void EventLoop::read_mailbox() {
  std::uint64_t count = 0;
  static_cast<void>(!read(wake_, &count, sizeof count));
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(mailbox_);
  }
  for (const auto& task : tasks) {
    try {
      task();
    } catch (const std::bad_alloc&) {  // is the end of one connection, which `guard` closed
    }
  }
}

void EventLoop::drain() {
  post([this] {
    draining_ = true;
    transport_.draining = true;
    if (listener_ >= 0) {
      accept_all();
      close_listener();
      // After the connections that they were just handed.
      for (const auto& loop : *loops_) {
        if (loop.get() != this) loop->drain();
      }
    }
    each_connection([](Connection& connection) { connection.drain(); });
  });
}

void EventLoop::abort() {
  aborted_.store(true, std::memory_order_relaxed);
  wake(wake_);
}

std::string_view EventLoop::date() {
  const std::time_t second = std::time(nullptr);
  if (second != date_second_) date_ = time_text("%a, %d %b %Y %H:%M:%S GMT", second);
  date_second_ = second;
  return date_;
}

}  // namespace lenet::serve
