#include "lenet/interruption.h"

#include <utility>

namespace lenet {
namespace {

thread_local const Interruption* current = nullptr;

}  // namespace

Interruption::Interruption(std::function<void()> check)
    : check_(std::move(check)), before_(current) {
  current = this;
}

Interruption::~Interruption() { current = before_; }

void check_interruption() {
  if (current != nullptr) current->check_();
}

}  // namespace lenet
