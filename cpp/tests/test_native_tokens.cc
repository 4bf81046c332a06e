// The layers of transformers, over shapes that look random, against their definition in double: in
// every instruction set, and with the same bits for any number of images and threads.

#include <cmath>
#include <functional>

#include "engines/native/runtime/thread_pool.h"
#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

/// Numbers as they are in double, and how large what was added up to them was.
struct Definition {
  std::vector<double> values;
  std::vector<double> sizes;
};

/// What a layer gives of its inputs, each of one image.
using Define = std::function<Definition(const std::vector<std::vector<float>>&)>;

/// What a program gives when its steps are shared by threads.
std::vector<float> shared_outputs(const Program& program, const std::vector<float>& image,
                                  std::size_t threads) {
  ThreadPool pool(threads);
  auto memory = program.memory(1);
  const Aligned<char> scratch(static_cast<std::size_t>(program.scratch_bytes()) * threads);
  std::vector<float> found(static_cast<std::size_t>(program.output_values()));
  float* const output = found.data();
  Team::run(pool, threads, [&](Team& team) {
    const Crew crew{team, const_cast<char*>(scratch.data())};
    program.run({image.data(), {}}, 0, 1, memory.data(), &output, [](std::size_t) {}, &crew);
  });
  return found;
}

/// A tensor of so many values, of one of the shapes that lie in the order of the program.
TensorShape shape_of(std::int64_t values, Random& random) {
  return random.coin() ? TensorShape{values} : TensorShape{1, 1, values};
}

/// A network of one layer, whose inputs are parts of the image one after the other.
Network network_of(Layer layer, const std::vector<std::int64_t>& inputs, std::int64_t values,
                   Random& random) {
  Network network;
  std::int64_t all = 0;
  for (const std::int64_t input : inputs) all += input;
  network.tensors = {TensorShape{1, 1, all}};
  std::int64_t first = 0;
  for (const std::int64_t input : inputs) {
    Layer copy = layer_of(LayerKind::Copy);
    copy.inputs = {0};
    Box box;
    box.from = first;
    box.add({input, 1, 1});
    copy.params = CopyParams{{box}};
    layer.inputs.push_back(network.tensors.size());
    add_layer(network, copy, shape_of(input, random));
    first += input;
  }
  layer.name = to_string(layer.kind);
  add_layer(network, layer, shape_of(values, random));
  return network;
}

constexpr std::int64_t kImages = 3;

/// Compares what a program of one layer gives for some images.
/// \param error most of it, in units of the size of what was added up
void check_program(const Program& program, const std::vector<float>& images,
                   const std::vector<std::int64_t>& inputs, const Define& define, double error) {
  const std::int64_t image = program.input_values();
  const std::int64_t values = program.output_values();
  const std::vector<float> found = outputs(program, images);
  CHECK(outputs(program, images, kImages) == found);
  double worst = 0;
  for (std::int64_t n = 0; n < kImages; ++n) {
    std::vector<std::vector<float>> parts;
    const float* from = images.data() + n * image;
    const std::vector<float> own(from, from + image);
    for (const std::int64_t input : inputs) {
      parts.emplace_back(from, from + input);
      from += input;
    }
    const Definition expected = define(parts);
    REQUIRE(static_cast<std::int64_t>(expected.values.size()) == values);
    const auto first = found.begin() + n * values;
    for (std::size_t i = 0; i < expected.values.size(); ++i) {
      const double apart = std::abs(first[static_cast<std::ptrdiff_t>(i)] - expected.values[i]);
      const double of_size = apart / (expected.sizes[i] + 1e-30);
      if (!(of_size <= worst)) worst = of_size;
    }
    if (n > 0) continue;
    const std::vector<float> one(first, first + values);
    for (const std::size_t threads : {2U, 3U}) {
      CHECK(shared_outputs(program, own, threads) == one);
    }
  }
  CHECK(worst <= error);
}

/// Compares a layer in every instruction set.
void check(const Layer& layer, const std::vector<std::int64_t>& inputs, std::int64_t values,
           Random& random, const Define& define, double error) {
  const Network network = network_of(layer, inputs, values, random);
  const std::vector<float> images = random.values(kImages * network.tensors[0].shape.values());
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    check_program(*compiled(network, *kernels), images, inputs, define, error);
  }
}

