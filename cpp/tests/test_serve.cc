// What the service answers, and what it refuses. tests/serve has its HTTP.

#include <cmath>
#include <limits>

#include "infer.h"
#include "lenet/image_pipeline.h"
#include "notation.h"
#include "serve_support.h"

namespace lenet::tests {
namespace {

json input_of(const Shape& shape, const std::string& datatype = "FP32") {
  return {{"name", "x"}, {"shape", shape}, {"datatype", datatype}};
}

json request_with(json input) { return {{"inputs", {std::move(input)}}}; }

json binary_input(const Shape& shape, std::size_t size, const std::string& datatype = "FP32") {
  json input = input_of(shape, datatype);
  input["parameters"]["binary_data_size"] = size;
  return request_with(input);
}

std::string pgm(int height, int width, int seed) {
  std::string file = "P5 " + std::to_string(width) + " " + std::to_string(height) + " 255\n";
  for (int i = 0; i < height * width; ++i) {
    const bool ink =
        i / width > height / 4 && i / width < height / 2 && i % width > width / (2 + seed);
    file += static_cast<char>(ink ? 20 : 240);
  }
  return file;
}

}  // namespace

TEST_CASE("what is served, and whether it is ready") {
  Server server;
  const json about = server.get_json("/v2");
  CHECK(about.at("name") == "lenet_serve");
  CHECK(about.at("extensions").size() == 5);
  CHECK(server.get_json("/v2/") == about);
  CHECK(server.get_json("/v2/health/live").at("live") == true);
  CHECK(server.get_json("/v2/health/ready").at("ready") == true);
  const json model = server.get_json("/v2/models/lenet");
  CHECK(model.at("versions") == Names{"1"});
  CHECK(model.at("inputs").at(0) == input_of({-1, 1, 28, 28}));
  CHECK(model.at("outputs").at(0).at("shape") == Shape{-1, 10});
  CHECK(server.get_json("/v2/models/lenet/versions/1") == model);
  CHECK(server.get_json("/v2/models/lenet/versions/1/ready").at("ready") == true);
  CHECK(server.get_json("/v2/models/lenet/config").at("input").at(0).at("data_type") ==
        "TYPE_FP32");
  CHECK(server.ask(request_of("HEAD", "/v2/health/live")).status == 200);
  const json index = json::parse(server.post("/v2/repository/index").body);
  CHECK(index == json::parse(R"([{"name":"lenet","version":"1","state":"READY","reason":""}])"));
  server.service.begin_shutdown();
  for (const char* path : {"/v2/health/ready", "/v2/models/lenet/ready"}) {
    CHECK(server.get(path).status == 503);
  }
  CHECK(server.get("/v2/health/live").status == 200);
}

TEST_CASE("JSON and binary tensors, each way, have the bits of the predictor") {
  Server server;
  const Tensor images = random_images(3);
  const std::vector<float> wanted = expected(images);
  const std::string binary = bytes_of(images.data);
  json flat = input_of(images.shape);
  flat["data"] = images.data;
  json nested = input_of(images.shape);
  for (std::size_t i = 0; i < images.data.size(); ++i) {
    nested["data"][i / 784][0][i / 28 % 28].push_back(images.data[i]);
  }
  const json in_bytes = binary_input(images.shape, binary.size());
  for (const bool to_binary : {false, true}) {
    for (const json& input : {request_with(flat), request_with(nested), in_bytes}) {
      json head = input;
      head["parameters"] = {{"binary_data_output", to_binary}, {"priority", 1}, {"other", "text"}};
      const Response response = server.infer(head, input == in_bytes ? binary : "");
      CHECK(values_of(response) == wanted);
      CHECK((response.content_type == "application/octet-stream") == to_binary);
      head["parameters"]["binary_data_output"] = !to_binary;
      head["outputs"] = {
          {{"name", "linear_2.tmp_1"}, {"parameters", {{"binary_data", to_binary}}}}};
      head["outputs"][0]["name"] = server.get_json("/v2/models/lenet")["outputs"][0]["name"];
      CHECK(values_of(server.infer(head, input == in_bytes ? binary : "")) == wanted);
    }
  }
  // No header length: JSON alone, whatever the Content-Type.
  CHECK(values_of(server.post(kInfer, request_with(flat).dump())) == wanted);
  // Length 0: the values alone.
  const Response raw = server.ask(request_of("POST", kInfer, binary, "0"));
  CHECK(values_of(raw) == wanted);
  CHECK(raw.content_type == "application/octet-stream");
  json head = in_bytes;
  head["id"] = "a \"b\" \u00e4";
  const json answer = json::parse(server.infer(head, binary).body);
  CHECK(answer.at("id") == head["id"]);
  CHECK(answer.at("model_name") == "lenet");
  CHECK(answer.at("model_version") == "1");
  CHECK(answer.at("outputs").at(0).at("shape") == Shape{3, 10});
  CHECK_FALSE(json::parse(server.infer(in_bytes, binary).body).contains("id"));
  CHECK(values_of(server.infer(binary_input({0, 1, 28, 28}, 0))).empty());
}

TEST_CASE("a large output is not copied") {
  Server server;
  const Tensor images = random_images(2000);
  const std::string binary = bytes_of(images.data);
  const Response response = server.ask(request_of("POST", kInfer, binary, "0"));
  CHECK(response.tail.size() == 2000 * 10 * sizeof(float));
  CHECK(values_of(response) == expected(images));
}

TEST_CASE("pixels and image files are prepared as the library does") {
  Server server;
  const Predictor predictor(bundled());
  const auto pipeline = ImagePipeline::load(kModelDir + "/preprocess.json");
  std::string pixels;
  for (int i = 0; i < 2 * 784; ++i) pixels += static_cast<char>(i * 7 % 256);
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(pixels.data());
  const auto run = [](const TensorView& view) { return Predictor(bundled()).run(view).data; };
  CHECK(values_of(server.infer(binary_input({2, 1, 28, 28}, pixels.size(), "UINT8"), pixels)) ==
        run({nullptr, {2, 1, 28, 28}, bytes}));
  CHECK(values_of(server.infer(binary_input({2, 28, 28, 1}, pixels.size(), "UINT8"), pixels)) ==
        run(pipeline.view(bytes, {2, 28, 28, 1})));
  json input = input_of({1, 1, 28, 28}, "UINT8");
  for (int i = 0; i < 784; ++i) input["data"].push_back(bytes[i]);
  CHECK(values_of(server.infer(request_with(input))) == run({nullptr, {1, 1, 28, 28}, bytes}));

  const std::vector<std::string> files = {pgm(40, 30, 0), pgm(64, 64, 1)};
  const TemporaryFolder folder;
  std::vector<float> wanted;
  std::string lengths_and_files;
  for (const std::string& file : files) {
    const Tensor image = pipeline(decode_image(write_file(folder / "a.pgm", file)));
    const auto one = run({image.data.data(), {1, 1, 28, 28}});
    wanted.insert(wanted.end(), one.begin(), one.end());
    lengths_and_files += bytes_of(static_cast<std::uint32_t>(file.size())) + file;
  }
  CHECK(values_of(server.infer(binary_input({2}, lengths_and_files.size(), "BYTES"),
                               lengths_and_files)) == wanted);
  input = input_of({1}, "BYTES");
  input["data"] = {"UDUgMiAyIDI1NQoAAP//"};  // two rows, one black, one white
  const Response empty = server.infer(request_with(input));
  CHECK(empty.status == 400);
  CHECK(empty.body.find("found no digit") != std::string::npos);
  const auto first = values_of(server.ask(request_of("PUT", kInfer + "?raw", files[0])));
  CHECK(std::equal(first.begin(), first.end(), wanted.begin()));
}

TEST_CASE("a picture as the body gets its classes") {
  Server server;
  const std::string file = pgm(40, 30, 0);
  const std::vector<float> logits =
      values_of(server.ask(request_of("POST", kInfer + "?raw", file)));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  for (const auto& [query, classes] :
       {std::pair("", 5), std::pair("?classification=3", 3), std::pair("?classification=99", 10)}) {
    const Response response = server.ask(request_of("PUT", kInfer + query, file));
    CAPTURE(response.body);
    REQUIRE(response.status == 200);
    const json found = json::parse(response.body);
    REQUIRE(found.size() == classes);
    float above = std::numeric_limits<float>::infinity();
    for (const json& one : found) {
      CHECK(one.size() == 3);
      const std::size_t number = one.at("class");
      CHECK(one.at("label") == std::to_string(number));
      const double probability = std::exp(static_cast<double>(logits.at(number))) / sum;
      CHECK(one.at("probability").get<double>() == doctest::Approx(probability).epsilon(1e-5));
      CHECK(logits.at(number) <= above);
      above = logits.at(number);
    }
  }
  for (const char* query : {"?raw=1", "?raw&classification=3", "?topk=3", "?Raw"}) {
    server.refuses(request_of("POST", kInfer + query, file), 400, "expected ?classification=K");
  }
  for (const char* number : {"", "0", "-1", "+3", "3.0", "3 ", "%33", "99999999999999999999"}) {
    server.refuses(request_of("POST", kInfer + "?classification=" + number, file), 400,
                   "expected an integer from 1 on");
  }
  // The query of other requests means nothing, as ever.
  CHECK(server.get("/v2?raw=1").status == 200);
  server.refuses(request_of("POST", kInfer, "P5 9 9 255\n"), 400, "'the image'");
  server.refuses(request_of("POST", kInfer, "GIF89a"), 415, "'the image' is a GIF");
}

TEST_CASE("the classes of a picture are those of its place in a batch") {
  const serve::Model model("lenet", 1, kModelDir, options_of(kModelDir));
  Tensor logits{std::vector<float>(20), {2, 10}};
  logits.data[3] = 9;
  logits.data[10 + 7] = 9;
  const auto tensors = std::make_shared<const std::vector<Tensor>>(std::vector{logits});
  serve::InferRequest request;
  request.shape = {1};
  request.wish = Wish{1, {}};
  for (const auto& [place, number] : {std::pair(0, 3), std::pair(1, 7)}) {
    const json found = json::parse(serve::infer_response(request, model, tensors, place).body);
    CHECK(found.at(0).at("class") == number);
  }
}

TEST_CASE("a body that is neither a picture nor JSON is named") {
  Server server;
  const std::pair<std::string, const char*> bodies[] = {
      {"", "the body is empty"},
      {"--a\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n", "curl -F"},
      {"\x89PNG\x1a", "a PNG that lost its line ends (curl -d"},
      {"\xff\xd8\xff\xe0\x10JFIF", "a JPEG that lost its zeros and line ends (curl -d"},
      {"\x1f\x8b\x08", "gzip data"},
      {"PK\x03\x04", "a ZIP archive"},
      {"%PDF-1.7", "a PDF"},
      {"<svg/>", "HTML, XML or SVG"},
      {"photo.jpg", "a text that begins with 'photo.jpg'"},
      {std::string(3136, '\0'), "3136 bytes that begin with 00 00"},
      {"\xef\xbb\xbf{}", "a text that begins with '???{}'"},
  };
  for (const auto& [body, text] : bodies) {
    server.refuses(request_of("POST", kInfer, body), 400, text);
    server.refuses(request_of("PUT", kInfer, body), 400, "curl -T photo.jpg ADDRESS");
    server.refuses(request_of("POST", kInfer, body), 400, "Inference-Header-Content-Length: 0");
  }
}

TEST_CASE("a picture with a length of the header is the input's values, as KServe has it") {
  Server server;
  const std::string file = pgm(40, 30, 0);
  server.refuses(request_of("POST", kInfer, file, "0"), 400, "multiple of 3136");
  // Values that begin with the first bytes of a BMP are values all the same.
  std::string values = bytes_of(random_images(1).data);
  values.replace(0, 2, "BM");
  CHECK(server.ask(request_of("POST", kInfer, values, "0")).status == 200);
}

TEST_CASE("the classification extension gives the greatest values, in text") {
  Server server;
  const Tensor images = random_images(2);
  const std::vector<float> values = expected(images);
  const std::string binary = bytes_of(images.data);
  json head = binary_input(images.shape, binary.size());
  head["outputs"][0]["name"] = server.get_json("/v2/models/lenet")["outputs"][0]["name"];
  head["outputs"][0]["parameters"]["classification"] = 3;
  const json output = json::parse(server.infer(head, binary).body).at("outputs").at(0);
  CHECK(output.at("datatype") == "BYTES");
  CHECK(output.at("shape") == Shape{2, 3});
  const auto greatest = std::max_element(values.begin(), values.begin() + 10);
  const std::string text = output.at("data").at(0);
  const Names parts = split(text, ':');
  CHECK(std::stof(parts.at(0)) == *greatest);
  CHECK(std::stol(parts.at(1)) == greatest - values.begin());
  head["outputs"][0]["parameters"]["binary_data"] = true;
  head["outputs"][0]["parameters"]["classification"] = 1;
  const Response response = server.infer(head, binary);
  const std::string strings = response.body.substr(std::stoul(response.headers.at(0).second));
  std::uint32_t size = 0;
  std::memcpy(&size, strings.data(), sizeof(size));
  CHECK(strings.substr(sizeof(size), size) == text);
}

TEST_CASE("no class is made of NaN; the output alone is given as it is") {
  const TemporaryFolder folder;
  const Config config =
      write_onnx(folder, onnx_graph("Flatten x -> f; MatMul f w -> g; Relu g -> h; MatMul h v -> y",
                                    "w[2,2]=2,2,2,2 v[2,2]=1,2,-1,1", "x[-1,1,1,2] -> y[-1,2]"));
  Server server(options_of(config.model_file));
  const std::vector<float> values = {1, 2, 3e38F, 3e38F};  // of two images: infinity - infinity
  json head = binary_input({2, 1, 1, 2}, 16);
  head["outputs"][0]["name"] = "y";
  head["outputs"][0]["parameters"] = {{"classification", 1}};
  const std::string text = head.dump();
  server.refuses(request_of("POST", kInfer, text + bytes_of(values), std::to_string(text.size())),
                 400, "image 1: the model gives no class: output 0 of 2 is NaN");
  head["outputs"][0]["parameters"] = {{"binary_data", true}};
  const std::vector<float> raw = values_of(server.infer(head, bytes_of(values)));
  CHECK(raw[1] == 18);
  CHECK(std::isnan(raw[2]));
}

TEST_CASE("requests that are wrong are refused with their status and a reason") {
  Options options = options_of(kModelDir);
  options.limits.values = 10'000;
  options.limits.tensors = 4;
  options.limits.id_bytes = 8;
  options.limits.image_pixels = 100;
  Server server(options);
  const auto refuses = [&](const std::string& body, int status, const std::string& text) {
    CAPTURE(body.substr(0, 200));
    server.refuses(request_of("POST", kInfer, body), status, text);
  };
  const auto changed = [&](const char* pointer, const json& value) {
    json head = binary_input({1, 1, 28, 28}, 3136);
    head[json::json_pointer(pointer)] = value;
    const std::string text = head.dump();
    return request_of("POST", kInfer, text + std::string(3136, '\0'), std::to_string(text.size()));
  };
  CHECK(server.ask(changed("/id", "12345678")).status == 200);
  server.refuses(changed("/id", "123456789"), 400, "id has more than 8 bytes");
  server.refuses(changed("/id", 7), 400, "expected a text");
  server.refuses(changed("/inputs/0/name", "y"), 400, "no input 'y'");
  server.refuses(changed("/inputs/0/datatype", "FP64"), 400, "'FP64' is not supported");
  server.refuses(changed("/inputs/0/shape", Shape{1, 1, 28, 27}), 400, "3024");
  server.refuses(changed("/inputs/0/shape", Shape{1, 784}), 400, "expects [N, 1, 28, 28]");
  server.refuses(changed("/inputs/0/shape", Shape{-1, 1, 28, 28}), 400, "negative");
  server.refuses(changed("/inputs/0/shape", Shape{INT64_MIN, 1}), 400, "negative");
  const std::int64_t big = std::int64_t{1} << 32;
  server.refuses(changed("/inputs/0/shape", Shape{big, big, big, big}), 413, "limit");
  server.refuses(changed("/inputs/0/shape", Shape{big, big, 0, big}), 400, "takes 0");
  server.refuses(changed("/inputs/0/shape", Shape(9, 1)), 400, "dimensions");
  server.refuses(changed("/inputs/0/shape", json::parse("[1e0]")), 400, "integer");
  server.refuses(changed("/inputs/0/shape/0", 18446744073709551615U), 400, "integer");
  server.refuses(changed("/inputs/0/parameters/binary_data_size", 3135), 400, "3136 bytes follow");
  server.refuses(changed("/inputs/0/parameters/binary_data_size", -1), 400, "-1");
  server.refuses(changed("/inputs/0/parameters/shared_memory_region", "r"), 501, "shared memory");
  server.refuses(changed("/inputs/0/data", {1}), 400, "either data or");
  server.refuses(changed("/inputs", json::array()), 400, "0 inputs");
  server.refuses(changed("/inputs", json(3, input_of({1}))), 400, "3 inputs");
  server.refuses(changed("/inputs", json(9, input_of({1}))), 400, "more than 4 tensors");
  server.refuses(changed("/outputs", {{{"name", "y"}}}), 400, "no output 'y'");
  server.refuses(changed("/outputs", json::array({json::object()})), 400, "no name");
  server.refuses(changed("/parameters", {{"binary_data_output", 1}}), 400,
                 "expected true or false");
  refuses("[]", 400, "expected '{'");
  refuses("{}", 400, "0 inputs");
  refuses("{} {}", 400, "something follows");
  refuses("{\"inputs\":[],\"inputs\":[]}", 400, "twice");
  refuses(std::string(70'000, '['), 400, "expected '{'");  // long enough for a worker
  const auto with_data = [&](const std::string& data, const std::string& shape = "[2,2]") {
    return R"({"inputs":[{"name":"x","datatype":"FP32","data":)" + data + ",\"shape\":" + shape +
           "}]}";
  };
  refuses(with_data("[1,2,3]"), 400, "the data have shape [3]");
  refuses(with_data("[[1,2],[3]]"), 400, "different length");
  refuses(with_data("[[1,2],3]"), 400, "different depth");
  refuses(with_data("[1,[2,3]]"), 400, "different depth");
  refuses(with_data("[[1],[2],[3],[4]]"), 400, "[4, 1]");
  refuses(with_data("[1,\"a\"]"), 400, "numbers among texts");
  refuses(with_data("[\"a\",\"b\",\"c\",\"d\"]"), 400, "not those of datatype");
  refuses(with_data("[1e39,0,0,0]"), 400, "too large");
  refuses(with_data("[NaN]"), 400, "expected a number");
  refuses(with_data("{}"), 400, "expected '['");
  refuses(with_data(std::string(40, '[')), 400, "deep");
  std::string many = "[0";
  for (int i = 0; i < 10'000; ++i) many += ",0";
  refuses(with_data(many + "]"), 400, "more than 10000 values");
  refuses(replaced(with_data("[1,2,3,256]"), "FP32", "UINT8"), 400, "0 to 255");
  refuses(replaced(with_data("[1,2,3,0.5]"), "FP32", "UINT8"), 400, "0 to 255");
  for (const char* data : {"[\"A\"]", "[\"====\"]", "[\"AB!=\"]", "[\"A===\"]"}) {
    refuses(replaced(with_data(data, "[1]"), "FP32", "BYTES"), 400, "base64");
  }
  refuses(replaced(with_data("[]", "[0]"), "FP32", "BYTES"), 400, "no image");
  std::string files = "[\"\"";
  for (int i = 0; i < 12; ++i) files += ",\"\"";
  refuses(replaced(with_data(files + "]", "[13]"), "FP32", "BYTES"), 413, "limit");
  const std::string head = binary_input({2}, 5, "BYTES").dump();
  server.refuses(
      request_of("POST", kInfer, head + std::string(5, '\xff'), std::to_string(head.size())), 400,
      "end early");
  for (const char* length : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "1,1"}) {
    server.refuses(request_of("POST", kInfer, "{}", length), 400, "is no length");
  }
  server.refuses(request_of("POST", kInfer, "{}", "3"), 400, "the body has 2 bytes");
  server.refuses(request_of("POST", kInfer, "abc", "0"), 400, "multiple of 3136");
  server.refuses(request_of("POST", kInfer, "", "0"), 400, "multiple of 3136");
  server.refuses(request_of("POST", kInfer, std::string(3136 * 13, '\0'), "0"), 413, "limit");
  server.refuses(request_of("POST", kInfer, std::string(3136, '\xff'), "0"), 400, "finite");
  server.refuses(request_of("POST", kInfer, pgm(11, 10, 0)), 400, "pixels");
  server.refuses(request_of("GET", kInfer), 405, "POST");
  server.refuses(request_of("POST", "/v2"), 405, "GET");
  server.refuses(request_of("DELETE", "/v2/models/lenet"), 405, "GET");
  server.refuses(request_of("POST", "/v2/repository/models/lenet/unload"), 501, "on request");
  server.refuses(request_of("GET", "/v2/systemsharedmemory/status"), 501, "sharedmemory");
  server.refuses(request_of("GET", "/v2/models/lenet/trace/setting"), 501, "trace");
  for (const char* path :
       {"/", "/v1", "/v2/x", "/v2/models/other", "/v2/models/lenet/versions/2",
        "/v2/models/lenet/x", "/v2/models/lenet/ready/x", "/v2/models/lenet/versions/1/x/y/z/1/2/3",
        "/v2/health", "/v2/health/x", "/V2", "/v2/repository", "/metrics/x", "//v2"}) {
    CAPTURE(path);
    server.refuses(request_of("GET", path), 404, "");
  }
  for (const char* path : {"",
                           "v2",
                           "/v2/models//infer",
                           "/v2/models/%20/ready",
                           "/v2/models/../ready",
                           "/v2/models/%2e%2e%2fetc/ready",
                           "/v2/models/..%2flenet",
                           "/v2/models/%252e%252e",
                           "/v2/models/lenet%00",
                           "/v2/models/l\xc3\xa9net",
                           "/v2/models/%",
                           "/v2/models/%4",
                           "/v2/models/%zz",
                           "/v2/models/lenet/versions/",
                           "/v2/models/lenet/versions/01",
                           "/v2/models/lenet/versions/0",
                           "/v2/models/lenet/versions/-1",
                           "/v2/models/lenet/versions/1%2f..",
                           "/v2/models/lenet/versions/9223372036854775808",
                           "/v2/models/.hidden"}) {
    CAPTURE(path);
    server.refuses(request_of("GET", path), 400, "");
  }
}

TEST_CASE(
    "requests that have arrived together run as one batch, and one bad input is one client's") {
  for (const double loop_us : {1e9, 0.0}) {
    Options options = options_of(kModelDir);
    options.loop_us = loop_us;
    options.workers = 1;
    Server server(options);
    const Tensor images = random_images(8);
    std::vector<std::future<Response>> answers;
    const std::size_t bad = 3;
    for (std::size_t i = 0; i < 8; ++i) {
      const std::vector<float> one(
          images.data.begin() + static_cast<std::ptrdiff_t>(784 * i),
          images.data.begin() + static_cast<std::ptrdiff_t>(784 * (i + 1)));
      std::string body = bytes_of(i == bad ? std::vector<float>(784, NAN) : one);
      answers.push_back(server.send(request_of("POST", kInfer, body, "0")));
    }
    server.loop.run_waiting();
    const std::vector<float> wanted = expected(images);
    for (std::size_t i = 0; i < 8; ++i) {
      const Response response = answers[i].get();
      CHECK(response.status == (i == bad ? 400 : 200));
      if (i == bad) continue;
      const auto values = values_of(response);
      CHECK(std::equal(values.begin(), values.end(),
                       wanted.begin() + static_cast<std::ptrdiff_t>(10 * i)));
    }
    const json stats = server.get_json("/v2/models/stats").at("model_stats").at(0);
    CHECK(stats.at("inference_stats").at("success").at("count") == 7);
    CHECK(stats.at("inference_stats").at("fail").at("count") == 1);
    CHECK(stats.at("inference_count") == 7);
    const std::string metrics = server.service.metrics();
    CHECK(metrics.find(
              "lenet_requests_total{model=\"lenet\",version=\"1\",result=\"failure\"} 1\n") !=
          std::string::npos);
  }
  Options options = options_of(kModelDir);
  options.loop_us = 1e9;  // in the loop, however slow the machine is
  Server server(options);
  std::vector<std::future<Response>> answers;
  for (int i = 0; i < 8; ++i) {
    answers.push_back(
        server.send(request_of("POST", kInfer, bytes_of(random_images(1).data), "0")));
  }
  server.loop.run_waiting();
  const json stats = server.get_json("/v2/models/lenet/stats").at("model_stats").at(0);
  CHECK(stats.at("execution_count") == 1);
  CHECK(stats.at("inference_count") == 8);
}

TEST_CASE("what waits is limited in number, bytes and time, and is answered when the server ends") {
  const Request one = request_of("POST", kInfer, bytes_of(random_images(1).data), "0");
  for (const std::string what : {"number", "bytes", "time", "end"}) {
    CAPTURE(what);
    Options options = options_of(kModelDir);
    options.loop_us = 0;
    options.workers = 1;
    if (what == "number") options.limits.queued_requests = 2;
    if (what == "bytes") options.limits.queued_bytes = 3 * one.body.size() - 1;
    if (what == "time") options.limits.request_ms = 300;  // the first is begun in less
    std::promise<void> busy;
    std::promise<void> free;
    std::vector<std::future<Response>> answers;
    {
      Server server(options);
      // The only worker is kept by whom it answers.
      server.loop.handle(one, [&](const Response&) {
        busy.set_value();
        free.get_future().wait();
      });
      busy.get_future().wait();
      for (int i = 0; i < 2; ++i) answers.push_back(server.send(one));
      CHECK(server.get("/v2/health/ready").status == 200);
      if (what == "time") {  // is over while the worker is busy
        for (auto& answer : answers) {
          CHECK(answer.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
        }
        CHECK(server.service.backlog().queued_bytes == 0);
      } else {
        CHECK(server.service.backlog().queued_requests == 2);
        CHECK(server.service.backlog().queued_bytes == 2 * one.body.size());
        CHECK(server.service.backlog().running_requests == 1);
      }
      if (what == "end") {
        server.loop.handle(one, [&](const Response& response) {
          CHECK(response.status == 503);
          free.set_value();
        });
      } else {
        if (what != "time") server.refuses(one, 429, "waiting");
        free.set_value();
        for (auto& answer : answers) answer.wait();
      }
    }
    for (auto& answer : answers) {
      const Response response = answer.get();
      const bool is_refused = what == "time" || what == "end";
      CHECK(response.status == (is_refused ? 503 : 200));
      if (!is_refused) continue;
      CHECK(response.body.find(what == "end" ? "is stopping" : "too long") != std::string::npos);
    }
  }
}

TEST_CASE("a run that takes too long is ended") {
  Options options = options_of(kModelDir);
  options.limits.request_ms = 50;  // loading runs an image, which takes less on a busy machine too
  Server server(options);
  std::string images(40'000 * 3136, '\0');
  server.refuses(request_of("POST", kInfer, std::move(images), "0"), 503, "too long");
}

TEST_CASE("the metrics show what a model with open sizes is compiled for") {
  const TemporaryFolder folder;
  const Config config = write_onnx(
      folder, onnx_graph("GlobalAveragePool x -> y", "", "x[-1,2,-1,-1] -> y[-1,2,1,1]"));
  Server server(options_of(config.model_file));
  const auto shows = [&](const std::string& line) {
    return server.service.metrics().find("\n" + line) != std::string::npos;
  };
  const std::string labels = "{model=\"lenet\",version=\"1\"";
  CHECK(shows("lenet_compiled_sizes" + labels + "} 0\n"));
  CHECK(shows("lenet_compiled_bytes" + labels + "} 0\n"));
  for (const Shape& shape : {Shape{3, 2, 4, 5}, Shape{1, 2, 6, 7}, Shape{5, 2, 4, 5}}) {
    json input = input_of(shape);
    input["data"] = std::vector<float>(element_count(shape), 0.5F);
    const auto images = static_cast<std::size_t>(shape[0]);
    CHECK(values_of(server.infer(request_with(input))) == std::vector<float>(2 * images, 0.5F));
  }
  CHECK(shows("lenet_compiled_sizes" + labels + "} 2\n"));
  CHECK(shows("lenet_compiled_size_bytes" + labels + ",image=\"[2, 4, 5]\"} "));
  CHECK(shows("lenet_compiled_size_bytes" + labels + ",image=\"[2, 6, 7]\"} "));
}

}  // namespace lenet::tests
