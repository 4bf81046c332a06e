#include <chrono>

#include "measure.h"
#include "options.h"
#include "support.h"

namespace lenet::tests {
namespace {

apps::Options parse(const Names& arguments) {
  return parse_arguments(apps::parse_options, arguments);
}

void check_usage(const std::string& text, const Names& arguments) {
  CAPTURE(arguments.back());
  CHECK_THROWS_WITH_AS(parse(arguments), doctest::Contains(text.c_str()), apps::UsageError);
}

}  // namespace

TEST_CASE("values follow an equals sign or a space, names may be cut short") {
  for (const auto& arguments : {Names{"--model_file=m", "--params_file=p", "--threads=3"},
                                Names{"--model-file", "m", "--params_file", "p", "--thr", "3"}}) {
    const apps::Options options = parse(arguments);
    CHECK(options.config.model_file == "m");
    CHECK(options.config.params_file == "p");
    CHECK(options.config.threads == 3);
  }
}

TEST_CASE("booleans: alone, with a value, and before another flag") {
  CHECK(parse({"--model_dir=d"}).config.ir_optim);
  CHECK_FALSE(parse({"--model_dir=d", "--ir_optim=false"}).config.ir_optim);
  CHECK_FALSE(parse({"--ir_optim", "0", "--model_dir=d"}).config.ir_optim);
  CHECK(parse({"--memory_optim", "--model_dir", "d"}).config.memory_optim);
  CHECK(parse({"--memory_optim", "true", "--model_dir", "d"}).config.memory_optim);
  check_usage("expected true or false", {"--model_dir=d", "--ir_optim=maybe"});
  // --int8 is the same as --precision=int8
  CHECK(parse({"--model_dir=d"}).config.precision == Precision::Fp32);
  CHECK(parse({"--model_dir=d", "--int8"}).config.precision == Precision::Int8);
  CHECK(parse({"--precision=int8", "--model_dir=d", "--int8"}).config.precision == Precision::Int8);
  CHECK(parse({"--model_dir=d", "--precision", "bf16"}).config.precision == Precision::Bf16);
}

TEST_CASE("the model is the argument, unless an option names it") {
  CHECK(parse({"m.onnx"}).config.model_file == "m.onnx");
  CHECK(parse({"--threads=2", "m.onnx"}).config.model_file == "m.onnx");
  const apps::Options options = parse({"m.pdmodel", "--params_file=p"});
  CHECK(options.config.model_file == "m.pdmodel");
  CHECK(options.config.params_file == "p");
}

TEST_CASE("wrong usage says what is wrong") {
  check_usage("name a model", {});
  check_usage("unknown option -x", {"--model_dir=d", "-x"});
  check_usage("unknown option --max",
              {"--model_dir=d", "--max=3"});  // --max_batch_size, --max_seconds
  check_usage("unknown option --thread-s; did you mean --threads?", {"--thread-s=1"});
  check_usage("there is no option --model: give the model as the first", {"--model", "m.onnx"});
  check_usage("unexpected argument 'm.onnx'", {"--model_dir=d", "m.onnx"});
  check_usage("unexpected argument 'photo.jpg'; --input", {"m.onnx", "photo.jpg"});
  check_usage("--input needs a value", {"--model_dir=d", "--input"});
  check_usage("cannot be combined", {"--model_dir=d", "--model_file=m"});
  check_usage("cannot be combined", {"--model_dir=d", "--params_file=p"});
  check_usage("--labels needs", {"--model_dir=d", "--labels=l"});
  check_usage("unknown accelerator 'cuda'", {"--model_dir=d", "--accelerator=cuda"});
  check_usage("--int8 is short for", {"--model_dir=d", "--int8", "--precision=bf16"});
  check_usage("--int8 is short for", {"--model_dir=d", "--precision=fp32", "--int8"});
  check_usage("expected text or json", {"--model_dir=d", "--format=xml"});
  for (const char* number : {"0", "-1", "1.5", "x", "", "99999999999999999999"}) {
    check_usage("--threads is", {"--model_dir=d", std::string("--threads=") + number});
    check_usage("--batch_size is", {"--model_dir=d", std::string("--batch_size=") + number});
  }
  CHECK(parse({"--model_dir=d", "--warmup=0"}).warmup == 0);
}

TEST_CASE("one long name does not widen every line of a profile") {
  ProfilePart part;
  part.layers.resize(100);
  part.layers[0].name = std::string(1 << 16, 'x') + "\xff";
  Profile profile;
  profile.images = 1;
  profile.parts = {part};
  CHECK(to_table(profile).size() < 1 << 15);
  CHECK(to_json(profile).find("x\xef\xbf\xbd\"") != std::string::npos);  // U+FFFD
}

TEST_CASE("percentiles by the nearest rank, to 0.05 %") {
  const auto percentile = [](const std::vector<double>& values, double percent) {
    apps::Latencies latencies;
    for (const double value : values) latencies.add(value);
    return latencies.percentile(percent);
  };
  const auto near = [](double value) { return doctest::Approx(value).epsilon(0.0005); };
  const std::vector<double> ten = {3, 8, 1, 10, 2, 7, 4, 6, 9, 5};
  for (const auto& [percent, value] :
       {std::pair<int, int>{0, 1}, {50, 5}, {51, 6}, {90, 9}, {99, 10}})
    CHECK(percentile(ten, percent) == near(value));
  CHECK(percentile({0.0037}, 50) == near(0.0037));
  std::vector<double> many;
  // Each number from 1 to 200,000 is there once, in some order: 7919 is prime.
  for (std::int64_t i = 0; i < 200'000; ++i) {
    many.push_back(static_cast<double>(i * 7919 % 200'000 + 1) / 2e5);
  }
  for (const double percent : {1, 50, 90, 99})
    CHECK(percentile(many, percent) == near(percent / 100));
  CHECK(percentile({0, 1, 1e300}, 1) == near(std::ldexp(1.0, -30)));
  CHECK(percentile({0, 1, 1e300}, 99) == near(std::ldexp(1.0, 30)));
}

TEST_CASE("a measurement ends by the count or by the time") {
  int runs = 0;
  const auto run = [&] { ++runs; };
  CHECK(apps::measure(run, 3, 5, 1e9, 1).runs == 5);
  CHECK(runs == 8);
  // The time ends it after two runs, one to warm up and one to measure. Each run lasts until the
  // clock advances: on Windows it has steps of 100 ns, and a shorter run would take no time.
  runs = 0;
  const auto advance = [&] {
    ++runs;
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() == start) continue;
  };
  CHECK(apps::measure(advance, 1'000'000'000, 1'000'000'000, 1e-12, 1).runs == 1);
  CHECK(runs == 2);
}

}  // namespace lenet::tests