double function_of(double x, const Activation& activation) {
  if (activation.kind == ActivationKind::Gelu) return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  return activated(x, activation);
}

Activation some_activation(Random& random) {
  constexpr Activation kAll[] = {
      {}, {}, {ActivationKind::Relu}, {ActivationKind::Clip, -1, 2}, {ActivationKind::Gelu}};
  return kAll[random.from(0, 4)];
}

// ---- products

/// A value of a matrix at [row, column].
std::size_t place_in(const Product::Matrix& matrix, std::int64_t first, std::int64_t row,
                     std::int64_t column) {
  return static_cast<std::size_t>(matrix.begin + first + row * matrix.row + column * matrix.column);
}

Definition define_product(const Layer& layer, const std::vector<std::vector<float>>& inputs) {
  const Product& of = layer.product();
  const std::vector<float>& numbers = inputs.size() == 1 ? layer.weights : inputs[1];
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
        found.values[place] = function_of(sum, layer.activation);
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
  layer.activation = some_activation(random);
  if (random.coin()) layer.bias = random.values(of.columns);
  if (constant) layer.weights = random.values(of.sums * of.columns);
  const std::int64_t values = of.count() * of.rows * of.columns;
  const double error = 2e-7 * std::sqrt(static_cast<double>(of.sums) + 4);
  check(
      layer, inputs, values, random,
      [&](const auto& operands) { return define_product(layer, operands); }, error);
  if (!constant) return;
  // In bf16, the definition of what was rounded.
  const Network network = network_of(layer, inputs, values, random);
  const std::vector<float> images = random.values(kImages * network.tensors[0].shape.values());
  const Layer exact = layer;
  round_to_bf16(layer.weights);
  const auto define = [&](std::vector<std::vector<float>> operands) {
    for (std::vector<float>& operand : operands) round_to_bf16(operand);
    return define_product(layer, operands);
  };
  const auto define_exact = [&](const std::vector<std::vector<float>>& operands) {
    return define_product(exact, operands);
  };
  for (const Bf16Kernels* const kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    const auto program = compiled(network, choose_kernels(), false, 0, kernels);
    const bool in_tiles = kernels->conv_tiles != nullptr;
    if (in_tiles && has_kernel(*program, "matmul")) {
      CHECK((of.columns < 16 || of.sums < 8));  // most of a tile would be empty
      check_program(*program, images, inputs, define_exact, error);
      continue;
    }
    CHECK(has_kernel(*program, in_tiles ? "matmul_tiles_bf16" : "matmul_bf16"));
    check_program(*program, images, inputs, define, error);
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

/// \param loops of a layer that adds numbers to what a product of 6 x 5 gives
Network added_network(const std::vector<BroadcastLoop>& loops, std::size_t numbers,
                      bool numbers_first, Random& random) {
  Network network;
  network.tensors = {TensorShape{1, 6, 4}};
  Layer product = layer_of(LayerKind::MatMul);
  product.product().rows = 6;
  product.product().sums = 4;
  product.product().columns = 5;
  product.product().lay_out(false, true);
  product.weights = random.values(20);
  add_layer(network, product, {1, 6, 5});
  Layer sum = layer_of(LayerKind::Broadcast);
  auto& params = sum.get<BroadcastParams>();
  params.operands.resize(2);
  const std::size_t of_numbers = numbers_first ? 0 : 1;
  params.operands[of_numbers].numbers = random.values(static_cast<std::int64_t>(numbers));
  params.operands[1 - of_numbers].input = 0;
  params.loops = loops;
  for (BroadcastLoop& loop : params.loops) {
    if (numbers_first) std::swap(loop.steps[0], loop.steps[1]);
  }
  add_layer(network, sum, {6, 1, 5});
  Layer gelu = layer_of(LayerKind::Activate);
  gelu.activation.kind = ActivationKind::Gelu;
  add_layer(network, gelu, {6, 1, 5});
  return network;
}

TEST_CASE("a product of stored weights and a bias stays whole, however long its sums") {
  Random random(41);
  constexpr std::int64_t kSums = 6000;  // convolutions are split above 5,000
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

TEST_CASE("what is added to the rows of a product is its bias, and a function its epilogue") {
  struct Case {
    std::vector<BroadcastLoop> loops;
    std::size_t numbers;
    std::size_t layers;  // that are left
  };
  const std::vector<Case> cases = {
      {{{6, {5, 0, 0}}, {5, {1, 1, 0}}}, 5, 1},
      {{{2, {15, 0, 0}}, {1, {7, 9, 0}}, {3, {5, 0, 0}}, {5, {1, 1, 0}}}, 5, 1},
      {{{6, {5, 5, 0}}, {5, {1, 1, 0}}}, 30, 2},                   // other numbers for each row
      {{{6, {5, 1, 0}}, {5, {1, 0, 0}}}, 6, 2},                    // a number for each row
      {{{30, {1, 0, 0}}}, 1, 2},                                   // one for all
      {{{5, {1, 1, 0}}, {6, {5, 0, 0}}}, 5, 2},                    // transposed
      {{{5, {6, 1, 0}}, {6, {1, 0, 0}}}, 5, 2},                    // each for six values
      {{{2, {15, 2, 0}}, {3, {5, 1, 0}}, {5, {1, 0, 0}}}, 5, 2},   // for each row
      {{{3, {10, 0, 0}}, {2, {5, 5, 0}}, {5, {1, 1, 0}}}, 10, 2},  // for every second row
  };
  Random random(19);
  for (const auto& [loops, numbers, layers] : cases) {
    for (const bool numbers_first : {false, true}) {
      const Network network = added_network(loops, numbers, numbers_first, random);
      Network simple = network;
      simplify(simple);
      CHECK(simple.layers.size() == layers);
      const std::vector<float> images = random.values(2 * 24);
      const std::vector<float> expected =
          outputs(*compiled(network, kernels_named("scalar")), images);
      for (const Kernels* kernels : available_kernels(kernels_named)) {
        const std::vector<float> found = outputs(*compiled(simple, *kernels), images);
        for (std::size_t i = 0; i < found.size(); ++i) {
          CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
        }
      }
    }
  }
}

// ---- along an axis

const Axis& axis_of(const Layer& layer) {
  return layer.kind == LayerKind::Softmax ? layer.get<SoftmaxParams>().axis
                                          : layer.get<ReduceParams>().axis;
}

Definition define_axis(const Layer& layer, const std::vector<float>& values) {
  const auto [count, inner] = axis_of(layer);
  const bool softmax = layer.kind == LayerKind::Softmax;
  const bool logarithm = softmax && layer.get<SoftmaxParams>().logarithm;
  const auto rows = static_cast<std::int64_t>(values.size()) / count / inner;
  Definition found;
  found.values.resize(values.size() / (softmax ? 1 : static_cast<std::size_t>(count)));
  found.sizes = found.values;
  for (std::int64_t row = 0; row < rows * inner; ++row) {
    const float* const from = values.data() + row / inner * count * inner + row % inner;
    double sum = 0;
    double size = 0;
    double squares = 0;
    double product = 1;
    double powers = 0;
    double largest = -HUGE_VAL;
    double least = HUGE_VAL;
    for (std::int64_t k = 0; k < count; ++k) {
      const double value = from[k * inner];
      sum += value;
      size += std::abs(value);
      squares += value * value;
      product *= value;
      powers += std::exp(value);
      largest = std::max(largest, value);
      least = std::min(least, value);
    }
    if (softmax) {
      for (std::int64_t k = 0; k < count; ++k) {
        const auto at = static_cast<std::size_t>(from - values.data() + k * inner);
        const double share = std::exp(static_cast<double>(values[at])) / powers;
        found.values[at] = logarithm ? std::log(share) : share;
        found.sizes[at] = std::abs(found.values[at]);
      }
      continue;
    }
    double& value = found.values[static_cast<std::size_t>(row)];
    double& of_size = found.sizes[static_cast<std::size_t>(row)];
    of_size = size;
    switch (layer.get<ReduceParams>().kind) {
      case ReduceKind::Sum:
        value = sum;
        break;
      case ReduceKind::Mean:
        value = sum / static_cast<double>(count);
        of_size /= static_cast<double>(count);
        break;
      case ReduceKind::Max:
        value = largest;
        break;
      case ReduceKind::Min:
        value = least;
        break;
      case ReduceKind::Product:
        value = product;
        of_size = std::abs(product);
        break;
      case ReduceKind::L1:
        value = size;
        break;
      case ReduceKind::L2:
        of_size = value = std::sqrt(squares);
        break;
      case ReduceKind::SumOfSquares:
        of_size = value = squares;
        break;
      case ReduceKind::LogSum:
        value = std::log(sum);
        break;
      case ReduceKind::LogSumExp:
        value = std::log(powers);
        of_size = std::abs(value);
        break;
    }
  }
  return found;
}

TEST_CASE("softmax, sums and others along any axis" * doctest::test_suite("arithmetic")) {
  Random random(13);
  for (int i = 0; i < 120; ++i) {
    Layer layer = layer_of(random.coin() ? LayerKind::Softmax : LayerKind::Reduce);
    auto kind = static_cast<ReduceKind>(random.from(0, 9));
    if (kind == ReduceKind::LogSum) kind = ReduceKind::L2;  // of what may be below 0
    const bool softmax = layer.kind == LayerKind::Softmax;
    const bool logarithm = softmax && random.from(0, 4) == 0;
    Axis axis = {random.from(1, 90), random.coin() ? 1 : random.from(1, 90)};
    if (random.from(0, 9) == 0) axis = {random.from(1000, 3000), random.from(1, 2)};
    if (softmax) {
      layer.params = SoftmaxParams{axis, logarithm};
    } else {
      layer.params = ReduceParams{axis, kind};
    }
    const std::int64_t outer = random.from(1, 5);
    const std::int64_t values = outer * axis.count * axis.inner;
    CAPTURE(axis.count);
    CAPTURE(axis.inner);
    CAPTURE(outer);
    CAPTURE(static_cast<int>(kind));
    CAPTURE(softmax);
    check(
        layer, {values}, softmax ? values : outer * axis.inner, random,
        [&](const auto& inputs) { return define_axis(layer, inputs[0]); }, softmax ? 2e-6 : 2e-7);
  }
}

TEST_CASE("softmax leaves out what is masked" * doctest::test_suite("arithmetic")) {
  constexpr std::int64_t kCount = 37;
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const std::int64_t inner : {1, 3}) {
      std::vector<float> values(static_cast<std::size_t>(kCount * inner), -HUGE_VALF);
      for (std::int64_t i = 0; i < 5 * inner; ++i) values[static_cast<std::size_t>(i)] = 3e38F;
      std::vector<float> found(values.size());
      kernels->softmax({values.data(), kCount, inner, inner, found.data()});
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i] == (i < static_cast<std::size_t>(5 * inner) ? 0.2F : 0.0F));
      }
    }
  }
}

