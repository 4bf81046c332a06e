#include "http/event_loop.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <exception>
#include <new>

#include "lenet/error.h"

namespace lenet::serve {
namespace {

constexpr std::size_t kReadAtOnce = 64 << 10;
// All limits of time are looked at so often: a timer of its own would cost each request system
// calls.
constexpr std::chrono::milliseconds kTick(500);
constexpr int kAcceptAtOnce = 64;
// Connections beyond the limit that get a response which says so.
constexpr std::size_t kRefusedPolitely = 64;

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

}  // namespace

std::string text_of(const boost::asio::ip::tcp::endpoint& client) {
  const std::string address = client.address().to_string();
  return (client.address().is_v6() ? "[" + address + "]" : address) + ":" +
         std::to_string(client.port());
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
  for (const Letter& letter : mailbox_) {
    if (letter.socket >= 0) close(letter.socket);
  }
  close(wake_);
  close(epoll_);
}

void EventLoop::set_listener(int listener, std::vector<EventLoop*> loops) {
  listener_ = listener;
  loops_ = std::move(loops);
  control(epoll_, EPOLL_CTL_ADD, listener_, EPOLLIN, kListenerKey);
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
    while (!aborted_.load(std::memory_order_relaxed) && !(draining_ && open_ == 0)) {
      const bool sleeps = open_ == 0 && !listener_paused_;
      if (sleeps && transport_.log.is_on()) transport_.log.flush();
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                   sleeps ? -1 : static_cast<int>(kTick.count()));
      now_ = Clock::now();
      for (int i = 0; i < count; ++i) {
        on_event(events.at(static_cast<std::size_t>(i)).data.u64,
                 events.at(static_cast<std::size_t>(i)).events);
      }
      run_waiting();
      if (now_ - ticked_ >= kTick) tick();
    }
    for (const auto& connection : connections_) {
      if (connection && connection->has_request()) ++transport_.metrics.unanswered;
    }
  }
  service_ = nullptr;
  if (transport_.log.is_on()) transport_.log.flush();
  connections_.clear();
  current_loop = nullptr;
}

void EventLoop::guard(Connection& connection, const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception&) {  // there is no memory: this client's fault or not
    connection.close();
  }
  if (!connection.closed()) return;
  const auto slot = static_cast<std::uint32_t>(connection.key());
  free_.push_back(slot);
  connections_.at(slot).reset();
  --open_;
  load_.fetch_sub(1, std::memory_order_relaxed);
  transport_.metrics.connections.fetch_sub(1, std::memory_order_relaxed);
}

void EventLoop::on_event(std::uint64_t key, std::uint32_t events) try {
  if (key == kWakeKey) return read_mailbox();
  if (key == kListenerKey) return accept_all();
  Connection* const connection = find(key);
  if (connection == nullptr) return;  // it ended in this round
  guard(*connection, [&] {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) return connection->close();
    if ((events & EPOLLOUT) != 0) connection->on_writable();
    if ((events & EPOLLIN) != 0 && !connection->closed()) connection->on_readable();
  });
} catch (const std::exception&) {
  // No memory for a new connection.
}

Connection* EventLoop::find(std::uint64_t key) {
  const auto slot = static_cast<std::uint32_t>(key);
  if (slot >= connections_.size() || !connections_[slot]) return nullptr;
  return connections_[slot]->key() == key ? connections_[slot].get() : nullptr;
}

void EventLoop::watch(Connection& connection, std::uint32_t events) {
  if (connection.events == events) return;
  connection.events = events;
  control(epoll_, EPOLL_CTL_MOD, connection.socket(), events, connection.key());
}

void EventLoop::handle(const Connection& connection, Request request) {
  const std::uint64_t key = connection.key();
  const bool was_in_service = std::exchange(in_service_, true);
  const bool waits = service_->handle(std::move(request), [this, key](Response response) {
    if (current_loop == this) return deliver(key, std::move(response));
    Letter letter{};
    letter.kind = Letter::Kind::Response;
    letter.key = key;
    letter.response = std::move(response);
    post(std::move(letter));
  });
  service_waits_ = service_waits_ || waits;
  in_service_ = was_in_service;
}

void EventLoop::deliver(std::uint64_t key, Response response) {
  Connection* const connection = find(key);
  if (connection == nullptr) return;
  bool goes_on = false;
  const auto answer = [&] { goes_on = connection->on_response(std::move(response)); };
  if (in_service_) {
    // Not removed here, where it may be at work, and nothing more of it handed to the service.
    try {
      answer();
    } catch (const std::exception&) {
      connection->close();
    }
    if (goes_on || connection->closed()) answered_.push_back(key);
  } else {
    guard(*connection, [&] {
      answer();
      if (goes_on) connection->go_on();
    });
  }
}

