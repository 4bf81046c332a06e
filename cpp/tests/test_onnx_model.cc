#include "model/output_meanings.h"
#include "model/readers.h"
#include "notation.h"

namespace lenet::tests {
namespace {

OnnxProgram read(const std::string& bytes) { return read_onnx_program(bytes, "m.onnx"); }

/// \param more fields of the graph, encoded
OnnxProgram read_nodes(const std::string& nodes, const std::string& more = "") {
  return read(onnx_model(onnx_graph(nodes, "", "x[-1,2] -> y[-1,2]") + more));
}

OnnxProgram read_external(const Arguments& entries) {
  return read_nodes("MatMul x w -> y", delimited(5, onnx_external_tensor("w", {2, 2}, entries)));
}

}  // namespace

TEST_CASE("what the operators say of a model: what its outputs are, whether it is quantized") {
  const auto kind = [](const char* nodes) {
    const OnnxProgram program = read_nodes(nodes);
    return describe_outputs(program.graph, program.graph.outputs).at(0).meaning.role;
  };
  CHECK(kind("Softmax x -> y") == OutputRole::Probabilities);
  CHECK(kind("Softmax x -> a; Relu x -> b; Gemm b w -> y") == OutputRole::Logits);
  CHECK(kind("Softmax x -> a; Reshape a s -> b; Identity b -> y") == OutputRole::Probabilities);
  CHECK(kind("Sigmoid x -> a; Flatten a -> y") == OutputRole::Scores);
  CHECK(kind("Sigmoid x -> a; Softmax a -> y") == OutputRole::Probabilities);
  CHECK(kind("Conv x w -> a; GlobalAveragePool a -> b; Flatten b -> y") == OutputRole::Logits);
  CHECK(kind("LogSoftmax x -> y") == OutputRole::Logits);
  // A temperature, and two heads of which one is multiplied by what the image decides.
  CHECK(kind("Constant -> t; MatMul x w -> a; Div a t -> y") == OutputRole::Logits);
  CHECK(kind("MatMul x w -> a; Sigmoid x -> b; Mul a b -> y") == OutputRole::Unknown);
  // The mean of two networks' logits, of their probabilities, and of one of each.
  CHECK(kind("Gemm x w -> a; Gemm x v -> b; Add a b -> y") == OutputRole::Logits);
  CHECK(kind("Softmax x -> a; Softmax x -> b; Add a b -> y") == OutputRole::Unknown);
  CHECK(kind("Gemm x w -> a; Softmax x -> b; Add a b -> y") == OutputRole::Unknown);
  CHECK(kind("Softmax x -> a; Relu a -> y") == OutputRole::Unknown);
  CHECK(kind("Relu x -> y") == OutputRole::Unknown);  // as it takes what is no logit
  CHECK(kind("Gemm x w -> a; Tanh a -> y") == OutputRole::Unknown);
  CHECK(kind("") == OutputRole::Unknown);
  CHECK(kind("Identity y -> a; Identity a -> y") == OutputRole::Unknown);  // it goes round
  // So are quantized models known.
  CHECK_FALSE(read_nodes("Relu x -> y").quantized);
  for (const std::string type :
       {"DequantizeLinear", "QLinearConv", "MatMulInteger", "ConvInteger"}) {
    CHECK(read_nodes(type + " x -> y").quantized);
  }
}

TEST_CASE("the equation of an Einsum is one, wherever it is") {
  // NumPy's einsum takes and refuses the same (tests/cpp/test_onnxruntime_engine.py).
  const auto node = [](const std::string& equation, const char* type = "Einsum") {
    return onnx_node(std::string(type) + " x w -> y") +
           delimited(5, delimited(1, "equation") + delimited(4, equation) + number_field(20, 3));
  };
  const auto in_main = [](const std::string& one) { return onnx_model(delimited(1, one)); };
  for (const char* equation :
       {"nc,cd->nd", " n c , c d -> n d ", "nc,cd", "...c,cd->...d", "n...,...->n", "Nc,cN->",
        "nn,n->n", ",->", ",", "...,...", "nc,cd->..."}) {
    CHECK_NOTHROW(read(in_main(node(equation))));
  }
  const std::pair<const char*, const char*> wrong[] = {
      {"n.c,cd->nd", "'n.c,cd->nd' of an Einsum has a '.' that is no part of a '...'"},
      {"..c,cd->nd", "has a '.'"},
      {"nc,cd->n.d", "has a '.'"},
      {"....c,cd->nd", "has a '.'"},
      {"......c,cd->nd", "has two '...' in one term"},
      {"...n...,cd->nd", "has two '...'"},
      {"n1,cd->nd", "has a character that is no letter"},
      {"nc,cd-nd", "has a character"},
      {"nc,cd->nd->n", "has a character"},
      {"nc,cd->n,d", "has a character"},
      {"nc->nc", "does not have as many terms as the operator has inputs, 2"},
      {"nc,cd,d->n", "as many terms"},
      {"", "as many terms"},
      {"nc,cd->nz", "gives an axis 'z' that no input has"},
      {"nc,cd->nn", "gives the axis 'n' twice"},
  };
  for (const auto& [equation, text] : wrong) {
    const std::string one = node(equation);
    const std::string graph = delimited(1, one);
    const auto attribute = [&](int field, int type) {
      return delimited(1, onnx_node("If x -> y") +
                              delimited(5, delimited(1, "then_branch") + delimited(field, graph) +
                                               number_field(20, type)));
    };
    CHECK_ERROR(BadModel, text, read(in_main(one)));
    CHECK_ERROR(BadModel, text, read(onnx_model(attribute(6, 5))));
    CHECK_ERROR(BadModel, text, read(onnx_model(attribute(11, 10))));
    CHECK_ERROR(BadModel, text, read(onnx_model("") + delimited(25, delimited(7, one))));
    CHECK_NOTHROW(read(in_main(node(equation, "Einsum@my.own"))));
  }
}

TEST_CASE("external data is found wherever it is") {
  const std::string tensor =
      onnx_external_tensor("w", {2}, {{"location", "w.bin"}, {"offset", "8"}, {"length", "16"}});
  const std::string inner = delimited(5, tensor);  // a graph
  const std::string sparse = delimited(1, tensor);
  const auto node = [](const std::string& attribute, int type) {
    return delimited(1, onnx_node("If x -> y") + delimited(5, delimited(1, "value") + attribute +
                                                                  number_field(20, type)));
  };
  const std::string fields_of_graph[] = {inner,
                                         node(delimited(5, tensor), 4),
                                         node(delimited(10, tensor), 9),
                                         node(delimited(22, sparse), 11),
                                         node(delimited(23, sparse), 12),
                                         node(delimited(6, node(delimited(11, inner), 10)), 5),
                                         delimited(15, sparse)};
  const std::string empty = onnx_model(onnx_graph(""));
  Names cases = {empty + delimited(20, delimited(2, inner)),
                 empty + delimited(25, delimited(7, onnx_node("If -> y") + delimited(5, inner))),
                 empty + delimited(25, delimited(11, inner))};
  for (const std::string& fields : fields_of_graph) {
    cases.push_back(onnx_model(onnx_graph("") + fields));
  }
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
  const std::string good = onnx_model(onnx_graph("Relu x -> y", "", "x[-1,2] -> y[-1,2]"));
  CHECK_NOTHROW(read(good));
  CHECK_ERROR(BadModel, "no graph", read(""));
  CHECK_ERROR(BadModel, "two graphs", read(good + delimited(7, onnx_graph(""))));
  CHECK_ERROR(BadModel, "an ONNX model", read("plain text"));
  for (std::size_t size = 1; size < good.size(); ++size) {
    try {
      read(good.substr(0, size));  // what ends between two fields may be whole
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::BadModel);
    }
  }
  std::string graph = onnx_graph("");
  for (int i = 0; i < 200; ++i) {
    graph = delimited(1, onnx_node("If") + delimited(5, delimited(6, graph)));
  }
  CHECK_ERROR(BadModel, "graphs in graphs", read(onnx_model(graph)));
  CHECK_ERROR(BadModel, "no number: -8", read_external({{"location", "w"}, {"offset", "-8"}}));
}

