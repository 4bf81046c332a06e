// Which outputs tell the classes, by what programs say of them, and what follows for an image.
#include <cmath>

#include "description/output_plan.h"
#include "model/output_meanings.h"
#include "model/readers.h"
#include "notation.h"

namespace lenet::tests {
namespace {

using Names = std::vector<std::string>;

/// The outputs of a program in the notation of onnx_graph.
struct Outputs {
  Outputs(const std::string& nodes, const std::string& values) {
    const std::string bytes = onnx_model(onnx_graph(nodes, "", "x[-1,3] -> " + values));
    const OnnxProgram program = read_onnx_program(bytes, "m.onnx");
    const Graph& graph = program.graph;
    for (const NamedMeaning& one : describe_outputs(graph, graph.outputs)) {
      const Value& value = graph.values[graph.outputs[specs.size()]];
      specs.push_back({one.name, value.shape, "float32"});
      meanings.push_back(one.meaning);
    }
  }
  OutputPlan plan(const SaidOfOutputs& said = {}) const {
    return plan_outputs("m", specs, meanings, said);
  }
  Names roles() const {
    Names names;
    for (const OutputMeaning& meaning : meanings) names.emplace_back(to_string(meaning.role));
    return names;
  }
  Names wanted(const SaidOfOutputs& said = {}) const {
    Names names;
    for (const std::size_t index : plan(said).wanted) names.push_back(specs[index].name);
    return names;
  }