// ---- along an axis, one value after the other

/// What a layer gives of the values of one axis.
std::vector<double> define_line(const AlongParams& along, std::vector<double> line) {
  const auto count = static_cast<std::int64_t>(line.size());
  std::vector<double> found;
  if (along.kind == AlongParams::Kind::Sums) {
    if (along.last) std::reverse(line.begin(), line.end());
    double sum = 0;
    for (const double value : line) {
      found.push_back(along.exclusive ? sum : sum + value);
      sum += value;
    }
    if (along.last) std::reverse(found.begin(), found.end());
    return found;
  }
  if (along.kind == AlongParams::Kind::Normalized) {
    double sum = along.epsilon;
    for (const double value : line) sum += along.of_squares ? value * value : std::abs(value);
    const double norm = along.of_squares ? std::sqrt(sum) : sum;
    for (const double value : line) found.push_back(norm == 0 ? value : value / norm);
    return found;
  }
  std::vector<std::int64_t> places(line.size());
  for (std::int64_t i = 0; i < count; ++i) places[static_cast<std::size_t>(i)] = i;
  if (along.last) std::reverse(places.begin(), places.end());
  const auto at = [&](std::int64_t place) {
    const double value = line[static_cast<std::size_t>(place)];
    return std::isnan(value) ? HUGE_VAL : along.smallest ? -value : value;
  };
  std::stable_sort(places.begin(), places.end(), [&](auto a, auto b) { return at(a) > at(b); });
  if (along.kind == AlongParams::Kind::Hardmax) {
    found.resize(line.size());
    found[static_cast<std::size_t>(places[0])] = 1;
    return found;
  }
  for (std::int64_t i = 0; i < along.given; ++i) {
    const std::int64_t place = places[static_cast<std::size_t>(i)];
    const bool values = along.kind == AlongParams::Kind::Largest;
    found.push_back(values ? line[static_cast<std::size_t>(place)] : static_cast<double>(place));
  }
  return found;
}

