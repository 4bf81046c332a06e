#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "classify_files.h"
#include "command_line.h"
#include "io/yaml.h"
#include "options.h"
#include "report.h"
#include "support.h"

namespace lenet::tests {
namespace {

apps::ClassifyOptions parse(const Names& arguments) {
  return parse_arguments(apps::parse_classify_options, arguments);
}

}  // namespace

TEST_CASE("images stand among the flags, and after --") {
  const auto options =
      parse({"a.png", "--model_dir=d", "--topk", "3", "b", "--format=csv", "--", "--c"});
  CHECK(options.images == Names{"a.png", "b", "--c"});
  CHECK(options.topk == 3);
  CHECK(options.batch_size == 1);
  CHECK(options.format == apps::Format::Csv);
  CHECK_FALSE(options.softmax.has_value());
  CHECK(parse({"--model_dir=d", "--softmax", "a"}).softmax == true);
  CHECK(parse({"--model_dir=d", "--softmax", "false", "a"}).softmax == false);
  CHECK(parse({"--help"}).help);
  // test_options.cc has more of what the two programs share, test_classify_program.py of this one.
  CHECK_THROWS_WITH_AS(parse({"--model_dir=d", "--topk=0", "a"}),
                       doctest::Contains("--topk is '0'"), apps::UsageError);
}

TEST_CASE("the first argument is the model, unless an option names it") {
  const auto options = parse({"--topk=3", "m.onnx", "a.png", "b"});
  CHECK(options.config.model_file == "m.onnx");
  CHECK(options.images == Names{"a.png", "b"});
  CHECK(parse({"m.onnx", "--", "--c"}).images == Names{"--c"});
  const auto named = parse({"m.onnx", "--model_file=other.onnx"});
  CHECK(named.config.model_file == "other.onnx");
  CHECK(named.images == Names{"m.onnx"});
  CHECK_THROWS_WITH_AS(parse({}),
                       doctest::Contains("name a model: lenet_classify model.onnx photo.jpg"),
                       apps::UsageError);
  CHECK_THROWS_WITH_AS(parse({"photo.jpg"}), doctest::Contains("name images to classify"),
                       apps::UsageError);
}

TEST_CASE("the most probable classes, the lower number first when two are equal") {
  const std::vector<float> logits = {1, 3, 3, -1};
  const auto top = top_classes(logits.data(), 4, 3, OutputRole::Logits);
  REQUIRE(top.size() == 3);
  CHECK(top[0].class_id == 1);
  CHECK(top[1].class_id == 2);
  CHECK(top[2].class_id == 0);
  const double sum = 2 + std::exp(-2.0) + std::exp(-4.0);
  CHECK(top[0].value == doctest::Approx(1 / sum).epsilon(1e-7));
  CHECK(top[2].value == doctest::Approx(std::exp(-2.0) / sum).epsilon(1e-7));
  CHECK(top_classes(logits.data(), 4, 9, OutputRole::Unknown).size() == 4);
  CHECK(top_classes(logits.data(), 4, 1, OutputRole::Unknown)[0].value == 3);
  const std::vector<float> labels = {7, -1};
  CHECK(top_classes(labels.data(), 2, 1, OutputRole::ClassNumbers).size() == 1);
  CHECK(top_classes(labels.data(), 2, 9, OutputRole::ClassNumbers)[1].class_id == -1);
  const std::vector<float> large = {1e30F, -1e30F};
  CHECK(top_classes(large.data(), 2, 1, OutputRole::Logits)[0].value == 1);
}

TEST_CASE("no class is made of NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto problem = [](const std::vector<float>& outputs, OutputRole kind) {
    return problem_of(outputs.data(), outputs.size(), kind);
  };
  for (const OutputRole kind : {OutputRole::Unknown, OutputRole::Logits, OutputRole::Probabilities,
                                OutputRole::Scores, OutputRole::ClassNumbers}) {
    CHECK(problem({1, NAN, 2}, kind) == "output 1 of 3 is NaN");
    CHECK(problem({1, 0, 2}, kind) == "");
  }
  // -infinity is a number, as of a log-softmax; a softmax has no limit where it is all there is.
  CHECK(problem({-infinity, 0}, OutputRole::Logits) == "");
  CHECK(problem({-infinity, 0}, OutputRole::Unknown) == "");
  CHECK(problem({infinity, 0}, OutputRole::Unknown) == "");
  CHECK(problem({1, infinity}, OutputRole::Logits) ==
        "output 1 of 2 is infinite, of which a softmax makes NaN");
  CHECK(problem({-infinity, -infinity}, OutputRole::Logits).find("all outputs") == 0);
  CHECK(problem({0, 1e19F}, OutputRole::ClassNumbers) == "output 1 of 2 is no class number");
  CHECK(problem({-infinity}, OutputRole::ClassNumbers) == "output 0 of 1 is no class number");
  // Each rule refuses it.
  const std::vector<float> outputs(26, NAN);
  for (const PostProcessKind& kind : post_process_kinds()) {
    Description description;
    description.outputs.type = kind.type;
    for (const auto& [name, usual] : kind.thresholds) {
      description.outputs.thresholds.push_back(usual);
    }
    CHECK_ERROR(BadInput, "the model gives no class: output 0 of 26 is NaN",
                interpret(outputs.data(), 26, description, OutputRole::Unknown, {}));
  }
  const std::vector<float> scores = {infinity, 0.25F};
  Description several;
  several.outputs.type = PostProcess::MultiLabelThreshOutput;
  several.outputs.thresholds = {0.5};
  CHECK(interpret(scores.data(), 2, several, OutputRole::Logits, {}).predictions.size() == 1);
}

