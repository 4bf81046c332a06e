// Products of matrices of any sizes and layouts are compared with their definition in double, in
// every instruction set and in bf16. Two more tests check the passes that rewrite networks: they do
// not split a product's sums, and make a bias of numbers that are added to its rows.

#include <algorithm>
#include <cmath>
#include <utility>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

/// A value of a matrix at [row, column].
std::size_t place_in(const Product::Matrix& matrix, std::int64_t first, std::int64_t row,
                     std::int64_t column) {
  return static_cast<std::size_t>(matrix.begin + first + row * matrix.row + column * matrix.column);
}

/// \param added whether the last input is added to the products
Definition define_product(const Layer& layer, const std::vector<std::vector<float>>& inputs,
                          bool added) {
  const Product& of = layer.product();
  const std::vector<float>& numbers = layer.weights.empty() ? inputs[1] : layer.weights;
  const auto values = static_cast<std::size_t>(of.count() * of.rows * of.columns);
  Definition found = {std::vector<double>(values, NAN), std::vector<double>(values)};
  for (std::int64_t m = 0; m < of.count(); ++m) {
    std::int64_t first = 0;
    std::int64_t second = 0;
    std::int64_t output = 0;
    std::int64_t left = m;
    for (auto loop = of.matrices.rbegin(); loop != of.matrices.rend(); ++loop) {
      first += left % loop->count * loop->first;
      second += left % loop->count * loop->second;
      output += left % loop->count * loop->output;
      left /= loop->count;
    }
    for (std::int64_t r = 0; r < of.rows; ++r) {
      for (std::int64_t c = 0; c < of.columns; ++c) {
        double sum = layer.bias.empty() ? 0 : layer.bias[static_cast<std::size_t>(c)];
        double size = std::abs(sum);
        for (std::int64_t k = 0; k < of.sums; ++k) {
          const double product = static_cast<double>(inputs[0][place_in(of.first, first, r, k)]) *
                                 static_cast<double>(numbers[place_in(of.second, second, k, c)]);
          sum += product;
          size += std::abs(product);
        }
        const std::size_t place = place_in(of.output, output, r, c);
        if (added) {
          sum += inputs.back()[place];
          size += std::abs(inputs.back()[place]);
        }
        found.values[place] = activated(sum, layer.activation);
        found.sizes[place] = size;
      }
    }
  }
  return found;
}

/// Draws steps from row to row or from column to column, and from matrix to matrix, with gaps here
/// and there. \returns how many values there are from the first to the last one
std::int64_t draw_operand(Product& of, Product::Matrix& matrix, std::int64_t rows,
                          std::int64_t columns, std::int64_t Product::Loop::*step, Random& random) {
  const auto gap = [&] { return random.from(0, 3) == 0 ? random.from(1, 9) : 0; };
  matrix.begin = gap();
  const bool spreads = rows == 1 && random.coin();  // the values of the only row
  if (spreads) matrix.column = 0;
  std::int64_t& apart = matrix.column == 1 ? matrix.row : matrix.column;
  const std::int64_t lines = matrix.column == 1 ? rows : columns;
  const std::int64_t length = matrix.column == 1 ? columns : rows;
  apart = length + (spreads ? random.from(1, 9) : gap());
  std::int64_t values = apart * (lines - 1) + length;
  // A matrix may lie beside another one in the same rows, as those of heads do.
  const bool beside = of.matrices.size() == 1 && random.coin();
  for (std::size_t i = of.matrices.size(); i-- > 0;) {
    if (random.from(0, 3) == 0) continue;  // one for several
    const std::int64_t count = of.matrices[i].count;
    std::int64_t& next = of.matrices[i].*step;
    if (beside) {
      apart *= count;
      next = length + gap() / count;
      values = apart * (lines - 1) + (count - 1) * next + length;
    } else {
      next = values + gap();
      values += next * (count - 1);
    }
  }
  return matrix.begin + values + gap();
}

