/// \file
/// Memory that starts at a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

namespace lenet::native {

inline constexpr std::int64_t kCacheLine = 64;  // bytes

constexpr std::int64_t round_up(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

/// Numbers, zeros at first. Not copied: they belong to one.
template <class Number>
class Aligned {
 public:
  Aligned() = default;
  /// \throws std::bad_alloc
  explicit Aligned(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(Number)) throw std::bad_alloc();
    memory_.reset(static_cast<Number*>(::operator new(count * sizeof(Number), kAlignment)));
    std::memset(memory_.get(), 0, count * sizeof(Number));
  }
  Number* data() noexcept { return memory_.get(); }
  const Number* data() const noexcept { return memory_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{kCacheLine};
  struct Free {
    void operator()(Number* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<Number, Free> memory_;
};

}  // namespace lenet::native
