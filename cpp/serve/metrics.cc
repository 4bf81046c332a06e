#include "metrics.h"

#include <cinttypes>
#include <functional>

#include "io/printable.h"

namespace lenet::serve {
namespace {

std::string integer(std::uint64_t value) { return std::to_string(value); }
std::string seconds(const Counter& counter) {
  return print("%.9g", static_cast<double>(counter.nanoseconds.load()) * 1e-9);
}

class Text {
 public:
  explicit Text(const Catalog& catalog) : catalog_(catalog) {}

  void begin(const std::string& name, const char* type, const char* help) {
    name_ = name;
    text_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }

  void add(const std::string& labels, const std::string& value, const char* suffix = "") {
    text_ += name_ + suffix + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
  }

  /// A line, or several, for each model.
  void each(const std::function<void(const Statistics&, const std::string& labels)>& action) const {
    for (const auto& [name, entry] : catalog_.models) {
      for (const auto& model : entry.versions) {
        // A model's name has no character that would need an escape.
        action(model->statistics, "model=\"" + name + "\",version=\"" + model->version + "\"");
      }
    }
  }

  std::string take() { return std::move(text_); }

 private:
  const Catalog& catalog_;
  std::string name_;
  std::string text_;
};

}  // namespace

std::string metrics_text(const Catalog& catalog, const Backlog& backlog, bool ready) {
  Text text(catalog);
  text.begin("lenet_ready", "gauge", "Whether the server takes requests.");
  text.add("", ready ? "1" : "0");
  text.begin("lenet_requests_total", "counter", "Requests for inference that were answered.");
  text.each([&](const Statistics& statistics, const std::string& labels) {
    text.add(labels + ",result=\"success\"", integer(statistics.success.count));
    text.add(labels + ",result=\"failure\"", integer(statistics.fail.count));
  });
  text.begin("lenet_request_seconds", "histogram", "From the arrival of a request to its answer.");
  text.each([&](const Statistics& statistics, const std::string& labels) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < statistics.buckets.size(); ++i) {
      count += statistics.buckets[i].load();
      const std::string limit = i < kBuckets.size() ? print("%g", kBuckets[i]) : "+Inf";
      text.add(labels + ",le=\"" + limit + "\"", integer(count), "_bucket");
    }
    const std::uint64_t time = statistics.success.nanoseconds + statistics.fail.nanoseconds;
    text.add(labels, print("%.9g", static_cast<double>(time) * 1e-9), "_sum");
    text.add(labels, integer(count), "_count");
  });
  text.begin("lenet_images_total", "counter", "Images that the network computed.");
  text.each([&](const Statistics& statistics, const std::string& labels) {
    text.add(labels, integer(statistics.images));
  });
  text.begin("lenet_runs_total", "counter", "Batches that the network computed.");
  text.each([&](const Statistics& statistics, const std::string& labels) {
    text.add(labels, integer(statistics.runs));
  });
  text.begin("lenet_part_seconds_total", "counter", "Time of successful requests, by its parts.");
  text.each([&](const Statistics& statistics, const std::string& labels) {
    text.add(labels + ",part=\"queue\"", seconds(statistics.queue));
    text.add(labels + ",part=\"input\"", seconds(statistics.input));
    text.add(labels + ",part=\"infer\"", seconds(statistics.infer));
    text.add(labels + ",part=\"output\"", seconds(statistics.output));
  });
  text.begin("lenet_queued_requests", "gauge", "Requests that wait for a worker.");
  text.add("", integer(backlog.queued_requests));
  text.begin("lenet_queued_bytes", "gauge", "Bytes of the bodies of these.");
  text.add("", integer(backlog.queued_bytes));
  text.begin("lenet_running_requests", "gauge", "Requests that workers are computing.");
  text.add("", integer(backlog.running_requests));
  return text.take();
}

}  // namespace lenet::serve
