// Rules of operators beyond those that LeNet needs; test_operators.py runs them in real models.

#include <cstring>
#include <limits>

#include "model/check_graph.h"
#include "model/program_desc.h"
#include "model/program_traits.h"
#include "program_builder.h"

namespace lenet::tests {
namespace {

void accept(const std::string& bytes) {
  Graph graph = read_program_desc(bytes, "m");
  check_graph(graph, "m");
}

void refuse(const std::string& bytes, std::string_view text) {
  check_error(ErrorCode::BadModel, text, [&] { accept(bytes); });
}

std::string float_bytes(float value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

std::string float_attribute(const std::string& name, float value) {
  return delimited(1, name) + number_field(2, 1) + varint(4U << 3 | 5U) + float_bytes(value);
}

std::string floats_attribute(const std::string& name, const std::vector<float>& values) {
  std::string bytes = delimited(1, name) + number_field(2, 4);
  for (const float value : values) bytes += varint(7U << 3 | 5U) + float_bytes(value);
  return bytes;
}

/// A program of one operator from x to y.
std::string program(const Shape& input, const Shape& output, const std::string& op,
                    const std::vector<std::string>& variables = {}) {
  return TestProgram{input, output, variables, {op}}.bytes();
}

std::string simple(const std::string& type, const std::vector<std::string>& attributes) {
  return make_operator(type, {{"X", "x"}}, {{"Out", "y"}}, attributes);
}

const Shape kImages = {-1, 8, 6, 6};

struct Transposed {
  Shape filter = {8, 3, 4, 4};
  Shape output = {-1, 6, 13, 13};  // (6 - 1) * 2 - 1 - 1 + 4 + 1
  Shape strides = {2, 2};
  Shape paddings = {1, 1};
  Shape extra = {1, 1};
  std::int64_t groups = 2;
  std::string algorithm = "EXPLICIT";

  std::string bytes() const {
    return program(
        kImages, output,
        make_operator("conv2d_transpose", {{"Input", "x"}, {"Filter", "w"}}, {{"Output", "y"}},
                      {ints_attribute("strides", strides), ints_attribute("paddings", paddings),
                       ints_attribute("dilations", {1, 1}), ints_attribute("output_padding", extra),
                       ints_attribute("output_size", {}), int_attribute("groups", groups),
                       text_attribute("data_format", "NCHW"),
                       text_attribute("padding_algorithm", algorithm)}),
        {tensor_variable("w", filter, true)});
  }
};

struct Interpolation {
  Shape output = {-1, 8, 12, 15};
  std::vector<float> scale = {2.0F, 2.5F};
  Shape size = {-1, -1};
  std::string method = "nearest";

  std::string bytes() const {
    return program(
        kImages, output,
        simple("nearest_interp_v2",
               {text_attribute("data_layout", "NCHW"), int_attribute("out_d", -1),
                int_attribute("out_h", size[0]), int_attribute("out_w", size[1]),
                floats_attribute("scale", scale), text_attribute("interp_method", method),
                bool_attribute("align_corners", false), int_attribute("align_mode", 0)}));
  }
};

std::string padded(const Shape& output, const Shape& paddings, const std::string& mode) {
  return program(
      {-1, 8, 1, 6, 6}, output,
      simple("pad3d", {ints_attribute("paddings", paddings), text_attribute("mode", mode),
                       float_attribute("value", 0), text_attribute("data_format", "NCDHW")}));
}

std::string sliced(const Shape& output, const Shape& axes, const Shape& starts, const Shape& ends,
                   const Shape& decrease = {}, const Shape& strides = {}) {
  std::vector<std::string> attributes = {
      ints_attribute("axes", axes), ints_attribute("starts", starts), ints_attribute("ends", ends),
      ints_attribute("infer_flags", Shape(axes.size(), 1)),
      ints_attribute("decrease_axis", decrease)};
  if (!strides.empty()) attributes.push_back(ints_attribute("strides", strides));
  return program(kImages, output,
                 make_operator(strides.empty() ? "slice" : "strided_slice", {{"Input", "x"}},
                               {{"Out", "y"}}, attributes));
}

std::string prelu(const Shape& slopes, const std::string& mode) {
  return program(
      kImages, kImages,
      make_operator("prelu", {{"X", "x"}, {"Alpha", "a"}}, {{"Out", "y"}},
                    {text_attribute("mode", mode), text_attribute("data_format", "NCHW")}),
      {tensor_variable("a", slopes, true)});
}

std::string group_norm(std::int64_t groups, const Shape& scale) {
  return program(kImages, kImages,
                 make_operator("group_norm", {{"X", "x"}, {"Scale", "s"}},
                               {{"Y", "y"}, {"Mean", "m"}, {"Variance", "v"}},
                               {int_attribute("groups", groups), float_attribute("epsilon", 1e-5F),
                                text_attribute("data_layout", "NCHW")}),
                 {tensor_variable("s", scale, true), tensor_variable("m", {-1, groups}),
                  tensor_variable("v", {-1, groups})});
}

}  // namespace

TEST_CASE("transposed convolution") {
  accept(Transposed().bytes());
  Transposed cut;
  cut.paddings = {5, 5};  // wider than its window
  cut.output = {-1, 6, 5, 5};
  accept(cut.bytes());
  Transposed wrong;
  wrong.output = {-1, 6, 12, 12};
  refuse(wrong.bytes(), "output");
  wrong = Transposed();
  wrong.filter = {6, 3, 4, 4};  // reads beyond the image's channels
  refuse(wrong.bytes(), "groups and channels");
  wrong = Transposed();
  wrong.groups = 3;
  refuse(wrong.bytes(), "groups and channels");
  wrong = Transposed();
  wrong.extra = {2, 2};
  refuse(wrong.bytes(), "output_padding");
  wrong = Transposed();
  wrong.paddings = {8, 8};
  refuse(wrong.bytes(), "the size of the output");
  wrong = Transposed();
  wrong.strides = {0, 2};
  refuse(wrong.bytes(), "strides");
  wrong = Transposed();
  wrong.algorithm = "SAME";
  refuse(wrong.bytes(), "padding_algorithm");
}

TEST_CASE("interpolation") {
  accept(Interpolation().bytes());
  Interpolation wrong;
  wrong.output = {-1, 8, 12, 16};
  refuse(wrong.bytes(), "output");
  wrong = Interpolation();
  wrong.scale = {2.0F, 2.5F, 1.0F};
  refuse(wrong.bytes(), "scale");
  for (const float scale : {0.0F, -1.0F, 1e9F}) {
    wrong.scale = {scale, 2.5F};
    refuse(wrong.bytes(), "scale");
  }
  wrong = Interpolation();
  wrong.method = "cubic spline";
  refuse(wrong.bytes(), "method");
  Interpolation sized;
  sized.scale = {};
  sized.size = {12, 15};
  accept(sized.bytes());
  sized.size = {0, 15};
  refuse(sized.bytes(), "size");
}

TEST_CASE("padding") {
  accept(padded({-1, 8, 1, 9, 9}, {1, 2, 3, 0, 0, 0}, "constant"));
  accept(padded({-1, 8, 1, 6, 16}, {5, 5, 0, 0, 0, 0}, "reflect"));
  refuse(padded({-1, 8, 1, 6, 17}, {6, 5, 0, 0, 0, 0}, "reflect"), "paddings");
  accept(padded({-1, 8, 1, 6, 17}, {6, 5, 0, 0, 0, 0}, "circular"));
  refuse(padded({-1, 8, 1, 6, 5}, {-1, 0, 0, 0, 0, 0}, "constant"), "paddings");
  refuse(padded({-1, 8, 1, 6, 7}, {1, 0, 0, 0}, "constant"), "paddings");
  refuse(padded({-1, 8, 1, 6, 7}, {1, 0, 0, 0, 0, 0}, "mirror"), "mode");
  refuse(padded({-1, 8, 1, 7, 6}, {1, 0, 0, 0, 0, 0}, "constant"), "output");
}

TEST_CASE("slices") {
  accept(sliced({-1, 2, 6, 5}, {1, 3}, {1, -6}, {3, -1}));
  accept(sliced({-1, 6, 6}, {1}, {2}, {3}, {1}));
  accept(sliced({-1, 8, 3, 2}, {2, 3}, {0, 1}, {1 << 30, 6}, {}, {2, 3}));
  refuse(sliced({-1, 3, 6, 5}, {1, 3}, {1, -6}, {3, -1}), "output");
  refuse(sliced({-1, 1, 6, 6}, {1}, {8}, {9}), "bounds");
  refuse(sliced({-1, 1, 6, 6}, {4}, {0}, {1}), "axis");
  refuse(sliced({-1, 2, 6, 6}, {1, 1}, {0, 0}, {2, 2}), "axis named twice");
  refuse(sliced({1, 8, 6, 6}, {0}, {0}, {1}), "not known");  // of the batch
  refuse(sliced({-1, 6, 6}, {1}, {2}, {4}, {1}), "decrease_axis");
  refuse(sliced({-1, 8, 3, 6}, {2}, {0}, {6}, {}, {0}), "strides");
}

TEST_CASE("slopes and groups") {
  accept(prelu({1}, "all"));
  accept(prelu({8}, "channel"));
  accept(prelu({1, 8, 6, 6}, "element"));
  refuse(prelu({1}, "channel"), "number of slopes");
  refuse(prelu({8}, "element"), "number of slopes");
  refuse(prelu({8}, "some"), "mode");
  accept(group_norm(4, {8}));
  refuse(group_norm(3, {8}), "groups");
  refuse(group_norm(0, {8}), "groups");
  refuse(group_norm(4, {4}), "Scale");
}

TEST_CASE("rearrangements") {
  const auto shuffle = [](std::int64_t factor, const Shape& output) {
    return program(kImages, output,
                   simple("pixel_shuffle", {int_attribute("upscale_factor", factor),
                                            text_attribute("data_format", "NCHW")}));
  };
  accept(shuffle(2, {-1, 2, 12, 12}));
  refuse(shuffle(3, {-1, 1, 18, 18}), "channels");
  refuse(shuffle(0, kImages), "upscale_factor");
  refuse(shuffle(1 << 20, kImages), "upscale_factor");
  const auto tile = [](const Shape& times, const Shape& output) {
    return program(kImages, output, simple("tile", {ints_attribute("repeat_times", times)}));
  };
  accept(tile({2, 1, 1}, {-1, 16, 6, 6}));
  refuse(tile({0, 1, 1}, kImages), "repeat_times");
  refuse(tile({2, 1, 1, 1}, kImages), "not known");
  refuse(tile({60000, 60000, 1}, {-1, 480000, 360000, 6}), "the shape");
  const auto expand = [](const Shape& shape, const Shape& output) {
    return program({-1, 8, 1, 6}, output, simple("expand_v2", {ints_attribute("shape", shape)}));
  };
  accept(expand({-1, 8, 5, 6}, {-1, 8, 5, 6}));
  refuse(expand({-1, 9, 5, 6}, {-1, 9, 5, 6}), "shape");
  refuse(expand({4, 8, 5, 6}, {4, 8, 5, 6}), "shape");  // of a batch that may be any
  refuse(expand({8, 1, 6}, {8, 1, 6}), "shape");
  refuse(program(kImages, kImages, simple("flip", {ints_attribute("axis", {4})})), "axis");
  refuse(program(kImages, {-1, 3, 6, 6},
                 simple("maxout", {int_attribute("groups", 3), int_attribute("axis", 1)})),
         "groups");
}

TEST_CASE("oneDNN gets no operator whose attributes make no sense") {  // with check_program off
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const auto refusal = [](const std::string& type, Shape image,
                          std::map<std::string, Integers> all) {
    Graph graph;
    graph.values.resize(2);
    graph.values[0].shape = std::move(image);
    graph.values[1].shape = {1, 1, 3, 3};
    Operator op;
    op.type = type;
    op.inputs = {{"Input", {0}}, {"X", {0}}, {"Filter", {1}}};
    for (auto& [name, values] : all) op.attributes[name] = {AttributeType::Ints, values};
    op.attributes["exclusive"] = {AttributeType::Bool, std::int64_t{0}};
    op.attributes["pooling_type"] = {AttributeType::Text, "avg"};
    op.attributes["padding_algorithm"] = {AttributeType::Text, "EXPLICIT"};
    graph.operators = {op};
    return read_program_traits(graph).onednn_refusal;
  };
  const Integers ones = {1, 1};
  const auto convolution = [&](const Integers& paddings, const Integers& dilations) {
    const std::map<std::string, Integers> attributes = {
        {"strides", ones}, {"paddings", paddings}, {"dilations", dilations}};
    return refusal("conv2d", {-1, 1, 9, 9}, attributes);
  };
  CHECK(convolution(ones, ones).empty());
  CHECK_FALSE(convolution({1, 1, 1, 1, 1, 1, 1}, ones).empty());
  CHECK_FALSE(convolution({3, 0}, ones).empty());
  CHECK_FALSE(convolution({0, 0, 0, 3}, ones).empty());
  CHECK(convolution({3, 0, 0, 0}, {2, 1}).empty());
  CHECK_FALSE(convolution(ones, {kMost, kMost}).empty());
  const auto average = [&](Shape image, const Integers& paddings) {
    const std::map<std::string, Integers> attributes = {
        {"ksize", {3, 3}}, {"strides", ones}, {"paddings", paddings}};
    return refusal("pool2d", std::move(image), attributes);
  };
  CHECK(average({-1, 1, 2, 9}, {1, 0}).empty());
  CHECK_FALSE(average({-1, 1, 2, 9}, {0, 0}).empty());
  CHECK_FALSE(average({-1, 1, -1, -1}, ones).empty());
  CHECK_FALSE(average({-1, 1, 9, 9}, {kMost, kMost}).empty());
  CHECK_FALSE(average({-1, 1, kMost, kMost}, ones).empty());
}

}  // namespace lenet::tests