void EventLoop::run_waiting() {
  while (service_waits_ || !answered_.empty()) {
    if (std::exchange(service_waits_, false)) {
      in_service_ = true;
      service_->run_waiting();
      in_service_ = false;
    }
    for (const std::uint64_t key : std::exchange(answered_, {})) {
      Connection* const connection = find(key);
      if (connection != nullptr) guard(*connection, [&] { connection->go_on(); });
    }
  }
}

void EventLoop::tick() {
  ticked_ = now_;
  for (const auto& connection : connections_) {
    if (connection) guard(*connection, [&] { connection->on_tick(); });
  }
  if (transport_.log.is_on()) transport_.log.flush();
  if (!listener_paused_) return;
  listener_paused_ = false;
  control(epoll_, EPOLL_CTL_MOD, listener_, EPOLLIN, kListenerKey);
}

void EventLoop::accept_all() {
  // While draining, until there is none: they were accepted by the system before.
  for (int i = 0; i < kAcceptAtOnce || draining_; ++i) {
    boost::asio::ip::tcp::endpoint address;
    auto size = static_cast<socklen_t>(address.capacity());
    const int socket = accept4(listener_, address.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || draining_) return;
      // No descriptors or no memory: to be tried again at the next tick, not all the time.
      listener_paused_ = true;
      control(epoll_, EPOLL_CTL_MOD, listener_, 0, kListenerKey);
      return;
    }
    const auto fewer = [](const EventLoop* a, const EventLoop* b) { return a->load() < b->load(); };
    EventLoop& loop = **std::min_element(loops_.begin(), loops_.end(), fewer);
    loop.load_.fetch_add(1, std::memory_order_relaxed);
    std::string client = transport_.log.is_on() ? text_of(address) : "";
    if (&loop == this) {
      open(socket, std::move(client));
    } else {
      Letter letter{};
      letter.kind = Letter::Kind::Connection;
      letter.socket = socket;
      letter.client = std::move(client);
      loop.post(std::move(letter));
    }
  }
}

void EventLoop::open(int socket, std::string client) {
  const std::size_t before = transport_.metrics.connections.fetch_add(1);
  ++open_;
  std::uint32_t slot = 0;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(connections_.size());
    connections_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  const std::uint64_t key = std::uint64_t{++serial_} << 32 | slot;
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connections_[slot] = std::make_unique<Connection>(*this, key, socket, std::move(client));
  Connection& connection = *connections_[slot];
  const std::size_t most = transport_.options.connections;
  guard(connection, [&] {
    control(epoll_, EPOLL_CTL_ADD, socket, 0, key);
    connection.begin();
    if (before >= most) {
      transport_.metrics.refused.fetch_add(1, std::memory_order_relaxed);
      if (before >= most + kRefusedPolitely) return connection.close();
      connection.refuse();
    }
    if (draining_) connection.drain();
  });
}

void EventLoop::post(Letter letter) noexcept {
  bool was_empty = false;
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    was_empty = mailbox_.empty();
    mailbox_.push_back(std::move(letter));
  } catch (const std::bad_alloc&) {
    return;  // the client waits until its limit of time
  }
  const std::uint64_t one = 1;
  if (was_empty) static_cast<void>(!write(wake_, &one, sizeof one));
}

void EventLoop::read_mailbox() {
  std::uint64_t count = 0;
  static_cast<void>(!read(wake_, &count, sizeof count));
  std::vector<Letter> letters;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    letters.swap(mailbox_);
  }
  for (Letter& letter : letters) {
    switch (letter.kind) {
      case Letter::Kind::Connection:
        open(letter.socket, std::move(letter.client));
        break;
      case Letter::Kind::Response:
        deliver(letter.key, std::move(letter.response));
        break;
      case Letter::Kind::Drain:
        begin_drain();
        break;
    }
  }
}

void EventLoop::drain() {
  Letter letter{};
  letter.kind = Letter::Kind::Drain;
  post(std::move(letter));
}

void EventLoop::begin_drain() {
  draining_ = true;
  if (listener_ >= 0) {
    accept_all();
    close_listener();
    // After the connections that they were just handed.
    for (EventLoop* loop : loops_) {
      if (loop != this) loop->drain();
    }
  }
  for (const auto& connection : connections_) {
    if (connection) guard(*connection, [&] { connection->drain(); });
  }
}

void EventLoop::abort() {
  aborted_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  static_cast<void>(!write(wake_, &one, sizeof one));
}

std::string_view EventLoop::date() {
  const std::time_t second = std::time(nullptr);
  if (second != date_second_) {
    date_second_ = second;
    tm parts{};
    gmtime_r(&second, &parts);
    std::array<char, 64> text{};
    const std::size_t size =
        std::strftime(text.data(), text.size(), "\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    date_.assign(text.data(), size);
  }
  return date_;
}

}  // namespace lenet::serve
