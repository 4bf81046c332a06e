#include <set>

#include "model/graph.h"
#include "model/parameters.h"
#include "model/readers.h"
#include "notation.h"

namespace lenet::tests {
namespace {

void accept_json(const std::string& text) {
  Graph graph = read_pir_program(text, "m");
  list_parameters(graph, "m");
  check_graph(graph, "m");
  CHECK(graph.dialect == Dialect::Pir);
}

const std::string kRelu = "x[-1,4] y[-1,4]: relu x -> y";

}  // namespace

TEST_CASE("the bundled programs pass") {
  accept(read_file(kModelDir + "/lenet.pdmodel"));
  accept_json(read_file(kModelDir + "/lenet.json"));
}

TEST_CASE("fields of the protocol buffer") {
  const std::string good = program(kRelu);
  accept(good);
  refuse("", "no block");
  refuse(good + good, "a block that no operator runs", ErrorCode::Unsupported);
  // What is not known is left out; Paddle 1 wrote the field 3.
  for (const std::string& more : {number_field(2, 1), delimited(1 << 20, ""), delimited(3, "x")}) {
    const std::string bytes = good + more;  // in which the names of the graph lie
    accept(bytes);
    Graph graph = read_program_desc(bytes, "m");
    check_graph(graph, "m");
    CHECK(graph.differs);
    CHECK(write_checked_program(bytes, graph, "m") == good);
  }
  refuse(good + number_field(4, 1), "a field of another type in the program");
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
  refuse(op_version("conv\x80", 1), "the name of an operator version", ErrorCode::Unsupported);
  refuse(op_version("", 1), "an operator version has no name");
}

TEST_CASE("the numbers of the block") {
  TestProgram relu(kRelu);
  for (const auto& [index, parent] : {std::pair<int, int>{1, -1}, {-1, -1}, {0, 0}, {0, 3003001}}) {
    relu.heading = number_field(1, index) + number_field(2, parent);
    refuse(relu.bytes(), "the number of another block");
  }
  relu.heading = number_field(1, 0);
  refuse(relu.bytes(), "no required field in the block");
}

TEST_CASE("names and declarations of variables") {
  const TestProgram relu(kRelu);
  const auto with = [&](const std::string& variable) {
    TestProgram changed = relu;
    changed.variables.push_back(variable);
    return changed.bytes();
  };
  for (const std::string& name :
       {std::string("a\xff"), std::string("a\nb"), std::string("a b"), std::string(1025, 'a')}) {
    refuse(with(paddle_variable(name, {1})), "the name of a variable", ErrorCode::Unsupported);
  }
  refuse(with(paddle_variable("", {1})), "a variable has no name");
  refuse(with(paddle_variable("x", {1})), "the second declaration of 'x'");
  accept(with(paddle_list("raw", 11)));  // of any kind, where nothing takes it
  for (const std::string name : {"z", "feed"}) {
    refuse(program("x[-1,4] y[-1,4]: relu " + name + " -> y"),
           "'" + name + "', which is no variable of the kind");
  }
}

TEST_CASE("shapes beyond reason") {
  for (const std::string shape :
       {"[-1,1099511627776]", "[-1,1048576,1048576]", "[1,1,1,1,1,1,1,1,1,1]"}) {
    refuse(program("x" + shape + " y" + shape + ": relu x -> y"), "has the shape",
           ErrorCode::Unsupported);
  }
  // Paddle 1 multiplied sizes that it did not know, too.
  accept(program("x[-2,4] y[-16,4]: relu x -> y"));
  refuse(program("w[-1,4]* " + kRelu), "'w' has the shape");
  refuse(program("w[-2,4]* " + kRelu), "'w' has the shape");
}

TEST_CASE("arguments and attributes of an operator") {
  const auto with = [](const std::string& op) { return program("x[-1,4] y[-1,4]: " + op); };
  refuse(with("relu -> y"), "the argument X");
  refuse(with("relu x"), "the argument Out");
  refuse(with("relu x Y=x -> y"), "has an argument Y, which is not known", ErrorCode::Unsupported);
  refuse(with("relu x x -> y"), "repeated name");
  refuse(with("save x -> y"), "'save'", ErrorCode::Unsupported);
  const auto relu = [&](const std::string& attributes) {
    return with("relu x -> y | " + attributes);
  };
  accept(relu("use_onednn=false op_device="));
  accept(relu("skip_quant=1"));  // paddle.quantization writes it as an integer
  refuse(relu("skip_quant='1'"), "the type of the attribute skip_quant");
  accept(relu("X0_threshold=1.5 Out0_threshold=0.5"));  // PaddleSlim writes them
  refuse(relu("use_onednn=0"), "the type of the attribute use_onednn");
  refuse(relu("op_device=gpu:0"), "op_device=gpu:0", ErrorCode::Unsupported);
  refuse(relu("op_device=0"), "the type of the attribute op_device");
  refuse(relu("workspace_size_MB=true"), "the type of the attribute workspace_size_MB");
  refuse(relu("data_format=0"), "the type of the attribute data_format");
  refuse(relu("data_format=NHWC"), "data_format=NHWC", ErrorCode::Unsupported);
  accept(relu("data_format=AnyLayout"));
  // What no operator of Paddle knows is dropped, from what Paddle gets too.
  const auto dropped = [&](const std::string& more) {
    const std::string bytes = with("relu x -> y" + more);
    Graph graph = read_program_desc(bytes, "m");
    check_graph(graph, "m");
    CHECK(graph.differs);
    CHECK(write_checked_program(bytes, graph, "m") == with("relu x -> y"));
  };
  dropped(" | surprise=");
  dropped(" | X0_thresholds=1.5 scale_x=1.0 head_number=1");
  // What a pass of Paddle has made of two operators, and what says that it did not.
  for (const char* const changed :
       {"fuse_with_relu=true", "fuse_activation=relu", "fuse_alpha=0.25", "fuse_beta=-1.0",
        "fuse_brelu=true", "fuse_brelu_threshold=5.5", "fuse_residual_connection=true",
        "Scale_in=0.5", "Scale_out=2.0", "Scale_weights=[1.0,0.5]", "force_fp32_output=true",
        "use_quantizer=true", "mkldnn_data_type=bfloat16", "workspace_size_MB=1073741824"}) {
    const std::string name = std::string(changed).substr(0, std::string(changed).find('='));
    CAPTURE(name);
    refuse(relu(changed), "operator 1 (relu) has " + name + "=", ErrorCode::Unsupported);
  }
  accept(relu("fuse_with_relu=false fuse_activation= fuse_alpha=0.0 fuse_brelu_threshold=6.0"));
  accept(relu("Scale_in=1.0 Scale_weights=[1.0] mkldnn_data_type=float32 use_quantizer=false"));
  refuse(relu("op_role=0 op_role=0"), "second attribute");
  refuse(relu("op_role=4294967296"), "a number out of range");
  const auto encoded = [](const std::string& attribute) {
    TestProgram changed(kRelu);
    changed.operators[0] += delimited(4, delimited(1, "op_role") + attribute);
    return changed.bytes();
  };
  refuse(encoded(number_field(2, 0)), "no value of 'op_role'");
  refuse(encoded(number_field(2, 10)), "of a type that is not supported", ErrorCode::Unsupported);
  refuse(encoded(number_field(2, 99)), "unknown type");
  refuse(encoded(number_field(2, 0) + number_field(3, 0) + number_field(10, 1)), "two values");
}

TEST_CASE("a list of numbers of different types") {  // Scalar of Paddle's framework.proto
  const auto values = [](const std::string& numbers) {
    TestProgram relu(kRelu);
    relu.operators[0] += delimited(4, delimited(1, "values") + number_field(2, 17) + numbers);
    const std::string bytes = relu.bytes();
    const Graph graph = read_program_desc(bytes, "m");
    return std::get<Numbers>(graph.operators.at(1).attributes.at("values").value);
  };
  const auto number = [](int type, const std::string& value) {
    return delimited(21, number_field(1, type) + value);
  };
  const std::string flag = number_field(2, 1);
  const std::string integer = number_field(3, -7);
  const std::string real = varint(4 << 3 | 1) + bytes_of(0.5);
  CHECK(values(number(1, flag) + number(2, integer) + number(3, real)) == Numbers{1, -7, 0.5});
  for (const std::string& bad :
       {number(1, integer), number(2, real), number(3, flag), number(4, real), number(0, flag)}) {
    CHECK_ERROR(BadModel, "no value of its type", values(bad));
  }
}

TEST_CASE("values are given once, before they are used, and parameters never") {
  const auto with = [](const std::string& operators) {
    return program("x[-1,4] y[-1,4] z[-1,4] w[2,4]*: " + operators);
  };
  accept(with("relu x -> z; relu z -> y"));
  refuse(with("relu z -> y; relu x -> z"), "uses 'z' before");
  refuse(with("relu x -> z"), "uses 'y', which nothing gives");
  refuse(with("relu x -> y; relu w -> w"), "overwrites 'w'");
  // A variable that is written twice is two values, of which each has its own shape.
  const std::string twice = with("relu x -> z; reshape2 z -> z | shape=[2,-1,2]; relu x -> y");
  Graph graph = read_program_desc(twice, "m");
  check_graph(graph, "m");
  REQUIRE(graph.rewritten.size() == 1);
  const auto [before, after] = graph.rewritten[0];
  CHECK(graph.values[before].shape == Shape{-1, 4});
  CHECK(graph.values[after].shape == Shape{2, -1, 2});
  CHECK(graph.operators[2].inputs.at("X")[0] == before);
  accept(with("relu x -> y; relu y -> y"));
}

TEST_CASE("what a program writes twice has two names, but for its input") {
  const std::string fed = program(
      "x[-1,4] y[-1,4] z[-1,4] w[4]*: relu x -> x; relu x -> z; "
      "relu z -> z; elementwise_add z Y=w -> y | axis=-1");
  const auto values = read_program_desc(fed, "m").values;
  CHECK(values[0].name == "x");  // by which it is asked for
  CHECK(values[2].name == "z (2)");
  Config config;
  config.engine = EngineKind::Native;
  config.output_name = kEveryValue;
  const std::string params = parameter_record({4}, bytes_of<float>({1, 2, 3, 4}));
  std::set<std::string> names;
  const Predictor predictor(config, ModelBytes{fed, params});
  for (const TensorSpec& output : predictor.output_specs()) names.insert(output.name);
  CHECK(predictor.input_spec().name == "x");
  CHECK(names == std::set<std::string>{"x", "y", "z", "z (2)"});
  const TemporaryFolder folder;
  write_file(folder / "m.pdmodel", fed);
  write_file(folder / "m.pdiparams", params);
  config.model_file = folder / "m.pdmodel";
  config.output_name.clear();
  Predictor shown(config);
  std::string layers;
  shown.set_layer_callback([&](std::string_view type, std::string_view name, auto&& computed) {
    layers.append(type).append(" ").append(name);
    layers += " " + std::to_string(static_cast<int>(computed.data[0])) + "; ";
  });
  shown.run(Tensor{{-5, 1, 2, 3}, {1, 4}}.view());
  CHECK(layers == "relu x 0; relu z (2) 0; relu z 0; elementwise_add y 1; ");
}

TEST_CASE("the work for an image is not known of open sizes") {
  for (const auto& [sides, expected] : {std::pair("3,5", 90.0), std::pair("-1,-1", 0.0)}) {
    const std::string shape = std::string(",") + sides + "]";
    const std::string text =
        program("x[-1,2" + shape + " y[-1,3" + shape +
                " w[3,2,1,1]*: conv2d Input=x Filter=w -> Output=y | strides=[1,1] paddings=[0,0] "
                "dilations=[1,1] groups=1 padding_algorithm=EXPLICIT data_format=NCHW");
    Graph graph = read_program_desc(text, "m");
    check_graph(graph, "m");
    CHECK(graph.multiply_adds == expected);
  }
}

TEST_CASE("inputs and outputs of the program") {
  const auto with = [](const char* fetch, const std::string& text = kRelu) {
    TestProgram changed(text);
    changed.fetch = paddle_operator(fetch);
    return changed.bytes();
  };
  refuse(with("fetch y -> fetch"), "no attribute col");
  refuse(with("fetch y -> fetch | col=1"), "the numbers of its outputs");
  refuse(with("fetch y -> fetch | col=-1"), "col");
  refuse(with("relu y -> z", "z[-1,4] " + kRelu), "no output");
  refuse(program("z[-1,4] " + kRelu + "; feed feed -> z | col=0"), "2 inputs",
         ErrorCode::Unsupported);
}

TEST_CASE("convolution") {
  const std::string good =
      "x[-1,4,9,9] y[-1,6,5,5] w[6,2,3,3]*: conv2d Input=x Filter=w -> Output=y | "
      "strides=[2,2] paddings=[1,1] dilations=[1,1] groups=2 data_format=NCHW "
      "padding_algorithm=EXPLICIT";
  const auto with = [&](const char* part, const char* by) {
    return program(replaced(good, part, by));
  };
  accept(program(good));
  accept(with("paddings=[1,1]", "paddings=[1,1,1,1]"));
  accept(with("EXPLICIT", "SAME"));  // ceil(9 / 2)
  // floor((9 - 3) / 2) + 1
  accept(program(replaced(replaced(good, "EXPLICIT", "VALID"), "y[-1,6,5,5]", "y[-1,6,4,4]")));
  const struct {
    const char *part, *by, *text;
  } cases[] = {{"y[-1,6,5,5]", "y[-1,6,5,6]", "[N, 6, 5, 5]"},
               {"y[-1,6,5,5]", "y[-1,5,5,5]", "[N, 6, 5, 5]"},
               {"w[6,2,3,3]", "w[6,4,3,3]", "groups and channels"},
               {"w[6,2,3,3]", "w[7,2,3,3]", "groups and channels"},
               {"groups=2", "groups=0", "groups and channels"},
               {"groups=2", "groups=-2", "groups and channels"},
               {"strides=[2,2]", "strides=[0,2]", "strides"},
               {"strides=[2,2]", "strides=[2]", "the number of strides"},
               {"dilations=[1,1]", "dilations=[0,1]", "dilations"},
               {"dilations=[1,1]", "dilations=[9,1]", "larger than the image"},
               {"paddings=[1,1]", "paddings=[-1,1]", "paddings"},
               {"paddings=[1,1]", "paddings=[4,4]", "where it gives [N, 6, 8, 8]"},
               {"paddings=[1,1]", "paddings=[1,1,1]", "the number of paddings"},
               {"NCHW", "CHWN", "data_format"},
               {"EXPLICIT", "ANY", "padding_algorithm"}};
  for (const auto& one : cases) refuse(with(one.part, one.by), one.text);
  // An absurd amount of work: 13e12 multiply-adds. Before: beyond the size of any tensor.
  const auto large = [](const std::string& image, const std::string& filter) {
    return program("x" + image + " y" + image + " w" + filter +
                   "*: conv2d Input=x Filter=w -> Output=y | strides=[1,1] paddings=[3,3] "
                   "dilations=[1,1] groups=1 data_format=NCHW padding_algorithm=EXPLICIT");
  };
  refuse(large("[-1,8192,128,128]", "[8192,8192,7,7]"), "has the shape", ErrorCode::Unsupported);
  refuse(large("[-1,2048,256,256]", "[2048,2048,7,7]"), "multiply-adds for one image",
         ErrorCode::Unsupported);
}

TEST_CASE("pooling") {
  const auto pool = [](const std::string& output, const std::string& kernel,
                       const std::string& ceil = "false", const std::string& same = "EXPLICIT",
                       const std::string& paddings = "0,0", const std::string& adaptive = "false") {
    return program("x[-1,3,7,7] y[-1,3," + output + "]: pool2d x -> y | ksize=[" + kernel +
                   "] strides=[2,2] paddings=[" + paddings + "] ceil_mode=" + ceil +
                   " adaptive=" + adaptive + " padding_algorithm=" + same +
                   " exclusive=true global_pooling=false data_format=NCHW pooling_type=max");
  };
  accept(pool("3,3", "2,2"));
  accept(pool("4,4", "2,2", "true"));
  accept(pool("1,1", "1,1", "false", "EXPLICIT", "0,0", "true"));
  refuse(pool("4,4", "2,2"), "[N, 3, 3, 3]");
  refuse(pool("3,3", "0,2"), "kernel sizes");
  refuse(pool("3,3", "2,2", "false", "EXPLICIT", "2,2"), "where it gives [N, 3, 5, 5]");
  // Paddle divides 7 - 8 by 2 towards zero.
  accept(pool("1,1", "8,8"));
  refuse(pool("0,0", "9,9"), "operator 1 (pool2d) pools to an empty", ErrorCode::Unsupported);
  accept(pool("1,1", "9,9", "true"));
  refuse(pool("0,0", "10,10", "true"), "pools to an empty", ErrorCode::Unsupported);
  refuse(pool("-1,-1", "12,12"), "larger than the image");
  accept(pool("4,4", "1,1", "false", "SAME"));
  accept(pool("4,4", "1,1", "true", "SAME"));
  accept(pool("4,4", "3,3", "true", "SAME"));
}

TEST_CASE("matrix products and reshaping") {
  const auto matmul = [](const std::string& weights, const std::string& output,
                         const std::string& transposed = "false") {
    return program("x[-1,4] y" + output + " w" + weights +
                   "*: matmul_v2 x Y=w -> y | trans_x=false trans_y=" + transposed);
  };
  accept(matmul("[4,3]", "[-1,3]"));
  accept(matmul("[3,4]", "[-1,3]", "true"));
  refuse(matmul("[3,4]", "[-1,4]"), "do not match");
  refuse(matmul("[4,3]", "[-1,4]"), "[N, 3]");
  const auto reshape = [](const std::string& shape, const std::string& output) {
    return program("x[-1,2,6] y" + output + ": reshape2 x -> y | shape=" + shape);
  };
  accept(reshape("[-1,12]", "[-1,12]"));
  accept(reshape("[0,-1]", "[-1,12]"));
  accept(reshape("[0,3,-1]", "[-1,3,4]"));
  // Of 13 images it would be 12 rows.
  refuse(reshape("[-1,13]", "[-1,13]"), "'y' in the shape [48, 13]", ErrorCode::Unsupported);
  refuse(reshape("[0,5,-1]", "[-1,5,2]"), "takes no number of images that was tried",
         ErrorCode::Unsupported);
  refuse(reshape("[-1,-1]", "[-1,12]"), "two open");
  refuse(reshape("[-1,-12]", "[-1,12]"), "shape");
}

TEST_CASE("a program that takes some numbers of images only") {
  const struct {
    const char* text;
    std::vector<std::int64_t> fitting, others;
    const char* why;
  } cases[] = {
      {"y[2,12]: reshape2 x -> y | shape=[2,12]", {2}, {1, 3, 4, 100}, "(reshape2): a size"},
      {"y[100,12]: reshape2 x -> y | shape=[100,12]", {100}, {1, 50, 200}, "these fit: 100; "},
      // 12 N is a multiple of 18.
      {"f[-1,18] y[-1,12]: reshape2 x -> f | shape=[-1,18]; reshape2 X=f -> y | shape=[-1,12]",
       {3, 6, 999, 1000002},
       {1, 2, 4, 1000},
       "these fit: 3, 6, 9, 12, 15, 18, 21, 24 and others; "},
      // 100 would fit too, but engines have the sizes of the one number that was found.
      {"f[-1,600] y[-1,12]: reshape2 x -> f | shape=[-1,600]; reshape2 X=f -> y | shape=[-1,12]",
       {50},
       {1, 49, 100},
       "these fit: 50; "},
      // Two images have one shape, and of one image there would be two answers.
      {"y[2,2,6] w[2,2,6]*: elementwise_add x Y=w -> y | axis=-1", {2}, {1, 3}, "does not take"},
      // Not linear in the number, but a row each up to 9.
      {"y[-1,2,6]: slice Input=x -> y | axes=[0] starts=[0] ends=[9] infer_flags=[1] "
       "decrease_axis=[]",
       {1, 5, 9},
       {10, 11, 1009},
       "gives 'y' in the shape [9, 2, 6]); these fit: 1, 2, 3"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.text);
    const std::string bytes = program("x[-1,2,6] " + std::string(one.text));
    Graph graph = read_program_desc(bytes, "m");
    check_graph(graph, "m");
    REQUIRE(graph.require_images);
    for (const std::int64_t images : one.fitting) graph.require_images(images);
    for (const std::int64_t images : one.others) {
      const std::string number = "'m' does not take a batch of " + std::to_string(images) + " (";
      CHECK_ERROR(BadInput, number, graph.require_images(images));
      CHECK_ERROR(BadInput, one.why, graph.require_images(images));
    }
  }
  // The limits hold for the actual number: of each pair of images there are 2^10 values, and of
  // each image may be 2^28.
  const std::string pairs = program(
      "x[-1,1024] a[-1,1,1024] b[1,-1,1024] s[-1,-1,1024] y[-1,1024]: "
      "reshape2 x -> a | shape=[-1,1,1024]; reshape2 x -> b | shape=[1,-1,1024]; "
      "elementwise_add X=a Y=b -> s | axis=-1; "
      "reduce_mean X=s -> y | dim=[1] keep_dim=false reduce_all=false");
  Graph graph = read_program_desc(pairs, "m");
  check_graph(graph, "m");
  REQUIRE(graph.require_images);
  graph.require_images(262144);
  CHECK_ERROR(BadInput, "'s' has the shape [262145, 262145, 1024]", graph.require_images(262145));
}

TEST_CASE("members of a PIR program") {
  const std::string good = read_file(kModelDir + "/lenet.json");
  const auto bad = [&](const std::string& part, const std::string& by, std::string_view words,
                       ErrorCode code = ErrorCode::BadModel) {
    CAPTURE(by);
    const std::string text = replaced(good, part, by);
    check_error(code, words, [&] { accept_json(text); });
  };
  bad(R"("magic":"pir")", R"("magic":"pir","magic":"pir")", "comes a second time");
  bad(R"("trainable":true)", R"("trainable":1)", "heading");
  bad(R"("version":4)", R"("version":-1)", "size of a number");
  bad(R"("version":4)", R"("version":4.5)", "an integer");
  bad(R"("args":[])", R"("args":[1])", "arguments of a block");
  bad(R"("#":"p")", R"("#":3)", "an operator");
  bad(R"([0,1,1,"linear_2.b_0"])", R"([0,1,1])", "a parameter");
  // Not kept in a file, in which Paddle would find a value too many: "Not allowed to load partial
  // data".
  bad(R"("OA":[1,0,1])", R"("OA":[0,0,1])", "which neither a file nor an operator fills",
      ErrorCode::Unsupported);
  bad(R"("linear_2.b_0")", R"("linear_2.w_0")", "'linear_2.w_0' twice");
  bad(R"("linear_2.b_0")", R"("a\u0000b")", "the name of a parameter", ErrorCode::Unsupported);
  bad(R"("%":1,)", R"("%":2,)", "a value defined twice");
  bad(R"("%":1,)", R"("%":-1,)", "size of a number");
  bad(R"("0.t_f32")", R"("0.t_f31")", "an element type");
  bad(R"([10],"NCHW",[],0)", R"([10],"NCHW",[],1)", "level of detail");
  bad(R"([10],"NCHW",[],0)", R"([10],"NCHW",[])", "a type");
  bad(R"([10],"NCHW",[],0)", R"([-10],"NCHW",[],0)", "has the shape");
  bad(R"([-1,1,28,28],"NCHW")", R"([-1,1,1099511627776,28],"NCHW")", "has the shape",
      ErrorCode::Unsupported);
  bad(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11},{"%":35}])", "no operator before");
  bad(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11},{"%":0}])", "the argument Filter");
  bad(R"("I":[{"%":11},{"%":10}])", R"("I":[{"%":11}])", "the argument Filter");
  bad(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i32","D":2147483648})", "size of a number");
  bad(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i64","D":2})", "the elements of an array");
  bad(R"({"#":"0.a_i32","D":2})", R"({"#":"0.a_i32","D":true})", "an integer");
  bad(R"({"AT":{"#":"0.a_i32","D":1},"N":"groups"},)", "", "no attribute groups");
  bad(R"({"#":"0.a_i32","D":1},"N":"groups")", R"({"#":"0.a_i64","D":1},"N":"groups")",
      "the type of the attribute groups");
  bad(R"("N":"stop_gradient")", R"("N":"go_gradient")", "attribute of the outputs");
  bad(R"([{"#":"0.a_bool","D":false}]},"N":"stop_gradient")", R"([]},"N":"stop_gradient")",
      "attribute of the outputs");
  bad(R"("D":[1,0,""])", R"("D":[2,0,""])", "size of a number");
  bad(R"("D":[1,0,""])", R"("D":[1,1,""])", "size of a number");
  bad(R"("1.relu")", R"("1.re\u00e9lu")", "the name of an operator", ErrorCode::Unsupported);
  bad(R"("trainable":true)", R"("trainable":true,"more":1)", "has a member more",
      ErrorCode::Unsupported);
  bad(R"("1.relu")", R"("1.py_func")", "'1.py_func'", ErrorCode::Unsupported);
  bad(R"("1.fetch","A":[{"AT":{"#":"0.a_str","D":"fetch_name_0"},"N":"name"},)",
      R"("1.fetch","A":[)", "no attribute name");
  // Of these names Paddle reads them in any operator, as texts.
  for (const char* type : {"0.a_i32", "0.a_array"}) {
    const std::string value = type == std::string("0.a_i32") ? "1" : "[]";
    for (const char* name : {"data_format", "op_device", "workspace_size_MB"}) {
      const std::string added = R"({"AT":{"#":")" + std::string(type) + R"(","D":)" + value +
                                R"(},"N":")" + name + R"("},)";
      for (const char* op : {"1.data", "1.full_int_array", "1.reshape"}) {
        const std::string begin = R"("#":")" + std::string(op) + R"(","A":[)";
        bad(begin, begin + added, name + std::string(", which is not known"),
            ErrorCode::Unsupported);
      }
    }
  }
  std::string escaped;
  for (int i = 0; i < 200'000; ++i) escaped += R"(\u0041)";
  bad(R"("1.relu")", '"' + escaped + '"', "longer than 1 MiB", ErrorCode::Unsupported);
  bad(R"("args":[])", R"("args":)" + std::string(1000, '[') + std::string(1000, ']'),
      "nested too deeply", ErrorCode::Unsupported);
}

}  // namespace lenet::tests
