// Nodes and constants of .onnx files made by hand, and the networks that they become.

#include <cmath>
#include <cstdint>
#include <limits>

#include "engines/native/onnx/read_onnx.h"
#include "model/graph.h"
#include "model/onnx_graph.h"
#include "onnx_builder.h"
#include "support.h"

namespace lenet::tests {
namespace {

using native::LayerKind;
using native::Network;
using native::PoolKind;

constexpr float kLargest = std::numeric_limits<float>::max();

const Names kInput = {onnx_value("x", {-1, 1, 4, 4})};
const Names kOutput = {delimited(1, "y") + delimited(2, delimited(1, number_field(1, 1)))};

std::string model_of(const Names& nodes, const Names& tensors = {}, int opset = 13) {
  return onnx_model(onnx_graph(nodes, tensors, kInput, kOutput), opset);
}

OnnxGraph graph_of(const std::string& bytes) { return read_onnx_graph(bytes, "m.onnx"); }

Network network_of(const Names& nodes, const Names& tensors = {}, int opset = 13) {
  return native::read_onnx(graph_of(model_of(nodes, tensors, opset)), "m.onnx");
}

/// A tensor with its values in the field of that number.
std::string listed(const Shape& shape, int dtype, const std::string& values) {
  std::string bytes;
  for (const auto size : shape) bytes += number_field(1, size);
  return bytes + number_field(2, dtype) + delimited(8, "k") + values;
}

OnnxTensor tensor_of(const std::string& tensor) {
  return graph_of(model_of({}, {tensor})).constants.at(0);
}

std::string integers(const std::string& name, const Shape& values) {
  std::string raw;
  for (const auto value : values) raw += bytes_of(value);
  return number_field(1, static_cast<std::int64_t>(values.size())) + number_field(2, 7) +
         delimited(8, name) + delimited(9, raw);
}

const std::string kRelu = onnx_node("Relu", {"x"}, {"y"});
const std::string kFilter = onnx_tensor("w", {2, 1, 1, 1}, {2, 3});

/// Of these values, encoded.
Network relu_network(const std::string& input, const std::string& output) {
  const std::string bytes = onnx_model(onnx_graph({kRelu}, {}, {input}, {output}));
  return native::read_onnx(graph_of(bytes), "m.onnx");
}

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
  CHECK(tensor_of(integers("k", {5, -7})).integers == numbers);
  CHECK(tensor_of(listed({2}, 7, delimited(7, varint(5) + varint(minus)))).integers == numbers);
  CHECK(tensor_of(listed({2}, 7, number_field(7, 5) + number_field(7, -7))).integers == numbers);
  CHECK(tensor_of(listed({2}, 6, delimited(5, varint(5) + varint(minus)))).integers == numbers);
  const std::string raw = bytes_of(std::int32_t{5}) + bytes_of(std::int32_t{-7});
  CHECK(tensor_of(listed({2}, 6, delimited(9, raw))).integers == numbers);
  CHECK(tensor_of(listed({2}, 9, delimited(9, std::string("\0\1", 2)))).integers == Integers{0, 1});
  // Of another type nothing is known but that.
  CHECK(tensor_of(listed({2}, 10, delimited(9, "abcd"))).dtype == 10);
}

TEST_CASE("constants that are damaged") {
  const std::string one = bytes_of(1.5F);
  const auto check = [](const char* text, const std::string& tensor) {
    check_error(ErrorCode::BadModel, text, [&] { tensor_of(tensor); });
  };
  const char* const other = "as many values as its shape says";
  check(other, listed({2}, 1, delimited(9, one)));
  check(other, listed({1}, 1, delimited(9, one + one)));
  check(other, listed({1}, 1, delimited(9, one + "a")));
  check(other, listed({2}, 1, delimited(4, one)));
  check(other, listed({1}, 1, ""));
  check(other, listed({1}, 1, delimited(7, varint(1))));  // in the list of another type
  check(other, listed({1}, 1, delimited(4, one) + delimited(7, varint(1))));
  check("its values twice", listed({1}, 1, delimited(9, one) + delimited(4, one)));
  check("a negative size", listed({-1}, 1, ""));
  check("too large", listed({std::int64_t{1} << 40, std::int64_t{1} << 40}, 1, ""));
  check("in segments", listed({1}, 1, delimited(3, "") + delimited(9, one)));
  check("cut short", listed({1}, 1, delimited(4, "abc")));
  check("cut short", listed({1}, 7, delimited(7, "\xff")));
  check("of the wrong type", listed({1}, 7, number_field(9, 1)));
  check("of the wrong type", listed({1}, 7, delimited(2, "a")));
  check("out of range", listed({1}, -1, ""));
}

TEST_CASE("nodes, attributes, inputs and outputs") {
  const std::string floats = delimited(1, "l") + delimited(7, bytes_of(1.0F) + bytes_of(2.0F));
  const OnnxGraph graph = graph_of(model_of(
      {onnx_node("Conv", {"x", "", "b"}, {"y"},
                 {onnx_integer("i", -3), onnx_integers("j", {1, -2}), onnx_float("f", 0.5F),
                  onnx_text("t", "VALID"), onnx_attribute("k", onnx_tensor("", {1}, {4})),
                  floats + number_field(20, 6)},
                 "ai.onnx")},
      {}, 15));
  CHECK(graph.opset == 15);
  CHECK(graph.inputs.at(0).name == "x");
  CHECK(graph.inputs[0].dtype == kOnnxFloat);
  CHECK(graph.inputs[0].shape == Shape{-1, 1, 4, 4});
  CHECK_FALSE(graph.outputs.at(0).has_shape);
  const OnnxNode& node = graph.nodes.at(0);
  CHECK(node.type == "Conv");
  CHECK(node.domain.empty());
  CHECK(node.inputs == Names{"x", "", "b"});
  CHECK(node.outputs == Names{"y"});
  CHECK(node.attributes.at("i").integer == -3);
  CHECK(node.attributes.at("j").integers == Integers{1, -2});
  CHECK(node.attributes.at("f").number == 0.5F);
  CHECK(node.attributes.at("t").text == "VALID");
  CHECK(node.attributes.at("k").tensor.floats == std::vector<float>{4});
  CHECK(node.attributes.at("l").numbers == std::vector<float>{1, 2});

  const auto damaged = [](const char* text, const std::string& attribute) {
    check_error(ErrorCode::BadModel, text,
                [&] { graph_of(model_of({onnx_node("Relu", {"x"}, {"y"}, {attribute})})); });
  };
  damaged("two tensors", onnx_attribute("k", onnx_tensor("", {}, {4})) + delimited(5, ""));
  damaged("of the wrong type", delimited(1, "f") + number_field(2, 1));
  damaged("of the wrong type", number_field(1, 1));
  check_error(ErrorCode::BadModel, "the attribute 'i' twice", [] {
    graph_of(
        model_of({onnx_node("Relu", {"x"}, {"y"}, {onnx_integer("i", 1), onnx_integer("i", 1)})}));
  });
  const std::string opset = delimited(8, number_field(2, 9));
  check_error(ErrorCode::BadModel, "two operator sets",
              [&] { graph_of(model_of({kRelu}) + opset); });
  CHECK(graph_of(model_of({kRelu}) + delimited(8, delimited(1, "my") + number_field(2, 1))).opset ==
        13);
}

TEST_CASE("values beside the model") {
  const TemporaryFolder folder;
  write_file(folder / "w.bin", "pad." + bytes_of(2.0F) + bytes_of(3.0F));
  const auto read = [&](const Arguments& entries, const Shape& shape = {2, 1, 1, 1}) {
    OnnxGraph graph = read_onnx_graph(model_of({onnx_node("Conv", {"x", "w"}, {"y"})},
                                               {onnx_external_tensor("w", shape, entries)}),
                                      folder / "m.onnx");
    std::string contents;
    read_external_values(graph, folder / "m.onnx", [&](const std::string& file) {
      contents = read_file(file);
      return std::string_view(contents);
    });
    CHECK_FALSE(graph.constants.at(0).external.has_value());
    return graph.constants[0].floats;
  };
  const std::vector<float> values = {2, 3};
  CHECK(read({{"location", "w.bin"}, {"offset", "4"}, {"length", "8"}}) == values);
  CHECK(read({{"location", "w.bin"}, {"offset", "4"}}) == values);
  const auto check = [&](const char* text, const Arguments& entries, const Shape& shape) {
    check_error(ErrorCode::BadModel, text, [&] { read(entries, shape); });
  };
  const Shape two = {2, 1, 1, 1};
  check("as many values as its shape", {{"location", "w.bin"}, {"offset", "8"}}, two);
  check("as many values as its shape", {{"location", "w.bin"}, {"length", "12"}}, two);
  check("as many values as its shape", {{"location", "w.bin"}}, {4, 1, 1, 1});
  check("only 12 bytes", {{"location", "w.bin"}, {"offset", "13"}}, two);
  check("no file of its folder", {{"location", "../w.bin"}}, two);
}

TEST_CASE("a network by hand") {
  // (2x + 1, 3x - 1), normalized with gain 2, bias 1, mean 1, variance 3 and epsilon 1: y - 1 + 1.
  Network network = network_of(
      {onnx_node("Conv", {"x", "w", "b"}, {"c"}),
       onnx_node("BatchNormalization", {"c", "g", "o", "o", "v"}, {"n"},
                 {onnx_float("epsilon", 1)}),
       onnx_node("Relu", {"n"}, {"r"}),
       onnx_node("AveragePool", {"r"}, {"p"},
                 {onnx_integers("kernel_shape", {3, 2}), onnx_integers("strides", {2, 2}),
                  onnx_integers("pads", {1, 0, 0, 0}), onnx_integer("ceil_mode", 1)}),
       onnx_node("Flatten", {"p"}, {"f"}),
       onnx_node("Gemm", {"f", "m", "b"}, {"y"},
                 {onnx_float("alpha", 0.5F), onnx_float("beta", 2)})},
      {kFilter, onnx_tensor("b", {2}, {1, -1}), onnx_tensor("g", {2}, {2, 2}),
       onnx_tensor("o", {2}, {1, 1}), onnx_tensor("v", {2}, {3, 3}),
       onnx_tensor("m", {8, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})});
  CHECK(network.input_name == "x");
  CHECK(network.output_name == "y");
  CHECK(network.input_shape == Shape{-1, 1, 4, 4});
  CHECK(network.output_shape == Shape{-1, 2});
  REQUIRE(network.layers.size() == 5);
  CHECK(network.layers[0].name == "Conv 'c'");
  native::simplify(network);
  REQUIRE(network.layers.size() == 3);
  const native::Layer& convolution = network.layers[0];
  CHECK(convolution.weights == std::vector<float>{2, 3});
  CHECK(convolution.bias == std::vector<float>{1, -1});
  CHECK(convolution.relu);
  const native::Layer& pool = network.layers[1];
  CHECK(pool.pool == PoolKind::Average);
  CHECK(pool.window.kernel == std::array<std::int64_t, 2>{3, 2});
  CHECK(pool.window.padding == std::array<std::int64_t, 4>{1, 0, 0, 0});
  CHECK(network.tensors[pool.output].height == 2);
  CHECK(network.tensors[pool.output].width == 2);
  const native::Layer& linear = network.layers[2];
  CHECK(linear.window.kernel == std::array<std::int64_t, 2>{2, 2});
  CHECK(linear.weights == std::vector<float>{.5F, 1.5F, 2.5F, 3.5F, 4.5F, 5.5F, 6.5F, 7.5F,  //
                                             1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(linear.bias == std::vector<float>{2, -2});
}

TEST_CASE("what leads to no output is left out, and may be anything") {
  const Network network =
      network_of({onnx_node("Softmax", {"x"}, {"s"}), kRelu, onnx_node("Erf", {"y"}, {"unused"})});
  REQUIRE(network.layers.size() == 1);
  CHECK(network.layers[0].kind == LayerKind::Relu);
  // Needed for its shape alone, behind the layer that is last.
  const Network shaped =
      network_of({onnx_node("GlobalMaxPool", {"x"}, {"p"}),
                  onnx_node("Softmax", {"p"}, {"s"}, {onnx_integer("axis", 1)}),
                  onnx_node("Relu", {"p"}, {"r"}), onnx_node("Shape", {"r"}, {"t"}),
                  onnx_node("Reshape", {"s", "t"}, {"y"})});
  REQUIRE(shaped.layers.size() == 2);
  CHECK(shaped.layers[1].kind == LayerKind::Softmax);
}

TEST_CASE("models that do not fit themselves") {
  const Names conv = {onnx_node("Conv", {"x", "w"}, {"y"})};
  const auto filter = [](const Shape& shape) {
    return onnx_tensor("w", shape, std::vector<float>(element_count(shape)));
  };
  const auto convolution = [&](const Names& attributes) {
    return Names{onnx_node("Conv", {"x", "w"}, {"y"}, attributes)};
  };
  const auto pool = [](const Names& attributes) {
    return Names{onnx_node("MaxPool", {"x"}, {"y"}, attributes)};
  };
  const std::string two = onnx_integers("kernel_shape", {2, 2});
  const std::string wide = onnx_integers("pads", {0, 0, 1 << 16, 1 << 16});
  const auto weight = [](float value) { return onnx_tensor("w", {1, 1, 1, 1}, {value}); };
  const struct {
    const char* text;
    Names nodes;
    Names tensors;
  } cases[] = {
      {"'nothing' is given by nothing before it", {onnx_node("Relu", {"nothing"}, {"y"})}, {}},
      {"given by nothing", {onnx_node("Relu", {"y"}, {"y"})}, {}},
      {"is there already", {kRelu, kRelu}, {}},
      {"is there already",
       {onnx_node("Relu", {"x"}, {"w"}), kRelu, onnx_node("Add", {"x", "w"}, {"y"})},
       {kFilter}},
      {"'w' is there twice", {kRelu}, {kFilter, kFilter}},
      {"number of inputs", {onnx_node("Relu", {"x", "x"}, {"y"})}, {}},
      {"number of inputs", {onnx_node("Conv", {"x"}, {"y"})}, {}},
      {"left out", {onnx_node("Conv", {"x", ""}, {"y"})}, {}},
      {"of the wrong type", convolution({onnx_integers("group", {1})}), {kFilter}},
      {"groups and channels", convolution({onnx_integer("group", 2)}), {kFilter}},
      {"groups and channels", convolution({onnx_integer("group", 0)}), {kFilter}},
      {"groups and channels", conv, {filter({2, 3, 1, 1})}},
      {"filter is empty", conv, {filter({0, 1, 1, 1})}},
      {"kernel_shape", convolution({onnx_integers("kernel_shape", {1, 2})}), {kFilter}},
      {"larger than the image", conv, {filter({1, 1, 5, 1})}},
      {"out of range", convolution({onnx_integers("strides", {1})}), {kFilter}},
      {"out of range", convolution({onnx_integers("strides", {0, 1})}), {kFilter}},
      {"out of range", convolution({onnx_integers("dilations", {1, 1 << 20})}), {kFilter}},
      {"out of range", convolution({onnx_integers("pads", {0, 0, 0, -1})}), {kFilter}},
      {"absurdly large", convolution({wide}), {kFilter}},
      {"absurdly large",
       convolution({wide, onnx_integers("strides", {1 << 16, 1 << 16})}),
       {kFilter}},
      {"auto_pad is unknown", convolution({onnx_text("auto_pad", "same")}), {kFilter}},
      {"both pads",
       convolution({onnx_text("auto_pad", "VALID"), onnx_integers("pads", {0, 0, 0, 1})}),
       {kFilter}},
      {"no kernel_shape", pool({}), {}},
      {"out of range", pool({onnx_integers("kernel_shape", {0, 1})}), {}},
      {"as wide as the window", pool({two, onnx_integers("pads", {2, 0, 0, 0})}), {}},
      {"neither 0 nor 1", pool({two, onnx_integer("ceil_mode", 2)}), {}},
      {"NaN or infinity", conv, {weight(std::numeric_limits<float>::infinity())}},
      {"NaN or infinity", conv, {weight(std::nanf(""))}},
      {"not positive",
       {onnx_node("BatchNormalization", {"x", "k", "k", "k", "k"}, {"y"})},
       {onnx_tensor("k", {1}, {-1})}},
      {"does not fit the vector",
       {onnx_node("Flatten", {"x"}, {"f"}), onnx_node("MatMul", {"f", "w"}, {"y"})},
       {onnx_tensor("w", {2, 2}, {1, 2, 3, 4})}},
  };
  for (const auto& one : cases) {
    check_error(ErrorCode::BadModel, one.text, [&] { network_of(one.nodes, one.tensors); });
  }
  const std::string fixed = onnx_value("y", {-1, 3, 4, 4});
  const std::string huge = onnx_value("x", {-1, 1 << 20, 1 << 20, 1 << 20});
  check_error(ErrorCode::BadModel, "declared as", [&] { relu_network(kInput[0], fixed); });
  check_error(ErrorCode::BadModel, "absurdly large", [&] { relu_network(huge, kOutput[0]); });
}

TEST_CASE("what the native engine has not, by operator and name") {
  const auto clip = [&](float least, float most) {
    return onnx_node("Clip", {"x"}, {"y"}, {onnx_float("min", least), onnx_float("max", most)});
  };
  const auto pool = [](const Names& attributes, const Names& outputs = {"y"}) {
    return onnx_node("MaxPool", {"x"}, outputs, attributes);
  };
  const auto flatten = [](const char* input, std::int64_t axis) {
    return onnx_node("Flatten", {input}, {"y"}, {onnx_integer("axis", axis)});
  };
  const std::string one_pixel = onnx_node("GlobalMaxPool", {"x"}, {"p"});
  const std::string two = onnx_integers("kernel_shape", {2, 2});
  const std::string dilated = onnx_integers("dilations", {2, 2});
  const std::string reshape = onnx_node("Reshape", {"x", "s"}, {"y"});
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const struct {
    const char* text;
    Names nodes;
    Names tensors;
    int opset = 13;
  } cases[] = {
      {"no kernel for this operator (Erf, which gives 'y')", {onnx_node("Erf", {"x"}, {"y"})}, {}},
      {"domain com.microsoft", {onnx_node("Relu", {"x"}, {"y"}, {}, "com.microsoft")}, {}},
      {"the attribute alpha (Relu",
       {onnx_node("Relu", {"x"}, {"y"}, {onnx_float("alpha", 1)})},
       {}},
      {"a second output", {pool({onnx_integers("kernel_shape", {1, 1})}, {"y", "indices"})}, {}},
      {"operator set 6; ", {kRelu}, {}, 6},
      {"operator set 22", {kRelu}, {}, 22},
      {"such bounds", {clip(0, 6)}, {}, 10},
      {"such bounds", {clip(-1, kLargest)}, {}, 10},
      {"such bounds (Clip",
       {onnx_node("Clip", {"x", "zero", "six"}, {"y"})},
       {onnx_tensor("zero", {}, {0}), onnx_tensor("six", {}, {6})}},
      {"but of each image", {reshape}, {integers("s", {1, -1})}},
      {"but of each image", {reshape}, {integers("s", {-1, 8})}},
      {"but of each image", {reshape}, {integers("s", {-1, 32})}},
      {"but of each image", {reshape}, {integers("s", {16, -1})}},
      {"but of each image", {reshape}, {integers("s", {-1})}},
      {"but of each image", {reshape}, {integers("s", {0, -1, 3})}},
      {"softmax but over the classes", {onnx_node("Softmax", {"x"}, {"y"})}, {}},
      // Over one column, which would give nothing but ones.
      {"softmax but over the classes", {one_pixel, onnx_node("Softmax", {"p"}, {"y"})}, {}},
      {"sum of different shapes", {one_pixel, onnx_node("Add", {"x", "p"}, {"y"})}, {}},
      {"one number for each channel",
       {onnx_node("Add", {"x", "k"}, {"y"})},
       {onnx_tensor("k", {4}, {1, 2, 3, 4})}},
      {"is no float32 constant", {onnx_node("Conv", {"x", "x"}, {"y"})}, {}},
      {"no float32 constant", {onnx_node("Mul", {"x", "x"}, {"y"})}, {}},
      {"concat but of chan",
       {onnx_node("Concat", {"x", "x"}, {"y"}, {onnx_integer("axis", 2)})},
       {}},
      {"kernel but for vec",
       {onnx_node("MatMul", {"x", "k"}, {"y"})},
       {onnx_tensor("k", {4, 1}, {1, 2, 3, 4})}},
      {"no training",
       {onnx_node("BatchNormalization", {"x", "k", "k", "k", "k"}, {"y"},
                  {onnx_integer("training_mode", 1)})},
       {onnx_tensor("k", {1}, {1})},
       15},
      {"window larger than the image", {pool({onnx_integers("kernel_shape", {5, 1})})}, {}},
      {"auto_pad with such a stride",
       {pool({onnx_integers("kernel_shape", {1, 1}), onnx_text("auto_pad", "SAME_UPPER"),
              onnx_integers("strides", {4, 1})})},
       {}},
      {"such dilations (MaxPool", {pool({two, dilated})}, {}},
      {"ceil_mode with auto_pad",
       {pool({two, onnx_text("auto_pad", "VALID"), onnx_integer("ceil_mode", 1)})},
       {}},
      {"such dilations (Conv",
       {onnx_node("Conv", {"x", "w"}, {"y"}, {onnx_text("auto_pad", "SAME_UPPER"), dilated})},
       {onnx_tensor("w", {1, 1, 2, 2}, {1, 2, 3, 4})}},
      {"flattening but of each image", {flatten("x", kMost)}, {}},
      {"flattening but of each image", {flatten("x", 0)}, {}},
      // Of one number for each image, axis 0 counts from the front.
      {"flattening but of each image",
       {one_pixel, onnx_node("Squeeze", {"p", "a"}, {"s"}), flatten("s", 0)},
       {integers("a", {1, 2, 3})}},
      {"mean but over height and width",
       {onnx_node("ReduceMean", {"x"}, {"y"}, {onnx_integers("axes", {1})})},
       {}},
  };
  for (const auto& one : cases) {
    check_error(ErrorCode::Unsupported, one.text,
                [&] { network_of(one.nodes, one.tensors, one.opset); });
  }
  CHECK(network_of({clip(0, kLargest)}, {}, 10).layers.size() == 1);
  CHECK(network_of({clip(-kLargest, kLargest)}, {}, 10).layers.empty());
  const auto refuse = [](const char* text, const std::string& bytes) {
    check_error(ErrorCode::Unsupported, text,
                [&] { native::read_onnx(graph_of(bytes), "m.onnx"); });
  };
  refuse("functions of its own", model_of({kRelu}) + delimited(25, delimited(1, "Relu")));
  refuse("sparse constants",
         onnx_model(onnx_graph({kRelu}, {}, kInput, kOutput) + delimited(15, "")));
  const Names inputs = {onnx_value("x", {1, 1, 4, 4}), onnx_value("z", {1, 1, 4, 4})};
  refuse("2 inputs and 1 outputs", onnx_model(onnx_graph({kRelu}, {}, inputs, kOutput)));
  for (const auto& [text, input] : {std::pair("height, width]", onnx_value("x", {-1, 16})),
                                    {"height, width]", onnx_value("x", {-1, 1, -1, 4})},
                                    {"not a float32 tensor", onnx_value("x", {-1, 1, 4, 4}, 10)}}) {
    refuse(text, onnx_model(onnx_graph({kRelu}, {}, {input}, kOutput)));
  }
}

}  // namespace lenet::tests