Definition define_along(const Layer& layer, const std::vector<float>& values) {
  const auto& along = layer.get<AlongParams>();
  const auto [count, inner] = along.axis;
  const auto outer = static_cast<std::int64_t>(values.size()) / count / inner;
  Definition found;
  found.values.resize(static_cast<std::size_t>(outer * along.given * inner));
  found.sizes.assign(found.values.size(), 1);
  for (std::int64_t row = 0; row < outer * inner; ++row) {
    std::vector<double> line;
    const std::int64_t first = row / inner * count * inner + row % inner;
    for (std::int64_t k = 0; k < count; ++k) {
      line.push_back(values[static_cast<std::size_t>(first + k * inner)]);
    }
    const std::vector<double> given = define_line(along, line);
    const std::int64_t to = row / inner * along.given * inner + row % inner;
    for (std::size_t i = 0; i < given.size(); ++i) {
      const std::size_t place = static_cast<std::size_t>(to) + i * static_cast<std::size_t>(inner);
      found.values[place] = given[i];
      if (along.kind == AlongParams::Kind::Sums) found.sizes[place] = std::abs(given[i]) + 1;
    }
  }
  return found;
}

TEST_CASE("sums so far, places and the largest values along any axis" *
          doctest::test_suite("arithmetic")) {
  Random random(21);
  for (int i = 0; i < 100; ++i) {
    Layer layer = layer_of(LayerKind::Along);
    auto& along = layer.get<AlongParams>();
    along.kind = static_cast<AlongParams::Kind>(i % 5);
    along.axis = {random.from(1, 60), random.coin() ? 1 : random.from(1, 40)};
    const bool orders = along.orders();
    along.given = orders ? random.from(1, along.axis.count) : along.axis.count;
    along.smallest = orders && random.coin();
    along.last = along.kind != AlongParams::Kind::Hardmax && random.coin();
    along.exclusive = random.coin();
    along.of_squares = random.coin();
    along.epsilon = random.coin() ? 0 : 1e-3;
    const std::int64_t outer = random.from(1, 5);
    const std::int64_t values = outer * along.axis.count * along.axis.inner;
    CAPTURE(static_cast<int>(along.kind));
    CAPTURE(along.axis.count);
    CAPTURE(along.axis.inner);
    CAPTURE(outer);
    check(
        layer, {values}, values / along.axis.count * along.given, random,
        [&](const auto& inputs) { return define_along(layer, inputs[0]); }, 1e-7);
  }
}

