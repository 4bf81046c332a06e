#include "engines/engine.h"
#include "model/hash_check.h"
#include "model/model.h"
#include "notation.h"
#include "platform/platform.h"

namespace lenet::tests {
namespace {

void flip_a_weight(const ModelFolder& model) {
  std::string contents = read_file(model / "lenet.pdiparams");
  contents.at(247000) ^= 1;
  write_file(model / "lenet.pdiparams", contents);
}

Config by_dir(const TemporaryFolder& folder) { return config_of("model_dir=" + folder.path()); }

Config by_files(const std::string& program, const std::string& params = "") {
  return config_of("model_file=" + program + " params_file=" + params);
}

void check(const Config& config) { load_model(find_model_files(config), config); }

void expect(const Config& config, ModelFormat format, const std::string& program,
            const std::string& params = "") {
  const ModelFiles files = find_model_files(config, prefers_onnx(config.engine));
  CHECK(files.format == format);
  CHECK(files.program == program);
  CHECK(files.params == params);
}

}  // namespace

TEST_CASE("the parts of a path") {
  struct {
    const char* path;
    const char* folder;
    const char* name;
    const char* suffix;
    const char* renamed;  // with the suffix .x
  } const cases[] = {
      {"a", "", "a", "", "a.x"},
      {"a.b.json", "", "a.b.json", ".json", "a.b.x"},
      {"f.d/a", "f.d", "a", "", "f.d/a.x"},
      {"f/g/a.b", "f/g", "a.b", ".b", "f/g/a.x"},
      {"/a.b", "/", "a.b", ".b", "/a.x"},
      {"f/", "f", "", "", "f/.x"},
      {"f/.a", "f", ".a", "", "f/.a.x"},
      {"f/..", "f", "..", "", "f/...x"},
      {"f/a.", "f", "a.", ".", "f/a.x"},
      {"", "", "", "", ".x"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.path);
    CHECK(platform::folder_of(each.path) == each.folder);
    CHECK(platform::name_of(each.path) == each.name);
    CHECK(platform::suffix_of(each.path) == each.suffix);
    CHECK(platform::with_suffix(each.path, ".x") == each.renamed);
  }
  CHECK(platform::in_folder("", "a") == "a");
  CHECK(platform::in_folder("f", "a") == "f/a");
  CHECK(platform::in_folder("f/", "a") == "f/a");
  CHECK(platform::beside("f/g.b", "a") == "f/a");
  CHECK(platform::beside("g.b", "a") == "a");
  for (const char* name : {"a/b", "/a", "a/"}) {
    CAPTURE(name);
    CHECK_FALSE(platform::is_plain_name(name));
  }
  CHECK(platform::is_plain_name("a b.c"));
}

TEST_CASE("what a path leads to") {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  fs::create_directory(folder / "folder");
  using platform::Kind;
  CHECK(platform::kind_of(folder / "file") == Kind::File);
  CHECK(platform::kind_of(folder / "folder") == Kind::Folder);
  CHECK(platform::kind_of(folder / "none") == Kind::Missing);
  CHECK(platform::kind_of(folder / "file/none") == Kind::Missing);
  std::string failure;
  CHECK(platform::list_folder(folder.path(), failure).size() == 2);
  CHECK(failure.empty());
  CHECK(platform::list_folder(folder / "none", failure).empty());
  CHECK_FALSE(failure.empty());
  CHECK(platform::real_path(folder / "none").empty());
  CHECK(platform::real_path(folder / "folder/../file") == platform::real_path(folder / "file"));
}

TEST_CASE("a folder: .pdmodel before .json, __model__ before both") {
  const ModelFolder model;
  const Config config = by_dir(model);
  for (const auto& [format, name] : {std::pair(ModelFormat::Pdmodel, "lenet.pdmodel"),
                                     std::pair(ModelFormat::Json, "lenet.json")}) {
    expect(config, format, model / name, model / "lenet.pdiparams");
    check(config);
    fs::remove(model / name);
  }
  write_file(model / "__model__", "");
  expect(config, ModelFormat::Separate, model / "__model__");
}

TEST_CASE("the names of the old guides") {
  const ModelFolder model;
  fs::create_directory(model / "model");  // a folder of that name is none of them
  CHECK(find_model_files(by_dir(model)).format == ModelFormat::Pdmodel);
  fs::remove(model / "model");
  for (const char* program : {"model", "__model__"}) {
    CAPTURE(program);
    fs::copy_file(model / "lenet.pdmodel", model / program);
    expect(by_dir(model), ModelFormat::Separate, model / program);
    for (const char* params : {"__params__", "params"}) {
      fs::copy_file(model / "lenet.pdiparams", model / params);
      for (const Config& config : {by_dir(model), by_files(model / program)}) {
        expect(config, ModelFormat::Pdmodel, model / program, model / params);
        check(config);
      }
      fs::remove(model / params);
    }
    CHECK(find_model_files(by_files(model / program, "p")).params == "p");
    fs::remove(model / program);
  }
}

TEST_CASE("ways of naming a model") {  // bad_input_cases.py has more
  const ModelFolder model;
  check(by_files(model / "lenet.pdmodel"));
  CHECK(find_model_files(by_files(model / "lenet.json")).params == model / "lenet.pdiparams");
  CHECK(find_model_files(by_files(model / "lenet.pdmodel", "c/d")).params == "c/d");
  const TemporaryFolder old;
  write_file(old / "__model__", "");
  CHECK(find_model_files(by_files(old / "__model__")).format == ModelFormat::Separate);
  CHECK(find_model_files(by_files(old / "__model__", "a/__params__")).format ==
        ModelFormat::Pdmodel);
  fs::copy_file(model / "lenet.pdmodel", model / "other.pdmodel");
  CHECK(find_model_files(by_dir(model)).program == model / "lenet.pdmodel");
  fs::copy_file(model / "lenet.pdiparams", model / "other.pdiparams");
  const auto quoted = [&](const char* name) { return "'" + (model / name) + "'"; };
  const std::string all = "several models: name one of " + quoted("lenet.pdmodel") + ", " +
                          quoted("other.pdmodel") + ", " + quoted("lenet.json");
  CHECK_ERROR(BadModel, all.c_str(), find_model_files(by_dir(model)));
}

TEST_CASE("what paddle.jit.save wrote, named as if it were in a folder of its name") {
  const ModelFolder model;
  const Config named = by_files(model / "lenet/lenet.pdmodel", model / "lenet/lenet.pdiparams");
  for (const auto& [format, name] : {std::pair(ModelFormat::Pdmodel, "lenet.pdmodel"),
                                     std::pair(ModelFormat::Json, "lenet.json")}) {
    for (const Config& config : {named, by_files(model / "lenet/lenet.pdmodel")}) {
      expect(config, format, model / name, model / "lenet.pdiparams");
      check(config);
    }
    fs::rename(model / name, model / (std::string("kept.") + name));
  }
  write_file(model / "lenet.onnx", "");  // which jit.save does not write
  CHECK_ERROR(FileNotFound, "/lenet.onnx'", find_model_files(named));
  fs::rename(model / "kept.lenet.json", model / "lenet.json");
  for (const char* other : {"lenet/other.pdmodel", "lenet/lenet.json", "other/lenet.pdmodel"}) {
    CAPTURE(other);
    CHECK_ERROR(FileNotFound, other, find_model_files(by_files(model / other)));
  }
  fs::create_directory(model / "lenet");
  CHECK_ERROR(FileNotFound, "check the path", find_model_files(named));
  fs::rename(model / "lenet.json", model / "lenet/own.json");
  write_file(model / "lenet/own.pdiparams", "");
  CHECK_ERROR(FileNotFound, "/lenet/own.json'", find_model_files(named));
  for (const char* other : {"a", "b", "c", "d"}) {
    write_file(model / (std::string("lenet/") + other + ".onnx"), "");
  }
  CHECK_ERROR(FileNotFound, "/lenet/c.onnx', ...", find_model_files(named));
}

TEST_CASE("where an .onnx is looked for") {
  const TemporaryFolder folder;
  Config config = by_dir(folder);
  CHECK_ERROR(BadModel, "NAME.onnx", find_model_files(config));
  write_file(folder / "a.onnx", "");
  expect(config, ModelFormat::Onnx, folder / "a.onnx");
  write_file(folder / "m.json", "");
  write_file(folder / "m.pdiparams", "");
  expect(config, ModelFormat::Json, folder / "m.json", folder / "m.pdiparams");
  config.engine = EngineKind::OnnxRuntime;
  expect(config, ModelFormat::Onnx, folder / "a.onnx");
  write_file(folder / "b.onnx", "");
  CHECK_ERROR(BadModel, "several models", find_model_files(config, true));
  expect(by_files(folder / "a.onnx"), ModelFormat::Onnx, folder / "a.onnx");
  config = by_files(folder / "a.onnx", folder / "m.pdiparams");
  CHECK_ERROR(BadInput, "holds its parameters", find_model_files(config));
}

TEST_CASE("SHA256SUMS sees one changed bit") {
  for (const std::string name : {"lenet.pdiparams", "lenet.pdmodel", "lenet.json"}) {
    CAPTURE(name);
    const ModelFolder model;
    const bool params = name == "lenet.pdiparams";
    if (params) {
      flip_a_weight(model);
    } else {
      write_file(model / name, replaced(read_file(model / name), "relu", "tanh"));
    }
    Config config = by_files(model / (params ? "lenet.pdmodel" : name));
    CHECK_ERROR(BadModel, name + "' has SHA-256", check(config));
    config.check_hashes = false;
    if (params) check(config);
  }
}

TEST_CASE("the hashes beside a file hold however its path is written") {
  const ModelFolder model;
  flip_a_weight(model);
  for (const std::string& params :
       {model / "./lenet.pdiparams", model.path() + "//lenet.pdiparams",
        model.path() + "/../" + fs::path(model.path()).filename().string() + "/lenet.pdiparams"}) {
    CAPTURE(params);
    CHECK_ERROR(BadModel, "has SHA-256", check(by_files(model / "lenet.pdmodel", params)));
  }
  // Another model's program: the parameters still are what the list beside them says, or not.
  CHECK_ERROR(BadModel, "has SHA-256",
              check(by_files(kModelDir + "/lenet.pdmodel", model / "lenet.pdiparams")));
}

TEST_CASE("kinds of SHA256SUMS") {
  const ModelFolder model;
  const std::string good = sha256_hex(read_file(model / "lenet.pdiparams"));
  const Config config = by_files(model / "lenet.pdmodel");
  std::string upper = good;
  for (char& digit : upper) digit = static_cast<char>(std::toupper(digit));
  for (const std::string& text : {good + " *lenet.pdiparams\n", "\n" + upper + "  lenet.pdiparams",
                                  std::string(64, '0') + "  another file\n"}) {
    write_file(model / "SHA256SUMS", text);
    check(config);
  }
  const auto refuse = [&](const std::string& text, const char* words) {
    write_file(model / "SHA256SUMS", text);
    CHECK_ERROR(BadModel, words, check(config));
  };
  refuse("no hash here\n", "not a list");
  refuse("0123  lenet.pdiparams\n", "not a list");
  refuse(good + "  lenet.pdiparams\n" + good + "  lenet.pdiparams\n", "twice");
  fs::remove(model / "SHA256SUMS");
  check(config);
}

TEST_CASE("one file per variable") {
  const auto program_with = [](const std::string& name) {
    return program("x[-1,2] y[-1,2] " + name + "[2]*: elementwise_add x Y=" + name +
                   " -> y | axis=-1");
  };
  const TemporaryFolder folder;
  const Config config = by_dir(folder);
  write_file(folder / "__model__", program_with("w"));
  CHECK_ERROR(FileNotFound, "/w'", check(config));
  const auto values = [&](const Shape& shape, const std::string& bytes) {
    write_file(folder / "w", parameter_record(shape, bytes));
  };
  values({2}, std::string(8, 'v'));
  check(config);
  values({3}, std::string(12, 'v'));
  CHECK_ERROR(BadModel, "'w' of shape [2]", check(config));
  values({2}, bytes_of<float>({1, std::numeric_limits<float>::infinity()}));
  CHECK_ERROR(BadModel, "NaN or infinity in the parameter 'w'", check(config));
  check(config_of("check_finite=false", config));
  values({2}, std::string(7, 'v'));
  CHECK_ERROR(BadModel, "damaged", check(config));
  values({2}, std::string(8, 'v'));
  write_file(folder / "SHA256SUMS", std::string(64, '0') + "  w\n");
  CHECK_ERROR(BadModel, "has SHA-256", check(config));
  for (const char* name : {"../w", "/w", "w\n", "w\xff"}) {
    write_file(folder / "__model__", program_with(name));
    const bool elsewhere = std::string(name).back() == 'w';
    if (elsewhere) CHECK_ERROR(BadModel, "no file of its folder", check(config));
    if (!elsewhere) CHECK_ERROR(Unsupported, "the name of a variable", check(config));
    CHECK_ERROR(BadModel, "no file of its folder", check(config_of("check_program=false", config)));
  }
}

}  // namespace lenet::tests
