#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>

#include "serve_answer.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

serve::Options options() {
  serve::Options options;
  options.models = {{LENET_FUZZ_MODEL_DIR, "lenet"}};
  options.config.engine = EngineKind::Native;
  options.poll_seconds = 0;
  options.workers = 1;
  options.limits.values = std::size_t{1} << 14;  // so that no request takes long
  options.limits.image_pixels = std::size_t{1} << 14;
  return options;
}

/// Bytes begin with a line "METHOD PATH?QUERY LENGTH", of which the query may be left out and
/// LENGTH may be '-', or are the body of an inference.
serve::Request request_of(std::string_view bytes) {
  serve::Request request;
  const std::size_t end = bytes.find('\n');
  std::istringstream line(std::string(bytes.substr(0, end)));
  std::string address;
  std::string length;
  if (end != std::string_view::npos && bytes.find("T /") < end &&
      line >> request.method >> address >> length) {
    const std::size_t question = std::min(address.find('?'), address.size());
    request.path = address.substr(0, question);
    request.query = address.substr(std::min(question + 1, address.size()));
    if (length != "-") request.header_length = length;
    bytes.remove_prefix(end + 1);
  } else {
    request.method = "POST";
    request.path = "/v2/models/lenet/infer";
  }
  request.body = bytes;
  return request;
}

}  // namespace

serve::Response answer(serve::Request request) {
  static serve::Service service(options());
  static serve::Service::Loop loop(service);
  const auto promise = std::make_shared<std::promise<serve::Response>>();
  auto future = promise->get_future();
  // A second call throws, which ends the process.
  loop.handle(std::move(request),
              [promise](serve::Response response) { promise->set_value(std::move(response)); });
  loop.run_waiting();
  require(future.wait_for(std::chrono::seconds(60)) == std::future_status::ready, "a response");
  return future.get();
}

void serve(std::string_view bytes) {
  const serve::Response response = answer(request_of(bytes));
  constexpr int kStatuses[] = {200, 400, 404, 405, 413, 415, 500, 501};
  require(
      std::find(std::begin(kStatuses), std::end(kStatuses), response.status) != std::end(kStatuses),
      "a status of the protocol");
  std::string json = response.body;
  for (const auto& [name, value] : response.headers) {
    if (name == "Inference-Header-Content-Length") json.resize(std::stoul(value));
  }
  if (response.content_type.rfind("text/", 0) == 0) return;
  require(nlohmann::json::accept(json), "JSON");
  require(response.status == 200 || nlohmann::json::parse(json).contains("error"), "a reason");
}

}  // namespace lenet::fuzz
