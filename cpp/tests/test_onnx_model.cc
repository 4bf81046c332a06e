#include <filesystem>

#include "lenet/predictor.h"
#include "model/model_files.h"
#include "model/onnx_model.h"
#include "onnx_builder.h"
#include "support.h"

namespace lenet::tests {
namespace {

const Names kInput = {onnx_value("x", {-1, 2})};
const Names kOutput = {onnx_value("y", {-1, 2})};

std::string model_of(const Names& nodes, const Names& tensors = {}) {
  return onnx_model(onnx_graph(nodes, tensors, kInput, kOutput));
}

OnnxModel read(const std::string& bytes) { return read_onnx_model(bytes, "m.onnx"); }

std::string model_with(const Arguments& entries) {
  return model_of({onnx_node("MatMul", {"x", "w"}, {"y"})},
                  {onnx_external_tensor("w", {2, 2}, entries)});
}

}  // namespace

TEST_CASE("the last operator that changes a value") {
  const auto ends = [](const Names& nodes) { return read(model_of(nodes)).ends_in_softmax; };
  const std::string softmax = onnx_node("Softmax", {"x"}, {"a"});
  CHECK(ends({onnx_node("Softmax", {"x"}, {"y"})}));
  CHECK_FALSE(ends({onnx_node("Relu", {"x"}, {"y"})}));
  CHECK_FALSE(ends({softmax, onnx_node("Relu", {"a"}, {"y"})}));
  CHECK_FALSE(ends({softmax, onnx_node("Relu", {"x"}, {"y"})}));  // of no use
  CHECK(ends(
      {onnx_node("Reshape", {"a", "s"}, {"b"}), onnx_node("Identity", {"b"}, {"y"}), softmax}));
  CHECK_FALSE(ends({}));
  // It goes round.
  CHECK_FALSE(ends({onnx_node("Identity", {"y"}, {"a"}), onnx_node("Identity", {"a"}, {"y"})}));
}

TEST_CASE("quantized models are known by their operators") {
  CHECK_FALSE(read(model_of({onnx_node("Relu", {"x"}, {"y"})})).quantized);
  for (const char* type : {"DequantizeLinear", "QLinearConv", "MatMulInteger", "ConvInteger"}) {
    CHECK(read(model_of({onnx_node(type, {"x"}, {"y"})})).quantized);
  }
}

TEST_CASE("external data is found wherever it is") {
  const std::string tensor =
      onnx_external_tensor("w", {2}, {{"location", "w.bin"}, {"offset", "8"}, {"length", "16"}});
  const std::string inner = onnx_graph({}, {tensor}, {}, {});
  const std::string attribute = delimited(1, "value");
  const std::string deep = onnx_node(
      "If", {"x"}, {"y"},
      {attribute +
       delimited(6, onnx_graph({onnx_node("If", {}, {}, {delimited(11, inner)})}, {}, {}, {}))});
  const std::string sparse = delimited(1, tensor);
  const std::string cases[] = {
      model_of({}, {tensor}),
      model_of({onnx_node("Constant", {}, {"y"}, {attribute + delimited(5, tensor)})}),
      model_of({onnx_node("Constant", {}, {"y"}, {attribute + delimited(10, tensor)})}),
      model_of({onnx_node("Constant", {}, {"y"}, {attribute + delimited(22, sparse)})}),
      model_of({onnx_node("Constant", {}, {"y"}, {attribute + delimited(23, sparse)})}),
      model_of({deep}),
      onnx_model(onnx_graph({}, {}, {}, {}) + delimited(15, sparse)),
      model_of({}) + delimited(20, delimited(2, inner)),
      model_of({}) +
          delimited(25, delimited(7, onnx_node("Constant", {}, {"y"}, {delimited(5, tensor)}))),
      model_of({}) + delimited(25, delimited(11, delimited(5, tensor))),
  };
  for (const std::string& bytes : cases) {
    const auto external = read(bytes).external;
    REQUIRE(external.size() == 1);
    CHECK(external[0].tensor == "w");
    CHECK(external[0].location == "w.bin");
    CHECK(external[0].offset == 8);
    CHECK(external[0].length == 16);
  }
}

TEST_CASE("files that are no ONNX model") {
  const std::string good = model_of({onnx_node("Relu", {"x"}, {"y"})});
  CHECK_NOTHROW(read(good));
  check_error(ErrorCode::BadModel, "no graph", [] { read(""); });
  check_error(ErrorCode::BadModel, "two graphs",
              [&] { read(good + delimited(7, onnx_graph({}, {}, {}, {}))); });
  check_error(ErrorCode::BadModel, "an ONNX model", [] { read("plain text"); });
  for (std::size_t size = 1; size < good.size(); ++size) {
    try {
      read(good.substr(0, size));  // what ends between two fields may be whole
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::BadModel);
    }
  }
  std::string graph = onnx_graph({}, {}, {}, {});
  for (int i = 0; i < 200; ++i) {
    graph = onnx_graph({onnx_node("If", {}, {}, {delimited(6, graph)})}, {}, {}, {});
  }
  check_error(ErrorCode::BadModel, "graphs in graphs", [&] { read(onnx_model(graph)); });
  check_error(ErrorCode::BadModel, "no number: -8",
              [] { read(model_with({{"location", "w"}, {"offset", "-8"}})); });
}

