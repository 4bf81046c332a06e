/// \file
/// Memory that starts at a cache line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <utility>
#include <vector>

#include "platform/platform.h"

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
    if (count > std::numeric_limits<std::size_t>::max() / 2 / sizeof(Number))
      throw std::bad_alloc();
    std::size_t bytes = count * sizeof(Number);
    const bool large = bytes >= kHugePage;
    const std::align_val_t alignment{large ? kHugePage : std::size_t{kCacheLine}};
    if (large) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    memory_ = {static_cast<Number*>(::operator new(bytes, alignment)), Free{alignment}};
    // Reading the weights of a ResNet18 in pages of 4 kB takes 5 % longer.
    if (large) platform::use_large_pages(memory_.get(), bytes);
    std::memset(memory_.get(), 0, bytes);
    size_ = count;
  }
  Number* data() noexcept { return memory_.get(); }
  const Number* data() const noexcept { return memory_.get(); }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kHugePage = 1 << 21;  // bytes
  struct Free {
    std::align_val_t alignment{kCacheLine};
    void operator()(Number* memory) const noexcept { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<Number, Free> memory_;
  std::size_t size_ = 0;
};

/// Large arrays of several programs, of which equal ones are kept once. Any thread may use it.
class SharedArrays {
 public:
  using Array = std::shared_ptr<const Aligned<char>>;

  /// \returns an equal array that some program has, or this one
  Array find(Array array) {
    const std::lock_guard lock(mutex_);
    auto [each, end] = arrays_.equal_range(array->size());
    while (each != end) {
      Array known = each->second.lock();
      const bool gone = known == nullptr;
      if (!gone && std::memcmp(known->data(), array->data(), array->size()) == 0) return known;
      each = gone ? arrays_.erase(each) : std::next(each);
    }
    arrays_.emplace(array->size(), array);
    return array;
  }

 private:
  std::mutex mutex_;
  std::multimap<std::size_t, std::weak_ptr<const Aligned<char>>> arrays_;  ///< by bytes
};

/// Arrays side by side, in the order in which they are taken: MobileNetV2 is 5 % faster with all
/// weights in a few pages of 2 MB than with each layer's in pages of their own.
class WeightArena {
 public:
  WeightArena() = default;
  /// \param shared what large arrays are looked for in; they lie by themselves then. Or null
  explicit WeightArena(std::shared_ptr<SharedArrays> shared) : shared_(std::move(shared)) {}
  /// Has the next arrays, of about so many bytes, lie side by side.
  void reserve(std::size_t bytes) {
    if (shared_ != nullptr) bytes = kLeast;
    blocks_.emplace_back(bytes);
    next_ = blocks_.back().data();
    left_ = bytes;
  }
  /// \returns zeros, which live as long as this
  /// \throws std::bad_alloc
  template <class Number>
  Number* take(std::int64_t count) {
    const auto numbers = static_cast<std::size_t>(count);
    if (numbers > kMax / sizeof(Number)) throw std::bad_alloc();
    const std::size_t bytes = (numbers * sizeof(Number) + kLine - 1) / kLine * kLine;
    if (shared_ != nullptr && bytes >= kLeast) {
      auto large = std::make_shared<Aligned<char>>(bytes);
      arrays_.push_back(large);
      return reinterpret_cast<Number*>(large->data());
    }
    if (bytes > left_) reserve(std::max(bytes, kLeast));
    char* const taken = next_;
    next_ += bytes;
    left_ -= bytes;
    return reinterpret_cast<Number*>(taken);
  }
  /// \param filled an array that was taken, which changes no more
  /// \returns its numbers, where they are from now on
  template <class Number>
  const Number* share(const Number* filled) {
    const auto* const bytes = reinterpret_cast<const char*>(filled);
    const auto taken = std::find_if(arrays_.rbegin(), arrays_.rend(),
                                    [&](const auto& array) { return array->data() == bytes; });
    if (taken == arrays_.rend()) return filled;
    *taken = shared_->find(std::move(*taken));
    return reinterpret_cast<const Number*>((*taken)->data());
  }
  /// Shares an array into which the weights of tasks point, and lets them point to where it is
  /// then.
  template <class Number, class Tasks>
  void share(const Number* filled, Tasks& tasks) {
    const std::vector<SharedArrays::Array> kept = arrays_;  // until nothing points there
    const Number* const shared = share(filled);
    for (auto& each : tasks) each.weights = shared + (each.weights - filled);
  }
  /// Adds the memory of this to that of others, once.
  void list(std::set<const Aligned<char>*>& all) const {
    for (const auto& block : blocks_) all.insert(&block);
    for (const auto& array : arrays_) all.insert(array.get());
  }

 private:
  static constexpr std::size_t kLine = kCacheLine;
  static constexpr std::size_t kMax = std::numeric_limits<std::size_t>::max() / 2;
  static constexpr std::size_t kLeast = 1 << 16;  // bytes of a block that was not reserved

  std::shared_ptr<SharedArrays> shared_;
  std::vector<SharedArrays::Array> arrays_;
  std::vector<Aligned<char>> blocks_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace lenet::native
