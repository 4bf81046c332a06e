#include <limits>

#include "io/file.h"
#include "model/pir_program.h"
#include "program_builder.h"

namespace lenet::tests {
namespace {

void refuse_json(std::string text, const std::string& part, const std::string& by,
                 std::string_view words, ErrorCode code = ErrorCode::BadModel) {
  CAPTURE(part);
  CAPTURE(by);
  const auto at = text.find(part);
  REQUIRE(at != std::string::npos);
  text.replace(at, part.size(), by);
  check_error(code, words, [&] {
    Graph graph = read_pir_program(text, "m");
    check_graph(graph, "m");
  });
}

const std::string kRelu = make_operator("relu", {{"X", "x"}}, {{"Out", "y"}});

TestProgram relu_program() { return {{-1, 4}, {-1, 4}, {}, {kRelu}}; }

OneOperator pool_program(const Shape& output, const Shape& kernel, const Shape& paddings,
                         bool ceil = false, bool adaptive = false,
                         const std::string& algorithm = "EXPLICIT") {
  return {{-1, 3, 7, 7},
          output,
          "pool2d",
          {ints_attribute("ksize", kernel), ints_attribute("strides", {2, 2}),
           ints_attribute("paddings", paddings), bool_attribute("ceil_mode", ceil),
           bool_attribute("exclusive", true), bool_attribute("adaptive", adaptive),
           bool_attribute("global_pooling", false), text_attribute("data_format", "NCHW"),
           text_attribute("pooling_type", "max"), text_attribute("padding_algorithm", algorithm)},
          {}};
}

OneOperator matmul_program(const Shape& weights, const Shape& output, bool transpose = false) {
  return {{-1, 4},
          output,
          "matmul_v2",
          {bool_attribute("trans_x", false), bool_attribute("trans_y", transpose)},
          {tensor_variable("w", weights, true)},
          {{"X", "x"}, {"Y", "w"}}};
}

OneOperator reshape_program(const Shape& shape, const Shape& output) {
  return {{-1, 2, 6}, output, "reshape2", {ints_attribute("shape", shape)}, {}};
}

}  // namespace

TEST_CASE("the bundled programs pass") {
  accept(read_file(kModelDir + "/lenet.pdmodel"));
  Graph graph = read_pir_program(read_file(kModelDir + "/lenet.json"), "m");
  check_graph(graph, "m");
  CHECK(graph.pir);
}

TEST_CASE("fields of the protocol buffer") {
  const std::string good = relu_program().bytes();
  accept(good);
  refuse(std::string(), "no block");
  refuse(good + good, "several blocks");
  refuse(good + number_field(2, 1), "an unknown field in the program");
  refuse(good + delimited(1 << 20, ""), "an unknown field");
  refuse(good + number_field(4, 1), "an unknown field in the program");  // another wire type
  const std::string version = delimited(4, number_field(1, 3003001));
  accept(good + version);
  refuse(good + version + version, "a repeated field in the program");
  refuse(good + delimited(4, number_field(1, 1LL << 40)), "a number out of range");
  const auto op_version = [&](const std::string& name, std::int64_t value) {
    return good +
           delimited(5, delimited(1, delimited(1, name) + delimited(2, number_field(1, value))));
  };
  accept(op_version("conv2d", 1));
  refuse(op_version("conv2d", -1), "a number out of range in an operator version");
  refuse(op_version("conv\x80", 1), "the name of an operator version");
  refuse(op_version("", 1), "the name of an operator version");
}

TEST_CASE("the numbers of the block") {
  TestProgram program = relu_program();
  for (const auto& [index, parent] : {std::pair<int, int>{1, -1}, {-1, -1}, {0, 0}, {0, 3003001}}) {
    program.heading = number_field(1, index) + number_field(2, parent);
    refuse(program, "the number of another block");
  }
  program.heading = number_field(1, 0);
  refuse(program, "no required field in the block");
}

TEST_CASE("names and declarations of variables") {
  TestProgram program = relu_program();
  for (const std::string& name : {std::string(), std::string("a\xff"), std::string("a\nb"),
                                  std::string("a b"), std::string(1025, 'a')}) {
    program.variables = {tensor_variable(name, {1})};
    refuse(program, "the name of a variable");
  }
  program.variables = {tensor_variable("x", {1})};
  refuse(program, "the second declaration of 'x'");
  program.variables = {list_variable("raw", 11)};
  refuse(program, "an unknown kind");
  program.variables.clear();
  program.operators = {make_operator("relu", {{"X", "z"}}, {{"Out", "y"}})};
  refuse(program, "'z', which is no variable of the kind");
  program.operators = {make_operator("relu", {{"X", "feed"}}, {{"Out", "y"}})};
  refuse(program, "'feed', which is no variable of the kind");
}

TEST_CASE("shapes beyond reason") {
  for (const Shape& shape : {Shape{-1, 1LL << 40}, Shape{-1, 1 << 20, 1 << 20}, Shape{-2, 4},
                             Shape{-1, std::numeric_limits<std::int64_t>::min()}, Shape(10, 1)}) {
    TestProgram program = relu_program();
    program.input = program.output = shape;
    refuse(program, "has the shape");
  }
  TestProgram program = relu_program();
  program.variables = {tensor_variable("w", {-1, 4}, true)};
  refuse(program, "'w' has the shape");
}

TEST_CASE("arguments and attributes of an operator") {
  TestProgram program = relu_program();
  const auto with = [&](const std::string& op) {
    program.operators = {op};
    return program.bytes();
  };
  refuse(with(make_operator("relu", {}, {{"Out", "y"}})), "the argument X");
  refuse(with(make_operator("relu", {{"X", "x"}}, {})), "the argument Out");
  refuse(with(make_operator("relu", {{"X", "x"}, {"Y", "x"}}, {{"Out", "y"}})), "too many");
  refuse(with(make_operator("relu", {{"X", "x"}, {"X", "x"}}, {{"Out", "y"}})), "repeated name");
  refuse(with(make_operator("save", {{"X", "x"}}, {{"Out", "y"}})), "'save'",
         ErrorCode::Unsupported);
  const auto relu = [](const std::vector<std::string>& attributes) {
    return make_operator("relu", {{"X", "x"}}, {{"Out", "y"}}, attributes);
  };
  accept(with(relu({bool_attribute("use_onednn", false), text_attribute("op_device", "")})));
  refuse(with(relu({int_attribute("use_onednn", 0)})), "the type of the attribute use_onednn");
  refuse(with(relu({text_attribute("op_device", "gpu:0")})), "op_device");
  refuse(with(relu({int_attribute("op_device", 0)})), "the type of the attribute op_device");
  refuse(with(relu({bool_attribute("workspace_size_MB", true)})),
         "the type of the attribute workspace_size_MB");
  refuse(with(relu({int_attribute("data_format", 0)})), "the type of the attribute data_format");
  refuse(with(relu({text_attribute("data_format", "NHWC")})), "data_format");
  accept(with(relu({text_attribute("data_format", "AnyLayout")})));
  refuse(with(relu({text_attribute("surprise", "")})),
         "operator 1 (relu) is damaged: the attribute surprise, which it does not have");
  // What a pass of Paddle has made of two operators, and what says that it did not.
  refuse(with(relu({bool_attribute("fuse_with_relu", true)})), "fuse_with_relu");
  refuse(with(relu({text_attribute("fuse_activation", "relu")})), "fuse_activation");
  accept(
      with(relu({bool_attribute("fuse_with_relu", false), text_attribute("fuse_activation", "")})));
  refuse(with(relu({int_attribute("workspace_size_MB", 1 << 30)})), "workspace_size_MB");
  refuse(with(relu({int_attribute("op_role", 0), int_attribute("op_role", 0)})),
         "second attribute");
  refuse(with(relu({delimited(1, "op_role") + number_field(2, 0)})), "no value of 'op_role'");
  refuse(with(relu({delimited(1, "op_role") + number_field(2, 8)})), "unknown type");
  refuse(with(relu({int_attribute("op_role", 1LL << 32)})), "a number out of range");
  refuse(with(relu({int_attribute("op_role", 0) + number_field(10, 1)})), "two values");
  program.fetch = make_operator("fetch", {{"X", "y"}}, {{"Out", "fetch"}});
  refuse(with(relu({})), "no attribute col");
}

TEST_CASE("values are given once, before they are used, and parameters never") {
  TestProgram program = relu_program();
  program.variables = {tensor_variable("z", {-1, 4}), tensor_variable("w", {2, 4}, true)};
  const auto relu = [](const std::string& from, const std::string& to) {
    return make_operator("relu", {{"X", from}}, {{"Out", to}});
  };
  program.operators = {relu("x", "z"), relu("z", "y")};
  accept(program);
  program.operators = {relu("z", "y"), relu("x", "z")};
  refuse(program, "uses 'z' before");
  program.operators = {relu("x", "z")};
  refuse(program, "uses 'y' before");
  program.operators = {relu("x", "y"), relu("x", "y")};
  refuse(program, "overwrites 'y'");
  program.operators = {relu("x", "y"), relu("w", "w")};
  refuse(program, "overwrites 'w'");
}

TEST_CASE("inputs and outputs of the program") {
  TestProgram program = relu_program();
  program.fetch =
      make_operator("fetch", {{"X", "y"}}, {{"Out", "fetch"}}, {int_attribute("col", 1)});
  refuse(program, "the numbers of its outputs");
  program.fetch =
      make_operator("fetch", {{"X", "y"}}, {{"Out", "fetch"}}, {int_attribute("col", -1)});
  refuse(program, "col");
  program.fetch = make_operator("relu", {{"X", "y"}}, {{"Out", "z"}});
  program.variables = {tensor_variable("z", {-1, 4})};
  refuse(program, "no output");
  program = relu_program();
  program.variables = {tensor_variable("z", {-1, 4})};
  program.operators.push_back(
      make_operator("feed", {{"X", "feed"}}, {{"Out", "z"}}, {int_attribute("col", 0)}));
  refuse(program, "2 inputs", ErrorCode::Unsupported);
}

TEST_CASE("convolution") {
  OneOperator good = {
      {-1, 4, 9, 9},
      {-1, 6, 5, 5},
      "conv2d",
      {ints_attribute("strides", {2, 2}), ints_attribute("paddings", {1, 1}),
       ints_attribute("dilations", {1, 1}), int_attribute("groups", 2),
       text_attribute("data_format", "NCHW"), text_attribute("padding_algorithm", "EXPLICIT")},
      {tensor_variable("w", {6, 2, 3, 3}, true)},
      {{"Input", "x"}, {"Filter", "w"}},
      {{"Output", "y"}}};
  accept(good);
  refuse(good.gives({-1, 6, 5, 6}), "[N, 6, 5, 5]");
  refuse(good.gives({-1, 5, 5, 5}), "[N, 6, 5, 5]");
  for (const Shape& filter : {Shape{6, 4, 3, 3}, Shape{7, 2, 3, 3}}) {
    refuse(good.takes(tensor_variable("w", filter, true)), "groups and channels");
  }
  for (const std::int64_t groups : {0, -2}) {
    refuse(good.with(int_attribute("groups", groups)), "groups and channels");
  }
  const struct {
    const char* name;
    Shape value;
    const char* text;
  } cases[] = {{"strides", {0, 2}, "strides"},
               {"strides", {2}, "the number of strides"},
               {"dilations", {0, 1}, "dilations"},
               {"dilations", {9, 1}, "larger than the image"},
               {"paddings", {-1, 1}, "paddings"},
               {"paddings", {4, 4}, "where it gives [N, 6, 8, 8]"},
               {"paddings", {1, 1, 1}, "the number of paddings"}};
  for (const auto& one : cases) refuse(good.with(ints_attribute(one.name, one.value)), one.text);
  accept(good.with(ints_attribute("paddings", {1, 1, 1, 1})));
  refuse(good.with(text_attribute("data_format", "CHWN")), "data_format");
  refuse(good.with(text_attribute("padding_algorithm", "ANY")), "padding_algorithm");
  accept(good.with(text_attribute("padding_algorithm", "SAME")));  // ceil(9 / 2)
  // floor((9 - 3) / 2) + 1
  accept(good.with(text_attribute("padding_algorithm", "VALID")).gives({-1, 6, 4, 4}));

  // An absurd amount of work: 13e12 multiply-adds. Before: beyond the size of any tensor.
  good.input = good.output = {-1, 8192, 128, 128};
  refuse(good.takes(tensor_variable("w", {8192, 8192, 7, 7}, true)), "has the shape");
  good.input = good.output = {-1, 2048, 256, 256};
  refuse(good.takes(tensor_variable("w", {2048, 2048, 7, 7}, true))
             .with(ints_attribute("strides", {1, 1}))
             .with(ints_attribute("paddings", {3, 3}))
             .with(int_attribute("groups", 1)),
         "an absurd amount of work");
}

TEST_CASE("pooling") {
  accept(pool_program({-1, 3, 3, 3}, {2, 2}, {0, 0}));
  accept(pool_program({-1, 3, 4, 4}, {2, 2}, {0, 0}, true));
  accept(pool_program({-1, 3, 1, 1}, {1, 1}, {0, 0}, false, true));
  refuse(pool_program({-1, 3, 4, 4}, {2, 2}, {0, 0}), "[N, 3, 3, 3]");
  refuse(pool_program({-1, 3, 3, 3}, {0, 2}, {0, 0}), "kernel sizes");
  refuse(pool_program({-1, 3, 3, 3}, {2, 2}, {2, 2}), "where it gives [N, 3, 5, 5]");
  // Paddle divides 7 - 8 by 2 towards zero.
  accept(pool_program({-1, 3, 1, 1}, {8, 8}, {0, 0}));
  refuse(pool_program({-1, 3, 0, 0}, {9, 9}, {0, 0}), "operator 1 (pool2d) pools to an empty",
         ErrorCode::Unsupported);
  accept(pool_program({-1, 3, 1, 1}, {9, 9}, {0, 0}, true));
  refuse(pool_program({-1, 3, 0, 0}, {10, 10}, {0, 0}, true), "pools to an empty",
         ErrorCode::Unsupported);
  refuse(pool_program({-1, 3, -1, -1}, {12, 12}, {0, 0}), "larger than the image");
  accept(pool_program({-1, 3, 4, 4}, {1, 1}, {0, 0}, false, false, "SAME"));
  accept(pool_program({-1, 3, 4, 4}, {1, 1}, {0, 0}, true, false, "SAME"));
  accept(pool_program({-1, 3, 4, 4}, {3, 3}, {0, 0}, true, false, "SAME"));
}

TEST_CASE("matrix products and reshaping") {
  accept(matmul_program({4, 3}, {-1, 3}));
  accept(matmul_program({3, 4}, {-1, 3}, true));
  refuse(matmul_program({3, 4}, {-1, 4}), "do not match");
  refuse(matmul_program({4, 3}, {-1, 4}), "[N, 3]");
  accept(reshape_program({-1, 12}, {-1, 12}));
  accept(reshape_program({0, -1}, {-1, 12}));
  accept(reshape_program({0, 3, -1}, {-1, 3, 4}));
  refuse(reshape_program({-1, 13}, {-1, 13}), "a size that does not match");
  refuse(reshape_program({0, 5, -1}, {-1, 5, 2}), "a size that does not match");
  refuse(reshape_program({-1, -1}, {-1, 12}), "two open");
  refuse(reshape_program({-1, -12}, {-1, 12}), "shape");
}

TEST_CASE("members of a PIR program") {
  const std::string good = read_file(kModelDir + "/lenet.json");
  const auto refuse_with = [&](const std::string& part, const std::string& by,
                               std::string_view words) { refuse_json(good, part, by, words); };
  refuse_with(R"("magic":"pir")", R"("magic":"pir","magic":"pir")", "comes a second time");
  refuse_with(R"("trainable":true)", R"("trainable":1)", "heading");
  refuse_with(R"("version":4)", R"("version":-1)", "size of a number");
  refuse_with(R"("version":4)", R"("version":4.5)", "a whole number");
  refuse_with(R"("args":[])", R"("args":[1])", "arguments of a block");
  refuse_with(R"("#":"p")", R"("#":3)", "an operator");
  refuse_with(R"([0,1,1,"linear_2.b_0"])", R"([0,1,1])", "a parameter");
  refuse_with(R"("linear_2.b_0")", R"("linear_2.w_0")", "the second parameter");
  refuse_with(R"("linear_2.b_0")", R"("a\u0000b")", "the name of a parameter");
  refuse_with(R"("%":1,)", R"("%":2,)", "a value defined twice");
  refuse_with(R"("%":1,)", R"("%":-1,)", "size of a number");
  refuse_with(R"("0.t_f32")", R"("0.t_f31")", "an element type");
  refuse_with(R"([10],"NCHW",[],0)", R"([10],"NCHW",[],1)", "level of detail");
  refuse_with(R"([10],"NCHW",[],0)", R"([10],"NCHW",[])", "a type");
  refuse_with(R"([10],"NCHW",[],0)", R"([-10],"NCHW",[],0)", "has the shape");
  refuse_with(R"([-1,1,28,28],"NCHW")", R"([-1,1,1099511627776,28],"NCHW")", "has the shape");
  refuse_with(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11},{"%":35}])", "no operator before");
  refuse_with(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11},{"%":0}])", "the argument Filter");
  refuse_with(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11}])", "the argument Filter");
  refuse_with(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i32","D":2147483648})", "size of a number");
  refuse_with(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i64","D":2})", "the elements of an array");
  refuse_with(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i32","D":true})", "a whole number");
  refuse_with(R"({"AT":{"#":"0.a_i32","D":1},"N":"groups"},)", "", "no attribute groups");
  refuse_with(R"({"#":"0.a_i32","D":1},"N":"groups")", R"({"#":"0.a_i64","D":1},"N":"groups")",
              "the type of the attribute groups");
  refuse_with(R"("N":"stop_gradient")", R"("N":"go_gradient")", "attribute of the outputs");
  refuse_with(R"([{"#":"0.a_bool","D":false}]},"N":"stop_gradient")", R"([]},"N":"stop_gradient")",
              "attribute of the outputs");
  refuse_with(R"("D":[1,0,""])", R"("D":[2,0,""])", "size of a number");
  refuse_with(R"("1.relu")", R"("1.re\u00e9lu")", "the name of an operator");
  refuse_json(good, R"("1.relu")", R"("1.py_func")", "'1.py_func'", ErrorCode::Unsupported);
  refuse_with(R"("1.fetch","A":[{"AT":{"#":"0.a_str","D":"fetch_name_0"},"N":"name"},)",
              R"("1.fetch","A":[)", "no attribute name");
  // Of these names Paddle reads them in any operator, as texts.
  for (const char* type : {"0.a_i32", "0.a_array"}) {
    const std::string value = type == std::string("0.a_i32") ? "1" : "[]";
    for (const char* name : {"data_format", "op_device", "workspace_size_MB"}) {
      const std::string added = R"({"AT":{"#":")" + std::string(type) + R"(","D":)" + value +
                                R"(},"N":")" + name + R"("},)";
      for (const char* op : {"1.data", "1.full_int_array", "1.reshape"}) {
        const std::string begin = R"("#":")" + std::string(op) + R"(","A":[)";
        refuse_with(begin, begin + added, name + std::string(", which it does not have"));
      }
    }
  }
  std::string deep(1000, '[');
  refuse_with(R"("args":[])", R"("args":)" + deep + std::string(1000, ']'), "nested too deeply");
}

}  // namespace lenet::tests
