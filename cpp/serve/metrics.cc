#include "metrics.h"

#include <algorithm>

#include "io/printable.h"

namespace lenet::serve {

void Counter::add(Clock::duration time) {
  count.fetch_add(1, std::memory_order_relaxed);
  nanoseconds.fetch_add(static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count()),
                        std::memory_order_relaxed);
}

void Histogram::add(Clock::duration time) {
  all.add(time);
  const double seconds = std::chrono::duration<double>(time).count();
  const auto limit = std::lower_bound(kLimits.begin(), kLimits.end(), seconds);
  buckets.at(static_cast<std::size_t>(limit - kLimits.begin()))
      .fetch_add(1, std::memory_order_relaxed);
}

void Statistics::add_request(bool succeeded, Clock::duration time) {
  (succeeded ? success : fail).add(time);
  times.add(time);
}

std::string seconds_text(std::uint64_t nanoseconds) {
  return print("%.9g", static_cast<double>(nanoseconds) * 1e-9);
}

void MetricsText::begin(const std::string& name, const char* type, const char* help) {
  name_ = name;
  text += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void MetricsText::add(const std::string& labels, const std::string& value, const char* suffix) {
  text += name_ + suffix + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
}

void MetricsText::add(const std::string& labels, const Histogram& histogram) {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < histogram.buckets.size(); ++i) {
    count += histogram.buckets.at(i);
    const bool is_last = i == Histogram::kLimits.size();
    const std::string limit = is_last ? "+Inf" : print("%g", Histogram::kLimits.at(i));
    add(labels + (labels.empty() ? "" : ",") + "le=\"" + limit + "\"", std::to_string(count),
        "_bucket");
  }
  add(labels, seconds_text(histogram.all.nanoseconds), "_sum");
  add(labels, std::to_string(count), "_count");
}

void MetricsText::one(const char* name, const char* type, std::uint64_t value, const char* help) {
  begin(name, type, help);
  add("", value);
}

}  // namespace lenet::serve
