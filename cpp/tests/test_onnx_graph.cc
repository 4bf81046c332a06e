// Nodes and constants of .onnx files made by hand, and the networks that they become.

#include <cmath>
#include <deque>
#include <limits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "model/evaluate.h"
#include "model/graph.h"
#include "model/readers.h"
#include "model/wrong_layer.h"
#include "notation.h"

namespace lenet::tests {
namespace {

using native::Network;

std::string model_of(const std::string& nodes, const std::string& tensors = "", int opset = 13) {
  return onnx_model(onnx_graph(nodes, tensors, "x[-1,1,4,4] -> y"), opset);
}

/// Its contents lie in the bytes.
Graph graph_of(const std::string& bytes) { return read_onnx_program(bytes, "m.onnx").graph; }

Network network_of(const std::string& model) {
  Graph graph = graph_of(model);
  check_graph(graph, "m.onnx");
  return native::read_network(graph, "m.onnx", static_cast<double>(model.size()), true);
}

/// A tensor with its values in the field of that number.
std::string listed(const Shape& shape, int dtype, const std::string& values) {
  std::string bytes;
  for (const auto size : shape) bytes += number_field(1, size);
  return bytes + number_field(2, dtype) + delimited(8, "k") + values;
}

struct Constant {
  int dtype;
  Shape shape;
  std::vector<float> floats;  ///< empty of a list of integers
  Integers integers;
};

Constant constant_of(const std::string& model) {
  const Graph graph = graph_of(model);
  const Value& value = graph.values.at(0);
  const auto list = known_list(value);
  return {value.dtype, value.shape, list ? std::vector<float>() : floats_of(value),
          list.value_or(Integers())};
}

Constant tensor_of(const std::string& tensor) {
  return constant_of(onnx_model(onnx_graph("") + delimited(5, tensor)));
}

const std::string kRelu = "Relu x -> y";

}  // namespace

TEST_CASE("constants, however their values are stored") {
  const std::string one = bytes_of(1.5F);
  const std::string two = bytes_of(-2.0F);
  const std::vector<float> floats = {1.5F, -2.0F};
  CHECK(tensor_of(onnx_tensor("k", {2}, floats)).floats == floats);
  CHECK(tensor_of(listed({2}, 1, delimited(4, one + two))).floats == floats);
  CHECK(tensor_of(listed({2}, 1, delimited(4, one) + delimited(4, two))).floats == floats);
  const std::string key = varint(4U << 3U | 5U);  // each with a key of its own
  CHECK(tensor_of(listed({1, 2}, 1, key + one + key + two)).floats == floats);
  CHECK(tensor_of(listed({}, 1, delimited(4, one))).floats.size() == 1);
  CHECK(tensor_of(listed({0, 5}, 1, "")).floats.empty());
  // Sizes may be packed too.
  const std::string packed = delimited(1, varint(1) + varint(2)) + number_field(2, 1);
  CHECK(tensor_of(packed + delimited(9, one + two)).shape == Shape{1, 2});

  const Integers numbers = {5, -7};
  const auto minus = static_cast<std::uint64_t>(-7);
  CHECK(constant_of(model_of("", "k[2]i=5,-7")).integers == numbers);
  CHECK(tensor_of(listed({2}, 7, delimited(7, varint(5) + varint(minus)))).integers == numbers);
  CHECK(tensor_of(listed({2}, 7, number_field(7, 5) + number_field(7, -7))).integers == numbers);
  CHECK(tensor_of(listed({2}, 6, delimited(5, varint(5) + varint(minus)))).integers == numbers);
  const std::string raw = bytes_of(std::int32_t{5}) + bytes_of(std::int32_t{-7});
  CHECK(tensor_of(listed({2}, 6, delimited(9, raw))).integers == numbers);
  CHECK(tensor_of(listed({2}, 9, delimited(9, std::string("\0\1", 2)))).integers == Integers{0, 1});
  // Of another type nothing is known but that.
  CHECK(tensor_of(listed({2}, 12, delimited(9, "abcd"))).shape == Shape{2});
}

TEST_CASE("constants of narrower and wider floating-point types") {
  // 1.5, -65504 (the largest), 2^-24 and -2^-14 (the least, denormal and not), 0, -0.
  const std::vector<std::uint16_t> halves = {0x3e00, 0xfbff, 0x0001, 0x8400, 0x0000, 0x8000};
  const std::vector<float> floats = {1.5F, -65504.0F, 0x1p-24F, -0x1p-14F, 0.0F, -0.0F};
  CHECK(tensor_of(listed({6}, 10, delimited(9, bytes_of(halves)))).floats == floats);
  std::string listed_bits;
  for (const std::uint16_t half : halves) listed_bits += varint(half);
  const std::vector<float> again = tensor_of(listed({6}, 10, delimited(5, listed_bits))).floats;
  CHECK(again == floats);
  CHECK(std::signbit(again[5]));
#include <cmath>

#if defined(__SSE2__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040U);  // denormals are 0, given and taken
  const bool same = tensor_of(listed({6}, 10, delimited(9, bytes_of(halves)))).floats == floats;
  _mm_setcsr(before);
  CHECK(same);
#endif
  const std::vector<std::uint16_t> odd = {0x7c00, 0xfc00, 0x7e00};
  const std::vector<float> infinite =
      tensor_of(listed({3}, 10, delimited(9, bytes_of(odd)))).floats;
  CHECK(infinite[0] == std::numeric_limits<float>::infinity());
  CHECK(infinite[1] == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(infinite[2]));
  const std::vector<std::uint16_t> brains = {0x3fc0, 0xc2f7, 0x0001};
  CHECK(tensor_of(listed({3}, 16, delimited(9, bytes_of(brains)))).floats ==
        std::vector<float>{1.5F, -123.5F, 0x1p-133F});
  const std::string doubles = bytes_of(1.5) + bytes_of(0.1);
  CHECK(tensor_of(listed({2}, 11, delimited(9, doubles))).floats == std::vector<float>{1.5F, 0.1F});
  CHECK(tensor_of(listed({2}, 11, delimited(10, doubles))).floats ==
        std::vector<float>{1.5F, 0.1F});
}

TEST_CASE("constants that are damaged") {
  const std::string one = bytes_of(1.5F);
  const auto check = [](const char* text, const std::string& tensor) {
    CHECK_ERROR(BadModel, text, tensor_of(tensor));
  };
  const char* const other = "as many values as its shape says";
  check(other, listed({2}, 1, delimited(9, one)));
  check(other, listed({1}, 1, delimited(9, one + one)));
  check(other, listed({1}, 1, delimited(9, one + "a")));
  check(other, listed({2}, 1, delimited(4, one)));
  check(other, listed({1}, 1, ""));
  check(other, listed({1}, 1, delimited(7, varint(1))));  // in the list of another type
  const auto twice = [&](const std::string& values) {
    check("its values twice", listed({1}, 1, delimited(4, one) + values));
  };
  for (const int field : {5, 6, 7, 9, 10, 11}) {  // all other fields that a tensor may have them in
    twice(delimited(field, field == 5 || field == 7 || field == 11 ? varint(1) : one + one));
  }
  twice(number_field(14, 1) + delimited(13, delimited(1, "location") + delimited(2, "w.bin")));
  check(other, listed({0}, 1, delimited(7, varint(1))));
  check("a negative size", listed({-1}, 1, ""));
  check("too large", listed({std::int64_t{1} << 40, std::int64_t{1} << 40}, 1, ""));
  check("in segments", listed({1}, 1, delimited(3, "") + delimited(9, one)));
  check("cut short", listed({1}, 1, delimited(4, "abc")));
  check("cut short", listed({1}, 7, delimited(7, "\xff")));
  check("of the wrong type", listed({1}, 7, number_field(9, 1)));
  check("of the wrong type", listed({1}, 7, delimited(2, "a")));
  check("out of range", listed({1}, -1, ""));
  check("out of range", listed({1}, 6, number_field(5, std::int64_t{1} << 31)));
  check("out of range", listed({1}, 9, number_field(5, 256)));
  check("out of range", listed({1}, 10, number_field(5, 1 << 16)));
  check(other, listed({1}, 11, delimited(4, one + one)));
}

TEST_CASE("nodes, attributes, inputs and outputs") {
  const std::string tensor = delimited(1, "k") + delimited(5, onnx_tensor("", {1}, {4}));
  const std::string floats = delimited(1, "l") + delimited(7, bytes_of<float>({1, 2}));
  const std::string bytes = onnx_model(
      onnx_graph("", "", "x[-1,1,4,4] -> y") +
          delimited(1, onnx_node("Conv@ai.onnx x _ b -> y | i=-3 j=[1,-2] f=0.5 t=VALID") +
                           delimited(5, tensor + number_field(20, 4)) +
                           delimited(5, floats + number_field(20, 6))),
      15);
  const Graph graph = graph_of(bytes);
  CHECK(graph.opset == 15);
  const std::size_t x = graph.inputs.at(0);
  const std::size_t y = graph.outputs.at(0);
  CHECK(graph.values[x].name == "x");
  CHECK(graph.values[x].dtype == 5);
  CHECK(graph.values[x].shape == Shape{-1, 1, 4, 4});
  CHECK(graph.values[y].producer == 0);
  CHECK_FALSE(graph.values[y].has_shape);
  const Operator& node = graph.operators.at(0);
  CHECK(node.type == "Conv");
  REQUIRE(node.inputs.size() == 3);
  CHECK(node.inputs[0].second == Argument{x});
  CHECK(node.inputs[1].second.empty());
  CHECK(graph.values[node.inputs[2].second.at(0)].name == "b");
  REQUIRE(node.outputs.size() == 1);
  CHECK(node.outputs[0].second == Argument{y});
  const auto attribute = [&](const char* name) { return node.attributes.at(name).value; };
  CHECK(std::get<std::int64_t>(attribute("i")) == -3);
  CHECK(std::get<Integers>(attribute("j")) == Integers{1, -2});
  CHECK(std::get<double>(attribute("f")) == 0.5);
  CHECK(std::get<std::string>(attribute("t")) == "VALID");
  CHECK(std::get<Numbers>(attribute("l")) == Numbers{1, 2});
  const auto k = static_cast<std::size_t>(std::get<std::int64_t>(attribute("k")));
  CHECK(floats_of(graph.values[k]) == std::vector<float>{4});

  const std::string key = varint(2U << 3U | 5U);  // of a float
  const auto damaged = [](const char* text, const std::string& attributes) {
    const std::string relu = onnx_node(kRelu) + attributes;
    CHECK_ERROR(BadModel, text, graph_of(onnx_model(onnx_graph("") + delimited(1, relu))));
  };
  damaged("two tensors", delimited(5, tensor + number_field(20, 4) + delimited(5, "")));
  for (const auto& [field, type] : {std::pair{3, 1}, {2, 2}, {5, 3}, {8, 2}, {4, 9}, {2, 15}}) {
    const std::string value = field == 3 ? number_field(3, 1) : delimited(field, "");
    damaged("is not of its type", delimited(5, delimited(1, "a") + number_field(20, type) +
                                                   (field == 2 ? key + bytes_of(1.5F) : value)));
  }
  damaged("is not of its type", delimited(5, number_field(3, 1)));  // which it does not say
  damaged("is not of its type",
          delimited(5, number_field(3, 1) + number_field(20, 2) + delimited(21, "of a function")));
  damaged("of the wrong type", delimited(5, delimited(1, "f") + number_field(2, 1)));
  damaged("of the wrong type", delimited(5, number_field(1, 1)));
  CHECK_ERROR(BadModel, "the attribute 'i' twice", graph_of(model_of(kRelu + " | i=1 i=1")));
  const std::string opset = delimited(8, number_field(2, 9));
  CHECK_ERROR(BadModel, "two operator sets", graph_of(model_of(kRelu) + opset));
  const std::string other = delimited(8, delimited(1, "my") + number_field(2, 1));
  CHECK(graph_of(model_of(kRelu) + other).opset == 13);
  const std::string none = delimited(8, number_field(2, 0));
  CHECK_ERROR(BadModel, "two operator sets", graph_of(none + model_of(kRelu)));
}

TEST_CASE("values beside the model") {
  const TemporaryFolder folder;
  write_file(folder / "w.bin", "pad." + bytes_of(2.0F) + bytes_of(3.0F));
  const auto read = [&](const Arguments& entries, const Shape& shape = {2, 1, 1, 1}) {
    const std::string tensor = onnx_external_tensor("w", shape, entries);
    const std::string bytes =
        onnx_model(onnx_graph("Conv x w -> y", "", "x[-1,1,4,4] -> y") + delimited(5, tensor));
    OnnxProgram program = read_onnx_program(bytes, folder / "m.onnx");
    std::string contents;
    set_external_contents(program, folder / "m.onnx", [&](const std::string& file) {
      contents = read_file(file);
      return std::string_view(contents);
    });
    return floats_of(program.graph.values.at(program.external.at(0).value));
  };
  const std::vector<float> values = {2, 3};
  CHECK(read({{"location", "w.bin"}, {"offset", "4"}, {"length", "8"}}) == values);
  CHECK(read({{"location", "w.bin"}, {"offset", "4"}}) == values);
  const auto check = [&](const char* text, const Arguments& entries, const Shape& shape) {
    CHECK_ERROR(BadModel, text, read(entries, shape));
  };
  const Shape two = {2, 1, 1, 1};
  check("as many values as its shape", {{"location", "w.bin"}, {"offset", "8"}}, two);
  check("as many values as its shape", {{"location", "w.bin"}, {"length", "12"}}, two);
  check("as many values as its shape", {{"location", "w.bin"}}, {4, 1, 1, 1});
  check("only 12 bytes", {{"location", "w.bin"}, {"offset", "13"}}, two);
  check("no file of its folder", {{"location", "../w.bin"}}, two);
  check("says twice the location", {{"location", "v.bin"}, {"location", "w.bin"}}, two);
  // Where the tensor does not say that they are there, they are not.
  const std::string inside = onnx_tensor("w", {1}, {5}) + delimited(13, delimited(1, "location"));
  const std::string bytes = onnx_model(onnx_graph("") + delimited(5, inside));
  const OnnxProgram program = read_onnx_program(bytes, "m.onnx");
  CHECK(program.external.empty());
  CHECK(floats_of(program.graph.values.at(0)) == std::vector<float>{5});
}

TEST_CASE("a network by hand") {
  // (2x + 1, 3x - 1), normalized with gain 2, bias 1, mean 1, variance 3 and epsilon 1: y - 1 + 1.
  const std::string model = model_of(
      "Conv x w b -> c; BatchNormalization c g o o v -> n | epsilon=1.0; Relu n -> r;"
      "AveragePool r -> p | kernel_shape=[3,2] strides=[2,2] pads=[1,0,0,0] ceil_mode=1;"
      "Flatten p -> f; Gemm f m b -> y | alpha=0.5 beta=2.0",
      "w[2,1,1,1]=2,3 b[2]=1,-1 g[2]=2,2 o[2]=1,1 v[2]=3,3 "
      "m[8,2]=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16");
  Network network = network_of(model);
  CHECK(network.input_spec.name == "x");
  CHECK(network.output_specs.at(0).name == "y");
  CHECK(network.input_spec.shape == Shape{-1, 1, 4, 4});
  CHECK(network.output_specs[0].shape == Shape{-1, 2});
  REQUIRE(network.layers.size() == 5);
  CHECK(network.layers[0].name == "Conv 'c'");
  native::simplify(network);
  REQUIRE(network.layers.size() == 3);
  const native::Layer& convolution = network.layers[0];
  CHECK(convolution.view_weights().at(0, 0) == 2);
  CHECK(convolution.view_weights().at(1, 0) == 3);
  CHECK(convolution.bias == std::vector<float>{1, -1});
  CHECK(convolution.relu());
  const native::Layer& pool = network.layers[1];
  const auto& pooling = pool.get<native::PoolParams>();
  CHECK(pooling.kind == native::PoolKind::Average);
  CHECK(pooling.window.kernel == std::array<std::int64_t, 2>{3, 2});
  CHECK(pooling.window.padding == std::array<std::int64_t, 4>{1, 0, 0, 0});
  CHECK(network.tensors[pool.output].shape.height() == 2);
  CHECK(network.tensors[pool.output].shape.width() == 2);
  const native::Layer& linear = network.layers[2];
  CHECK(linear.convolution().window.kernel == std::array<std::int64_t, 2>{2, 2});
  for (std::size_t i = 0; i < 16; ++i) {
    CHECK(linear.view_weights().at(i % 2, i / 2) == .5F * static_cast<float>(i + 1));
  }
  CHECK(linear.bias == std::vector<float>{2, -2});
}

TEST_CASE("what operators give, by hand") {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  const struct {
    const char *nodes, *tensors;
    std::vector<float> expected;
  } cases[] = {
      {"MatMul x k -> y", "k[2,2]=1,2,3,4", {7, 10, 15, 22, 23, 34, 31, 46}},
      {"MatMul k x -> y", "k[2,2]=1,2,3,4", {7, 10, 15, 22, 19, 22, 43, 50}},
      {"ReduceMean x -> y | axes=[3]", "", {1.5F, 3.5F, 5.5F, 7.5F}},
      {"ReduceMax x -> y | axes=[1]", "", {5, 6, 7, 8}},
      {"Dropout x -> d; ReduceMax d -> y | axes=[2]", "", {3, 4, 7, 8}},
      // Of another height, but one after the other.
      {"ReduceMax x -> m | axes=[1]; MaxPool m -> p | kernel_shape=[2,1]; Concat p m -> y | axis=2",
       "",
       {7, 8, 5, 6, 7, 8}},
  };
  for (const auto& [nodes, tensors, expected] : cases) {
    CAPTURE(std::string(nodes));
    const TemporaryFolder folder;
    Predictor predictor(write_onnx(folder, onnx_graph(nodes, tensors, "x[-1,2,2,2] -> y")));
    CHECK(predictor.run({x.data(), {1, 2, 2, 2}}).data == expected);
  }
}

TEST_CASE("shapes, in every operator set that changed an operator") {
  struct Case {
    const char* nodes;
    Shape shape;  ///< of y
    const char* tensors = "";
    int opset = 13;
  };
  const auto check = [](const char* x, const std::vector<Case>& cases) {
    for (const Case& one : cases) {
      CAPTURE(std::string(one.nodes));
      const std::string values = std::string(x) + " -> y";
      const std::string bytes = onnx_model(onnx_graph(one.nodes, one.tensors, values), one.opset);
      Graph graph = graph_of(bytes);
      check_graph(graph, "m.onnx");
      CHECK(graph.values[graph.outputs.at(0)].shape == one.shape);
    }
  };
  check(
      "x[2,6,4,5]",
      {
          {"Transpose x -> y", {5, 4, 6, 2}},
          {"Transpose x -> y | perm=[0,2,3,1]", {2, 4, 5, 6}},
          {"Split x -> y z | axis=1", {2, 3, 4, 5}, "", 7},
          {"Split x -> y z | axis=1 split=[2,4]", {2, 2, 4, 5}, "", 11},
          {"Split x s -> z y | axis=-1", {2, 6, 4, 4}, "s[2]i=1,4"},
          {"Split x _ -> z w y | num_outputs=3 axis=3", {2, 6, 4, 1}, "", 18},
          {"Split x -> y z", {1, 6, 4, 5}},
          {"Slice x -> y | starts=[1,-2] ends=[3,9] axes=[1,3]", {2, 2, 4, 2}, "", 9},
          {"Slice x a b c d -> y", {2, 3, 4, 5}, "a[1]i=-1 b[1]i=-99 c[1]i=1 d[1]i=-2", 10},
          {"Slice x a b -> y", {1, 4, 4, 5}, "a[2]i=1,2 b[2]i=2,6"},
          {"Gather x i -> y | axis=1", {2, 4, 5}, "i[]i=-1"},
          {"Gather x i -> y | axis=2", {2, 6, 3, 5}, "i[3]i=0,0,3"},
          {"Concat x x -> y | axis=-2", {2, 6, 8, 5}},
          {"Pad x -> y | pads=[0,0,1,2,0,0,0,-1]", {2, 6, 5, 6}, "", 7},
          {"Pad x p -> y | mode=reflect", {2, 6, 10, 5}, "p[8]i=0,0,3,0,0,0,3,0", 11},
          {"Pad x p _ a -> y", {2, 6, 6, 5}, "p[2]i=1,1 a[1]i=-2", 18},
          {"ReduceMean x -> y | axes=[2,3] keepdims=0", {2, 6}, "", 11},
          {"ReduceMean x a -> y", {2, 1, 4, 5}, "a[1]i=1", 18},
          {"ReduceMean x -> y", {1, 1, 1, 1}},
          {"ReduceMean x -> y | noop_with_empty_axes=1", {2, 6, 4, 5}, "", 18},
          {"ReduceSum x a -> y | keepdims=0", {2, 6, 4}, "a[1]i=-1", 13},
          {"ReduceSum x -> y | axes=[1] keepdims=0", {2, 4, 5}, "", 11},
          {"ReduceMax x -> y | axes=[1]", {2, 1, 4, 5}, "", 12},
          {"ReduceMin x a -> y", {2, 6, 1, 1}, "a[2]i=3,2", 18},
          {"Unsqueeze x -> y | axes=[1,-1]", {2, 1, 6, 4, 5, 1}, "", 11},
          {"ReduceMean x -> r | axes=[3]; Squeeze r -> y", {2, 6, 4}, "", 13},
          {"ReduceMean x -> r | axes=[3]; Squeeze r -> y | axes=[3]", {2, 6, 4}, "", 7},
          {"Sub x k -> y", {2, 6, 4, 5}, "k[6,1,1]"},
          {"Div k x -> y", {3, 2, 6, 4, 5}, "k[3,1,1,1,1]", 7},
          {"Max x k j -> y", {2, 6, 4, 5}, "k[5] j[4,1]", 8},
          {"Sum x -> y", {2, 6, 4, 5}},
          {"LRN x -> y | size=3", {2, 6, 4, 5}},
          {"LogSoftmax x -> y | axis=0", {2, 6, 4, 5}},
          {"Tile x t -> y", {2, 12, 4, 15}, "t[4]i=1,2,1,3"},
          {"MatMul x k -> y", {2, 6, 4, 7}, "k[5,7]"},
          {"MatMul k x -> y", {2, 6, 3, 5}, "k[3,4]"},
          {"MatMul x k -> y", {2, 6, 4}, "k[5]"},
          {"MatMul k x -> y", {2, 6, 5}, "k[4]"},
          {"MatMul x k -> y", {2, 6, 4, 7}, "k[6,5,7]"},
          {"Flatten x -> f; Gemm k f b -> y | transA=1 transB=1", {3, 2}, "k[120,3] b[2]", 7},
          {"LayerNormalization x k -> y", {2, 6, 4, 5}, "k[5]", 17},
          {"LayerNormalization x k b -> z y | axis=2", {2, 6, 1, 1}, "k[4,5] b[5]", 17},
          {"RMSNormalization x k -> y | axis=-2", {2, 6, 4, 5}, "k[4,5]", 23},
          {"InstanceNormalization x k k -> y", {2, 6, 4, 5}, "k[6]"},
          {"GroupNormalization x k k -> y | num_groups=3", {2, 6, 4, 5}, "k[3]", 18},
          {"GroupNormalization x k k -> y | num_groups=3", {2, 6, 4, 5}, "k[6]", 21},
          {"LpNormalization x -> y | axis=1 p=1", {2, 6, 4, 5}},
          {"Resize x s -> y", {2, 6, 8, 2}, "s[4]=1,1,2,0.5", 10},
          {"Resize x e s -> y | mode=linear", {2, 6, 8, 2}, "e[0] s[4]=1,1,2,0.5"},
          {"Resize x _ e s -> y", {2, 6, 7, 9}, "e[0] s[4]i=2,6,7,9", 11},
          {"Resize x _ _ s -> y | axes=[3,2]", {2, 6, 9, 7}, "s[2]i=7,9", 18},
          {"Upsample x s -> y", {2, 6, 8, 15}, "s[4]=1,1,2,3", 9},
          {"Upsample x -> y | scales=[1.0,1.0,2.0,3.0]", {2, 6, 8, 15}, "", 7},
          {"Reshape x r -> z; DepthToSpace z -> y | blocksize=2", {2, 6, 2, 10}, "r[4]i=2,24,1,5"},
          {"Reshape x r -> z; SpaceToDepth z -> y | blocksize=2", {2, 24, 1, 5}, "r[4]i=2,6,2,10"},
          {"TopK x k -> y i | axis=2", {2, 6, 3, 5}, "k[1]i=3", 11},
          {"TopK x -> y i | k=2", {2, 6, 4, 2}, "", 7},
          {"ArgMax x -> i | axis=1; Cast i -> y | to=1", {2, 1, 4, 5}},
          {"ArgMin x -> i | keepdims=0; Cast i -> y | to=1", {6, 4, 5}},
          {"ArgMax x -> i | axis=1 keepdims=0; Gather x i -> y | axis=3", {2, 6, 4, 2, 4, 5}},
          {"Gather x i -> y | axis=2", {2, 6, 9, 8, 5}, "i[9,8]i=0"},
          {"GatherElements x i -> y | axis=3", {2, 6, 4, 2}, "i[2,6,4,2]i=0"},
          {"ScatterElements x i u -> y | axis=1", {2, 6, 4, 5}, "i[2,1,4,5]i=0 u[2,1,4,5]"},
          {"GatherND x i -> y", {3, 4, 5}, "i[3,2]i=0"},
          {"GatherND x i -> y | batch_dims=1", {2, 7, 4, 5}, "i[2,7,1]i=0"},
          {"ScatterND x i u -> y", {2, 6, 4, 5}, "i[7,2]i=0 u[7,4,5]"},
          {"ArgMax x -> i | axis=1 keepdims=0; OneHot i d v -> y | axis=1",
           {2, 7, 4, 5},
           "d[]i=7 v[2]=0,1"},
          {"OneHot i d v -> h; Reshape h f -> r; Tile x r -> y",
           {2, 6, 12, 5},
           "i[1]i=2 d[]i=4 v[2]i=1,3 f[1]i=-1"},
          {"Einsum x k -> y | equation='nchw,nkhw->nck'", {2, 6, 3}, "k[2,3,4,5]", 12},
          {"Reshape x r -> z; LSTM z w h -> y | hidden_size=8 direction=bidirectional",
           {8, 2, 6, 8},
           "r[3]i=8,6,5 w[2,32,5] h[2,32,8]"},
          {"Reshape x r -> z; GRU z w h -> _ y", {1, 6, 8}, "r[3]i=8,6,5 w[1,24,5] h[1,24,8]"},
          {"Reshape x r -> z; Conv z w -> y | strides=[2] pads=[1,1] group=2",
           {2, 4, 10},
           "r[3]i=2,6,20 w[4,3,3]"},
          {"ConvTranspose x w -> y | strides=[2,2] pads=[1,0,1,0] output_padding=[0,1] group=2",
           {2, 6, 7, 12},
           "w[6,3,3,3]"},
          {"Greater x k -> a; Not a -> b; Xor a b -> c; IsNaN x -> d; And c d -> e; "
           "Cast e -> y | to=1",
           {2, 6, 4, 5},
           "k[1]"},
          {"CumSum x a -> z; Trilu z -> y", {2, 6, 4, 5}, "a[]i=-1", 14},
          {"Sin x -> a; Cos a -> b; Shrink b -> c; Celu c -> y", {2, 6, 4, 5}},
          {"ConstantOfShape s -> z; Add x z -> y", {2, 6, 4, 5}, "s[4]i=2,6,4,5"},
          {"Range a b c -> y", {4}, "a[]=0 b[]=1 c[]=0.3"},
          {"Size x -> s; Div s d -> t; Reshape t o -> u; Reshape x u -> y",
           {240},
           "d[]i=1 o[1]i=1"},
          // What PyTorch writes for padding as in TensorFlow: 2, 6, 4, 5, by 2.
          {"Shape x -> s; Cast s -> f | to=1; Div f h -> g; Ceil g -> c; Cast c -> t | to=7; "
           "ConstantOfShape t -> y",
           {1, 3, 2, 3},
           "h[]=2"},
          {"Shape x -> s; Cast s -> f | to=1; Div f h -> g; Floor g -> c; Cast c -> t | to=7; "
           "ConstantOfShape t -> y",
           {1, 3, 2, 2},
           "h[]=2"},
          {"Shape x -> s; Cast s -> f | to=1; Mul f h -> g; Clip g l u -> c; Cast c -> t | to=7; "
           "ConstantOfShape t -> y",
           {2, 3, 2, 2},
           "h[]=0.5 l[]=2 u[]=3"},
      });
  // The number of images is not known when the model is loaded.
  check("x[-1,6,4,5]",
        {
            // What PyTorch writes for a flatten, and for a channel shuffle.
            {"Shape x -> s; Gather s o -> n; Unsqueeze n -> u | axes=[0]; Concat u r -> t | axis=0;"
             "Reshape x t -> y",
             {-1, 120},
             "o[]i=0 r[1]i=-1",
             11},
            {"Shape x -> s; Slice s o l -> n; Gather s l -> c; Div c g -> d; Concat n g d r -> t | "
             "axis=0; Reshape x t -> y",
             {-1, 2, 3, 20},
             "o[1]i=0 l[1]i=1 g[1]i=2 r[1]i=20"},
            {"Shape x -> s; Mul s h -> t; Sub t z -> u; Reshape x u -> y",
             {-1, 12, 2, 5},
             "h[4]i=1,2,1,1 z[4]i=0,0,2,0"},
            // What PyTorch writes for an expand that keeps some sizes.
            {"Equal e a -> q; Where q o e -> w; Expand k w -> t; Add x t -> y",
             {-1, 6, 4, 5},
             "e[4]i=-1,6,4,1 a[1]i=-1 o[4]i=1,1,1,1 k[1,6,1,1]"},
            {"Shape x -> s; Gather s l -> c; Mod c f -> m; Neg l -> g; Concat z m g -> t | axis=0;"
             "Reshape x t -> y",
             {-1, 2, 60},
             "l[1]i=1 f[1]i=4 z[1]i=0"},
            {"Shape x -> s; Gather s l -> c; Greater c f -> q; Where q c f -> w; "
             "Concat z w h -> t | axis=0; Reshape x t -> y",
             {-1, 6, 20},
             "l[1]i=1 f[1]i=4 z[1]i=0 h[1]i=20"},
            {"Shape x -> s; Slice s a b -> n; Concat n h -> t | axis=0; Resize x _ _ t -> y",
             {-1, 6, 8, 10},
             "a[1]i=0 b[1]i=2 h[2]i=8,10"},
            {"Range a b c -> r; Gather x r -> y | axis=1", {-1, 3, 4, 5}, "a[]i=0 b[]i=6 c[]i=2"},
            {"CastLike x k -> y", {-1, 6, 4, 5}, "k[1]"},
            {"Slice x a b -> y", {-1, 6, 2, 5}, "a[3]i=0,0,1 b[3]i=9223372036854775807,6,3"},
            {"Transpose x -> y | perm=[0,1,3,2]", {-1, 6, 5, 4}},
        });
}

TEST_CASE("on which axis a value has the images") {
  const struct {
    const char* nodes;
    const char* tensors;
    std::size_t axis;
    std::int64_t per_image;
    std::int64_t before;
    bool mixes = false;
  } cases[] = {
      {"Softmax x -> y", "", 0, 1, 1},
      {"Transpose x -> y | perm=[1,0,2]", "", 1, 1, 1},
      {"Reshape x s -> y", "s[3]i=-1,2,6", 0, 2, 1},
      {"Reshape x s -> y", "s[4]i=0,2,2,6", 0, 1, 1},
      // The tokens of all images, the first of each before the second of each; and back.
      {"Transpose x -> t | perm=[1,0,2]; Reshape t s -> y", "s[2]i=-1,6", 0, 4, 4},
      {"Transpose x -> t | perm=[1,0,2]; Reshape t s -> r; Reshape r u -> y",
       "s[2]i=-1,6 u[3]i=4,-1,6", 1, 1, 1},
      // Heads of an attention whose tokens come first.
      {"Transpose x -> t | perm=[1,0,2]; Reshape t s -> y", "s[3]i=4,-1,3", 1, 2, 1},
      {"Reshape x s -> y", "s[2]i=2,-1", 1, 12, 1, true},
      {"Concat x x -> y | axis=0", "", 0, 2, 1, true},
      {"Transpose x -> t | perm=[1,0,2]; Reshape t s -> r; Reshape x u -> v; Add r v -> y",
       "s[2]i=-1,6 u[2]i=-1,6", 0, 4, 1, true},
  };
  for (const auto& one : cases) {
    CAPTURE(std::string(one.nodes));
    const std::string bytes = onnx_model(onnx_graph(one.nodes, one.tensors, "x[-1,4,6] -> y"), 17);
    Graph graph = graph_of(bytes);
    check_graph(graph, "m.onnx");
    const Value& output = graph.values[graph.outputs[0]];
    CHECK(graph.operators[output.producer].may_mix_images == one.mixes);
    CHECK(output.images.axis == one.axis);
    CHECK(output.images.per_image == one.per_image);
    if (!one.mixes) CHECK(output.images.before == one.before);
  }
}

TEST_CASE("whether one image's result depends on others") {
  const struct {
    bool joins;
    const char* nodes;
    const char* tensors = "";
  } cases[] = {
      {false, "LayerNormalization x k -> y | axis=1", "k[4,6]"},
      {true, "LayerNormalization x k -> y | axis=0", "k[6]"},
      {true, "LayerNormalization x k -> y | axis=-3", "k[6]"},
      {true, "Transpose x -> t | perm=[1,2,0]; LayerNormalization t k -> y", "k[1]"},
      {true, "Transpose x -> t | perm=[1,0,2]; LayerNormalization t k -> y | axis=0", "k[6]"},
      {false, "Transpose x -> t | perm=[1,0,2]; LayerNormalization t k -> y", "k[6]"},
      {true, "ReduceMean x -> m | axes=[0]; Sub x m -> y"},
      {false, "ReduceMean x -> m | axes=[1]; Sub x m -> y"},
      {false, "InstanceNormalization x k k -> y", "k[4]"},
      {true, "Transpose x -> t | perm=[1,2,0]; InstanceNormalization t k k -> y", "k[6]"},
      {true, "LSTM x w h -> y", "w[1,8,6] h[1,8,2]"},
      {false, "Conv x k -> y | pads=[1,1]", "k[4,4,3]"},
      {true, "Transpose x -> t | perm=[1,2,0]; Conv t k -> y | pads=[1,1]", "k[4,6,3]"},
      {false, "Transpose x -> t | perm=[1,0,2]; LSTM t w h -> y", "w[1,8,6] h[1,8,2]"},
      {true, "ArgMax x -> i | axis=1 keepdims=0; Gather x i -> y"},
      {false, "ArgMax x -> i | axis=1 keepdims=0; Gather k i -> y", "k[4,3]"},
      {true, "ArgMax x -> i | axis=1; GatherElements x i -> y"},
      {false, "ArgMax x -> i | axis=1; GatherElements x i -> y | axis=1"},
      {true, "ScatterND x i u -> y", "i[1,1]i=0 u[1,4,6]"},
      {true, "Einsum x x -> y | equation='nij,mij->nm'"},
      {false, "Einsum x x -> y | equation='nij,nkj->nik'"},
      // A block of a vision transformer, and its first token.
      {false,
       "LayerNormalization x k k -> n; MatMul n w -> q; MatMul n w -> v; Transpose n -> t | "
       "perm=[0,2,1]; MatMul q t -> s; Softmax s -> p; MatMul p v -> o; Add o x -> a; "
       "LayerNormalization a k k -> b; Gather b f -> y | axis=1",
       "k[6] w[6,6] f[]i=0"},
  };
  for (const auto& one : cases) {
    CAPTURE(std::string(one.nodes));
    const std::string bytes = onnx_model(onnx_graph(one.nodes, one.tensors, "x[-1,4,6] -> y"), 17);
    Graph graph = graph_of(bytes);
    check_graph(graph, "m.onnx");
    CHECK(graph.joins_images == one.joins);
  }
  // Of each pair of images one row, and of that two.
  const std::string bytes =
      onnx_model(onnx_graph("Reshape x s -> r; LayerNormalization r k -> n; Reshape n t -> y",
                            "s[2]i=-1,48 k[48] t[2]i=-1,24", "x[-1,4,6] -> y"),
                 17);
  Graph graph = graph_of(bytes);
  check_graph(graph, "m.onnx");
  REQUIRE(graph.require_images);
  graph.require_images(2);
  CHECK_ERROR(BadInput, "does not take a batch of 3", graph.require_images(3));
}

/// What `n` holds where the second number of `s` and of `m` is open: "?" for each open number,
/// "none" where nothing is known. \param nodes of which the last gives `n`
std::string evaluated_of_open(const std::string& nodes, const std::string& tensors) {
  // The graph's names and numbers lie in the model.
  const std::string model = model_of(nodes + "; Cast n -> f | to=1; ReduceSum f -> r; Add x r -> y",
                                     "s[4]i=2,9,3,4 " + tensors);
  Graph graph = graph_of(model);
  check_graph(graph, "m.onnx");
  const std::string path = "m.onnx";
  const OperatorView view(graph, graph.operators.size() - 4, path);
  const Integers held = {2, 0, 3, 4};  // with a number that nobody may divide by
  std::deque<Value> values;
  const auto known = [&](std::string_view name, std::size_t index) {
    Value& value = values.emplace_back(view.in(name, index));
    if (value.name != "s" && value.name != "m") return &value;
    value.data = {reinterpret_cast<const char*>(held.data()), held.size() * sizeof(held[0])};
    value.open[1] = true;
    return &value;
  };
  const auto outputs = evaluate(view, known, [](std::size_t) { return true; });
  if (!outputs) return "none";
  Value made;
  const Contents& contents = outputs->front();
  made.data = contents.same == nullptr ? contents.bytes : contents.same->data;
  made.data_dtype = contents.dtype;
  made.open = contents.same == nullptr ? contents.open : contents.same->open;
  std::string text;
  for (std::size_t i = 0; i < count_values(made); ++i) {
    text += (i == 0 ? "" : " ") + (made.open[i] ? "?" : std::to_string(number_as<int>(made, i)));
  }
  return text;
}

TEST_CASE("numbers that are open stay so, wherever they are moved and whatever they become") {
  constexpr const char* kLeast = "a[1]i=-1 b[1]i=-9223372036854775808 z[1]i=0";
  const struct {
    const char *nodes, *tensors, *expected;
  } cases[] = {
      {"Concat s k s -> n | axis=0", "k[2]i=7,8", "2 ? 3 4 7 8 2 ? 3 4"},
      {"Gather s k -> n", "k[3]i=1,0,-3", "? 2 ?"},
      {"GatherElements s k -> n", "k[3]i=1,0,-3", "? 2 ?"},
      {"GatherND s k -> n", "k[3,1]i=3,1,1", "4 ? ?"},
      {"Slice s a b z a -> n", kLeast, "4 3 ? 2"},
      {"Split s -> n o | axis=0", "", "2 ?"},
      {"Reshape s k -> n", "k[2]i=2,2", "2 ? 3 4"},
      {"Reshape s k -> m; Transpose m -> n | perm=[1,0]", "k[2]i=2,2", "2 3 ? 4"},
      {"Reshape s k -> m; Trilu m -> n", "k[2]i=2,2", "2 ? 0 4"},
      {"Reshape s k -> m; Trilu m -> n | upper=0", "k[2]i=2,2", "2 0 3 4"},
      {"Expand s k -> n", "k[2]i=2,1", "2 ? 3 4 2 ? 3 4"},
      {"Expand s k -> n", "k[2]i=17,1", "none"},
      {"Tile s k -> n", "k[1]i=2", "2 ? 3 4 2 ? 3 4"},
      {"Pad s k v -> n", "k[2]i=1,-1 v[]i=9", "9 2 ? 3"},
      {"ScatterElements s k v -> n", "k[1]i=1 v[1]i=9", "2 9 3 4"},
      {"ScatterElements k k s -> n", "k[4]i=3,2,1,0", "4 3 ? 2"},
      {"ScatterND s k v -> n", "k[1,1]i=0 v[1]i=9", "9 ? 3 4"},
      {"Add s k -> n", "k[1]i=1", "3 ? 4 5"},
      {"Add s k -> n", "k[17,1]i=0", "none"},
      {"Div k s -> n", "k[1]i=12", "6 ? 4 3"},
      {"Neg s -> n", "", "-2 ? -3 -4"},
      {"Equal s k -> n", "k[1]i=3", "0 ? 1 0"},
      {"Cast s -> n | to=6", "", "2 ? 3 4"},
      {"Cast c -> b | to=9; Where b s k -> n", "c[4]i=1,0,0,1 k[1]i=9", "2 9 9 4"},
      {"Cast c -> b | to=9; Where b s k -> n", "c[4]i=0,1,0,1 k[1]i=9", "9 ? 9 4"},
      {"ReduceSum s -> n", "", "?"},
      {"Reshape s k -> m; ReduceMax m -> n | axes=[1]", "k[2]i=2,2", "? 4"},
      {"CumSum s k -> n", "k[]i=0", "none"},
      {"OneHot s k v -> n", "k[]i=3 v[2]i=0,1", "none"},
  };
  for (const auto& [nodes, tensors, expected] : cases) {
    CAPTURE(std::string(nodes));
    CHECK(evaluated_of_open(nodes, tensors) == expected);
  }
}

TEST_CASE("nodes are put in order, and otherwise stay as they are") {
  const auto kinds = [](const std::string& nodes) {
    std::string found;
    for (const Operator& op : graph_of(model_of(nodes)).operators) found += op.type + " ";
    return found;
  };
  CHECK(kinds("Relu x -> a; Exp x -> b; Add a b -> y; Abs x -> unused") == "Relu Exp Add Abs ");
  CHECK(kinds("Add a b -> y; Abs x -> unused; Exp x -> b; Relu x -> a") == "Relu Exp Add Abs ");
  CHECK(kinds("Abs x -> unused; Add a b -> y; Exp a -> b; Relu x -> a") == "Abs Relu Exp Add ");
  CHECK(kinds("Neg c -> y; Add x b -> c; Exp c -> b; Abs x -> unused") == "Exp Add Neg Abs ");
}

TEST_CASE("what leads to no output is left out, and may be anything") {
  const Network network = network_of(model_of("Softmax x -> s; Relu x -> y; Unknown y -> unused"));
  REQUIRE(network.layers.size() == 1);
  CHECK(network.layers[0].kind == native::LayerKind::Activate);
  // Needed for its shape alone, behind the layer that is last.
  const Network shaped =
      network_of(model_of("GlobalMaxPool x -> p; Softmax p -> s | axis=1; Relu p -> r; Shape r -> "
                          "t; Reshape s t -> y"));
  REQUIRE(shaped.layers.size() == 2);
  CHECK(shaped.layers[1].kind == native::LayerKind::Softmax);
}

TEST_CASE("models that do not fit themselves") {
  const char* const filter = "w[2,1,1,1]=2,3";
  const struct {
    const char* text;
    const char* nodes;
    const char* tensors = "";
  } cases[] = {
      {"uses 'nothing', which nothing gives", "Relu nothing -> y"},
      {"uses 'y', which is computed from what it gives", "Relu y -> y"},
      {"uses 'y', which is computed from what it gives", "Add x z -> y; Relu y -> z"},
      {"overwrites 'y'", "Relu x -> y; Relu x -> y"},
      {"overwrites 'z'", "Relu x -> y; Split y -> z z"},
      {"overwrites 'w'", "Relu x -> w; Relu x -> y; Add x w -> y", filter},
      {"'w' is there twice", "Relu x -> y", "w[1]=2 w[1]=3"},
      {"an argument too many", "Relu x x -> y"},
      {"the argument Filter", "Conv x -> y"},
      {"the argument Filter", "Conv x _ -> y"},
      {"the type of the attribute group", "Conv x w -> y | group=[1]", filter},
      {"groups and channels", "Conv x w -> y | group=2", filter},
      {"groups and channels", "Conv x w -> y | group=0", filter},
      {"groups and channels", "Conv x w -> y", "w[2,3,1,1]"},
      {"filter is empty", "Conv x w -> y", "w[0,1,1,1]"},
      {"kernel_shape", "Conv x w -> y | kernel_shape=[1,2]", filter},
      {"larger than the image", "Conv x w -> y", "w[1,1,5,1]"},
      {"the number of strides", "Conv x w -> y | strides=[1]", filter},
      {"damaged: strides", "Conv x w -> y | strides=[0,1]", filter},
      {"damaged: dilations", "Conv x w -> y | dilations=[1,1048576]", filter},
      {"damaged: pads", "Conv x w -> y | pads=[0,0,0,-1]", filter},
      {"damaged: auto_pad", "Conv x w -> y | auto_pad=same", filter},
      {"both pads", "Conv x w -> y | auto_pad=VALID pads=[0,0,0,1]", filter},
      {"no attribute kernel_shape", "MaxPool x -> y"},
      {"damaged: kernel sizes", "MaxPool x -> y | kernel_shape=[0,1]"},
      {"as wide as the window", "MaxPool x -> y | kernel_shape=[2,2] pads=[2,0,0,0]"},
      {"neither 0 nor 1", "MaxPool x -> y | kernel_shape=[2,2] ceil_mode=2"},
      {"NaN or infinity", "Conv x w -> y", "w[1,1,1,1]=inf"},
      {"NaN or infinity", "Conv x w -> y", "w[1,1,1,1]=nan"},
      {"NaN or infinity", "Add x k -> y", "k[1]=-inf"},
      {"NaN or infinity", "Add x k -> s; Relu s -> r; Softmax r -> y", "k[1]=-inf"},
      {"NaN or infinity", "Add x k -> s; Softmax s -> y; Relu s -> z", "k[1]=-inf"},
      {"NaN or infinity", "Add x k -> s; Softmax s -> y", "k[1]=inf"},
      {"damaged: the number of paddings", "Pad x p -> y", "p[2]i=1,1"},
      {"damaged: the mode", "Pad x p -> y | mode=mirror", "p[8]i=0,0,0,0,0,0,0,0"},
      {"damaged: the bounds", "Slice x a b -> y", "a[1]i=0 b[2]i=1,1"},
      {"damaged: a step of 0", "Slice x a a a a -> y", "a[1]i=0"},
      {"an axis named twice", "Slice x a a a -> y", "a[2]i=1,1"},
      {"damaged: the sections", "Split x s -> y z | axis=3", "s[2]i=2,3"},
      {"damaged: the number of parts", "Split x -> y z w | axis=3"},
      {"damaged: the number of parts", "Split x s -> y z | axis=3 num_outputs=2", "s[2]i=1,3"},
      {"damaged: an axis", "Gather x i -> y | axis=1", "i[]i=1"},
      {"damaged: the axes", "Transpose x -> y | perm=[0,1,2]"},
      {"damaged: size", "LRN x -> y | size=0"},
      {"a step of 0", "Range z k z -> r; Gather x r -> y", "z[]i=0 k[]i=1"},
      {"division by 0", "Shape x -> s; Div s z -> t; Reshape x t -> y", "z[4]i=1,0,1,1"},
      {"shapes that do not match", "Sub x k -> y", "k[3]"},
      {"shapes that do not match", "PRelu x k -> y", "k[2,1]=1,2"},
      {"shapes that do not match", "PRelu x k -> y", "k[3,1,1,1,1]"},
      {"matrices that do not match", "Flatten x -> f; MatMul f w -> y", "w[2,2]=1,2,3,4"},
      {"shapes that do not match", "LayerNormalization x k -> y", "k[3]"},
      {"the shape of Bias", "LayerNormalization x k b -> y", "k[4] b[2,1,1,1,1]"},
      {"an axis", "LayerNormalization x k -> y | axis=4", "k[4]"},
      {"the shape of Bias", "InstanceNormalization x k b -> y", "k[1] b[2]"},
      {"groups and channels", "GroupNormalization x k k -> y | num_groups=2", "k[1]"},
      {"the number of scales", "Resize x _ s -> y", "s[3]=1,1,2"},
      {"damaged: scales", "Resize x _ s -> y", "s[4]=1,1,-2,1"},
      {"damaged: the size", "Transpose x -> z | perm=[0,2,1,3]; SpaceToDepth z -> y | blocksize=3"},
      {"damaged: k", "TopK x k -> y i", "k[1]i=5"},
      {"the rank", "GatherElements x i -> y", "i[3]i=0"},
      {"the indices", "GatherND x i -> y", "i[2,5]i=0"},
      {"shapes that do not match", "ScatterND x i u -> y", "i[1,1]i=0 u[2,1,4,4]"},
      {"damaged: depth", "OneHot i d v -> h; Add x h -> y", "i[1]i=0 d[]i=-1 v[2]=0,1"},
      {"the equation", "Einsum x -> y | equation='nch->nc'"},
      {"the equation", "Einsum x -> y | equation='nchwk->nc'"},
      {"the equation", "Einsum x -> y | equation='nch...wk->nc'"},
      {"the equation", "Einsum x k -> y | equation='nchw,->nc'", "k[3]"},
      {"an index that is out of range",
       "Transpose x -> t | perm=[1,2,3,0]; GatherND t a -> g; Transpose g -> y | perm=[1,0]",
       "a[1,3]i=0,4,0"},
      {"the number of windows", "Reshape x r -> g; Col2Im g s b -> y",
       "r[3]i=0,4,4 s[2]i=4,4 b[2]i=2,2"},
      {"damaged: k", "TopK x a -> y z", "a[1]i=5"},
      {"shapes that do not match", "Einsum x k -> y | equation='n...w,w->n...'", "k[3]"},
      {"shapes that do not match", "Einsum x k -> y | equation='nchw,hw->n'", "k[3,4]"},
      {"the shape of W", "Squeeze x a -> z; LSTM z w h -> y", "a[1]i=1 w[1,8,3] h[1,8,2]"},
      {"the numbers of channels", "ConvTranspose x w -> y", "w[3,1,1,1]"},
      {"damaged: the size of the output", "ConvTranspose x w -> y | pads=[9,9,9,9]", "w[1,1,1,1]"},
      {"the element type", "Not x -> y"},
  };
  for (const auto& one : cases) {
    CHECK_ERROR(BadModel, one.text, network_of(model_of(one.nodes, one.tensors)));
  }
  CHECK(
      network_of(model_of("Shape x -> s; Expand k s -> t; Add x t -> y", "k[1]=1")).layers.size() ==
      1);
  CHECK_ERROR(Unsupported, "not positive",
              network_of(model_of("BatchNormalization x k k k k -> y", "k[1]=-1")));
  const auto relu = [](const char* values) { return onnx_model(onnx_graph(kRelu, "", values)); };
  CHECK_ERROR(Unsupported, "that is declared as [N, 3, 4, 4]",
              network_of(relu("x[-1,1,4,4] -> y[-1,3,4,4]")));
  CHECK_ERROR(Unsupported, "has the shape", network_of(relu("x[-1,1048576,1048576,1048576] -> y")));
  const auto damaged = [](const char* text, const std::string& graph) {
    CHECK_ERROR(BadModel, text, network_of(onnx_model(graph)));
  };
  const auto plain = [](const char* values) {
    return onnx_graph("Relu x -> r; Relu r -> y", "w[2]=1,2", values);
  };
  damaged("nothing gives its output 'z'", plain("x[-1,1,4,4] -> y z"));
  damaged("'x' has the shape [0, 1, 4, 4]", plain("x[0,1,4,4] -> y"));
  const std::string good = plain("x[-1,1,4,4] w[2] -> y");
  CHECK_NOTHROW(network_of(onnx_model(good + delimited(13, onnx_value("r[-1,2,5]", 1)))));
  damaged("the shape or type of its output 'r'",
          good + delimited(13, onnx_value("r[-1,1,4,4]", 7)));
  damaged("'r' is declared with two types",
          good + delimited(13, onnx_value("r[-1]", 1)) + delimited(13, onnx_value("r[-1]", 7)));
  CHECK_NOTHROW(network_of(onnx_model(plain("x[-1,1,4,4] -> y[-1,0,4,0]"))));
  damaged("'w' is another as an input", plain("x[-1,1,4,4] w[3] -> y"));
  damaged("'w' is another as an input", good + delimited(11, onnx_value("w[2]", 7)));
  CHECK_ERROR(Unsupported, "has the shape",
              network_of(model_of("Conv x w -> y | pads=[0,0,65536,65536]", filter)));
}

TEST_CASE("what the native engine has not, by operator and name") {
  const char* const each = "but of each image";
  const char* const mixes = "could not prove that images stay apart";
  const char* const none = "takes no number of images that was tried: ";
  const char* const empty = "tensor without values";
  const struct {
    const char* text;
    const char* nodes;
    const char* tensors = "";
    int opset = 13;
  } cases[] = {
      {mixes, "Pad x -> y | pads=[1,0,0,0,0,0,0,0]", "", 7},
      {empty, "Slice x a b -> y", "a[1]i=1 b[1]i=3"},
      {none, "Split x -> y z"},
      {mixes, "Gather x a -> y", "a[1]i=0"},
      {"without values", "Slice x a b c -> y", "a[1]i=5 b[1]i=9 c[1]i=3"},
      {"without values", "Pad x -> y | pads=[0,0,-2,0,0,0,-2,0]", "", 7},
      {"such paddings", "Pad x -> y | mode=reflect pads=[0,0,4,0,0,0,0,0]", "", 7},
      {"whose rank depends on the number of images", "Squeeze x -> y"},
      {"a value of shape", "Shape x -> s; Mul s s -> t; Reshape x t -> y"},
      {"this operator (GlobalLpPool", "GlobalLpPool k -> z; Add x z -> y", "k[1,1,2,2]"},
      {"no kernel for this operator (GlobalLpPool, which gives 'y')", "GlobalLpPool x -> y"},
      {"no kernel for this operator (Unknown, which gives 'y')", "Unknown x -> y"},
      {"stash_type", "LayerNormalization x k -> y | stash_type=16", "k[4]", 17},
      {"such a policy or mode", "Resize x _ s -> y | keep_aspect_ratio_policy=not_larger",
       "s[4]=1,1,2,1", 18},
      {"sums of what '...' stands for", "Einsum x -> y | equation='n...->n'"},
      {mixes,
       "Transpose x -> t | perm=[1,2,3,0]; Softmax t -> s; Transpose s -> y | perm=[3,0,1,2]"},
      {mixes, "Transpose x -> t | perm=[1,0,2,3]; Softmax t -> s | axis=0; Reshape s a -> y",
       "a[2]i=-1,16", 11},
      {"so many times", "Tile x a -> y", "a[4]i=1,1,1,1000000000000"},
      {"a tensor without values", "Tile x a -> y", "a[4]i=1,1,0,1"},
      {"paddings so wide", "Pad x a -> y", "a[8]i=0,0,0,-100000,0,0,0,0"},
      {"paddings so wide", "Pad x -> y | pads=[0,0,0,0,0,0,0,1000000000000]", "", 7},
      {mixes, "CumSum x a -> y", "a[]i=0"},
      {mixes, "ArgMax x -> z | axis=0; Cast z -> y | to=1"},
      {mixes, "TopK x a -> y z | axis=0", "a[1]i=1"},
      {mixes, "GatherND x a -> y", "a[1,2]i=0,0"},
      {mixes, "GatherElements x a -> y | axis=0", "a[1,1,1,1]i=0"},
      {empty, "TopK x a -> y z", "a[1]i=0"},
      {"for images in two dimensions", "Flatten x -> f; Reshape f r -> g; Col2Im g s b -> y",
       "r[3]i=0,3,20 s[1]i=20 b[1]i=3", 18},
      {"this operator (com.microsoft.Relu", "Relu@com.microsoft x -> y"},
      {"the attribute alpha (Relu", "Relu x -> y | alpha=1.0"},
      {"a second output", "MaxPool x -> z indices | kernel_shape=[1,1]; Add z indices -> y"},
      {"operator set 6; ", "Relu x -> y", "", 6},
      {"operator set 29", "Relu x -> y", "", 29},
      {none, "Reshape x s -> y", "s[2]i=-1,32"},
      {mixes, "Reshape x s -> y", "s[2]i=16,-1"},
      {none, "Reshape x s -> y", "s[3]i=0,-1,3"},
      {mixes, "Softmax x -> y | axis=0"},
      {mixes, "GlobalMaxPool x -> p; Flatten p -> f; Add x f -> y"},
      {mixes, "Add x k -> y", "k[4,1,1,1]=1,2,3,4"},
      {mixes, "Conv x x -> y"},
      {mixes, "Concat x x -> y | axis=0"},
      {mixes, "MatMul x k -> y", "k[2,1,4,1]"},
      {none, "Flatten x -> f; MatMul k f -> y", "k[2,5]"},
      {none, "Flatten x -> f; Gemm f k -> y | transA=1", "k[5,2]"},
      // Of one image onnxruntime takes the vector for a row.
      {"such a rank", "GlobalMaxPool x -> p; Squeeze p a -> s; Gemm s k -> y",
       "a[3]i=1,2,3 k[1,1]"},
      {mixes, "BatchNormalization x k k k k -> y | training_mode=1", "k[1]=1", 15},
      {"window larger than the image", "MaxPool x -> y | kernel_shape=[5,1]"},
      {"auto_pad with such a stride",
       "MaxPool x -> y | kernel_shape=[1,1] auto_pad=SAME_UPPER strides=[4,1]"},
      {"such dilations (MaxPool",
       "MaxPool x -> y | kernel_shape=[2,2] auto_pad=SAME_UPPER dilations=[2,2]"},
      {"ceil_mode with auto_pad", "MaxPool x -> y | kernel_shape=[2,2] auto_pad=VALID ceil_mode=1"},
      {"such dilations (Conv", "Conv x w -> y | auto_pad=SAME_UPPER dilations=[2,2]",
       "w[1,1,2,2]=1,2,3,4"},
      {each, "Flatten x -> y | axis=9223372036854775807"},
      // Of one number for each image, axis 0 counts from the front.
      {mixes, "ReduceMean x -> y | axes=[0]"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.nodes);
    CHECK_ERROR(Unsupported, one.text, network_of(model_of(one.nodes, one.tensors, one.opset)));
  }
  CHECK_NOTHROW(network_of(model_of("Shape x -> s; ConstantOfShape s -> z; Add x z -> y")));
  const auto layers = [](const std::string& least) {
    const std::string clip = "Clip x -> y | max=3.4028235e38 min=" + least;
    return network_of(model_of(clip, "", 10)).layers.size();
  };
  CHECK(layers("0.0") == 1);
  CHECK(layers("-3.4028235e38") == 0);
  const auto refuse = [](const char* text, const std::string& model) {
    CHECK_ERROR(Unsupported, text, network_of(model));
  };
  const auto relu = [](const char* values) { return onnx_graph(kRelu, "", values); };
  const char* const values = "x[-1,1,4,4] -> y";
  refuse("functions of its own", onnx_model(relu(values)) + delimited(25, delimited(1, "Relu")));
  refuse("functions of its own",
         onnx_model(relu(values)) + delimited(25, delimited(10, "com.microsoft")));
  refuse(
      "operators of version 2 of com.microsoft",
      onnx_model(relu(values)) + delimited(8, delimited(1, "com.microsoft") + number_field(2, 2)));
  refuse("the IR version 15", onnx_model(relu(values)) + number_field(1, 15));
  refuse("sparse constants", onnx_model(relu(values) + delimited(15, "")));
  refuse("has 2 inputs", onnx_model(relu("x[1,1,4,4] z[1,1,4,4] -> y")));
  refuse("height, width]", onnx_model(relu("x[-1] -> y")));
  refuse("images of any size", onnx_model(relu("x[-1,1,-1,4] -> y")));
  const std::string truths = delimited(11, onnx_value("x[-1,1,4,4]", 9));
  refuse("no tensor of float32", onnx_model(relu("-> y") + truths));
}

TEST_CASE("the first wrong value is one of which the operator takes right values alone") {
  // y is computed by way of a chain, a branch beside it and a value that is not known.
  Graph graph =
      graph_of(model_of("Relu x -> a; Relu a -> b; Relu b -> c; Relu c -> d; Neg a -> e; "
                        "Add d e -> f; Identity f -> g; Relu g -> y"));
  const auto found = [&](const std::string& wrong, const std::string& unknown = "",
                         int* questions = nullptr) -> std::string {
    const std::size_t value =
        find_wrong_value(graph, [&](std::size_t index) -> std::optional<bool> {
          const std::string& name = graph.values[index].name;
          if (questions != nullptr) ++*questions;
          if (unknown.find(name) != std::string::npos) return std::nullopt;
          return wrong.find(name) != std::string::npos;
        });
    return value == kNone ? "" : graph.values[value].name;
  };
  CHECK(found("") == "");
  CHECK(found("y") == "y");
  CHECK(found("fgy") == "f");
  CHECK(found("cdfgy") == "c");
  CHECK(found("efgy") == "e");         // in the branch, whatever is right in the chain
  CHECK(found("abcdefgy") == "a");     // which both begin with
  CHECK(found("bfgy") == "f");         // c and d are right again
  CHECK(found("cdfgy", "fg") == "c");  // what is not known is looked through
  CHECK(found("fgy", "fg") == "y");

  std::string nodes = "Relu x -> v0; ";
  for (int i = 1; i < 1000; ++i) {
    nodes += "Relu v" + std::to_string(i - 1) + " -> v" + std::to_string(i) + "; ";
  }
  graph = graph_of(model_of(nodes + "Relu v999 -> y"));
  int questions = 0;
  const std::size_t first = find_wrong_value(graph, [&](std::size_t index) {
    ++questions;
    return graph.values[index].name == "y" || graph.values[index].producer >= 700;
  });
  CHECK(graph.values.at(first).name == "v700");
  CHECK(questions < 15);
}

}  // namespace lenet::tests