TEST_CASE("of equal values the first or the last, and what is no number before all") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const bool last : {false, true}) {
    for (const bool smallest : {false, true}) {
      Network network;
      const std::vector<float> values = {1, 3, 1, 3, kNaN, 2, kNaN, 0};
      network.tensors = {TensorShape{1, 1, 8}};
      Layer layer = layer_of(LayerKind::Along);
      layer.inputs = {0};
      layer.params = AlongParams{AlongParams::Kind::Places, {8, 1}, 8, smallest, last};
      layer.name = "places";
      add_layer(network, layer, {1, 1, 8});
      const std::vector<float> found = outputs(*compiled(network, kernels_named("scalar")), values);
      std::vector<float> expected = last ? std::vector<float>{6, 4, 3, 1, 5, 2, 0, 7}
                                         : std::vector<float>{4, 6, 1, 3, 5, 0, 2, 7};
      if (smallest) {
        expected = last ? std::vector<float>{6, 4, 7, 2, 0, 5, 3, 1}
                        : std::vector<float>{4, 6, 7, 0, 2, 5, 1, 3};
      }
      CHECK(found == expected);
    }
  }
}

TEST_CASE("functions of one value after the other") {
  Random random(22);
  for (const TensorShape& shape :
       {TensorShape{5}, TensorShape{1, 1, 67}, TensorShape{3, 7, 5}, TensorShape{20, 9, 33}}) {
    Layer layer = layer_of(LayerKind::Activate);
    layer.inputs = {0};
    layer.activation = {ActivationKind::Scalar, 2, -1,
                        [](double x, double alpha, double beta) { return alpha * x + beta; }};
    Network network;
    network.tensors = {shape};
    add_layer(network, layer, shape);
    const std::vector<float> images = random.values(3 * shape.values());
    std::vector<float> expected;
    for (const float value : images) expected.push_back(2 * value - 1);
    for (const Kernels* kernels : available_kernels(kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const std::vector<float> found = outputs(*compiled(network, *kernels), images, 3);
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-6));
      }
    }
  }
}

