#include <nlohmann/json.hpp>

#include "classify_files.h"
#include "description/description.h"
#include "description/outputs.h"
#include "io/json.h"
#include "io/yaml.h"
#include "support.h"

namespace lenet::tests {
namespace {

using nlohmann::json;

/// A value, which is that of a member that is read.
json read_yaml(const std::string& value) {
  const json found = parse_yaml("skipped: [&x 1, *x, !a b]\nread: " + value, {"read"});
  return found.at("read");
}

const std::string kOps = R"(
PreProcess:
  transform_ops:
    - ResizeImage: {resize_short: 7}
    - NormalizeImage: {scale: 1, mean: [0, 0, 0], std: [1, 1, 1], order: ''}
    - ToCHWImage:
)";

/// Of an inference.yml with this under PostProcess.
Description with(const std::string& post_process, const std::string& labels = "") {
  const TemporaryFolder folder;
  if (!labels.empty()) write_file(folder / "names.txt", labels);
  const std::string path =
      write_file(folder / "inference.yml", kOps + "PostProcess: " + post_process);
  return parse_description(read_description(path, true).text, path);
}

/// The classes of an image: "NUMBER LABEL VALUE".
Names classes(const std::vector<float>& outputs, const Description& description, Wish wish = {},
              OutputRole kind = OutputRole::Probabilities) {
  Names found;
  for (const auto& one :
       interpret(outputs.data(), outputs.size(), description, kind, wish).predictions) {
    const std::string value = json(std::round(one.value * 1e3) / 1e3).dump();
    found.push_back(std::to_string(one.class_id) + " " + one.label.value_or("-") + " " + value);
  }
  return found;
}

Names attributes(std::vector<float> outputs, const std::string& post_process, Wish wish = {}) {
  return interpret(outputs.data(), outputs.size(), with(post_process), OutputRole::Scores, wish)
      .attributes;
}

}  // namespace

TEST_CASE("YAML has the values that PyYAML gives them") {
  const json found = parse_yaml(R"(
texts: [a, 'yes', "no", 1e3, 1.5e3, "017", 0.0.1, -, a b, '']
numbers: [0, -7, +7, 1.5, .5, 1., 1.0e+3, 9223372036854775807]
others: [yes, Off, TRUE, ~, null, NULL, on]
? name
: |
  two
  lines
null: 3
)",
                                {"texts", "numbers", "others", "name", "null", "not there"});
  CHECK(found["texts"] == json({"a", "yes", "no", "1e3", "1.5e3", "017", "0.0.1", "-", "a b", ""}));
  CHECK(found["numbers"] == json({0, -7, 7, 1.5, 0.5, 1.0, 1000.0, 9223372036854775807}));
  CHECK(found["others"] == json({true, false, true, nullptr, nullptr, nullptr, true}));
  CHECK(found["name"] == "two\nlines\n");
  CHECK(found["null"] == 3);
  CHECK(found.size() == 5);
  CHECK(read_yaml("{a: !!python/tuple [1, 2], b: !!str 3}") == json({{"a", {1, 2}}, {"b", "3"}}));
  CHECK(read_yaml("&a [1]") == json({1}));
  CHECK(parse_yaml("", {}).is_null());
  CHECK(parse_yaml("[a]", {}) == json({"a"}));
  CHECK(parse_yaml("\xef\xbb\xbf"
                   "a: 1",
                   {"a"}) == json({{"a", 1}}));
  CHECK(parse_yaml("\xef\xbb\xbf"
                   "a: 1\nb: 2\n",
                   {"a", "b"}) == json({{"a", 1}, {"b", 2}}));
  Names texts;
  for (const json& value : read_yaml("[90, 1.5, 1.0, yes, ~, no, text]")) {
    texts.push_back(python_text(value));
  }
  CHECK(texts == Names{"90", "1.5", "1.0", "True", "None", "False", "text"});
}