TEST_CASE("results as text, CSV and JSON") {
  using apps::Format;
  const Finding named = {{{1, 0.75F, 0, "dog, \"hot\""}, {0, 0.25F, 0, "cat"}}, {}, {}};
  const Finding unnamed = {{{1, 0.75F}, {0, 0.25F}}, {}, {}};
  const std::string file = "a,\"b\"\n.png";
  CHECK(format_results({{file, named, ""}}, Format::Text, "probability") ==
        "a,\"b\"\\n.png\n  0.750000  class 1  dog, \"hot\"\n  0.250000  class 0  cat\n");
  CHECK(format_results({{file, unnamed, ""}}, Format::Text, "probability") ==
        "a,\"b\"\\n.png\n  0.750000  class 1\n  0.250000  class 0\n");
  CHECK(format_results({{file, named, ""}}, Format::Csv, "probability") ==
        "file,rank,class_id,label,probability,error\n"
        "\"a,\"\"b\"\"\n.png\",1,1,\"dog, \"\"hot\"\"\",0.75,\n"
        "\"a,\"\"b\"\"\n.png\",2,0,cat,0.25,\n");
  const Finding labels = {{{7, NAN}, {-1, NAN}}, {}, {}};
  CHECK(format_results({{"a", labels, ""}}, Format::Text, "score") == "a\n  class 7\n  class -1\n");
  const std::vector<apps::ImageResult> other = {{"\xff.png", {{{0, 1}}, {}, {}}, ""}};
  const std::string json = format_results(other, Format::Json, "score");
  CHECK(json.find(R"("label": null)") != std::string::npos);
  CHECK(json.find(R"("class_id": 0)") != std::string::npos);
  CHECK(json.find(R"("score": 1.0)") != std::string::npos);
  CHECK(format_results(other, Format::Text, "score").find("  score 1.0") != std::string::npos);
  const std::vector<apps::ImageResult> attributes = {{"a.png", {{}, {"Hat: True"}, {0, 1}}, ""}};
  CHECK(format_results(attributes, Format::Text, "probability") == "a.png\n  Hat: True\n");
  CHECK(format_results(attributes, Format::Csv, "probability") ==
        "file,rank,class_id,label,probability,error\na.png,1,,Hat: True,,\n");
  CHECK(nlohmann::json::parse(format_results(attributes, Format::Json, "probability")) ==
        nlohmann::json::parse(R"([{"file": "a.png", "attributes": ["Hat: True"],
                                   "output": [0, 1]}])"));
  CHECK(format_results({{"a.png", {}, ""}}, Format::Text, "probability") ==
        "a.png\n  no class reaches the threshold\n");
}

