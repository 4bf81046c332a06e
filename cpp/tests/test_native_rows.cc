// Rows that nobody reads: where only some tokens of a transformer's last block are read, the layers
// before compute these alone. The answers keep their bits, and the multiply-adds are those that the
// sizes of the matrices say.

#include <functional>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

constexpr std::int64_t kTokens = 11;
constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kWidth = 5;  // of a head
constexpr std::int64_t kValues = kHeads * kWidth;
constexpr std::int64_t kHidden = 40;

/// Adds a layer of these inputs, in the order of the program. \returns what it gives
std::size_t add(Network& network, Layer layer, std::vector<std::size_t> inputs,
                const TensorShape& shape) {
  layer.inputs = std::move(inputs);
  layer.name = to_string(layer.kind) + std::string(" ") + std::to_string(network.layers.size());
  add_layer(network, std::move(layer), shape);
  network.tensors.back().layout = Layout::Order;
  return network.outputs[0];
}

std::size_t add_linear(Network& network, std::size_t from, std::int64_t rows, std::int64_t columns,
                       Random& random, ActivationKind function = ActivationKind::None) {
  Layer layer = layer_of(LayerKind::MatMul);
  Product& of = layer.product();
  of.rows = rows;
  of.sums = network.tensors[from].shape.values() / rows;
  of.columns = columns;
  of.lay_out(false, true);
  layer.weights = random.values(of.sums * columns);
  layer.bias = random.values(columns);
  layer.activation.kind = function;
  return add(network, layer, {from}, {rows, columns});
}

std::size_t add_norm(Network& network, std::size_t from, Random& random) {
  Layer layer = layer_of(LayerKind::Normalize);
  auto& norm = layer.get<NormalizeParams>();
  norm.count = network.tensors[from].shape.width();
  norm.epsilon = 1e-6F;
  norm.scale = random.values(norm.count);
  return add(network, layer, {from}, network.tensors[from].shape);
}

std::size_t add_sum(Network& network, std::size_t a, std::size_t b) {
  return add(network, layer_of(LayerKind::Add), {a, b}, network.tensors[a].shape);
}

/// Queries, keys and values lie side by side in the rows of what a product gives, as join_copies
/// leaves them.
std::size_t add_attention(Network& network, std::size_t from, Random& random) {
  const std::size_t all = add_linear(network, from, kTokens, 3 * kValues, random);
  Layer scores = layer_of(LayerKind::MatMul);
  scores.product() = {{{kHeads, kWidth, kWidth, kTokens * kTokens}},
                      kTokens,
                      kWidth,
                      kTokens,
                      {0, 3 * kValues, 1},
                      {kValues, 1, 3 * kValues},
                      {0, kTokens, 1}};
  const TensorShape shape = {kHeads, kTokens, kTokens};
  const std::size_t scored = add(network, scores, {all, all}, shape);
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.params = SoftmaxParams{{kTokens, 1}};
  const std::size_t weights = add(network, softmax, {scored}, shape);
  Layer context = layer_of(LayerKind::MatMul);
  context.product() = {{{kHeads, kTokens * kTokens, kWidth, kWidth}},
                       kTokens,
                       kTokens,
                       kWidth,
                       {0, kTokens, 1},
                       {2 * kValues, 3 * kValues, 1},
                       {0, kValues, 1}};
  return add(network, context, {weights, all}, {kTokens, kHeads, kWidth});
}

/// By what each value is multiplied that a part of a block gives.
enum class Scale { None, Columns, Image };  // a number of its column, the image's transposed values

std::size_t add_scale(Network& network, std::size_t from, Scale by, Random& random) {
  if (by == Scale::None) return from;
  Layer layer = layer_of(LayerKind::Broadcast);
  auto& params = layer.get<BroadcastParams>();
  params.kind = BroadcastKind::Multiply;
  params.operands = {{0, {}}, {kNone, random.values(kValues)}};
  params.loops = {{kTokens, {kValues, 0, 0}}, {kValues, {1, 1, 0}}};
  if (by == Scale::Columns) return add(network, layer, {from}, network.tensors[from].shape);
  params.operands[1] = {1, {}};
  params.loops = {{kTokens, {kValues, 1, 0}}, {kValues, {1, kTokens, 0}}};
  return add(network, layer, {from, network.input}, network.tensors[from].shape);
}

