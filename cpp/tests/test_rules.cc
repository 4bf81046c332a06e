// Rules of operators beyond those that LeNet needs; test_operators.py runs them in real models.

#include <limits>

#include "model/program_traits.h"
#include "program_builder.h"

namespace lenet::tests {
namespace {

const Shape kImages = {-1, 8, 6, 6};

OneOperator simple(const std::string& type, const std::vector<std::string>& attributes,
                   const Shape& output = kImages) {
  return {kImages, output, type, attributes, {}};
}

OneOperator padded(const Shape& output, const Shape& paddings, const std::string& mode) {
  return {{-1, 8, 1, 6, 6},
          output,
          "pad3d",
          {ints_attribute("paddings", paddings), text_attribute("mode", mode),
           float_attribute("value", 0), text_attribute("data_format", "NCDHW")},
          {}};
}

OneOperator sliced(const Shape& output, const Shape& axes, const Shape& starts, const Shape& ends,
                   const Shape& decrease = {}, const Shape& strides = {}) {
  std::vector<std::string> attributes = {
      ints_attribute("axes", axes), ints_attribute("starts", starts), ints_attribute("ends", ends),
      ints_attribute("infer_flags", Shape(axes.size(), 1)),
      ints_attribute("decrease_axis", decrease)};
  if (!strides.empty()) attributes.push_back(ints_attribute("strides", strides));
  OneOperator slice = simple(strides.empty() ? "slice" : "strided_slice", attributes, output);
  slice.inputs = {{"Input", "x"}};
  return slice;
}

OneOperator prelu(const Shape& slopes, const std::string& mode) {
  OneOperator made =
      simple("prelu", {text_attribute("mode", mode), text_attribute("data_format", "NCHW")});
  made.inputs = {{"X", "x"}, {"Alpha", "a"}};
  return made.takes(tensor_variable("a", slopes, true));
}

OneOperator group_norm(std::int64_t groups, const Shape& scale) {
  return {kImages,
          kImages,
          "group_norm",
          {int_attribute("groups", groups), float_attribute("epsilon", 1e-5F),
           text_attribute("data_layout", "NCHW")},
          {tensor_variable("s", scale, true), tensor_variable("m", {-1, groups}),
           tensor_variable("v", {-1, groups})},
          {{"X", "x"}, {"Scale", "s"}},
          {{"Y", "y"}, {"Mean", "m"}, {"Variance", "v"}}};
}

}  // namespace

TEST_CASE("attributes that any operator may have") {
  // paddle.quantization writes it as an integer.
  accept(simple("relu", {int_attribute("skip_quant", 1)}));
  refuse(simple("relu", {text_attribute("skip_quant", "1")}),
         "the type of the attribute skip_quant");
}

TEST_CASE("transposed convolution") {
  const OneOperator good = {
      kImages,
      {-1, 6, 13, 13},  // (6 - 1) * 2 - 1 - 1 + 4 + 1
      "conv2d_transpose",
      {ints_attribute("strides", {2, 2}), ints_attribute("paddings", {1, 1}),
       ints_attribute("dilations", {1, 1}), ints_attribute("output_padding", {1, 1}),
       ints_attribute("output_size", {}), int_attribute("groups", 2),
       text_attribute("data_format", "NCHW"), text_attribute("padding_algorithm", "EXPLICIT")},
      {tensor_variable("w", {8, 3, 4, 4}, true)},
      {{"Input", "x"}, {"Filter", "w"}},
      {{"Output", "y"}}};
  accept(good);
  // Wider than its window.
  accept(good.with(ints_attribute("paddings", {5, 5})).gives({-1, 6, 5, 5}));
  refuse(good.gives({-1, 6, 12, 12}), "output");
  // Reads beyond the image's channels.
  refuse(good.takes(tensor_variable("w", {6, 3, 4, 4}, true)), "groups and channels");
  refuse(good.with(int_attribute("groups", 3)), "groups and channels");
  refuse(good.with(ints_attribute("output_padding", {2, 2})), "output_padding");
  refuse(good.with(ints_attribute("paddings", {8, 8})), "the size of the output");
  refuse(good.with(ints_attribute("strides", {0, 2})), "strides");
  refuse(good.with(text_attribute("padding_algorithm", "SAME")), "padding_algorithm");
}

TEST_CASE("interpolation") {
  const OneOperator good =
      simple("nearest_interp_v2",
             {text_attribute("data_layout", "NCHW"), int_attribute("out_d", -1),
              int_attribute("out_h", -1), int_attribute("out_w", -1),
              floats_attribute("scale", {2.0F, 2.5F}), text_attribute("interp_method", "nearest"),
              bool_attribute("align_corners", false), int_attribute("align_mode", 0)},
             {-1, 8, 12, 15});
  accept(good);
  refuse(good.gives({-1, 8, 12, 16}), "output");
  refuse(good.with(floats_attribute("scale", {2.0F, 2.5F, 1.0F})), "scale");
  for (const float scale : {0.0F, -1.0F, 1e9F}) {
    refuse(good.with(floats_attribute("scale", {scale, 2.5F})), "scale");
  }
  refuse(good.with(text_attribute("interp_method", "cubic spline")), "method");
  const OneOperator sized =
      good.with(floats_attribute("scale", {})).with(int_attribute("out_w", 15));
  accept(sized.with(int_attribute("out_h", 12)));
  refuse(sized.with(int_attribute("out_h", 0)), "size");
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
    return simple("pixel_shuffle",
                  {int_attribute("upscale_factor", factor), text_attribute("data_format", "NCHW")},
                  output);
  };
  accept(shuffle(2, {-1, 2, 12, 12}));
  refuse(shuffle(3, {-1, 1, 18, 18}), "channels");
  refuse(shuffle(0, kImages), "upscale_factor");
  refuse(shuffle(1 << 20, kImages), "upscale_factor");
  const auto tile = [](const Shape& times, const Shape& output) {
    return simple("tile", {ints_attribute("repeat_times", times)}, output);
  };
  accept(tile({2, 1, 1}, {-1, 16, 6, 6}));
  refuse(tile({0, 1, 1}, kImages), "repeat_times");
  refuse(tile({2, 1, 1, 1}, kImages), "not known");
  refuse(tile({60000, 60000, 1}, {-1, 480000, 360000, 6}), "the shape");
  const auto expand = [](const Shape& shape) {
    return OneOperator{{-1, 8, 1, 6}, shape, "expand_v2", {ints_attribute("shape", shape)}, {}};
  };
  accept(expand({-1, 8, 5, 6}));
  refuse(expand({-1, 9, 5, 6}), "shape");
  refuse(expand({4, 8, 5, 6}), "shape");  // of a batch that may be any
  refuse(expand({8, 1, 6}), "shape");
  refuse(simple("flip", {ints_attribute("axis", {4})}), "axis");
  refuse(simple("maxout", {int_attribute("groups", 3), int_attribute("axis", 1)}, {-1, 3, 6, 6}),
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
