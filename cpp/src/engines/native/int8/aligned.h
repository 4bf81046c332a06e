/// \file
/// Memory that starts at a cache line.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace lenet::native::int8 {

/// Of numbers, zeros at first. Not copied.
template <class Number>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(std::size_t count)
      : memory_(static_cast<Number*>(::operator new(count * sizeof(Number), kLine))) {
    std::memset(memory_.get(), 0, count * sizeof(Number));
  }
  Number* data() noexcept { return memory_.get(); }
  const Number* data() const noexcept { return memory_.get(); }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(Number* memory) const noexcept { ::operator delete(memory, kLine); }
  };
  std::unique_ptr<Number, Free> memory_;
};

}  // namespace lenet::native::int8