TEST_CASE("external data stays in the folder of the model") {
  namespace fs = std::filesystem;
  const TemporaryFolder outside;
  const TemporaryFolder folder;
  write_file(outside / "w.bin", std::string(16, 'w'));
  write_file(folder / "w.bin", std::string(16, 'w'));
  fs::create_directory(folder / "sub");
  write_file(folder / "sub/w.bin", std::string(16, 'w'));
  fs::create_symlink(outside / "w.bin", folder / "link.bin");
  fs::create_symlink(outside.path(), folder / "way");
  fs::create_symlink("w.bin", folder / "inner.bin");
  const auto find = [&](const Arguments& entries) {
    return find_external_files(read(model_with(entries)), folder / "m.onnx");
  };
  CHECK(find({{"location", "w.bin"}}) == Names{folder / "w.bin"});
  CHECK(find({{"location", "inner.bin"}}) == Names{folder / "inner.bin"});
  CHECK(find({{"location", "sub/w.bin"}, {"offset", "8"}, {"length", "8"}}).size() == 1);
  for (const std::string& bad :
       {std::string(), std::string("."), std::string("../w.bin"), std::string("sub/../../w.bin"),
        outside / "w.bin", std::string("*/_ORT_MEM_ADDR_/*"), std::string("w.bin\0", 6)}) {
    CAPTURE(bad);
    check_error(ErrorCode::BadModel, "no file of its folder", [&] { find({{"location", bad}}); });
  }
  for (const char* bad : {"link.bin", "way/w.bin"}) {
    check_error(ErrorCode::BadModel, "out of its folder", [&] { find({{"location", bad}}); });
  }
  check_error(ErrorCode::BadModel, "only 16 bytes",
              [&] { find({{"location", "w.bin"}, {"offset", "8"}, {"length", "9"}}); });
  check_error(ErrorCode::BadModel, "only 16 bytes",
              [&] { find({{"location", "w.bin"}, {"offset", "18446744073709551615"}}); });
  check_error(ErrorCode::FileNotFound, "not there", [&] { find({{"location", "none"}}); });
  check_error(ErrorCode::FileNotFound, "is a folder", [&] { find({{"location", "sub"}}); });
}

TEST_CASE("where an .onnx is looked for") {
  const TemporaryFolder folder;
  Config config;
  config.model_dir = folder.path();
  check_error(ErrorCode::BadModel, "NAME.onnx", [&] { find_model_files(config); });
  write_file(folder / "a.onnx", "");
  CHECK(find_model_files(config).format == ModelFormat::Onnx);
  CHECK(find_model_files(config).program == folder / "a.onnx");
  write_file(folder / "m.json", "");
  write_file(folder / "m.pdiparams", "");
  CHECK(find_model_files(config).format == ModelFormat::Json);
  config.engine = "onnxruntime";
  CHECK(find_model_files(config).format == ModelFormat::Onnx);
  write_file(folder / "b.onnx", "");
  check_error(ErrorCode::BadModel, "several models", [&] { find_model_files(config); });
  config.model_dir.clear();
  config.model_file = folder / "a.onnx";
  CHECK(find_model_files(config).params.empty());
  config.params_file = folder / "m.pdiparams";
  check_error(ErrorCode::BadInput, "holds its parameters", [&] { find_model_files(config); });
}

}  // namespace lenet::tests