/// Has the loops over the output's matrices and rows one inside the other in any order.
void draw_output(Product& of, Random& random) {
  std::vector<std::pair<std::int64_t, std::int64_t*>> steps = {{of.rows, &of.output.row}};
  for (Product::Loop& loop : of.matrices) steps.emplace_back(loop.count, &loop.output);
  for (std::size_t i = steps.size(); i > 1 && random.coin(); --i) {
    const auto other = random.from(0, static_cast<std::int64_t>(i) - 1);
    std::swap(steps[i - 1], steps[static_cast<std::size_t>(other)]);
  }
  std::int64_t values = of.columns;
  for (const auto& [count, step] : steps) {
    *step = values;
    values *= count;
  }
}

/// A product of what network_of() takes, whose result is added to a further input, as transformers
/// add what a block gives to what it took.
Network sum_network(Layer product, std::vector<std::int64_t> inputs, std::int64_t values,
                    Random& random) {
  Layer sum = layer_of(LayerKind::Add);
  sum.activation = std::exchange(product.activation, {});
  inputs.push_back(values);
  Network network = network_of(product, inputs, values, random);
  Layer& made = network.layers.back();
  const std::size_t added = made.inputs.back();
  made.inputs.pop_back();
  const TensorShape shape = {1, 1, values};
  network.tensors[added].shape = network.tensors[made.output].shape = shape;
  sum.inputs = {made.output, added};
  if (random.coin()) std::swap(sum.inputs[0], sum.inputs[1]);
  sum.name = "sum";
  add_layer(network, sum, shape);
  return network;
}

/// \param of with its sizes, and `matrices` with counts alone; the steps are drawn
void check_product(Product of, bool first_transposed, bool constant, Random& random) {
  of.lay_out(first_transposed, constant || random.coin());
  if (random.coin()) draw_output(of, random);
  std::vector<std::int64_t> inputs = {
      draw_operand(of, of.first, of.rows, of.sums, &Product::Loop::first, random)};
  if (!constant) {
    inputs.push_back(
        draw_operand(of, of.second, of.sums, of.columns, &Product::Loop::second, random));
  }
  CAPTURE(of.rows);
  CAPTURE(of.sums);
  CAPTURE(of.columns);
  CAPTURE(of.matrices.size());
  CAPTURE(of.first.row);
  CAPTURE(of.first.column);
  CAPTURE(of.second.row);
  CAPTURE(of.second.column);
  CAPTURE(of.output.row);
  CAPTURE(constant);
  Layer layer = layer_of(LayerKind::MatMul);
  layer.product() = of;
  layer.activation = draw_activation(random);
  if (random.coin()) layer.bias = random.values(of.columns);
  if (constant) layer.weights = random.values(of.sums * of.columns);
  const std::int64_t values = of.count() * of.rows * of.columns;
  const double error = 2e-7 * std::sqrt(static_cast<double>(of.sums) + 4);
  const bool adds = random.coin();
  const Network network =
      adds ? sum_network(layer, inputs, values, random) : network_of(layer, inputs, values, random);
  if (adds) inputs.push_back(values);
  check_network(
      network, inputs, random,
      [&](const auto& operands) { return define_product(layer, operands, adds); }, error);
  if (!constant) return;
  // In bf16, the definition of what was rounded.
  const std::vector<float> images =
      random.values(kCheckedImages * network.tensors[0].shape.values());
  const Layer exact = layer;
  round_to_bf16(layer.weights);
  const auto define = [&](std::vector<std::vector<float>> operands) {
    round_to_bf16(operands[0]);
    return define_product(layer, operands, adds);
  };
  const auto define_exact = [&](const std::vector<std::vector<float>>& operands) {
    return define_product(exact, operands, adds);
  };
  for (const Bf16Kernels* const kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    const auto program = compiled(network, choose_kernels(), false, 0, kernels);
    const bool in_tiles = kernels->conv_tiles != nullptr;
    if (has_kernel(*program, in_tiles ? "matmul_tiles_bf16" : "matmul_bf16")) {
      check_program(*program, images, inputs, define, error);
      continue;
    }
    REQUIRE(in_tiles);
    CHECK((of.columns < 16 || of.sums < 8));  // most of a tile would be empty
    check_program(*program, images, inputs, define_exact, error);
  }
}

