#include <filesystem>

#include "io/file.h"
#include "model/model_files.h"
#include "model/sha256.h"
#include "program_builder.h"
#include "support.h"

namespace lenet::tests {
namespace fs = std::filesystem;
namespace {

/// A copy of the bundled model that a test may damage.
class Model {
 public:
  Model() {
    for (const char* name : {"lenet.pdmodel", "lenet.json", "lenet.pdiparams", "SHA256SUMS"}) {
      fs::copy_file(fs::path(kModelDir) / name, folder_ / name);
    }
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  const std::string& folder() const { return folder_.path(); }

  void replace_byte(const std::string& name, std::size_t at) const {
    std::string contents = read_file(*this / name);
    contents.at(at) = static_cast<char>(contents.at(at) ^ 1);
    write_file(*this / name, contents);
  }

 private:
  TemporaryFolder folder_;
};

Config by_dir(const std::string& folder) {
  Config config;
  config.model_dir = folder;
  return config;
}

Config by_files(const std::string& program, const std::string& params = "") {
  Config config;
  config.model_file = program;
  config.params_file = params;
  return config;
}

void check(const Config& config) {
  ModelFiles files = find_model_files(config);
  check_model_files(files, config.check_hashes, config.check_program, config.check_finite);
}

constexpr std::size_t kInLastWeights = 247000;

}  // namespace

TEST_CASE("a folder: .pdmodel before .json, __model__ before both") {
  const Model model;
  ModelFiles files = find_model_files(by_dir(model.folder()));
  CHECK(files.format == ModelFormat::Pdmodel);
  CHECK(files.program == model / "lenet.pdmodel");
  CHECK(files.params == model / "lenet.pdiparams");
  CHECK(files.directory == model.folder());
  check(by_dir(model.folder()));

  fs::remove(model / "lenet.pdmodel");
  files = find_model_files(by_dir(model.folder()));
  CHECK(files.format == ModelFormat::Json);
  CHECK(files.program == model / "lenet.json");
  check(by_dir(model.folder()));

  write_file(model / "__model__", "");
  files = find_model_files(by_dir(model.folder()));
  CHECK(files.format == ModelFormat::Separate);
  CHECK(files.program == model / "__model__");
  CHECK(files.params.empty());
}

TEST_CASE("the names of the old guides") {
  const Model model;
  fs::create_directory(model / "model");  // a folder of that name is none of them
  CHECK(find_model_files(by_dir(model.folder())).format == ModelFormat::Pdmodel);
  fs::remove(model / "model");
  for (const char* program : {"model", "__model__"}) {
    CAPTURE(program);
    fs::copy_file(model / "lenet.pdmodel", model / program);
    ModelFiles files = find_model_files(by_dir(model.folder()));
    CHECK(files.format == ModelFormat::Separate);
    CHECK(files.program == model / program);
    for (const char* params : {"__params__", "params"}) {
      fs::copy_file(model / "lenet.pdiparams", model / params);
      for (const Config& config : {by_dir(model.folder()), by_files(model / program)}) {
        files = find_model_files(config);
        CHECK(files.format == ModelFormat::Pdmodel);
        CHECK(files.program == model / program);
        CHECK(files.params == model / params);
        check(config);
      }
      fs::remove(model / params);
    }
    CHECK(find_model_files(by_files(model / program, "p")).params == "p");
    fs::remove(model / program);
  }
}

TEST_CASE("folders without one model") {  // bad_input_cases.py has more
  const Model model;
  fs::copy_file(model / "lenet.pdmodel", model / "other.pdmodel");
  CHECK(find_model_files(by_dir(model.folder())).program == model / "lenet.pdmodel");
  fs::copy_file(model / "lenet.pdiparams", model / "other.pdiparams");
  check_error(ErrorCode::BadModel, "several models",
              [&] { find_model_files(by_dir(model.folder())); });
}

TEST_CASE("ways of naming a model") {
  const Model model;
  check(by_files(model / "lenet.pdmodel"));
  CHECK(find_model_files(by_files("a/b.json")).params == "a/b.pdiparams");
  CHECK(find_model_files(by_files("b.pdmodel")).directory == ".");
  CHECK(find_model_files(by_files("a/b.pdmodel", "c/d")).params == "c/d");
  CHECK(find_model_files(by_files("a/__model__")).format == ModelFormat::Separate);
  CHECK(find_model_files(by_files("a/__model__", "a/__params__")).format == ModelFormat::Pdmodel);
}

TEST_CASE("SHA256SUMS sees one changed bit") {
  for (const char* name : {"lenet.pdiparams", "lenet.pdmodel", "lenet.json"}) {
    CAPTURE(name);
    const Model model;
    const bool params = std::string(name) == "lenet.pdiparams";
    // In the values of a weight; in the name of an operator of a program.
    if (params) {
      model.replace_byte(name, kInLastWeights);
    } else {
      std::string text = read_file(model / name);
      const auto at = text.find("relu");
      REQUIRE(at != std::string::npos);
      write_file(model / name, text.replace(at, 4, "tanh"));
    }
    const std::string program = params ? "lenet.pdmodel" : name;
    Config config = by_files(model / program);
    check_error(ErrorCode::BadModel, std::string(name) + "' has SHA-256", [&] { check(config); });
    config.check_hashes = false;
    if (params) check(config);
  }
}

TEST_CASE("the hashes beside a file hold however its path is written") {
  const Model model;
  model.replace_byte("lenet.pdiparams", kInLastWeights);
  for (const std::string& params :
       {model / "./lenet.pdiparams", model.folder() + "//lenet.pdiparams",
        model.folder() + "/../" + fs::path(model.folder()).filename().string() +
            "/lenet.pdiparams"}) {
    CAPTURE(params);
    check_error(ErrorCode::BadModel, "has SHA-256",
                [&] { check(by_files(model / "lenet.pdmodel", params)); });
  }
  // Another model's program: the parameters still are what the list beside them says, or not.
  check_error(ErrorCode::BadModel, "has SHA-256",
              [&] { check(by_files(kModelDir + "/lenet.pdmodel", model / "lenet.pdiparams")); });
}

TEST_CASE("kinds of SHA256SUMS") {
  const Model model;
  const std::string good = sha256_hex(read_file(model / "lenet.pdiparams"));
  const Config config = by_files(model / "lenet.pdmodel");
  write_file(model / "SHA256SUMS", good + " *lenet.pdiparams\n");
  check(config);
  std::string upper = good;
  for (char& digit : upper) digit = static_cast<char>(std::toupper(digit));
  write_file(model / "SHA256SUMS", "\n" + upper + "  lenet.pdiparams");
  check(config);
  write_file(model / "SHA256SUMS", std::string(64, '0') + "  another file\n");
  check(config);
  for (const char* text : {"nonsense\n", "0123  lenet.pdiparams\n"}) {
    write_file(model / "SHA256SUMS", text);
    check_error(ErrorCode::BadModel, "not a list", [&] { check(config); });
  }
  write_file(model / "SHA256SUMS", good + "  lenet.pdiparams\n" + good + "  lenet.pdiparams\n");
  check_error(ErrorCode::BadModel, "twice", [&] { check(config); });
  fs::remove(model / "SHA256SUMS");
  check(config);
}

TEST_CASE("one file per variable") {
  const auto program = [](const std::string& name) {
    return TestProgram{{-1, 2},
                       {-1, 2},
                       {tensor_variable(name, {2}, true)},
                       {make_operator("elementwise_add", {{"X", "x"}, {"Y", name}}, {{"Out", "y"}},
                                      {int_attribute("axis", -1)})}}
        .bytes();
  };
  const TemporaryFolder folder;
  write_file(folder / "__model__", program("w"));
  check_error(ErrorCode::FileNotFound, "/w'", [&] { check(by_dir(folder.path())); });
  write_file(folder / "w", parameter_record({2}, std::string(8, 'v')));
  check(by_dir(folder.path()));
  write_file(folder / "w", parameter_record({3}, std::string(12, 'v')));
  check_error(ErrorCode::BadModel, "'w' of shape [2]", [&] { check(by_dir(folder.path())); });
  std::string infinite(4, 'v');
  infinite += bytes_of(std::numeric_limits<float>::infinity());
  write_file(folder / "w", parameter_record({2}, infinite));
  check_error(ErrorCode::BadModel, "NaN or infinity in the parameter 'w'",
              [&] { check(by_dir(folder.path())); });
  Config trusting = by_dir(folder.path());
  trusting.check_finite = false;
  check(trusting);
  write_file(folder / "w", parameter_record({2}, std::string(7, 'v')));
  check_error(ErrorCode::BadModel, "damaged", [&] { check(by_dir(folder.path())); });
  write_file(folder / "w", parameter_record({2}, std::string(8, 'v')));
  write_file(folder / "SHA256SUMS", std::string(64, '0') + "  w\n");
  check_error(ErrorCode::BadModel, "has SHA-256", [&] { check(by_dir(folder.path())); });
  for (const char* name : {"../w", "/w", "w\n", "w\xff"}) {
    write_file(folder / "__model__", program(name));
    check_error(ErrorCode::BadModel, "no file of its folder",
                [&] { check(by_dir(folder.path())); });
  }
}

}  // namespace lenet::tests
