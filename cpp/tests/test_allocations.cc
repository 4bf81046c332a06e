#include <array>
#include <cstdlib>
#include <new>

#include "images/steps.h"
#include "notation.h"
#include "quantized_model.h"
#ifdef LENET_TEST_HTTP
#include <sys/socket.h>
#include <zlib.h>

#include "http/http_server.h"
#include "serve_support.h"
#endif
#ifdef LENET_TEST_GRPC
#include "grpc/open_inference.pb.h"
#include "grpc/translate.h"
#include "workers.h"
#endif

namespace {
std::atomic<int> allocations{0};
std::atomic<std::size_t> allocated{0};  // bytes
std::atomic<int> held{0};               // that were not freed
std::atomic<int> left{0};               // until one fails; 0: none does
thread_local bool is_spared = false;    // as it only looks on
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  allocated += size;
  const bool fails = !is_spared && left > 0 && --left == 0;
  void* const memory = fails ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  ++held;
  return memory;
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) --held;
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace lenet::tests {

TEST_CASE("a steady run allocates nothing for one of several outputs, else the outputs alone") {
  const TemporaryFolder folder;
  Predictor predictor(write_onnx(folder, onnx_graph("Conv x w -> y; GlobalMaxPool y -> z",
                                                    "w[1,1,1,1]=2", "x[-1,1,1,2] -> y z")));
  const Tensor images{{1, 2, 3, 4}, {2, 1, 1, 2}};
  const TensorView view = images.view();
  Tensor output;
  std::array<int, 3> counts{};
  for (int i = 0; i < 2; ++i) {
    counts[0] = allocations;
    predictor.run(view, output);
    counts[1] = allocations;
    predictor.run_outputs(view);
    counts[2] = allocations;
  }
  CHECK(counts[1] == counts[0]);
  CHECK(counts[2] == counts[1] + 1 + 2 + 2);  // their list, values and shapes
}

TEST_CASE("a steady run of the native engine allocates nothing") {
  const TemporaryFolder folder;
  const Tensor images = random_images(200);
  for (const std::string options : {"threads=1", "threads=2", "precision=int8"}) {
    const bool int8 = options == "precision=int8";
    Predictor predictor(int8 ? config_of(options + " engine=native", QuantizedModel().write(folder))
                             : bundled(options));
    for (const std::int64_t count : {1, 20, 200}) {
      CAPTURE(options);
      CAPTURE(count);
      TensorView view{images.data.data(), predictor.input_spec().shape};
      view.shape[0] = count;
      Tensor output;
      predictor.run(view, output);
      std::vector<float> memory(output.data.size());
      predictor.run(view, memory.data(), memory.size());
      const int before = allocations;
      predictor.run(view, output);
      predictor.run(view, memory.data(), memory.size());
      const int after = allocations;
      CHECK(after == before);
      CHECK(memory == output.data);
      std::vector<std::uint8_t> pixels(element_count(view.shape));
      std::vector<float> shares(pixels.size());
      for (std::size_t i = 0; i < pixels.size(); ++i) {
        pixels[i] = static_cast<std::uint8_t>(i * i / 7);
        shares[i] = static_cast<float>(pixels[i]) / 255.0F;
      }
      predictor.run({shares.data(), view.shape}, memory.data(), memory.size());
      const TensorView of_pixels{nullptr, view.shape, pixels.data()};
      predictor.run(of_pixels, output);
      const int before_pixels = allocations;
      predictor.run(of_pixels, output);
      const int after_pixels = allocations;
      CHECK(after_pixels == before_pixels);
      CHECK(output.data == memory);
    }
  }
}

// 6 kB when shapes were inferred once; 9 kB when passes copied it, and they were.
TEST_CASE("loading an operator allocates some 9 kB altogether") {
  const auto bytes_for = [](int operators) {
    std::string nodes;
    for (int i = 0; i < operators; ++i) {
      nodes += "Conv " + (i == 0 ? "x" : "v" + std::to_string(i)) + " w -> " +
               (i == operators - 1 ? "y" : "v" + std::to_string(i + 1)) + ";";
    }
    const TemporaryFolder folder;
    const Config config = write_onnx(folder, onnx_graph(nodes, "w[1,1,1,1]=2", "x[-1,1,1,2] -> y"));
    const std::size_t before = allocated;
    const Predictor predictor(config);
    return allocated - before;
  };
  constexpr int kOperators = 500;
  bytes_for(1);  // What a process allocates once does not count.
  CHECK(bytes_for(2 * kOperators) - bytes_for(kOperators) < std::size_t{9300} * kOperators);
}

TEST_CASE("whichever allocation of a predictor fails, it says so and nothing is lost") {
  const TemporaryFolder folder;
  const Config config = write_onnx(
      folder, onnx_graph("Conv x w -> y; Relu y -> z", "w[1,1,1,1]=2", "x[-1,1,1,2] -> z"));
  const Tensor images{{1, 2, 3, 4}, {2, 1, 1, 2}};
  const auto use = [&] { return Predictor(config).run(images.view()).data; };
  const std::vector<float> expected = use();
  for (int n = 1; n < 100'000; ++n) {
    CAPTURE(n);
    const int before = held;
    left = n;
    try {
      const std::vector<float> found = use();
      const bool is_last = left.exchange(0) > 0;
      CHECK(found == expected);
      if (is_last) return;
    } catch (const Error& error) {
      CHECK(left.exchange(0) == 0);
      CHECK(error.code() == ErrorCode::BackendFailure);
    } catch (const std::bad_alloc&) {
      CHECK(left.exchange(0) == 0);
    }
    REQUIRE(held == before);
  }
  FAIL("it does not end");
}

#ifdef LENET_TEST_HTTP
namespace {

std::string packed(const std::string& text) {
  std::string to(text.size() + 1000, '\0');
  z_stream stream{};
  REQUIRE(deflateInit(&stream, Z_BEST_SPEED) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(to.data());
  stream.avail_out = static_cast<uInt>(to.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  to.resize(stream.total_out);
  deflateEnd(&stream);
  return to;
}

std::string post_text(const std::string& fields, const std::string& body) {
  return "POST " + kInfer + " HTTP/1.1\r\nHost: localhost\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// \returns the status; 0 when the connection was closed
int ask(int port, const std::string& request) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{20, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const boost::asio::ip::tcp::endpoint to(boost::asio::ip::make_address("127.0.0.1"),
                                          static_cast<std::uint16_t>(port));
  REQUIRE(connect(socket, to.data(), static_cast<socklen_t>(to.size())) == 0);
  send(socket, request.data(), request.size(), MSG_NOSIGNAL);
  std::array<char, 64> begin{};
  const ssize_t count = recv(socket, begin.data(), begin.size() - 1, MSG_WAITALL);
  const bool is_late = count < 0 && errno == EAGAIN;
  close(socket);
  REQUIRE_FALSE(is_late);
  return count > 12 ? std::atoi(begin.data() + std::strlen("HTTP/1.1 ")) : 0;
}

}  // namespace

TEST_CASE("whichever allocation of a request fails, it is refused or closed, and no other one") {
  is_spared = true;
  const std::string images = bytes_of(random_images(100).data);
  const std::string one = images.substr(0, 784 * sizeof(float));
  const std::string raw = "Inference-Header-Content-Length: 0\r\n";
  json input = {{"name", "x"}, {"shape", {1, 1, 28, 28}}, {"datatype", "FP32"}};
  input["data"] = floats_of(one);
  std::string picture = "P5 40 40 255\n" + std::string(1600, '\xF0');
  for (std::size_t row = 15; row < 20; ++row) picture.replace(13 + 40 * row + 10, 20, 20, '\x14');
  const std::string requests[] = {
      post_text(raw, one),
      post_text("", json({{"inputs", {input}}}).dump()),
      post_text(raw + "Content-Encoding: deflate\r\nAccept-Encoding: gzip\r\n", packed(images)),
      post_text("", picture),
      post_text("", "{"),
      "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"};
  const std::string health = "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const double loop_us : {200.0, 0.0}) {
    Options options = options_of(kModelDir);
    options.loop_us = loop_us;
    Service service(options);
    serve::HttpOptions http;
    http.port = 0;
    http.threads = 1;
    serve::HttpServer server(service, http);
    server.start();
    const int port = std::stoi(server.address().substr(server.address().rfind(':') + 1));
    int told = 0;  // of other clients the connection was closed
    for (const std::string& request : requests) {
      const int usual = ask(port, request);
      REQUIRE(usual >= 200);
      bool is_last = false;
      // A queue takes memory for some 64 requests at once.
      const int times = &request == requests ? 65 : 1;
      for (int i = times; !is_last; ++i) {
        const int n = i / times;
        CAPTURE(request.substr(0, request.find("\r\n\r\n")));
        CAPTURE(n);
        REQUIRE(n < 10'000);
        left = n;
        const int status = ask(port, request);
        is_last = left.exchange(0) > 0;
        CAPTURE(status);
        CAPTURE(is_last);
        // 500 where an engine says that it is out of memory, 429 where a thread does not fit.
        const bool is_refused = status == 503 || status == 500 || status == 429 || status == 0;
        const bool is_right = status == usual || (!is_last && is_refused);
        CHECK(is_right);
        if (status != usual && status != 0) ++told;
        CHECK(ask(port, health) == 200);
      }
    }
    CHECK(told > 0);
    server.begin_stop();
    CHECK(server.stop() == 0);
  }
  is_spared = false;
}
#endif

#ifdef LENET_TEST_GRPC
TEST_CASE("whichever allocation fails while gRPC's messages are translated, a status says so") {
  inference::ModelInferRequest message;
  message.set_model_name("lenet");
  message.set_id("a name that is longer than what a string has room for");
  auto& input = *message.add_inputs();
  input.set_name("x");
  input.set_datatype("FP32");
  for (const std::int64_t size : {1, 1, 28, 28}) input.add_shape(size);
  message.add_raw_input_contents(bytes_of(random_images(1).data));
  const std::string bytes = message.SerializeAsString();
  Options options = options_of(kModelDir);
  options.loop_us = 1e9;  // all in this thread
  Service service(options);
  Service::Loop loop(service);
  grpc::Status status;
  std::string values;
  const auto guarded = [&](const auto& work) noexcept {  // as grpc/call.cc
    try {
      work();
    } catch (const std::exception& error) {
      status = serve::status_of(serve::failure_response(error));
    }
  };
  const auto infer = [&] {
    google::protobuf::io::CodedInputStream in(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                              static_cast<int>(bytes.size()));
    serve::Echo echo;
    guarded([&] {
      loop.handle(serve::read_infer_request(in, bytes.size(), echo), [&](const Response& response) {
        guarded([&] {
          status = serve::status_of(response);
          inference::ModelInferResponse answer;
          if (status.ok()) serve::write_infer_response(response, echo, answer);
          if (status.ok()) values = answer.raw_output_contents(0);
        });
      });
      loop.run_waiting();
    });
  };
  infer();
  REQUIRE(status.ok());
  const std::string expected = values;
  REQUIRE(expected.size() == 10 * sizeof(float));
  for (int n = 1; n < 10'000; ++n) {
    CAPTURE(n);
    std::array<int, 8> kept{};
    bool is_last = false;
    for (int& after : kept) {  // what the first ones make anew, such as a thread's memory, may stay
      values = {};
      left = n;
      infer();
      is_last = left.exchange(0) > 0;
      after = held;
    }
    CAPTURE(status.error_code());
    const bool is_told = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                         status.error_code() == grpc::StatusCode::INTERNAL;
    const bool is_right = status.ok() ? values == expected : is_told && !is_last;
    CHECK(is_right);
    CHECK(kept[7] <= kept[3]);
    if (is_last) return;
  }
  FAIL("it does not end");
}
#endif

TEST_CASE("a resize takes memory for the pixels alone, whatever the shape") {
  using Sizes = std::array<std::int64_t, 4>;
  const std::int64_t many = 1 << 20;
  for (const Library library : {Library::Pillow, Library::OpenCv}) {
    for (const Interpolation interpolation : {Interpolation::Nearest, Interpolation::Bilinear,
                                              Interpolation::Bicubic, Interpolation::Area}) {
      if (interpolation == Interpolation::Area && library == Library::Pillow) continue;
      for (const auto& [height, width, new_height, new_width] :
           {Sizes{1, 7, 1, many}, Sizes{7, 1, many, 1}, Sizes{1, many, 1, 1}, Sizes{many, 1, 1, 1},
            Sizes{1, many, 1, many - 3}, Sizes{many, 1, many - 3, 1}, Sizes{3, 5, 2, many}}) {
        CAPTURE(static_cast<int>(library));
        CAPTURE(static_cast<int>(interpolation));
        CAPTURE(width);
        CAPTURE(new_width);
        Image image = filled_image(height, width, 1);
        const std::size_t before = allocated;
        const Image result = resize(image, {new_height, new_width, interpolation, library});
        const std::size_t pixels = image.pixels.size() + result.pixels.size();
        // At most a number of 32 bits for each, beside those of a part of the columns.
        CHECK(allocated - before <= 6 * pixels + (std::size_t{4} << 20));
      }
    }
  }
}

}  // namespace lenet::tests
