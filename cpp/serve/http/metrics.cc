#include "http/metrics.h"

#include <algorithm>
#include <cstdio>

namespace lenet::serve {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", value);
  return text.data();
}

/// The lines that describe a metric.
std::string about(const std::string& name, const char* type, const char* help) {
  return "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

std::string metric(const std::string& name, const char* type, const char* help,
                   std::uint64_t value) {
  return about(name, type, help) + name + " " + std::to_string(value) + "\n";
}

}  // namespace

void Metrics::count_response(int status, double seconds, std::size_t received, std::size_t sent) {
  responses_.at(static_cast<std::size_t>(std::clamp(status, 0, 599))).fetch_add(1, kRelaxed);
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  durations_.at(static_cast<std::size_t>(bound - kBounds.begin())).fetch_add(1, kRelaxed);
  nanoseconds_.fetch_add(static_cast<std::uint64_t>(seconds * 1e9), kRelaxed);
  received_.fetch_add(received, kRelaxed);
  sent_.fetch_add(sent, kRelaxed);
}

std::string Metrics::text() const {
  const std::string requests = "lenet_http_requests_total";
  std::string text = about(requests, "counter", "Requests that were answered, by status.");
  for (std::size_t status = 0; status < responses_.size(); ++status) {
    const std::uint64_t count = responses_.at(status).load(kRelaxed);
    if (count == 0) continue;
    text += requests + "{status=\"" + std::to_string(status) + "\"} " + std::to_string(count);
    text += '\n';
  }
  const std::string duration = "lenet_http_request_duration_seconds";
  text += about(duration, "histogram", "From the whole request to its response.");
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < durations_.size(); ++i) {
    sum += durations_.at(i).load(kRelaxed);
    const std::string bound = i < kBounds.size() ? number(kBounds.at(i)) : "+Inf";
    text += duration + "_bucket{le=\"" + bound + "\"} " + std::to_string(sum) + '\n';
  }
  text += duration + "_sum " + number(static_cast<double>(nanoseconds_.load(kRelaxed)) / 1e9);
  text += '\n' + duration + "_count " + std::to_string(sum) + '\n';
  text += metric("lenet_http_received_bytes_total", "counter", "Bytes of bodies, unpacked.",
                 received_.load(kRelaxed));
  text +=
      metric("lenet_http_sent_bytes_total", "counter", "Bytes of responses.", sent_.load(kRelaxed));
  text +=
      metric("lenet_http_connections", "gauge", "Open connections.", connections.load(kRelaxed));
  text += metric("lenet_http_refused_connections_total", "counter", "Connections beyond the limit.",
                 refused.load(kRelaxed));
  text += metric("lenet_http_timeouts_total", "counter",
                 "Connections whose client or request was too slow.", timeouts.load(kRelaxed));
  text += metric("lenet_http_buffered_bytes", "gauge",
                 "Bytes of bodies that were read and of responses that are not sent.",
                 buffered.load(kRelaxed));
  return text;
}

}  // namespace lenet::serve
