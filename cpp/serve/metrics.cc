#include "metrics.h"

#include <utility>

#include "io/printable.h"

namespace lenet::serve {
namespace {

std::string seconds(std::uint64_t nanoseconds) {
  return print("%.9g", static_cast<double>(nanoseconds) * 1e-9);
}

/// Lines of one name with labels in front of a value.
class Lines {
 public:
  Lines(std::string& text, const std::string& name, const char* type, const char* help)
      : text_(text), name_(name) {
    text += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }
  void add(const std::string& labels, const std::string& value, const char* suffix = "") {
    text_ += name_ + suffix + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
  }

 private:
  std::string& text_;
  const std::string name_;
};

}  // namespace

std::string metrics_text(const Catalog& catalog, const Backlog& backlog, bool ready) {
  std::string text;
  const auto gauge = [&](const char* name, std::size_t value, const char* help) {
    Lines(text, name, "gauge", help).add("", std::to_string(value));
  };
  gauge("lenet_ready", ready ? 1 : 0, "Whether the server takes requests.");
  gauge("lenet_queued_requests", backlog.queued_requests, "Requests that wait for a worker.");
  gauge("lenet_queued_bytes", backlog.queued_bytes, "Bytes of the bodies of these.");
  gauge("lenet_running_requests", backlog.running_requests, "Requests that workers compute.");
  Lines requests(text, "lenet_requests_total", "counter", "Requests for inference, answered.");
  const auto each = [&](const auto& action) {
    for (const auto& [name, entry] : catalog.models) {
      for (const auto& model : entry.versions) {
        // A model's name has no character that would need an escape.
        action(model->statistics, "model=\"" + name + "\",version=\"" + model->version + "\"");
      }
    }
  };
  each([&](const Statistics& of, const std::string& labels) {
    requests.add(labels + ",result=\"success\"", std::to_string(of.success.count));
    requests.add(labels + ",result=\"failure\"", std::to_string(of.fail.count));
  });
  Lines images(text, "lenet_images_total", "counter", "Images that the network computed.");
  each([&](const Statistics& of, const std::string& labels) {
    images.add(labels, std::to_string(of.images));
  });
  Lines runs(text, "lenet_runs_total", "counter", "Batches that the network computed.");
  each([&](const Statistics& of, const std::string& labels) {
    runs.add(labels, std::to_string(of.runs));
  });
  Lines parts(text, "lenet_part_seconds_total", "counter", "Parts of successful requests' time.");
  each([&](const Statistics& of, const std::string& labels) {
    const std::pair<const char*, const Counter&> counters[] = {
        {"queue", of.queue}, {"input", of.input}, {"infer", of.infer}, {"output", of.output}};
    for (const auto& [part, counter] : counters) {
      parts.add(labels + ",part=\"" + part + "\"", seconds(counter.nanoseconds));
    }
  });
  Lines times(text, "lenet_request_seconds", "histogram", "From arrival to response.");
  each([&](const Statistics& of, const std::string& labels) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < of.buckets.size(); ++i) {
      count += of.buckets[i].load();
      const std::string limit = i < kBuckets.size() ? print("%g", kBuckets[i]) : "+Inf";
      times.add(labels + ",le=\"" + limit + "\"", std::to_string(count), "_bucket");
    }
    times.add(labels, seconds(of.success.nanoseconds + of.fail.nanoseconds), "_sum");
    times.add(labels, std::to_string(count), "_count");
  });
  return text;
}

}  // namespace lenet::serve