/// A block of a transformer.
std::size_t add_block(Network& network, std::size_t from, Scale scale, Random& random) {
  const auto scaled = [&](std::size_t given) { return add_scale(network, given, scale, random); };
  const std::size_t attention = add_attention(network, add_norm(network, from, random), random);
  const std::size_t added =
      add_sum(network, from, scaled(add_linear(network, attention, kTokens, kValues, random)));
  const std::size_t hidden = add_linear(network, add_norm(network, added, random), kTokens, kHidden,
                                        random, ActivationKind::Gelu);
  return add_sum(network, added, scaled(add_linear(network, hidden, kTokens, kValues, random)));
}

/// Adds a copy of some rows.
std::size_t add_rows(Network& network, std::size_t from, std::int64_t first, std::int64_t rows) {
  Layer copy = layer_of(LayerKind::Copy);
  copy.params = CopyParams{{{0, first * kValues, 0, {{rows * kValues, 1, 1}}}}};
  return add(network, copy, {from}, {rows, kValues});
}

/// Multiply-adds of a block that computes so many of its tokens, all of which have keys and values.
std::int64_t work_of_block(std::int64_t rows) {
  const std::int64_t attention = 2 * kHeads * rows * kTokens * kWidth;
  return 3 * kTokens * kValues * kValues + attention + rows * kValues * kValues +
         2 * rows * kValues * kHidden;
}

/// Checks that the pass leaves so many multiply-adds, and every bit of the answers.
void check_rows(const Network& network, std::int64_t expected, Random& random) {
  Network some = network;
  leave_out_rows(some);
  std::int64_t work = 0;
  for (const Layer& layer : some.layers) {
    work += static_cast<std::int64_t>(multiply_adds(some, layer));
  }
  CHECK(work == expected);
  const std::vector<float> images = random.values(2 * kTokens * kValues);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    CHECK(all_outputs(*program_of(some, *kernels), images, 2) ==
          all_outputs(*program_of(network, *kernels), images));
  }
  for (const Bf16Kernels* kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    CHECK(all_outputs(*program_of(some, choose_kernels(), kernels), images, 2) ==
          all_outputs(*program_of(network, choose_kernels(), kernels), images));
  }
}

struct Case {
  const char* what;
  std::int64_t rows;  ///< that are computed of the last block
  std::function<void(Network&, std::size_t last, Random&)> read;
};

TEST_CASE("rows that nobody reads are not computed, and the others keep their bits") {
  const Case cases[] = {
      {"the class token", 1,
       [](Network& network, std::size_t last, Random& random) {
         const std::size_t token = add_rows(network, add_norm(network, last, random), 0, 1);
         add_linear(network, token, 1, 7, random);
       }},
      {"some rows of what the block gives", 3,
       [](Network& network, std::size_t last, Random&) { add_rows(network, last, 4, 3); }},
      {"a row and others behind it", 6,
       [](Network& network, std::size_t last, Random&) {
         const std::size_t one = add_rows(network, last, 2, 1);
         add_rows(network, last, 5, 3);
         network.outputs.push_back(one);
       }},
      {"a product of some rows", 2,
       [](Network& network, std::size_t last, Random& random) {
         add_linear(network, last, kTokens, 9, random);
         Product& of = network.layers.back().product();
         of.rows = 2;
         of.first.begin = 3 * kValues;
         network.tensors.back().shape = {2, 9};
       }},
      {"all rows", kTokens,
       [](Network& network, std::size_t last, Random&) { add_rows(network, last, 0, kTokens); }},
      {"a part of a row", kTokens,
       [](Network& network, std::size_t last, Random&) {
         add_rows(network, last, 0, 1);
         network.layers.back().get<CopyParams>().boxes[0].loops[0].count = kValues - 1;
         network.tensors.back().shape = {1, kValues - 1};
       }},
      {"a row, and all of it as an output", kTokens,
       [](Network& network, std::size_t last, Random&) {
         add_rows(network, last, 0, 1);
         network.outputs.push_back(last);
       }},
  };
  Random random(51);
  for (const auto& [what, rows, read] : cases) {
    for (const Scale scale : {Scale::None, Scale::Columns, Scale::Image}) {
      CAPTURE(std::string(what));
      CAPTURE(static_cast<int>(scale));
      Network network;
      network.tensors = {TensorShape{kTokens, kValues}};
      network.tensors[0].layout = Layout::Order;
      std::size_t last = 0;
      for (int block = 0; block < 2; ++block) last = add_block(network, last, scale, random);
      const std::size_t before = network.layers.size();
      read(network, last, random);
      std::int64_t expected = work_of_block(kTokens) + work_of_block(rows);
      for (std::size_t i = before; i < network.layers.size(); ++i) {
        expected += static_cast<std::int64_t>(multiply_adds(network, network.layers[i]));
      }
      check_rows(network, expected, random);
    }
  }
}

}  // namespace
}  // namespace lenet::tests
