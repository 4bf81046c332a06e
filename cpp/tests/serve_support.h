/// A service in this process, for the tests of the server without HTTP.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>

#include "service.h"
#include "support.h"

namespace lenet::tests {

using nlohmann::json;
using serve::Options;
using serve::Request;
using serve::Response;
using serve::Service;

inline const std::string kInfer = "/v2/models/lenet/infer";

inline Options options_of(const std::string& path, const std::string& name = "lenet") {
  Options options;
  options.models = {{path, name}};
  options.config.engine = EngineKind::Native;
  options.poll_seconds = 0;
  options.workers = 2;
  return options;
}

inline Request request_of(const std::string& method, const std::string& path, std::string body = "",
                          std::optional<std::string> header_length = {}) {
  const std::size_t question = std::min(path.find('?'), path.size());
  const std::string query = path.substr(std::min(question + 1, path.size()));
  return {method, path.substr(0, question), query, std::move(body), std::move(header_length)};
}

/// The body in one piece, as a client has it.
inline std::string body_of(const Response& response) {
  return response.body + std::string(response.tail);
}

class Server {
 public:
  explicit Server(Options options = options_of(kModelDir)) : service(std::move(options)) {}

  std::future<Response> send(Request request) {
    auto promise = std::make_shared<std::promise<Response>>();
    auto future = promise->get_future();
    loop.handle(std::move(request),
                [promise](Response response) { promise->set_value(std::move(response)); });
    return future;
  }
  Response ask(Request request) {
    auto future = send(std::move(request));
    loop.run_waiting();
    REQUIRE(future.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    return future.get();
  }
  Response get(const std::string& path) { return ask(request_of("GET", path)); }
  json get_json(const std::string& path) {
    const Response response = get(path);
    CHECK(response.status == 200);
    return json::parse(body_of(response));
  }
  Response post(const std::string& path, std::string body = "") {
    return ask(request_of("POST", path, std::move(body)));
  }
  /// What a request of JSON, and of what follows it, is answered.
  Response infer(const json& head, const std::string& binary = "") {
    const std::string text = head.dump();
    return ask(request_of("POST", kInfer, text + binary, std::to_string(text.size())));
  }
  void refuses(Request request, int status, const std::string& text) {
    const Response response = ask(std::move(request));
    CAPTURE(text);
    CAPTURE(response.body);
    CHECK(response.status == status);
    CHECK(response.content_type == "application/json");
    const std::string error = json::parse(response.body).at("error");
    CHECK(error.find(text) != std::string::npos);
    const bool later = status == 429 || status == 503;
    CHECK(later == (!response.headers.empty() && response.headers[0].first == "Retry-After"));
  }

  Service service;
  Service::Loop loop{service};
};

inline std::vector<float> floats_of(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// The values of a response, in JSON or binary, to their last bit.
inline std::vector<float> values_of(const Response& response) {
  CAPTURE(response.body);
  REQUIRE(response.status == 200);
  const std::string body = body_of(response);
  if (response.content_type != "application/octet-stream") {
    return json::parse(body).at("outputs").at(0).at("data").get<std::vector<float>>();
  }
  REQUIRE(response.headers.at(0).first == "Inference-Header-Content-Length");
  const std::size_t length = std::stoul(response.headers[0].second);
  const json output = json::parse(body.substr(0, length)).at("outputs").at(0);
  CHECK(output.at("parameters").at("binary_data_size") == body.size() - length);
  return floats_of(body.substr(length));
}

inline std::vector<float> expected(const Tensor& images) {
  return Predictor(bundled()).run(images.view()).data;
}

}  // namespace lenet::tests