// ---- norms

Definition define_norm(const Layer& layer, const std::vector<float>& values) {
  Definition found;
  const auto& norm = layer.get<NormalizeParams>();
  const auto count = static_cast<std::size_t>(norm.count);
  for (std::size_t row = 0; row < values.size(); row += count) {
    double mean = 0;
    for (std::size_t i = 0; i < count && norm.subtracts_mean; ++i) mean += values[row + i];
    mean /= static_cast<double>(count);
    double variance = 0;
    for (std::size_t i = 0; i < count; ++i) variance += std::pow(values[row + i] - mean, 2);
    variance /= static_cast<double>(count);
    for (std::size_t i = 0; i < count; ++i) {
      const double normal =
          (values[row + i] - mean) / std::sqrt(variance + static_cast<double>(norm.epsilon));
      const double scaled = normal * (norm.scale.empty() ? 1.0 : norm.scale[i]);
      const double bias = norm.bias.empty() ? 0.0 : norm.bias[i];
      found.values.push_back(scaled + bias);
      found.sizes.push_back(std::abs(scaled) + std::abs(bias) + 1);
    }
  }
  return found;
}

TEST_CASE("rows are normalized" * doctest::test_suite("arithmetic")) {
  Random random(14);
  for (int i = 0; i < 40; ++i) {
    Layer layer = layer_of(LayerKind::Normalize);
    auto& norm = layer.get<NormalizeParams>();
    norm.count = i == 0 ? 20000 : random.from(1, 300);
    norm.epsilon = 1e-5F;
    norm.subtracts_mean = random.from(0, 2) > 0;
    if (random.coin()) norm.scale = random.values(norm.count);
    if (random.coin()) norm.bias = random.values(norm.count);
    const std::int64_t values = random.from(1, 9) * norm.count;
    CAPTURE(norm.count);
    CAPTURE(norm.subtracts_mean);
    check(
        layer, {values}, values, random,
        [&](const auto& inputs) { return define_norm(layer, inputs[0]); }, 4e-7);
  }
}

TEST_CASE("norms of long rows far from 0 are exact" * doctest::test_suite("arithmetic")) {
  Random random(15);
  for (const std::int64_t count : {192, 200000}) {
    for (const float mean : {1000.0F, -3000.0F, 0.0F}) {
      CAPTURE(count);
      CAPTURE(mean);
      Layer layer = layer_of(LayerKind::Normalize);
      layer.params = NormalizeParams{count, 1e-6F};
      std::vector<float> values = random.values(count);
      for (float& value : values) value += mean;
      values[0] = mean + 300;
      const Definition expected = define_norm(layer, values);
      for (const Kernels* kernels : available_kernels(kernels_named)) {
        CAPTURE(std::string(kernels->name));
        std::vector<float> found(values.size());
        kernels->normalize({values.data(), count, 1, nullptr, nullptr, 1e-6F, true, found.data()});
        double worst = 0;
        for (std::size_t i = 0; i < found.size(); ++i) {
          worst = std::max(worst, std::abs(found[i] - expected.values[i]) / expected.sizes[i]);
        }
        CHECK(worst < 1e-6);
      }
    }
  }
}

// ---- broadcasts