TEST_CASE("names of classes") {
  const TemporaryFolder folder;
  const auto read = [&](std::string_view contents) {
    return read_class_names(write_file(folder / "labels", contents));
  };
  CHECK(read("cat\r\n\n hot dog \nbird") == Names{"cat", "hot dog", "bird"});
  CHECK(read("\xef\xbb\xbf"
             "0 cat\n1\thot dog\n") == Names{"cat", "hot dog"});
  CHECK(read("0 cat\n2 dog\n") == Names{"0 cat", "2 dog"});
  CHECK(read("1 cat\n2\thot dog\n") == Names{"cat", "hot dog"});
  CHECK(read("1 cat\n3 dog\n") == Names{"1 cat", "3 dog"});
  CHECK(read("1 cat\ndog\n") == Names{"1 cat", "dog"});
  CHECK(read("1 star\n2 stars\n3 stars\n") == Names{"1 star", "2 stars", "3 stars"});
  CHECK(read("0\n1\n2\n") == Names{"0", "1", "2"});
  CHECK_ERROR(BadInput, "lists no label", read(" \n"));
  CHECK_ERROR(BadInput, "UTF-8", read("\xff\n"));
  CHECK_ERROR(BadInput, "line 2 has a NUL character", read(std::string_view("cat\nd\0g\n", 9)));
  CHECK_ERROR(BadInput, "at most 4194304 are read", read(std::string(kMaxYamlBytes + 1, 'a')));
  CHECK(read(std::string(kMaxYamlBytes, 'a')).size() == 1);
  CHECK_ERROR(FileNotFound, "nowhere", read_class_names("/nowhere"));
}

static std::vector<std::string> found(const std::vector<std::string>& names) {
  std::vector<std::string> files;
  for (const auto& image : apps::find_images(names, false)) files.push_back(image.text());
  return files;
}

TEST_CASE("image files of a folder") {
  const TemporaryFolder folder;
  for (const char* name : {"b.PNG", "a.jpeg", ".hidden.png", "notes.txt", "c.webp"}) {
    write_file(folder / name, "");
  }
  fs::create_directory(folder / "d.png");
  CHECK(found({folder.path(), folder / "notes.txt"}) ==
        Names{folder / "a.jpeg", folder / "b.PNG", folder / "c.webp", folder / "notes.txt"});
  CHECK_ERROR(FileNotFound, "no image in this folder", found({folder / "d.png"}));
  CHECK_ERROR(FileNotFound, "missing.png", found({folder / "missing.png"}));
}

TEST_CASE("the manifest beside a model") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& contents) {
    write_file(folder / "manifest.json", contents);
    return read_manifest(folder / "net.json", true);
  };
  CHECK(read_manifest(folder / "net.json", true).classes.empty());
  const std::string whole =
      R"({"format_version": 1, "softmax": true, "classes": ["a"], "models": {"net.json": {}}})";
  CHECK(read(whole).softmax == true);
  CHECK(read(whole).classes == Names{"a"});
  CHECK_FALSE(read_manifest(folder / "other.json", true).softmax.has_value());
  const std::string unknown =
      R"({"format_version": 1, "softmax": null, "classes": [], "models": {"net.json": {}}})";
  CHECK_FALSE(read(unknown).softmax.has_value());
  for (const char* damaged : {"", "[]", "{}", R"({"format_version": 2, "models": {}})",
                              R"({"format_version": 1, "models": {"net.json": {}}})",
                              R"({"format_version": 1, "softmax": 1, "classes": [],
                                  "models": {"net.json": {}}})"}) {
    CHECK_ERROR(BadModel, "manifest.json' is not a valid manifest", read(damaged));
  }
  read(whole);
  write_file(folder / "SHA256SUMS", std::string(64, '0') + "  manifest.json\n");
  CHECK_ERROR(BadModel, "SHA-256", read(whole));
}

}  // namespace lenet::tests
