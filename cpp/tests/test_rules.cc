// Rules of operators beyond those that LeNet needs; test_operators.py runs them in real models.

#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "engines/native/network_reader.h"
#include "engines/paddle/program_traits.h"
#include "model/boxes.h"
#include "model/readers.h"
#include "model/rules/rules.h"
#include "notation.h"

namespace lenet::tests {
namespace {

const std::string kImages = "x[-1,8,6,6] y[-1,8,6,6]";

std::string images_to(const std::string& output, const std::string& op) {
  return program("x[-1,8,6,6] y" + output + op);
}

/// The names of an operator in both formats.
struct BothNames {
  std::string pdmodel;
  std::string json;
};

/// Of all operators that both formats have.
std::vector<BothNames> names_in_both_formats() {
  std::vector<BothNames> names;
  for (const auto family :
       {constants_rules, convolution_rules, elementwise_rules, normalization_rules, parts_rules,
        pooling_rules, resize_rules, shape_rules}) {
    const auto [first, last] = family();
    for (const OperatorRule* rule = first; rule != last; ++rule) {
      std::istringstream words{std::string(rule->types)};
      for (std::string word; rule->dialects == kPaddle && words >> word;) {
        const std::size_t slash = word.find('/');
        const std::string older = word.substr(0, slash);
        const std::string newer = slash == std::string::npos ? word : word.substr(slash + 1);
        if (!older.empty() && !newer.empty()) names.push_back({older, "1." + newer});
      }
    }
  }
  return names;
}

/// What oneDNN is known to compute wrongly of a program of these operators, one behind the other.
/// Each takes a vector for each image; one alone also a parameter of one value. They have such
/// attributes as the known faults ask for.
/// \param parameter its shape
/// \param swapped whether it comes first
ProgramTraits traits_of(Dialect dialect, const std::vector<std::string>& types,
                        const Shape& parameter = {1}, bool swapped = false) {
  static const std::string contents(sizeof(float), '\0');
  Graph graph;
  graph.dialect = dialect;
  RuleBook rules(graph);
  const auto add_value = [&](const std::string& name, const Shape& shape) {
    Value& value = graph.values.emplace_back();
    value.name = name;
    value.shape = shape;
    value.dtype = 5;  // float32
    return graph.values.size() - 1;
  };
  const std::size_t weight = add_value("w", parameter);
  graph.values[weight].parameter = true;
  graph.values[weight].data = contents;
  graph.values[weight].data_dtype = 5;
  std::size_t last = add_value("x", {-1, 8});
  for (const std::string& type : types) {
    const std::size_t given = add_value("y" + std::to_string(graph.values.size()), {-1, 8});
    Operator op;
    op.type = type;
    const ParsedRule& rule = *rules.find(type);
    const bool named = dialect == Dialect::ProgramDesc;
    const auto name_of = [&](const std::vector<ParsedRule::Argument>& all, std::size_t i) {
      return named && i < all.size() ? all[i].name : std::string_view();
    };
    op.inputs.emplace_back(name_of(rule.inputs, 0), Argument(swapped ? weight : last));
    if (types.size() == 1) {
      op.inputs.emplace_back(name_of(rule.inputs, 1), Argument(swapped ? last : weight));
    }
    op.outputs.emplace_back(name_of(rule.outputs, 0), Argument(given));
    const auto add = [&](std::string_view name, AttributeType kind, auto value) {
      op.attributes.emplace_back(name, Attribute{kind, value});
    };
    add("ceil_mode", AttributeType::Bool, std::int64_t{1});
    add("exclusive", AttributeType::Bool, std::int64_t{0});
    add("pooling_type", AttributeType::Text, std::string("avg"));
    add("padding_algorithm", AttributeType::Text, std::string("EXPLICIT"));
    add("threshold", AttributeType::Double, 1.0);
    add("mode", AttributeType::Text, std::string("downgrade_in_infer"));
    add("dropout_implementation", AttributeType::Text, std::string("downgrade_in_infer"));
    graph.operators.push_back(std::move(op));
    last = given;
  }
  return read_program_traits(graph);
}

}  // namespace

TEST_CASE("faults of Paddle's kernels are known by the names of both formats") {
  // Of a .json alone: what test_operators.py shows of the two formats, and has the .pdmodel run.
  const std::set<std::string> json_alone = {"conv2d_transpose", "bilinear_interp_v2"};
  const std::vector<BothNames> all = names_in_both_formats();
  CHECK(all.size() > 100);
  std::set<std::string> refused;
  int stacked = 0;
  for (const auto& [pdmodel, json] : all) {
    CAPTURE(pdmodel);
    CAPTURE(json);
    const bool differs = json_alone.count(pdmodel) > 0;
    const std::pair<Shape, bool> inputs[] = {{{1}, false}, {{1}, true}, {{1, 1}, false}};
    for (const auto& [shape, swapped] : inputs) {
      const ProgramTraits one = traits_of(Dialect::ProgramDesc, {pdmodel}, shape, swapped);
      const ProgramTraits other = traits_of(Dialect::Pir, {json}, shape, swapped);
      CHECK(one.onednn_refusal.empty() == (other.onednn_refusal.empty() || differs));
      CHECK(one.int8_refusal.empty() == other.int8_refusal.empty());
      CHECK(one.simplifying_faults == other.simplifying_faults);
      // The pass faults at one leaky_relu of a .json, and is right for one of a .pdmodel.
      CHECK_FALSE(one.activation_fusing_faults);
      CHECK(other.activation_fusing_faults == (pdmodel == "leaky_relu"));
      if (!one.onednn_refusal.empty()) refused.insert(pdmodel);
    }
    const ProgramTraits two = traits_of(Dialect::ProgramDesc, {"elementwise_add", pdmodel, "relu"});
    const ProgramTraits as_many = traits_of(Dialect::Pir, {"1.add", json, "1.relu"});
    CHECK(two.activation_fusing_faults == as_many.activation_fusing_faults);
    stacked += two.activation_fusing_faults ? 1 : 0;
  }
  CHECK(refused == std::set<std::string>{
                       "batch_norm", "conv2d", "depthwise_conv2d", "elementwise_add",
                       "elementwise_div", "elementwise_mul", "elementwise_sub", "layer_norm",
                       "matmul_v2", "nearest_interp_v2", "pad", "pool2d", "prelu", "softplus"});
  CHECK(stacked >= 8);
}

TEST_CASE("the native engine reads each kind of operator in one way") {
  std::set<std::string> known;
  const auto add = [&](std::string_view kinds) {
    std::istringstream words{std::string(kinds)};
    for (std::string kind; words >> kind;) {
      CAPTURE(kind);
      CHECK(known.insert(kind).second);
      CHECK_FALSE(moves_values(kind));
    }
  };
  add("Feed Fetch");
  for (const auto family : native::kOperatorFamilies) {
    const auto [first, last] = family();
    for (const native::OperatorRow* row = first; row != last; ++row) add(row->kinds);
  }
  for (const native::FunctionFacts& function : native::kFunctions) {
    for (const native::FunctionOperator& each : function.operators) add(each.kind);
  }
  CHECK(known.size() > 100);
}

TEST_CASE("transposed convolution") {
  const std::string good =  // (6 - 1) * 2 - 1 - 1 + 4 + 1
      "x[-1,8,6,6] y[-1,6,13,13] w[8,3,4,4]*: conv2d_transpose Input=x Filter=w -> Output=y | "
      "strides=[2,2] paddings=[1,1] dilations=[1,1] output_padding=[1,1] output_size=[] groups=2 "
      "data_format=NCHW padding_algorithm=EXPLICIT";
  accept(program(good));
  // Wider than its window.
  accept(program(replaced(replaced(good, "paddings=[1,1]", "paddings=[5,5]"), "13,13", "5,5")));
  const struct {
    const char *part, *by, *text;
  } cases[] = {{"13,13", "12,12", "output"},
               {"w[8,", "w[6,", "groups and channels"},  // reads beyond the image's channels
               {"groups=2", "groups=3", "groups and channels"},
               {"output_padding=[1,1]", "output_padding=[2,2]", "output_padding"},
               {"paddings=[1,1]", "paddings=[8,8]", "the size of the output"},
               {"strides=[2,2]", "strides=[0,2]", "strides"}};
  for (const auto& one : cases) refuse(program(replaced(good, one.part, one.by)), one.text);
  refuse(program(replaced(good, "EXPLICIT", "SAME")), "paddings that the program does not fix",
         ErrorCode::Unsupported);
}

TEST_CASE("interpolation") {
  const std::string good =
      "x[-1,8,6,6] y[-1,8,12,15]: nearest_interp_v2 x -> y | data_layout=NCHW out_d=-1 out_h=-1 "
      "out_w=-1 scale=[2.0,2.5] interp_method=nearest align_corners=false align_mode=0";
  accept(program(good));
  const std::string sized = replaced(replaced(good, "[2.0,2.5]", "[.]"), "out_w=-1", "out_w=15");
  accept(program(replaced(sized, "out_h=-1", "out_h=12")));
  refuse(program(replaced(sized, "out_h=-1", "out_h=0")), "size");
  // Of Paddle 1: one number for both directions, or 0 where the sizes count.
  const std::string old = replaced(replaced(good, "_v2", ""), "[2.0,2.5]", "2.5");
  accept(program(replaced(old, "12,15", "15,15")));
  refuse(program(old), "output");
  const std::string old_sized = replaced(replaced(old, "=2.5", "=0.0"), "out_w=-1", "out_w=15");
  accept(program(replaced(old_sized, "out_h=-1", "out_h=12")));
  const struct {
    const char *part, *by, *text;
  } cases[] = {{"12,15", "12,16", "output"},
               {"2.0,2.5", "2.0,2.5,1.0", "scale"},
               {"2.0,2.5", "0.0,2.5", "scale"},
               {"2.0,2.5", "-1.0,2.5", "scale"},
               {"=nearest", "=cubic_spline", "method"}};
  for (const auto& one : cases) refuse(program(replaced(good, one.part, one.by)), one.text);
  refuse(program(replaced(good, "2.0,2.5", "1e9,2.5")), "too large a scale",
         ErrorCode::Unsupported);
}

TEST_CASE("padding") {
  const auto padded = [](const std::string& output, const std::string& paddings,
                         const std::string& mode) {
    return program("x[-1,8,1,6,6] y[-1,8,1," + output + "]: pad3d x -> y | paddings=[" + paddings +
                   "] mode=" + mode + " value=0.0 data_format=NCDHW");
  };
  accept(padded("9,9", "1,2,3,0,0,0", "constant"));
  accept(padded("6,16", "5,5,0,0,0,0", "reflect"));
  refuse(padded("6,17", "6,5,0,0,0,0", "reflect"), "paddings");
  accept(padded("6,17", "6,5,0,0,0,0", "circular"));
  refuse(padded("6,5", "-1,0,0,0,0,0", "constant"), "paddings");
  refuse(padded("6,7", "1,0,0,0", "constant"), "paddings");
  refuse(padded("6,7", "1,0,0,0,0,0", "mirror"), "mode");
  refuse(padded("7,6", "1,0,0,0,0,0", "constant"), "output");
}

TEST_CASE("slices") {
  const auto sliced = [](const std::string& output, const std::string& rest) {
    const char* type = rest.find("strides") == std::string::npos ? "slice" : "strided_slice";
    return images_to(output, std::string(": ") + type + " Input=x -> y | " + rest);
  };
  const std::string two = "axes=[1,3] starts=[1,-6] ends=[3,-1] infer_flags=[1,1] decrease_axis=[]";
  accept(sliced("[-1,2,6,5]", two));
  refuse(sliced("[-1,3,6,5]", two), "output");
  accept(sliced("[-1,8,3,2]",
                "axes=[2,3] starts=[0,1] ends=[1073741824,6] infer_flags=[1,1] "
                "decrease_axis=[] strides=[2,3]"));
  refuse(sliced("[-1,2,6,6]",
                "axes=[1,1] starts=[0,0] ends=[2,2] infer_flags=[1,1] "
                "decrease_axis=[]"),
         "axis named twice");
  const auto one = [&](const std::string& output, const std::string& axis, const std::string& start,
                       const std::string& end, const std::string& more = "decrease_axis=[]") {
    return sliced(output, "axes=[" + axis + "] starts=[" + start + "] ends=[" + end +
                              "] infer_flags=[1] " + more);
  };
  accept(one("[-1,6,6]", "1", "2", "3", "decrease_axis=[1]"));
  refuse(one("[-1,1,6,6]", "1", "8", "9"), "where it gives [N, 0, 6, 6]");
  refuse(one("[-1,0,6,6]", "1", "8", "9"), "without values", ErrorCode::Unsupported);
  refuse(one("[-1,1,6,6]", "4", "0", "1"), "axis");
  accept(one("[1,8,6,6]", "0", "0", "1"));   // of the batch
  accept(one("[-1,8,6,6]", "0", "0", "9"));  // of 1 to 9 images
  refuse(one("[-1,6,6]", "1", "2", "4", "decrease_axis=[1]"), "decrease_axis");
  refuse(one("[-1,8,3,6]", "2", "0", "6", "decrease_axis=[] strides=[0]"), "a step of 0");
  accept(one("[-1,8,3,6]", "2", "5", "-7", "decrease_axis=[] strides=[-2]"));
  accept(one("[-1,8,6,6]", "2", "2147483647", "-2147483648", "decrease_axis=[] strides=[-1]"));
  refuse(one("[-1,8,3,6]", "2", "5", "-7", "decrease_axis=[] strides=[-1]"),
         "before 3.0 understood", ErrorCode::Unsupported);
  refuse(one("[-1,8,6,6]", "2", "0", "6", "decrease_axis=[] strides=[65537]"), "too wide",
         ErrorCode::Unsupported);
}

TEST_CASE("slopes and groups") {
  const auto prelu = [](const std::string& slopes, const std::string& mode) {
    return program(kImages + " a" + slopes + "*: prelu x Alpha=a -> y | mode=" + mode +
                   " data_format=NCHW");
  };
  accept(prelu("[1]", "all"));
  accept(prelu("[8]", "channel"));
  accept(prelu("[1,8,6,6]", "element"));
  refuse(prelu("[1]", "channel"), "number of slopes");
  refuse(prelu("[8]", "element"), "number of slopes");
  refuse(prelu("[8]", "some"), "mode");
  const auto group_norm = [](const std::string& groups, const std::string& scale) {
    return program(kImages + " s" + scale + "* m[-1," + groups + "] v[-1," + groups +
                   "]: group_norm x Scale=s -> Y=y Mean=m Variance=v | groups=" + groups +
                   " epsilon=1e-5 data_layout=NCHW");
  };
  accept(group_norm("4", "[8]"));
  refuse(group_norm("3", "[8]"), "groups");
  refuse(group_norm("0", "[8]"), "groups");
  refuse(group_norm("4", "[4]"), "Scale");
}

TEST_CASE("rearrangements") {
  const auto shuffle = [](const std::string& factor, const std::string& output) {
    return images_to(output, ": pixel_shuffle x -> y | data_format=NCHW upscale_factor=" + factor);
  };
  accept(shuffle("2", "[-1,2,12,12]"));
  refuse(shuffle("3", "[-1,1,18,18]"), "channels");
  refuse(shuffle("0", "[-1,8,6,6]"), "upscale_factor");
  refuse(shuffle("1048576", "[-1,8,6,6]"), "too large a factor", ErrorCode::Unsupported);
  const auto tile = [](const std::string& times, const std::string& output) {
    return images_to(output, ": tile x -> y | repeat_times=" + times);
  };
  accept(tile("[2,1,1]", "[-1,16,6,6]"));
  refuse(tile("[0,1,1]", "[-1,8,6,6]"), "repeat_times");
  accept(tile("[2,1,1,1]", "[-1,8,6,6]"));
  refuse(tile("[60000,60000,1]", "[-1,480000,360000,6]"), "the shape", ErrorCode::Unsupported);
  const auto expand = [](const std::string& shape) {
    return program("x[-1,8,1,6] y" + shape + ": expand_v2 x -> y | shape=" + shape);
  };
  accept(expand("[-1,8,5,6]"));
  refuse(expand("[-1,9,5,6]"), "shape");
  accept(expand("[4,8,5,6]"));  // of 4 images
  refuse(expand("[8,1,6]"), "shape");
  refuse(program(kImages + ": flip x -> y | axis=[4]"), "axis");
  refuse(images_to("[-1,3,6,6]", ": maxout x -> y | groups=3 axis=1"), "groups");
}

TEST_CASE("a squeeze of a size that Paddle did not know when it exported") {
  const auto squeezed = [](const std::string& image, const std::string& output,
                           const std::string& axes) {
    return program("x[-1,2," + image + "] f[-1,2,-1] y" + output +
                   ": reshape2 x -> f | shape=[0,0,-1]; squeeze2 X=f -> y | axes=" + axes);
  };
  accept(squeezed("1,1", "[-1,2]", "[-1]"));
  accept(squeezed("3,3", "[-1,2,9]", "[1]"));
  // Without axes it takes out whatever is 1, as the number of images may be.
  refuse(squeezed("1,1", "[-1,2]", "[]"), "the number of images may be", ErrorCode::Unsupported);
  // Paddle declares this, and computes [N, 2, 9].
  refuse(squeezed("3,3", "[-1,2]", "[-1]"), "took for 1", ErrorCode::Unsupported);
  refuse(squeezed("1,1", "[2,1]", "[0]"), "took for 1", ErrorCode::Unsupported);
  refuse(squeezed("1,1", "[-1,2,1]", "[-1]"), "the shape or type", ErrorCode::Unsupported);
  refuse(squeezed("3,3", "[-1,2,8]", "[-1]"), "the shape or type", ErrorCode::Unsupported);
}

TEST_CASE("oneDNN gets no operator whose attributes make no sense") {  // with check_program off
  const auto refused = [](const std::string& text) {
    return !read_program_traits(read_program_desc(program(text), "m")).onednn_refusal.empty();
  };
  const std::string most = "2147483647,2147483647";
  const auto convolution = [&](const std::string& paddings, const std::string& dilations) {
    return refused(
        "x[-1,1,9,9] y[-1,1,9,9] w[1,1,3,3]*: conv2d Input=x Filter=w -> Output=y | "
        "strides=[1,1] padding_algorithm=EXPLICIT paddings=[" +
        paddings + "] dilations=[" + dilations + "]");
  };
  CHECK_FALSE(convolution("1,1", "1,1"));
  CHECK(convolution("1,1,1,1,1,1,1", "1,1"));
  CHECK(convolution("3,0", "1,1"));
  CHECK(convolution("0,0,0,3", "1,1"));
  CHECK_FALSE(convolution("3,0,0,0", "2,1"));
  CHECK(convolution("1,1", most));
  const auto average = [&](const std::string& image, const std::string& paddings) {
    return refused("x[-1,1," + image +
                   "] y[-1,1,9,9]: pool2d x -> y | ksize=[3,3] strides=[1,1] "
                   "exclusive=false pooling_type=avg padding_algorithm=EXPLICIT paddings=[" +
                   paddings + "]");
  };
  CHECK_FALSE(average("2,9", "1,0"));
  CHECK(average("2,9", "0,0"));
  CHECK(average("-1,-1", "1,1"));
  CHECK(average("9,9", most));
  CHECK(average("9223372036854775807,9223372036854775807", "1,1"));
}

TEST_CASE(
    "oneDNN gets no int8 where it takes wrong values for a padding") {  // measured: Paddle 3.3
  const auto refused = [](const std::string& image, const std::string& filter,
                          const std::string& strides, const std::string& paddings,
                          const std::string& more = "padding_algorithm=EXPLICIT") {
    const bool in_float = more.find("in_float") != std::string::npos;  // no scale gives its filter
    const std::string text = "x[-1," + image + "] y[-1,9,9,9] w[" + filter +
                             (in_float ? "]*" : "]") +
                             ": conv2d Input=x Filter=w -> Output=y | strides=[" + strides +
                             "] paddings=[" + paddings + "] " + more;
    const bool has_groups = more.find("groups") != std::string::npos;
    const bool has_dilations = more.find("dilations") != std::string::npos;
    const std::string rest =
        std::string(has_groups ? "" : " groups=1") + (has_dilations ? "" : " dilations=[1,1]");
    return !read_program_traits(read_program_desc(program(text + rest), "m")).int8_refusal.empty();
  };
  const std::string same = "padding_algorithm=SAME";
  const std::string groups = "padding_algorithm=EXPLICIT groups=3";
  CHECK(refused("1,21,13", "12,1,3,3", "1,1", "0,1"));
  CHECK(refused("1,21,13", "1,1,3,3", "1,1", "0,1"));
  CHECK(refused("3,21,13", "12,1,3,3", "1,1", "0,1", groups));
  CHECK_FALSE(refused("3,21,13", "3,1,3,3", "1,1", "0,1", groups));
  CHECK_FALSE(refused("2,21,13", "12,2,3,3", "1,1", "0,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,1,3", "1,1", "0,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1,1", "1,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1,1", "0,0"));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1,1", "0,1,1,1"));
  CHECK(refused("1,21,13", "12,1,3,3", "2,1", "0,1,1,1"));
  CHECK(refused("1,21,13", "12,1,3,3", "2,1", "0,1"));
  CHECK_FALSE(refused("1,20,13", "12,1,3,3", "2,1", "0,1"));
  CHECK(refused("1,-1,-1", "12,1,3,3", "2,1", "0,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,4,4", "2,1", "0,0,1,2"));
  CHECK(refused("1,21,13", "12,1,5,5", "4,1", "0,0,1,0"));
  CHECK(refused("1,21,13", "12,1,3,3", "3,1", "0,0", same));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "4,1", "0,0", same));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1,1", "0,0", same));
  CHECK(refused("1,-1,-1", "12,1,3,3", "3,1", "0,0", same));
  CHECK_FALSE(refused("1,21,21", "12,1,3,3", "3,3", "0,0", same));
  CHECK(refused("1,21,20", "12,1,3,3", "3,3", "0,0", same));
  CHECK_FALSE(refused("1,-1,-1", "12,1,3,3", "2,1", "0,2,0,1"));
  CHECK_FALSE(refused("1,-1,-1", "12,1,3,3", "2,1", "0,0", same));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1,1", "0,1", "padding_algorithm=VALID"));
  CHECK_FALSE(
      refused("1,21,13", "12,1,3,3", "1,1", "0,1", "padding_algorithm=EXPLICIT dilations=[2,1]"));
  CHECK_FALSE(
      refused("1,21,13", "12,1,3,3", "1,1", "0,1", "padding_algorithm=EXPLICIT in_float=1"));
  // What makes no sense.
  const std::string most = "9223372036854775807";
  CHECK_FALSE(refused("1," + most + ",1", "12,1,3,3", "2,1", "0,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "0,1", "0,1"));
  CHECK_FALSE(refused("1,21,13", "12,1,3,3", "1", "0,1,1"));
}

}  // namespace lenet::tests
