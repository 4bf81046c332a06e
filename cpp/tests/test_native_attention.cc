// Attention is compared with its definition in double, in every instruction set and in bf16: as a
// layer, and as the layers from which a pass makes it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "native_support.h"
#include "notation.h"

namespace lenet::tests {
namespace {

using namespace native;

/// The error that check_program allows: of the results' sizes, and of the scores' sizes, which the
/// softmax multiplies by.
constexpr double kError = 4e-7;

/// A value of the matrix that begins at `first`.
double value_at(const std::vector<float>& values, const Product::Matrix& matrix, std::int64_t first,
                std::int64_t row, std::int64_t column) {
  const std::int64_t place = matrix.begin + first + row * matrix.row + column * matrix.column;
  return static_cast<double>(values[static_cast<std::size_t>(place)]);
}

/// How far a matrix of an attention lies in each tensor from the first.
AttentionParams::Loop places_of(const AttentionParams& of, std::int64_t matrix) {
  AttentionParams::Loop found;
  for (auto loop = of.matrices.rbegin(); loop != of.matrices.rend(); ++loop) {
    const std::int64_t at = matrix % loop->count;
    matrix /= loop->count;
    found.query += at * loop->query;
    found.key += at * loop->key;
    found.value += at * loop->value;
    found.output += at * loop->output;
    for (std::size_t t = 0; t < of.terms.size(); ++t) found.terms[t] += at * loop->terms[t];
  }
  return found;
}

/// \param bias of each column of the results, or none
/// \param inputs queries, keys, values and the terms that are tensors
Definition define_attention(const AttentionParams& of, const std::vector<float>& bias,
                            const std::vector<std::vector<float>>& inputs) {
  const auto all = static_cast<std::size_t>(of.scores().count() * of.rows * of.width);
  Definition found = {std::vector<double>(all, NAN), std::vector<double>(all)};
  const auto keys = static_cast<std::size_t>(of.keys);
  for (std::int64_t m = 0; m < of.scores().count(); ++m) {
    const AttentionParams::Loop at = places_of(of, m);
    for (std::int64_t r = 0; r < of.rows; ++r) {
      std::vector<double> weights(keys);
      double score_size = 1;
      for (std::int64_t k = 0; k < of.keys; ++k) {
        double score = 0;
        double size = 0;
        for (std::int64_t d = 0; d < of.depth; ++d) {
          const double product = value_at(inputs[0], of.query, at.query, r, d) *
                                 value_at(inputs[1], of.key, at.key, d, k) *
                                 static_cast<double>(of.scale);
          score += product;
          size += std::abs(product);
        }
        for (std::size_t t = 0; t < of.terms.size(); ++t) {
          const BroadcastOperand& operand = of.terms[t].operand;
          const std::vector<float>& numbers =
              operand.input == kNone ? operand.numbers : inputs[operand.input];
          const std::int64_t place = operand.begin + at.terms[t] + r * of.terms[t].row + k;
          const auto term = static_cast<double>(numbers[static_cast<std::size_t>(place)]);
          score += term;
          if (std::isfinite(term)) size += std::abs(term);
        }
        weights[static_cast<std::size_t>(k)] = score;
        score_size = std::max(score_size, size);
      }
      const double top = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - top);
      for (std::int64_t c = 0; c < of.width; ++c) {
        double result = bias.empty() ? 0 : double{bias[static_cast<std::size_t>(c)]};
        double size = std::abs(result);
        for (std::int64_t k = 0; k < of.keys; ++k) {
          const double part = weights[static_cast<std::size_t>(k)] / sum *
                              value_at(inputs[2], of.value, at.value, k, c);
          result += part;
          size += std::abs(part);
        }
        const std::int64_t place = of.output.begin + at.output + r * of.output.row + c;
        found.values[static_cast<std::size_t>(place)] = result;
        found.sizes[static_cast<std::size_t>(place)] = size * score_size;
      }
    }
  }
  return found;
}

/// An attention of one tensor for each operand: queries [heads][rows][depth], keys
/// [heads][keys][depth], values [heads][keys][width].
struct Sizes {
  std::int64_t heads;
  std::int64_t rows;
  std::int64_t keys;
  std::int64_t depth;
  std::int64_t width;
};

AttentionParams attention_of(const Sizes& sizes) {
  AttentionParams of;
  const auto& [heads, rows, keys, depth, width] = sizes;
  of.rows = rows;
  of.depth = depth;
  of.keys = keys;
  of.width = width;
  of.matrices = {{heads, rows * depth, keys * depth, keys * width, rows * width}};
  of.query = {0, depth, 1};
  of.key = {0, 1, depth};
  of.value = {0, width, 1};
  of.output = {0, width, 1};
  return of;
}

/// Adds a term of one number for each score of a head, the same for all heads.
void add_term(AttentionParams& of, BroadcastOperand operand) {
  of.terms.push_back({std::move(operand), of.keys});
}

/// Compares a layer with the definition, and in bf16 with that of operands which are rounded
/// before. \param inputs the values of each operand
void check_layer_of(const AttentionParams& of, const std::vector<std::int64_t>& inputs,
                    Random& random, const std::vector<float>& bias = {}) {
  Layer layer = layer_of(LayerKind::Attention);
  layer.params = of;
  layer.bias = bias;
  const std::int64_t values = of.scores().count() * of.rows * of.width;
  const auto define = [&](const auto& operands) { return define_attention(of, bias, operands); };
  // Each product is added to a sum that begins with the bias, and is rounded with it.
  const double error = bias.empty() ? kError : 2 * kError;
  check_layer(layer, inputs, values, random, define, error);
  // The softmax gives weights that are rounded to 8 significant bits.
  constexpr double kRounding = 1.0 / 256;
  const auto define_rounded = [&](std::vector<std::vector<float>> operands) {
    for (std::size_t i = 0; i < 3; ++i) round_to_bf16(operands[i]);
    return define_attention(of, bias, operands);
  };
  const Network network = network_of(layer, inputs, values, random);
  const std::vector<float> images =
      random.values(kCheckedImages * network.tensors[0].shape.values());
  for (const Bf16Kernels* const kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    const auto program = compiled(network, choose_kernels(), false, 0, kernels);
    CHECK(has_kernel(*program, "attention_bf16"));
    check_program(*program, images, inputs, define_rounded, kRounding + error);
  }
}

TEST_CASE("attention of any sizes" * doctest::test_suite("arithmetic")) {
  Random random(61);
  Random biases(65);
  for (int i = 0; i < 60; ++i) {
    const Sizes sizes = {random.from(1, 4), random.from(1, 70), random.from(1, 70),
                         random.from(1, 40), random.coin() ? 16 : random.from(1, 40)};
    AttentionParams of = attention_of(sizes);
    of.scale = random.coin() ? 1 : 0.25F;
    if (random.coin()) {
      of.key = {0, sizes.keys, 1};
      of.value = {0, 1, sizes.keys};
    }
    std::vector<std::int64_t> inputs = {sizes.heads * sizes.rows * sizes.depth,
                                        sizes.heads * sizes.keys * sizes.depth,
                                        sizes.heads * sizes.keys * sizes.width};
    const std::int64_t scores = sizes.rows * sizes.keys;
    if (random.coin()) add_term(of, {kNone, random.values(scores)});
    if (random.coin()) {
      add_term(of, {inputs.size(), {}, 3});
      inputs.push_back(scores + 3);
    }
    CAPTURE(sizes.heads);
    CAPTURE(sizes.rows);
    CAPTURE(sizes.keys);
    CAPTURE(sizes.depth);
    CAPTURE(sizes.width);
    CAPTURE(of.terms.size());
    const std::vector<float> bias = i % 2 == 0 ? biases.values(sizes.width) : std::vector<float>();
    check_layer_of(of, inputs, random, bias);
  }
}

TEST_CASE("attention to more keys than are weighed at once, and to masked ones" *
          doctest::test_suite("arithmetic")) {
  Random random(62);
  const Sizes sizes = {2, 40, 1500, 20, 24};
  AttentionParams of = attention_of(sizes);
  std::vector<float> mask(static_cast<std::size_t>(sizes.rows * sizes.keys));
  for (float& number : mask) number = random.coin() ? 0 : -INFINITY;
  for (std::int64_t r = 0; r < sizes.rows; ++r) mask[static_cast<std::size_t>(r * sizes.keys)] = 0;
  add_term(of, {kNone, mask});
  check_layer_of(of, {2 * 40 * 20, 2 * 1500 * 20, 2 * 1500 * 24}, random);
}

/// What the layers of an attention are varied by.
struct Form {
  bool scales_queries = false;
  bool scales_scores = false;
  bool adds_numbers = false;    ///< for each head
  bool adds_tensor = false;     ///< for all heads, cut in two
  bool adds_row = false;        ///< the same numbers to each row of scores, as their product's bias
  bool adds_to_values = false;  ///< to each row of results, as their product's bias
  // Forms that stay several layers.
  bool reads_scores_twice = false;
  bool reads_weights_twice = false;
  bool is_logarithm = false;
  bool is_along_rows = false;
  bool bounds_scores = false;
  bool adds_three = false;
};

constexpr Sizes kSizes = {4, 9, 7, 5, 6};

/// The layers of an attention as exporters write them, of what network_of() takes.
Network separate_network(const Form& form, Random& random) {
  const auto& [heads, rows, keys, depth, width] = kSizes;
  const AttentionParams of = attention_of(kSizes);
  const std::int64_t scores = heads * rows * keys;
  Layer product = layer_of(LayerKind::MatMul);
  product.product() = of.scores();
  product.product().output = {0, keys, 1};
  product.product().matrices[0].output = rows * keys;
  Network network =
      network_of(product, {heads * rows * depth, heads * keys * depth}, scores, random);
  const auto add = [&](Layer layer, std::vector<std::size_t> inputs, std::int64_t values) {
    layer.inputs = std::move(inputs);
    layer.name = to_string(layer.kind);
    add_layer(network, std::move(layer), shape_of(values, random));
    return network.layers.back().output;
  };
  const auto copied = [&](std::int64_t from, std::int64_t values) {
    Layer copy = layer_of(LayerKind::Copy);
    Box box;
    box.from = from;
    box.add({values, 1, 1});
    copy.params = CopyParams{{box}};
    return add(std::move(copy), {0}, values);
  };
  const auto added = [&](std::size_t to, std::vector<BroadcastLoop> loops, BroadcastOperand term,
                         std::vector<std::size_t> inputs = {}) {
    Layer sum = layer_of(LayerKind::Broadcast);
    auto& params = sum.get<BroadcastParams>();
    params.operands = {{0, {}, 0}, std::move(term)};
    params.loops = std::move(loops);
    inputs.insert(inputs.begin(), to);
    return add(std::move(sum), std::move(inputs), scores);
  };
  if (form.scales_queries) {
    Layer& reader = network.layers.back();
    Layer scale = layer_of(LayerKind::Broadcast);
    auto& params = scale.get<BroadcastParams>();
    params.kind = BroadcastKind::Multiply;
    params.operands = {{0, {}, 0}, {kNone, {0.5F}, 0}};
    params.loops = {{heads * rows * depth, {1, 0, 0}}};
    scale.inputs = {reader.inputs[0]};
    scale.name = "scale";
    Layer last = reader;
    network.layers.pop_back();
    scale.output = network.add_tensor(shape_of(heads * rows * depth, random));
    last.inputs[0] = scale.output;
    network.layers.push_back(std::move(scale));
    network.layers.push_back(std::move(last));
  }
  std::size_t given = network.layers.back().output;
  if (form.adds_row) network.layers.back().bias = random.values(keys);
  if (form.bounds_scores) network.layers.back().activation.kind = ActivationKind::Relu;
  const std::size_t products = given;
  if (form.scales_scores) {
    Layer scale = layer_of(LayerKind::ChannelScale);
    const auto channels = static_cast<std::size_t>(network.tensors[given].shape.channels());
    scale.params = ScaleParams{std::vector<float>(channels, 0.5F), std::vector<float>(channels)};
    scale.inputs = {given};
    scale.name = "scale";
    add_layer(network, std::move(scale), network.tensors[given].shape);
    given = network.layers.back().output;
  }
  if (form.adds_numbers || form.adds_three) {
    given = added(given, {{scores, {1, 1, 0}}}, {kNone, random.values(scores)});
  }
  if (form.adds_tensor || form.adds_three) {
    const std::size_t tensor = copied(2, 2 * rows * keys);
    const std::vector<BroadcastLoop> loops = {{2, {2 * rows * keys, 0, 0}},
                                              {2 * rows * keys, {1, 1, 0}}};
    given = added(given, loops, {1, {}, 0}, {tensor});
  }
  if (form.adds_three) given = added(given, {{scores, {1, 1, 0}}}, {kNone, random.values(scores)});
  if (form.reads_scores_twice) {
    Layer sum = layer_of(LayerKind::Add);
    given = add(std::move(sum), {given, products}, scores);
  }
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.params =
      SoftmaxParams{form.is_along_rows ? Axis{rows, keys} : Axis{keys, 1}, form.is_logarithm};
  const std::size_t weights = add(std::move(softmax), {given}, scores);
  Layer last = layer_of(LayerKind::MatMul);
  last.product() = of.results();
  last.product().first = {0, keys, 1};
  last.product().matrices[0].first = rows * keys;
  if (form.adds_to_values) last.bias = random.values(width);
  const std::size_t values = copied(1, heads * keys * width);
  add(std::move(last), {weights, values}, heads * rows * width);
  if (form.reads_weights_twice) network.outputs.push_back(weights);
  network.outputs.push_back(network.layers.back().output);
  return network;
}

/// What layers give, one after the other, in the loops of the scalar kernels.
std::vector<float> separate_outputs(Network network, const std::vector<float>& images) {
  separate_layouts(network);
  return all_outputs(*program_of(network, kernels_named("scalar")), images);
}

TEST_CASE("layers that are an attention become one") {
  struct Case {
    Form form;
    bool joins;
  };
  std::vector<Case> cases;
  for (int bits = 0; bits < 16; ++bits) {
    Form form;
    form.scales_queries = (bits & 1) != 0;
    form.scales_scores = (bits & 2) != 0;
    form.adds_numbers = (bits & 4) != 0;
    form.adds_tensor = (bits & 8) != 0;
    cases.push_back({form, true});
  }
  for (bool Form::*const other :
       {&Form::reads_scores_twice, &Form::reads_weights_twice, &Form::is_logarithm,
        &Form::is_along_rows, &Form::bounds_scores, &Form::adds_three}) {
    Form form;
    form.*other = true;
    cases.push_back({form, false});
  }
  for (std::size_t i = 0; i < 48; ++i) {  // the first 16 again, with a bias or two
    Form form = cases[i % 16].form;
    form.adds_row = i < 32;
    form.adds_to_values = i >= 16;
    // An attention adds two terms to its scores.
    cases.push_back({form, !(form.adds_numbers && form.adds_tensor && form.adds_row)});
  }
  Random random(63);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const Network network = separate_network(cases[i].form, random);
    const std::vector<float> images = random.values(2 * network.tensors[0].shape.values());
    const std::vector<float> expected = separate_outputs(network, images);
    for (const Kernels* kernels : available_kernels(kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      CHECK(has_kernel(*program, "attention") == cases[i].joins);
      const std::vector<float> found = all_outputs(*program, images);
      REQUIRE(found.size() == expected.size());
      for (std::size_t v = 0; v < found.size(); ++v) {
        CHECK(found[v] == doctest::Approx(expected[v]).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("an attention that reads beside its tensors is a fault of the engine") {
  Random random(64);
  const auto check = [&](const auto& change, const char* said) {
    Layer layer = layer_of(LayerKind::Attention);
    AttentionParams of = attention_of({2, 3, 4, 5, 6});
    add_term(of, {kNone, random.values(12)});
    change(of);
    layer.params = of;
    Network network = network_of(layer, {2 * 3 * 5, 2 * 4 * 5, 2 * 4 * 6}, 2 * 3 * 6, random);
    network.outputs = {network.layers.back().output};
    CHECK_ERROR(BackendFailure, said, verify_network(network));
  };
  check([](AttentionParams& of) { of.matrices[0].query += 1; }, "outside of a tensor");
  check([](AttentionParams& of) { of.key.begin = 1; }, "outside of a tensor");
  check([](AttentionParams& of) { of.value.row += 1; }, "outside of a tensor");
  check([](AttentionParams& of) { of.output.row += 1; }, "outside of a tensor");
  check([](AttentionParams& of) { of.matrices[0].output -= 1; }, "each value of its output once");
  check([](AttentionParams& of) { of.rows = 0; }, "empty matrices");
  check([](AttentionParams& of) { of.query = {0, 1, 3}; }, "do not lie side by side");
  check([](AttentionParams& of) { of.terms[0].row += 1; }, "reads values that there are not");
  check([](AttentionParams& of) { of.matrices[0].terms[0] = 1; },
        "reads values that there are not");
  check([](AttentionParams& of) { of.terms.resize(3, of.terms[0]); }, "more to its scores");
  check([](AttentionParams& of) { of.scale = -1; }, "no positive number");
}

TEST_CASE("a row that is added to either product of an attention is not lost") {
  // There are 2 heads with 3 tokens each. Numbers are added and multiplied as ONNX has them.
  const std::string tensors =
      "q[4,4]=1,-1,2,.5,0,1,-.5,2,.25,-1,1,1,-2,0,.5,1 "
      "k[4,4]=.5,1,-1,2,1,0,2,-.5,-1,.5,.25,1,2,1,0,-1 "
      "v[4,4]=1,2,-1,.5,-.5,1,1,0,2,-1,.5,1,1,.25,-2,1 heads[4]i=0,3,2,2 back[3]i=0,3,4 "
      "flat[3]i=0,4,3 row[3]=0,.75,-10000 row4[1,1,1,3]=0,.75,-10000 b[2]=3,-2 half[]=.5";
  const std::string tokens =
      "Reshape x flat -> x1; Transpose x1 -> t | perm=[0,2,1]; MatMul t q -> q1; MatMul t k -> k1; "
      "MatMul t v -> v1; Reshape q1 heads -> q2; Reshape k1 heads -> k2; Reshape v1 heads -> v2; "
      "Transpose q2 -> q3 | perm=[0,2,1,3]; Transpose k2 -> k4 | perm=[0,2,3,1]; "
      "Transpose v2 -> v3 | perm=[0,2,1,3]; ";
  const std::string last = "; Transpose a -> a1 | perm=[0,2,1,3]; Reshape a1 back -> y";
  struct Case {
    std::string scores;  ///< from q3 and k4 to s
    std::string values;  ///< from p and v3 to a
  };
  const std::string plain = "MatMul q3 k4 -> s";
  const std::string plain_values = "MatMul p v3 -> a";
  const Case cases[] = {
      {"MatMul q3 k4 -> c; Add c row -> s", plain_values},
      {"MatMul q3 k4 -> c; Sub c row -> s", plain_values},
      {"MatMul q3 k4 -> c; Add row4 c -> s", plain_values},
      {"MatMul q3 k4 -> c; Mul c row -> s", plain_values},
      {"MatMul q3 k4 -> c; Add c row -> d; Add d row -> s", plain_values},
      {"MatMul q3 k4 -> c; Add c row -> d; Mul d half -> s", plain_values},
      {"Mul q3 half -> h; MatMul h k4 -> c; Add c row -> s", plain_values},
      {plain, "MatMul p v3 -> n; Add n b -> a"},
      {plain, "MatMul p v3 -> n; Mul n b -> a"},
      {plain, "MatMul p v3 -> n; Add n b -> o; Mul o b -> a"},
      {"MatMul q3 k4 -> c; Add c row -> s", "MatMul p v3 -> n; Add n b -> a"},
  };
  std::vector<float> images;
  for (int i = 0; i < 24; ++i) images.push_back(static_cast<float>(i % 7) / 4 - 1);
  for (const Case& each : cases) {
    CAPTURE(each.scores);
    CAPTURE(each.values);
    const TemporaryFolder folder;
    Config config = write_onnx(
        folder,
        onnx_graph(tokens + each.scores + "; Softmax s -> p | axis=-1; " + each.values + last,
                   tensors, "x[-1,4,3,1] -> y[-1,3,4]"));
    const std::vector<float> found = Predictor(config).run({images.data(), {2, 4, 3, 1}}).data;
    config.ir_optim = false;
    const std::vector<float> expected = Predictor(config).run({images.data(), {2, 4, 3, 1}}).data;
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
    }
  }
}

}  // namespace
}  // namespace lenet::tests