TEST_CASE("YAML that is damaged, or that descriptions of models do without") {
  const auto fails = [](const std::string& text) {
    try {
      parse_yaml(text, {"a"});
    } catch (const InvalidJson& error) {
      return std::string(error.what());
    }
    return std::string("it is read");
  };
  CHECK(fails("a: [") == "line 2: did not find expected node content");
  CHECK(fails("a: 1\nb: \"x") == "line 2: found unexpected end of stream");
  CHECK(fails("a: 1\na: 2") == "'a' comes a second time");
  CHECK(fails("a: 1\n---\nb: 2") == "a second document follows the first");
  CHECK(fails("\x01").find("control characters are not allowed") != std::string::npos);
  CHECK(fails("a: \xff").find("invalid leading UTF-8 octet") != std::string::npos);
  CHECK(fails(std::string(33, '[')).find("nested too deeply") != std::string::npos);
  CHECK(fails(std::string(32, '[') + std::string(32, ']')) == "it is read");
  for (const char* name : {"a", "passed over"}) {
    std::string nested;
    for (int i = 0; i < 100000; ++i) nested += "{" + std::string(name) + ": ";
    CHECK(fails(nested).find("nested too deeply") != std::string::npos);
  }
  CHECK_ERROR(Unsupported, "line 2: an alias", read_yaml("*x"));
  CHECK_ERROR(Unsupported, "line 2: a tag, 'tag:yaml.org,2002:python/object/apply:os.system'",
              read_yaml("!!python/object/apply:os.system ['exit 1']"));
  CHECK_ERROR(Unsupported, "a merged mapping", read_yaml("{<<: {b: 1}}"));
  CHECK_ERROR(Unsupported, "the name of a member is no text", read_yaml("{? [a] : 1}"));
  for (const char* number : {"017", "0x1F", "0b11", "1_000", "1:30", "1:30.5"}) {
    CHECK_ERROR(Unsupported, "write it in base 10, or in quotes", read_yaml(number));
  }
  CHECK_ERROR(Unsupported, "at most 4194304 are read",
              parse_yaml(std::string(kMaxYamlBytes + 1, ' '), {}));
}

TEST_CASE("a million keys of a YAML take no more than their share") {
  std::string text = "read:\n";
  for (int i = 0; text.size() < kMaxYamlBytes - 16; ++i) text += " " + std::to_string(i) + ":\n";
  CHECK(parse_yaml(text, {"read"})["read"].size() > 450000);
  CHECK(parse_yaml(text, {}).empty());
}

TEST_CASE("Topk has its number, its names, and those of a file") {
  const Description description = with("{Topk: {topk: 2, label_list: [cat, 0, yes]}}");
  CHECK(description.labels == Names{"cat", "0", "True"});
  CHECK(classes({0.5F, 0.25F, 0.125F}, description) == Names{"0 cat 0.5", "1 0 0.25"});
  CHECK(classes({0.5F, 0.25F, 0.125F}, description, {1, {}}) == Names{"0 cat 0.5"});
  CHECK(classes({0.5F, 0.25F, 0.125F}, description, {{}, 0.3}) == Names{"0 cat 0.5"});
  CHECK(classes({0, 0, 0}, description, {}, OutputRole::Logits) ==
        Names{"0 cat 0.333", "1 0 0.333"});
  const std::string of_file =
      "{main_indicator: Topk, SavePreLabel: {save_dir: x}, Topk: {"
      "class_id_map_file: ../ppcls/utils/names.txt}}";
  CHECK(with(of_file, "1 hot dog\n0 cat\n2 \n").labels == Names{"cat", "hot dog", ""});
  CHECK(with("{name: Topk, topk: 1, class_id_map_file: names.txt, delimiter: ', '}", "0, a\n1, b")
            .labels == Names{"a", "b"});
  CHECK(with(of_file).labels.empty());
  CHECK_ERROR(BadModel, "names.txt': the labels: expected the numbers 0 to 1, found 2",
              with(of_file, "0 a\n2 b\n"));
  CHECK_ERROR(BadModel, "'1' comes twice", with(of_file, "1 a\n1 b\n"));
}

TEST_CASE("ThreshOutput is one of two classes, or one of many when it is sure") {
  const Description two = with("{ThreshOutput: {threshold: 0.75, label_0: no, label_1: car}}");
  CHECK(classes({0.25F, 0.75F}, two) == Names{"1 car 0.75"});
  CHECK(classes({0.5F, 0.5F}, two) == Names{"0 False 0.5"});
  CHECK(classes({0.375F, 0.625F}, two) == Names{"0 False 0.375"});
  CHECK(classes({0.375F, 0.625F}, two, {{}, 0.6}) == Names{"1 car 0.625"});
  const std::string many =
      "{ThreshOutput: {threshold: 0.5, default_label_index: 2, class_id_map_file: names.txt}}";
  const Description three = with(many, "0 a\n1 b\n2 c\n");
  CHECK(classes({0.25F, 0.75F, 0}, three) == Names{"1 b 0.75"});
  CHECK(classes({0.25F, 0.5F, 0.25F}, three) == Names{"2 c 0.25"});
  CHECK_ERROR(BadModel, "default_label_index", classes({0, 1}, three));
  // Of a network that gives numbers of classes.
  CHECK(classes({7, 1}, two, {}, OutputRole::ClassNumbers) == Names{"7 - null", "1 car null"});
  CHECK(classes({}, two).empty());
}

