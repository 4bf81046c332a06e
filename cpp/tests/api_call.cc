/// The public C++ API as a program: one call, told by `name=value` arguments, for the table of bad
/// input (tests/cpp/test_bad_input.py). Prints what a caller of the library gets, and exits with 0
/// after a value and after an error alike; any other end of the process is a fault.
///
/// With the one argument `-` it makes calls until its input ends: each argument of a call ends in a
/// NUL, each call in an empty argument, and what a call prints in a NUL.
///
///     ok SHAPE CRC32-OF-THE-VALUES
///     labels COUNT
///     image SHAPE CRC32-OF-THE-VALUES
///     python SUM (of one and one, by an interpreter opened before the call or after it)
///     NAME-OF-THE-ERROR MESSAGE
#include <dlfcn.h>

#include <clocale>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "config_option.h"
#include "crc32.h"
#include "lenet/engines.h"
#include "lenet/image_io.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"
#include "lenet/predictor_pool.h"

namespace {

using Arguments = std::map<std::string, std::string>;

/// "2,1,28,28": zeros of that shape; a negative size stands for itself and has no values.
lenet::Tensor zeros(const std::string& text) {
  lenet::Tensor tensor;
  std::istringstream sizes(text);
  std::int64_t count = 1;
  for (std::string size; std::getline(sizes, size, ',');) {
    tensor.shape.push_back(std::stoll(size));
    count *= tensor.shape.back();
  }
  tensor.data.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return tensor;
}

/// Of the values' bytes, as zlib computes it, so that Python can compare.
std::uint32_t crc32_of(const std::vector<float>& values) {
  return lenet::tests::crc32(
      {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

/// As a program does that embeds an interpreter. \param library libpython's path
bool run_python(const std::string& library) {
  void* python = dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (python == nullptr) return false;
  const auto initialize = reinterpret_cast<void (*)()>(dlsym(python, "Py_Initialize"));
  const auto run = reinterpret_cast<int (*)(const char*)>(dlsym(python, "PyRun_SimpleString"));
  if (initialize == nullptr || run == nullptr) return false;
  initialize();
  return run("import json, math\nprint('python', json.dumps(1 + int(math.sqrt(1))), flush=True)") ==
         0;
}

void act(const Arguments& arguments) {
  const auto given = [&](const char* name) { return arguments.count(name) > 0; };
  if (given("library"))
    lenet::set_engine_library(lenet::EngineKind::Paddle, arguments.at("library"));
  if (given("labels")) {
    std::printf("labels %zu\n", lenet::read_labels(arguments.at("labels")).size());
    return;
  }
  if (given("preprocess")) {
    const auto pipeline = lenet::ImagePipeline::load(arguments.at("preprocess"));
    const lenet::Tensor tensor =
        pipeline(lenet::decode_image(arguments.at("image"), pipeline.depth()));
    if (given("output")) lenet::write_npy(arguments.at("output"), tensor);
    std::printf("image %s %08x\n", lenet::to_string(tensor.shape).c_str(), crc32_of(tensor.data));
    return;
  }
  lenet::Config config;
  for (const auto& [name, value] : arguments) {
    const std::string others =
        " library input shape output pool locale python_before python_after ";
    if (others.find(' ' + name + ' ') == std::string::npos) lenet::set_option(config, name, value);
  }
  const lenet::Tensor images = given("input")
                                   ? lenet::read_images(arguments.at("input"))
                                   : zeros(given("shape") ? arguments.at("shape") : "1,1,28,28");
  lenet::Tensor output;
  if (given("pool")) {
    lenet::PredictorPool pool(config, std::stoul(arguments.at("pool")));
    output = pool.run(images.view());
  } else {
    lenet::Predictor predictor(config);
    output = predictor.run(images.view());
  }
  if (given("output")) lenet::write_npy(arguments.at("output"), output);
  std::printf("ok %s %08x\n", lenet::to_string(output.shape).c_str(), crc32_of(output.data));
}

void add(Arguments& arguments, const std::string& text) {
  const auto equals = text.find('=');
  arguments[text.substr(0, equals)] = text.substr(equals + 1);
}

int call(Arguments arguments) {
  try {
    if (arguments.count("locale") > 0) std::setlocale(LC_ALL, arguments["locale"].c_str());
    if (arguments.count("python_before") > 0 && !run_python(arguments["python_before"])) return 1;
    act(arguments);
    std::fflush(stdout);
    if (arguments.count("python_after") > 0 && !run_python(arguments["python_after"])) return 1;
  } catch (const lenet::Error& error) {
    std::printf("%s %s\n", lenet::to_string(error.code()), error.what());
  }
  return 0;
}

int call_until_the_input_ends() {
  Arguments arguments;
  for (std::string text; std::getline(std::cin, text, '\0');) {
    if (!text.empty()) {
      add(arguments, text);
      continue;
    }
    call(std::exchange(arguments, {}));
    std::putchar('\0');
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "-") return call_until_the_input_ends();
  Arguments arguments;
  for (int i = 1; i < argc; ++i) add(arguments, argv[i]);
  return call(std::move(arguments));
}