TEST_CASE("products of matrices of any sizes" * doctest::test_suite("arithmetic")) {
  Random random(11);
  for (int i = 0; i < 120; ++i) {
    Product of;
    of.matrices.resize(static_cast<std::size_t>(random.from(0, 3)));
    for (Product::Loop& loop : of.matrices) loop.count = random.from(1, 4);
    of.rows = random.from(0, 3) == 0 ? 1 : random.from(1, 40);
    of.sums = random.from(1, 80);
    of.columns = random.coin() ? 16 * random.from(1, 4) : random.from(1, 70);
    const bool first_transposed = random.from(0, 2) == 0;
    check_product(of, first_transposed, random.coin(), random);
  }
}

TEST_CASE("products whose sums or columns are computed in parts" *
          doctest::test_suite("arithmetic")) {
  Random random(12);
  struct Size {
    std::int64_t rows;
    std::int64_t sums;
    std::int64_t columns;
    bool transposed;
  };
  // Rows that would evict each other, transposed ones, and more than is packed together. Those
  // with more weights than a cache holds take all images at once.
  constexpr Size kSizes[] = {{30, 512, 45, false}, {20, 300, 37, true},    {15, 4226, 71, false},
                             {3, 700, 201, false}, {260, 1024, 17, false}, {1, 300, 500, false}};
  for (const auto& [rows, sums, columns, transposed] : kSizes) {
    for (const bool constant : {true, false}) {
      Product of;
      of.rows = rows;
      of.sums = sums;
      of.columns = columns;
      check_product(of, transposed, constant, random);
    }
  }
}

TEST_CASE("a product adds what another layer gave to its sums") {
  Random random(43);
  const auto adds = [&](std::int64_t rows, bool has_weights, ActivationKind between) {
    Layer layer = layer_of(LayerKind::MatMul);
    layer.product().rows = rows;
    layer.product().sums = 20;
    layer.product().columns = 35;
    layer.product().lay_out(false, true);
    if (has_weights) layer.weights = random.values(700);
    std::vector<std::int64_t> inputs = {20 * rows};
    if (!has_weights) inputs.push_back(700);
    Network network = sum_network(layer, inputs, 35 * rows, random);
    network.layers[network.layers.size() - 2].activation.kind = between;
    const auto program = compiled(network, choose_kernels());
    const auto& steps = program->layers();
    return std::any_of(steps.begin(), steps.end(),
                       [](const LayerProfile& step) { return step.name == "matmul, sum"; });
  };
  CHECK(adds(9, true, ActivationKind::None));
  CHECK(adds(9, false, ActivationKind::None));
  CHECK_FALSE(adds(1, true, ActivationKind::None));  // a row alone has a kernel of its own
  CHECK_FALSE(adds(9, true, ActivationKind::Relu));
}

/// Numbers that a layer combines with the 6 x 5 values of a product, and how.
struct RowNumbers {
  std::vector<BroadcastLoop> loops;  ///< of the values, then of the numbers
  std::size_t numbers;
};

/// Adds a layer that combines numbers with what the last one gives.
void add_row_numbers(Network& network, const RowNumbers& of, BroadcastKind kind, bool numbers_first,
                     Random& random) {
  Layer layer = layer_of(LayerKind::Broadcast);
  auto& params = layer.get<BroadcastParams>();
  params.kind = kind;
  params.operands.resize(2);
  const std::size_t of_numbers = numbers_first ? 0 : 1;
  params.operands[of_numbers].numbers = random.values(static_cast<std::int64_t>(of.numbers));
  params.operands[1 - of_numbers].input = 0;
  params.loops = of.loops;
  for (BroadcastLoop& loop : params.loops) {
    if (numbers_first) std::swap(loop.steps[0], loop.steps[1]);
  }
  add_layer(network, layer, {6, 1, 5});
}

/// A product by weights, of 6 x 5 values.
Network product_network(Random& random) {
  Network network;
  network.tensors = {TensorShape{1, 6, 4}};
  Layer product = layer_of(LayerKind::MatMul);
  product.product().rows = 6;
  product.product().sums = 4;
  product.product().columns = 5;
  product.product().lay_out(false, true);
  product.weights = random.values(20);
  add_layer(network, product, {1, 6, 5});
  return network;
}

void add_gelu(Network& network) {
  Layer gelu = layer_of(LayerKind::Activate);
  gelu.activation.kind = ActivationKind::Gelu;
  add_layer(network, gelu, {6, 1, 5});
}