/// The file that is read for a tensor outside of a model in that folder.
static std::string find_external(const TemporaryFolder& folder, const Arguments& entries) {
  OnnxProgram program = read_external(entries);
  std::string found;
  std::string contents;
  set_external_contents(program, folder / "m.onnx", [&](const std::string& file) {
    found = file;
    return std::string_view(contents = read_file(file));
  });
  return found;
}

#ifdef _WIN32
TEST_CASE("external data stays in the folder of the model, whatever Windows takes for a name") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  write_file(folder / "w.bin", std::string(16, 'w'));
  write_file(folder / "sub/w.bin", std::string(16, 'w'));
  CHECK(find_external(folder, {{"location", "w.bin"}}) == folder / "w.bin");
  CHECK(find_external(folder, {{"location", "sub\\w.bin"}}) == folder / "sub/w.bin");
  for (const char* bad : {"",
                          ".",
                          "../w.bin",
                          "..\\w.bin",
                          "sub\\..\\..\\w.bin",
                          "C:w.bin",
                          "C:\\w.bin",
                          "C:/w.bin",
                          "\\\\host\\share\\w.bin",
                          "\\w.bin",
                          "w.bin:stream",
                          "w.bin::$DATA",
                          "NUL",
                          "sub/nul.bin",
                          "COM1",
                          "com1.txt",
                          "LPT\xc2\xb9",
                          "aux .bin",
                          "CONIN$",
                          "w.bin.",
                          "w.bin ",
                          "w?bin"}) {
    CAPTURE(bad);
    CHECK_ERROR(BadModel, "no file of its folder", find_external(folder, {{"location", bad}}));
  }
  CHECK_ERROR(FileNotFound, "not there", find_external(folder, {{"location", "COM.bin"}}));
  CHECK_ERROR(FileNotFound, "not there", find_external(folder, {{"location", "console"}}));
}
#else
TEST_CASE("external data stays in the folder of the model") {
  const TemporaryFolder outside;
  const TemporaryFolder folder;
  write_file(outside / "w.bin", std::string(16, 'w'));
  write_file(folder / "w.bin", std::string(16, 'w'));
  fs::create_directory(folder / "sub");
  write_file(folder / "sub/w.bin", std::string(16, 'w'));
  fs::create_symlink(outside / "w.bin", folder / "link.bin");
  fs::create_symlink(outside.path(), folder / "way");
  fs::create_symlink("w.bin", folder / "inner.bin");
  fs::create_directories(folder / "a/b");
  fs::create_symlink("a/b", folder / "jump");  // jump/.. is a, whatever the location looks like
  write_file(folder / "a/link.bin", std::string(16, 'w'));
  const auto find = [&](const Arguments& entries) { return find_external(folder, entries); };
  CHECK(find({{"location", "w.bin"}}) == folder / "w.bin");
  CHECK(find({{"location", "inner.bin"}}) == folder / "inner.bin");
  CHECK(find({{"location", "sub/w.bin"}, {"length", "16"}}) == folder / "sub/w.bin");
  for (const std::string& bad :
       {std::string(), std::string("."), std::string("../w.bin"), std::string("sub/../../w.bin"),
        outside / "w.bin", std::string("*/_ORT_MEM_ADDR_/*"), std::string("w.bin\0", 6)}) {
    CAPTURE(bad);
    CHECK_ERROR(BadModel, "no file of its folder", find({{"location", bad}}));
  }
  fs::create_symlink(outside / "m.onnx", folder / "m.onnx");  // which is not there yet
  for (const char* bad : {"link.bin", "way/w.bin", "jump/../link.bin"}) {
    CHECK_ERROR(BadModel, "out of its folder", find({{"location", bad}}));
  }
  write_file(outside / "m.onnx", "");  // Hugging Face's cache has model and data elsewhere
  CHECK(find({{"location", "link.bin"}}) == folder / "link.bin");
  CHECK_ERROR(BadModel, "only 16 bytes",
              find({{"location", "w.bin"}, {"offset", "8"}, {"length", "9"}}));
  CHECK_ERROR(BadModel, "only 16 bytes",
              find({{"location", "w.bin"}, {"offset", "18446744073709551615"}}));
  CHECK_ERROR(FileNotFound, "not there", find({{"location", "none"}}));
  CHECK_ERROR(FileNotFound, "is a folder", find({{"location", "sub"}}));
}
#endif

}  // namespace lenet::tests
