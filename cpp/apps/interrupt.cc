#include "interrupt.h"

#include <signal.h>  // sigaction is POSIX: <csignal> has no such promise
#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace lenet::apps {
namespace {

constexpr unsigned kPatienceSeconds = 5;
volatile sig_atomic_t received = 0;

// Both run as signal handlers: only what is async-signal-safe.
extern "C" void note_signal(int signal) {
  received = signal;
  alarm(kPatienceSeconds);
}

extern "C" void lose_patience(int) {
  signal(received, SIG_DFL);
  raise(received);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    sigaction(signal, nullptr, &before);
    // Ignored by whoever started the program, as nohup does: it stays so.
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
  action.sa_handler = lose_patience;
  sigaction(SIGALRM, &action, nullptr);
}

void stop_if_interrupted() {
  if (received != 0) throw Interrupted{received};
}

void end_by(int signal) {
  ::signal(signal, SIG_DFL);
  raise(signal);
  constexpr int kExitSignalled = 128;
  std::_Exit(kExitSignalled + signal);  // if the signal is blocked
}

}  // namespace lenet::apps