TEST_CASE("a product of stored weights and a bias stays whole, however long its sums") {
  Random random(41);
  constexpr std::int64_t kSums = 6000;  // convolutions are split above 1,024
  const std::vector<float> weights = random.values(kSums * 2);
  Layer layer = layer_of(LayerKind::MatMul);
  layer.product().rows = 3;
  layer.product().sums = kSums;
  layer.product().columns = 2;
  layer.product().lay_out(false, true);
  layer.stored = {reinterpret_cast<const char*>(weights.data()), weights.size(), kSums};
  layer.bias = random.values(2);
  Network network = network_of(layer, {3 * kSums}, 6, random);
  const std::size_t layers = network.layers.size();
  split_long_sums(network);
  CHECK(network.layers.size() == layers);
  verify_network(network);
}

/// Checks that passes leave so many layers of a network, and that these compute the same.
void check_simple(const Network& network, std::size_t layers, Random& random) {
  Network simple = network;
  simplify(simple);
  CHECK(simple.layers.size() == layers);
  const std::vector<float> images = random.values(2 * 24);
  const std::vector<float> expected = outputs(*compiled(network, kernels_named("scalar")), images);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    const std::vector<float> found = outputs(*compiled(simple, *kernels), images);
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
    }
  }
}

const RowNumbers kOfColumns = {{{6, {5, 0, 0}}, {5, {1, 1, 0}}}, 5};

TEST_CASE("rows of a product are scaled by its weights, and what is added to them is its bias") {
  struct Case {
    RowNumbers of;
    std::size_t layers;  // that are left, with the function that is the product's epilogue
  };
  const std::vector<Case> cases = {
      {kOfColumns, 1},
      {{{{2, {15, 0, 0}}, {1, {7, 9, 0}}, {3, {5, 0, 0}}, {5, {1, 1, 0}}}, 5}, 1},
      {{{{6, {5, 5, 0}}, {5, {1, 1, 0}}}, 30}, 2},                   // other numbers for each row
      {{{{6, {5, 1, 0}}, {5, {1, 0, 0}}}, 6}, 2},                    // a number for each row
      {{{{30, {1, 0, 0}}}, 1}, 2},                                   // one for all
      {{{{5, {1, 1, 0}}, {6, {5, 0, 0}}}, 5}, 2},                    // transposed
      {{{{5, {6, 1, 0}}, {6, {1, 0, 0}}}, 5}, 2},                    // each for six values
      {{{{2, {15, 2, 0}}, {3, {5, 1, 0}}, {5, {1, 0, 0}}}, 5}, 2},   // for each row
      {{{{3, {10, 0, 0}}, {2, {5, 5, 0}}, {5, {1, 1, 0}}}, 10}, 2},  // for every second row
  };
  Random random(19);
  for (const auto& [of, layers] : cases) {
    for (const BroadcastKind kind : {BroadcastKind::Add, BroadcastKind::Multiply}) {
      for (const bool numbers_first : {false, true}) {
        Network network = product_network(random);
        add_row_numbers(network, of, kind, numbers_first, random);
        add_gelu(network);
        check_simple(network, layers, random);
      }
    }
  }
}

TEST_CASE("a normalization of the rows of a product is part of it") {
  Random random(20);
  const auto normalized = [&](const std::vector<BroadcastKind>& kinds) {
    Network network = product_network(random);
    for (const BroadcastKind kind : kinds) {
      add_row_numbers(network, kOfColumns, kind, false, random);
    }
    return network;
  };
  constexpr auto kAdd = BroadcastKind::Add;
  constexpr auto kMultiply = BroadcastKind::Multiply;
  check_simple(normalized({kMultiply, kAdd}), 1, random);
  check_simple(normalized({kAdd, kMultiply, kAdd}), 1, random);
  check_simple(normalized({kAdd, kAdd}), 2, random);  // whose sums would be others
  check_simple(normalized({BroadcastKind::Maximum}), 2, random);
  // A hostile file must not make each of its layers visit all weights.
  const std::vector<BroadcastKind> many(kMaxScales + 3, kMultiply);
  check_simple(normalized(many), 4, random);
}

}  // namespace
}  // namespace lenet::tests
