#include "engines/native/runtime/memory_plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "engines/native/runtime/aligned.h"

namespace lenet::native {
namespace {

/// Gives out the smallest block that is large enough, and grows where there is none.
class Arena {
 public:
  std::int64_t take(std::int64_t bytes) {
    const auto found = by_size_.lower_bound({bytes, 0});
    if (found != by_size_.end()) {
      const auto [size, begin] = *found;
      remove(begin, size);
      if (size > bytes) add(begin + bytes, size - bytes);
      return begin;
    }
    std::int64_t begin = end_;
    if (!free_.empty()) {  // what is free at the end becomes larger
      const auto [last, size] = *free_.rbegin();
      if (last + size == end_) {
        begin = last;
        remove(last, size);
      }
    }
    end_ = begin + bytes;
    return begin;
  }

  void give_back(std::int64_t begin, std::int64_t bytes) {
    const auto next = free_.lower_bound(begin);
    if (next != free_.begin()) {
      const auto [before, size] = *std::prev(next);
      if (before + size == begin) {
        remove(before, size);
        begin = before;
        bytes += size;
      }
    }
    if (next != free_.end() && next->first == begin + bytes) {
      const auto [after, size] = *next;
      remove(after, size);
      bytes += size;
    }
    add(begin, bytes);
  }

  std::int64_t end() const { return end_; }

 private:
  void add(std::int64_t begin, std::int64_t size) {
    free_[begin] = size;
    by_size_.insert({size, begin});
  }
  void remove(std::int64_t begin, std::int64_t size) {
    free_.erase(begin);
    by_size_.erase({size, begin});
  }

  std::map<std::int64_t, std::int64_t> free_;  ///< sizes by where they begin; none touch
  std::set<std::pair<std::int64_t, std::int64_t>> by_size_;
  std::int64_t end_ = 0;
};

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, bool share) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].first < lifetimes[b].first;
  });
  MemoryPlan plan;
  plan.begins.resize(lifetimes.size());
  const auto bytes_of = [&](std::size_t i) { return round_up(lifetimes[i].bytes, kCacheLine); };
  std::set<std::pair<std::size_t, std::size_t>> ending;  // the last step of a lifetime, its index
  Arena arena;
  for (const std::size_t i : order) {
    if (bytes_of(i) == 0) continue;
    while (share && !ending.empty() && ending.begin()->first < lifetimes[i].first) {
      const std::size_t ended = ending.begin()->second;
      arena.give_back(plan.begins[ended], bytes_of(ended));
      ending.erase(ending.begin());
    }
    plan.begins[i] = arena.take(bytes_of(i));
    ending.insert({lifetimes[i].last, i});
  }
  plan.bytes = arena.end();
  return plan;
}

}  // namespace lenet::native