double combined(BroadcastKind kind, double a, double b, double c) {
  switch (kind) {
    case BroadcastKind::Add:
      return a + b;
    case BroadcastKind::Subtract:
      return a - b;
    case BroadcastKind::Multiply:
      return a * b;
    case BroadcastKind::Divide:
      return a / b;
    case BroadcastKind::Maximum:
      return std::max(a, b);
    case BroadcastKind::Minimum:
      return std::min(a, b);
    case BroadcastKind::PRelu:
      return a < 0 ? a * b : a;
    case BroadcastKind::Power:
      return std::pow(a, b);
    case BroadcastKind::Equal:
      return a == b ? 1 : 0;
    case BroadcastKind::Less:
      return a < b ? 1 : 0;
    case BroadcastKind::LessOrEqual:
      return a <= b ? 1 : 0;
    case BroadcastKind::Greater:
      return a > b ? 1 : 0;
    case BroadcastKind::GreaterOrEqual:
      return a >= b ? 1 : 0;
    case BroadcastKind::And:
      return a != 0 && b != 0 ? 1 : 0;
    case BroadcastKind::Or:
      return a != 0 || b != 0 ? 1 : 0;
    case BroadcastKind::Xor:
      return (a != 0) != (b != 0) ? 1 : 0;
    case BroadcastKind::Where:
      return a != 0 ? b : c;
    case BroadcastKind::Scalar:
      return a - 2 * b;
  }
  return 0;
}

Definition define_broadcast(const Layer& layer, const std::vector<std::vector<float>>& inputs) {
  Definition found;
  const auto& broadcast = layer.get<BroadcastParams>();
  const auto compute = [&](const auto& self, std::size_t at,
                           std::array<std::int64_t, 3> places) -> void {
    if (at == broadcast.loops.size()) {
      std::array<double, 3> values{};
      for (std::size_t o = 0; o < broadcast.operands.size(); ++o) {
        const BroadcastOperand& operand = broadcast.operands[o];
        const std::vector<float>& from =
            operand.input == kNone ? operand.numbers : inputs[operand.input];
        values[o] = from[static_cast<std::size_t>(places[o])];
      }
      const double value = combined(broadcast.kind, values[0], values[1], values[2]);
      found.values.push_back(function_of(value, layer.activation));
      found.sizes.push_back(std::abs(values[0]) + std::abs(values[1]) + std::abs(value));
      return;
    }
    for (std::int64_t i = 0; i < broadcast.loops[at].count; ++i) {
      self(self, at + 1, places);
      for (std::size_t o = 0; o < 3; ++o) places[o] += broadcast.loops[at].steps[o];
    }
  };
  compute(compute, 0, {});
  return found;
}

/// \param rank of loops
void check_broadcast(BroadcastKind kind, std::size_t rank, std::int64_t most, Random& random) {
  Layer layer = layer_of(LayerKind::Broadcast);
  auto& params = layer.get<BroadcastParams>();
  params.kind = kind;
  if (kind == BroadcastKind::Scalar) params.combine = [](double a, double b) { return a - 2 * b; };
  params.loops.resize(rank);
  std::int64_t values = 1;
  for (BroadcastLoop& loop : params.loops) {
    loop.count = random.from(1, most);
    values *= loop.count;
  }
  params.operands.resize(kind == BroadcastKind::Where ? 3 : 2);
  std::vector<std::int64_t> inputs;
  for (std::size_t o = 0; o < params.operands.size(); ++o) {
    // Repeated along some axes; the first rarely, and now and then with gaps.
    std::int64_t held = random.from(0, 9) == 0 ? 2 : 1;
    std::int64_t last = 0;
    for (auto loop = params.loops.rbegin(); loop != params.loops.rend(); ++loop) {
      if (random.from(0, o == 0 ? 5 : 2) == 0) continue;
      loop->steps[o] = held;
      last += held * (loop->count - 1);
      held *= loop->count;
    }
    if (o > 0 && random.coin()) {
      params.operands[o].numbers = random.values(last + 1);
      if (kind == BroadcastKind::Power)
        params.operands[o].numbers.assign(static_cast<std::size_t>(last) + 1, 3);
    } else {
      params.operands[o].input = inputs.size();
      inputs.push_back(last + 1);
    }
  }
  // Comparisons are tested with integers, so that some operands are equal.
  const bool compares = kind >= BroadcastKind::Equal;
  if (!compares && kind != BroadcastKind::Power) layer.activation = some_activation(random);
  CAPTURE(static_cast<int>(kind));
  CAPTURE(rank);
  CAPTURE(values);
  check(
      layer, inputs, values, random,
      [&](const auto& parts) {
        Definition found = define_broadcast(layer, parts);
        for (double& value : found.values) {
          if (std::isnan(value)) value = 0;
        }
        return found;
      },
      4e-7);
}