TEST_CASE("MultiLabelThreshOutput has the classes at its threshold, in PaddleX above it") {
  const std::string clas =
      "{MultiLabelThreshOutput: {threshold: 0.5, class_id_map_file: names.txt}}";
  const std::vector<float> outputs = {0.5F, 0.25F, 0.75F};
  CHECK(classes(outputs, with(clas, "0 a\n1 b\n2 c\n")) == Names{"0 a 0.5", "2 c 0.75"});
  CHECK(classes(outputs, with(clas), {{}, 0.8}).empty());
  CHECK(classes(outputs, with(clas), {1, {}}) == Names{"2 - 0.75"});
  // A softmax would make one class of several.
  CHECK(classes({3, -1, 2}, with(clas), {}, OutputRole::Logits) == Names{"0 - 3.0", "2 - 2.0"});
  const std::string x3 = "{MultiLabelThreshOutput: {threshold: 0.25, label_list: [a, b, c]}}";
  CHECK(classes(outputs, with(x3)) == Names{"2 c 0.75", "0 a 0.5"});
}

TEST_CASE("attributes are named as PaddleClas names them") {
  std::vector<float> person(26, 0);
  CHECK(attributes(person, "{PersonAttribute: {}}") ==
        Names{"Male", "AgeLess18", "Front", "Glasses: False", "Hat: False",
              "HoldObjectsInFront: False", "No bag", "Upper: ShortSleeve", "Lower:  LowerStripe",
              "No boots"});
  for (const int i : {0, 3, 5, 7, 11, 12, 14, 17, 21, 22, 25})
    person[static_cast<std::size_t>(i)] = 0.9F;
  person[1] = 0.35F;   // glasses have a threshold of their own
  person[18] = 0.55F;  // and what is held
  CHECK(attributes(person, "{PersonAttribute: null}") ==
        Names{"Female", "AgeOver60", "Back", "Glasses: True", "Hat: True",
              "HoldObjectsInFront: False", "Backpack", "Upper: LongSleeve UpperLogo UpperSplice",
              "Lower:  Trousers Shorts", "Boots"});
  const Finding found =
      interpret(person.data(), 26, with("{PersonAttribute: }"), OutputRole::Scores, {});
  CHECK(found.flags == std::vector<int>{1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1,
                                        0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1});
  CHECK(attributes(person, "{PersonAttribute: {hold_threshold: 0.5}}")[5] ==
        "HoldObjectsInFront: True");
  CHECK(attributes(person, "{PersonAttribute: }", {{}, 0.95})[4] == "Hat: False");

  std::vector<float> vehicle(19, 0);
  vehicle[9] = 0.5F;
  vehicle[11] = 0.25F;
  CHECK(attributes(vehicle, "{VehicleAttribute: {type_threshold: 0.3}}") ==
        Names{"Color: (black, prob: 0.5)", "Type unknown"});
  CHECK(attributes(vehicle, "{VehicleAttribute: {type_threshold: 0.2, color_threshold: 0.6}}") ==
        Names{"Color unknown", "Type: (suv, prob: 0.25)"});

  const std::vector<float> table = {0.9F, 0.1F, 0.9F, 0.1F, 0.6F, 0.4F};
  CHECK(attributes(table, "{TableAttribute: {}}") ==
        Names{"Scanned", "Numerous", "Black-and-White", "Blurry", "Without-Obstacles", "Tilted"});
  // There the threshold of the number stands for those of obstruction and angle, but in `output`.
  const std::string own = "{TableAttribute: {number_threshold: 0.7, angle_threshold: 0.3}}";
  CHECK(attributes(table, own)[4] == "With-Obstacles");
  CHECK(interpret(table.data(), 6, with(own), OutputRole::Scores, {}).flags ==
        std::vector<int>{1, 0, 1, 0, 1, 1});
  CHECK_ERROR(BadModel, "the model are 5, its description has TableAttribute, which is for 6",
              attributes({0, 0, 0, 0, 0}, "{TableAttribute: }"));
}

TEST_CASE("what a post-processing asks for beyond these is refused by its name") {
  CHECK_ERROR(Unsupported, "PostProcess.ScoreOutput is not known",
              with("{ScoreOutput: {decimal_places: 2}}"));
  CHECK_ERROR(Unsupported, "Topk.sorted is not known", with("{Topk: {sorted: true}}"));
  CHECK_ERROR(Unsupported, "without a main_indicator", with("{Topk: {}, ThreshOutput: {}}"));
  CHECK_ERROR(BadModel, "there is no Topk, its main_indicator", with("{main_indicator: Topk}"));
  CHECK_ERROR(Unsupported, "threshold {\"default\":0.5}",
              with("{MultiLabelThreshOutput: {threshold: {default: 0.5}}}"));
  CHECK_ERROR(BadModel, "Topk.topk: expected an integer from 1", with("{Topk: {topk: 0}}"));
  CHECK_ERROR(BadModel, "Topk.label_list: expected a list", with("{Topk: {label_list: 3}}"));
  CHECK_ERROR(BadModel, "PostProcess: expected values by name", with("[Topk]"));
}

}  // namespace lenet::tests