  std::vector<TensorSpec> specs;
  std::vector<OutputMeaning> meanings;
};

const char* const kFeaturesFirst = "Relu x -> f; Gemm f w -> y";

}  // namespace

TEST_CASE("an output that a product takes is features, wherever it stands") {
  const Outputs found(kFeaturesFirst, "f[-1,8], y[-1,5]");
  CHECK(found.roles() == Names{"features", "logits"});
  CHECK(found.wanted() == Names{"y"});
  CHECK(found.plan().features == 0);
  CHECK(Outputs("Relu x -> f; Flatten f -> g; Gemm g w -> y", "y[-1,5], f[-1,8,1,1]").roles() ==
        Names{"logits", "features"});
  CHECK(Outputs(kFeaturesFirst, "f[-1,8]").roles() == Names{"unknown"});
}

TEST_CASE("values and class numbers of one top-k, or of a maximum, belong together") {
  const std::string top = "Gemm x w -> a; Softmax a -> p; TopK p k -> v i";
  CHECK(Outputs(top, "v[-1,2], i[-1,2]").roles() == Names{"probabilities", "indices"});
  CHECK(Outputs(top, "i[-1,2], v[-1,2]").wanted() == Names{"v", "i"});
  CHECK(Outputs(top, "i[-1,2], v[-1,2], a[-1,5]").wanted() == Names{"a"});
  CHECK(Outputs(top, "i[-1,2]").roles() == Names{"class_numbers"});
  CHECK_ERROR(Unsupported, "without the numbers of their classes", Outputs(top, "v[-1,2]").plan());
  // The label is the argmax of the logits, its score the maximum of the probabilities.
  const std::string label = "Gemm x w -> a; Softmax a -> p; ArgMax a -> l; ReduceMax p -> s";
  CHECK(Outputs(label, "s[-1], l[-1]").roles() == Names{"probabilities", "indices"});
  CHECK(Outputs(label, "l[-1], s[-1]").wanted() == Names{"s", "l"});
  CHECK(Outputs(label + "; Cast l -> c", "c[-1]").roles() == Names{"class_numbers"});
  // The maximum of all positions is a pooling.
  CHECK(Outputs("Conv x w -> a; ReduceMax a -> y", "y[-1,5]").roles() == Names{"logits"});
  CHECK_FALSE(Outputs("Conv x w -> a; ReduceMax a -> y", "y[-1,5]").meanings[0].picked);
}

TEST_CASE("a threshold within the program tells which classes hold") {
  const std::string scores = "Gemm x w -> a; Sigmoid a -> p; Constant -> t; ";
  CHECK(Outputs(scores + "Greater p t -> b; Cast b -> y", "y[-1,5]").roles() == Names{"multi_hot"});
  CHECK(Outputs(scores + "Less t p -> y", "y[-1,5]").roles() == Names{"multi_hot"});
  // This one tells which do not hold.
  CHECK(Outputs(scores + "Less p t -> y", "y[-1,5]").roles() == Names{"unknown"});
}

TEST_CASE("the classifier is the output with as many values as names, or the best known one") {
  const Outputs two("Gemm x w -> a; Relu a -> b; Gemm b w -> c", "c[-1,4], d[-1,7]");
  CHECK(two.wanted() == Names{"c"});
  CHECK(two.wanted({7, {}, {}}) == Names{"d"});
  CHECK(two.wanted({9, {}, {}}) == Names{"c"});
  const Outputs copies("Gemm x w -> a; Relu x -> b; Gemm b w -> c", "a[-1,4], c[-1,4]");
  CHECK(copies.wanted() == Names{"a"});
  CHECK(copies.plan().note.find("'a', 'c'; output_name") != std::string::npos);
  const Outputs same("Gemm x w -> a; Softmax a -> p", "a[-1,4], p[-1,4]");
  CHECK(same.wanted() == Names{"p"});
  CHECK(same.plan().note.empty());
}

TEST_CASE("products of the same features are heads, and so are those of other classes") {
  const Outputs family("Relu x -> f; Gemm f w -> a; Gemm f v -> b", "a[-1,4], b[-1,4]");
  CHECK(family.plan().heads.size() == 2);
  CHECK(family.plan().gives_several);
  CHECK(family.plan().num_classes == 4);
  const Outputs others("Gemm x w -> a; Relu x -> g; Gemm g v -> b", "a[-1,4], b[-1,6]");
  CHECK(others.plan().heads.size() == 2);
  CHECK(others.plan().num_classes == 0);
  CHECK(Outputs("Gemm x w -> a; Reshape a s -> y", "y[-1,4,62]").plan().gives_several);
  CHECK_ERROR(Unsupported, "is no classifier", Outputs("Conv x w -> y", "y[-1,4,8,8]").plan());
}

TEST_CASE("each head has its own classes") {
  const OutputPlan plan =
      Outputs("Relu x -> f; Gemm f w -> a; Gemm f v -> b", "a[-1,2], b[-1,3]").plan();
  const std::vector<float> first = {0, 1, 5, 0};
  const std::vector<float> second = {9, 0, 0, 0, 0, 7};
  const std::vector<TensorView> outputs = {{first.data(), {2, 2}}, {second.data(), {2, 3}}};
  const Finding found = interpret(plan, outputs, 1, {}, {}, {1, {}});
  REQUIRE(found.predictions.size() == 2);
  CHECK(found.predictions[0].head == "a");
  CHECK(found.predictions[0].class_id == 0);
  CHECK(found.predictions[1].head == "b");
  CHECK(found.predictions[1].class_id == 2);
}

TEST_CASE("each place of an output of several places has its own class, along the right axis") {
  const OutputPlan last = Outputs("Gemm x w -> a; Reshape a s -> y", "y[-1,2,3]").plan();
  const std::vector<float> values = {0, 4, 0, 5, 0, 0};
  const Finding found = interpret(last, {{values.data(), {1, 2, 3}}}, 0, {}, {}, {1, {}});
  REQUIRE(found.predictions.size() == 2);
  CHECK(found.predictions[0].head == "y[0]");
  CHECK(found.predictions[0].class_id == 1);
  CHECK(found.predictions[1].class_id == 0);
  OutputPlan first = last;  // as a softmax along axis 1 says: 2 classes at 3 places
  first.heads[0].meaning.class_axis = 1;
  CHECK(interpret(first, {{values.data(), {1, 2, 3}}}, 0, {}, {}, {1, {}}).predictions.size() == 3);
  CHECK(
      interpret(first, {{values.data(), {1, 2, 3}}}, 0, {}, {}, {1, {}}).predictions[0].class_id ==
      1);
}

TEST_CASE("picked values have the classes that the other output numbers") {
  Described described;
  described.description.labels = {"cat", "dog", "horse"};
  OutputPlan plan =
      Outputs("Gemm x w -> a; Softmax a -> p; TopK p k -> v i", "v[-1,2], i[-1,2]").plan();
  const std::vector<float> values = {0.25F, 0.75F};
  const std::vector<float> numbers = {0, 2};
  const std::vector<TensorView> outputs = {{values.data(), {1, 2}}, {numbers.data(), {1, 2}}};
  const Finding found = interpret(plan, outputs, 0, described, {}, {});
  REQUIRE(found.predictions.size() == 2);
  CHECK(found.predictions[0].label == "horse");
  CHECK(found.predictions[0].value == 0.75F);
  CHECK(interpret(plan, outputs, 0, described, {}, {1, {}}).predictions.size() == 1);
  CHECK(interpret(plan, outputs, 0, described, {}, {{}, 0.5}).predictions.size() == 1);
  CHECK(value_name(plan, {}) == std::string("probability"));
  plan.heads[0].meaning.num_classes = 2;
  CHECK_ERROR(BadInput, "a value of the class 2 of 2", interpret(plan, outputs, 0, {}, {}, {}));
}

TEST_CASE("classes that hold are listed, and have no values") {
  const OutputPlan plan =
      Outputs("Gemm x w -> a; Sigmoid a -> p; Constant -> t; Greater p t -> y", "y[-1,4]").plan();
  const std::vector<float> marks = {0, 1, 0, 1};
  const Finding found = interpret(plan, {{marks.data(), {1, 4}}}, 0, {}, {}, {});
  REQUIRE(found.predictions.size() == 2);
  CHECK(found.predictions[1].class_id == 3);
  CHECK(std::isnan(found.predictions[1].value));
}

}  // namespace lenet::tests