TEST_CASE("values of several tensors, repeated along any axes" *
          doctest::test_suite("arithmetic")) {
  Random random(16);
  const int cases = kUnderAsan ? 36 : 120;
  for (int i = 0; i < cases; ++i) {
    auto kind = static_cast<BroadcastKind>(i % 18);
    if (kind == BroadcastKind::Power) kind = BroadcastKind::Add;  // below
    const auto rank = static_cast<std::size_t>(random.from(0, 5));
    check_broadcast(kind, rank, rank < 3 ? 40 : 7, random);
  }
  for (int i = 0; i < 4; ++i) check_broadcast(BroadcastKind::Multiply, 2, 1500 >> i, random);
}

TEST_CASE("powers, and those that are products and roots" * doctest::test_suite("arithmetic")) {
  Random random(17);
  constexpr std::int64_t kCount = 75;
  std::vector<float> bases = random.values(kCount);
  for (float& base : bases) base = std::abs(base) + 0.01F;
  std::vector<float> exponents = random.values(kCount);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    std::vector<float> found(bases.size());
    BroadcastTask task{};
    task.kind = BroadcastKind::Power;
    task.operands[0] = bases.data();
    task.operands[1] = exponents.data();
    task.steps[0] = 1;
    task.count = kCount;
    task.rows = 1;
    task.to = found.data();
    for (const float exponent : {2.0F, 3.0F, 0.5F, -0.5F, -1.0F, 1.7F, 0.0F}) {
      CAPTURE(exponent);
      const bool same = exponent != 0;
      if (same) exponents[0] = exponent;
      task.steps[1] = same ? 0 : 1;
      kernels->broadcast(task);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const double expected =
            std::pow(static_cast<double>(bases[i]), static_cast<double>(exponents[same ? 0 : i]));
        CHECK(std::abs(found[i] - expected) <= 3e-7 * expected);
      }
    }
  }
}

TEST_CASE("comparisons of equal values" * doctest::test_suite("arithmetic")) {
  const std::vector<float> a = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0};
  const std::vector<float> b = {0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0};
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (int i = static_cast<int>(BroadcastKind::Equal);
         i <= static_cast<int>(BroadcastKind::Where); ++i) {
      const auto kind = static_cast<BroadcastKind>(i);
      CAPTURE(i);
      std::vector<float> found(a.size());
      const BroadcastTask task = {kind,        {a.data(), b.data(), a.data()},      {1, 1, 1},
                                  {},          static_cast<std::int64_t>(a.size()), 1,
                                  found.data()};
      kernels->broadcast(task);
      for (std::size_t k = 0; k < a.size(); ++k) {
        CHECK(found[k] == static_cast<float>(combined(kind, a[k], b[k], a[k])));
      }
    }
  }
}

// ---- copies

TEST_CASE("boxes are copied by any number of threads" * doctest::test_suite("arithmetic")) {
  Random random(18);
  for (int i = 0; i < 60; ++i) {
    Shape sizes;
    std::int64_t values = 1;
    for (std::int64_t rank = random.from(1, 5); rank > 0; --rank) {
      sizes.push_back(random.from(1, 3) == 1 ? random.from(1, 50) : random.from(1, 8));
      values *= sizes.back();
    }
    Integers order(sizes.size());
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<std::int64_t>(k);
    for (std::size_t k = order.size(); k > 1; --k) {
      std::swap(order[k - 1],
                order[static_cast<std::size_t>(random.from(0, static_cast<std::int64_t>(k) - 1))]);
    }
    Shape turned;
    for (const std::int64_t axis : order) turned.push_back(sizes[static_cast<std::size_t>(axis)]);
    const Integers given = steps_of(turned);
    Integers to(sizes.size());
    for (std::size_t k = 0; k < order.size(); ++k) {
      to[static_cast<std::size_t>(order[k])] = given[k];
    }
    Layer layer = layer_of(LayerKind::Copy);
    const Box box = box_of(sizes, steps_of(sizes), to);
    layer.params = CopyParams{{box}};
    check(
        layer, {values}, values, random,
        [&](const auto& inputs) {
          Definition found;
          found.values.resize(inputs[0].size());
          found.sizes.assign(inputs[0].size(), 1);
          const std::vector<double> from(inputs[0].begin(), inputs[0].end());
          copy_box(box, 0, from.data() + box.from, found.values.data() + box.to);
          return found;
        },
        0);
  }
}

}  // namespace
}  // namespace lenet::tests
