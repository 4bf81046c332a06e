// Products of matrices that read what copies took, and write what copies behind them gave: which
// copies become steps of a product, which stay, and that the answers keep their bits.

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

Layer product_of(std::vector<Product::Loop> matrices, std::int64_t rows, std::int64_t sums,
                 std::int64_t columns, bool second_transposed = false) {
  Layer layer = layer_of(LayerKind::MatMul);
  layer.product().matrices = std::move(matrices);
  layer.product().rows = rows;
  layer.product().sums = sums;
  layer.product().columns = columns;
  layer.product().lay_out(false, second_transposed);
  return layer;
}

Layer linear_of(std::int64_t rows, std::int64_t sums, std::int64_t columns, Random& random) {
  Layer layer = product_of({}, rows, sums, columns, true);
  layer.weights = random.values(sums * columns);
  layer.bias = random.values(columns);
  return layer;
}

/// Adds a layer of these inputs, in the order of the program. \returns what it gives
std::size_t add(Network& network, Layer layer, std::vector<std::size_t> inputs,
                std::int64_t values) {
  layer.inputs = std::move(inputs);
  layer.name = to_string(layer.kind) + std::string(" ") + std::to_string(network.layers.size());
  add_layer(network, std::move(layer), {1, 1, values});
  network.tensors.back().layout = Layout::Order;
  return network.outputs[0];
}

std::int64_t count_of(const Network& network, LayerKind kind) {
  return std::count_if(network.layers.begin(), network.layers.end(),
                       [kind](const Layer& layer) { return layer.kind == kind; });
}

/// Checks that the pass leaves so many copies, and every bit of the answers.
void check_joined(const Network& network, std::int64_t copies, Random& random) {
  Network joined = network;
  join_copies(joined);
  CHECK(count_of(joined, LayerKind::Copy) == copies);
  const std::vector<float> images = random.values(2 * network.tensors[0].shape.values());
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> expected = all_outputs(*program_of(network, *kernels), images);
    CHECK(all_outputs(*program_of(joined, *kernels), images, 2) == expected);
  }
  for (const Bf16Kernels* kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> expected =
        all_outputs(*program_of(network, choose_kernels(), kernels), images);
    CHECK(all_outputs(*program_of(joined, choose_kernels(), kernels), images, 2) == expected);
  }
}

// ---- attention, as exporters write it

struct Attention {
  std::int64_t tokens;
  std::int64_t heads;
  std::int64_t width;  ///< of a head
  double factor;       ///< of the products of queries and keys
  Network network;
  std::vector<std::size_t> qkv;  ///< what the copies of each give
  std::size_t scaled = 0;        ///< the queries times a number
  std::size_t product = 0;       ///< of the weights and what was attended to
};

/// Multiplies all values by a number.
Layer factor_of(float factor) {
  Layer layer = layer_of(LayerKind::ChannelScale);
  layer.get<ScaleParams>() = {{factor}, {0}};
  return layer;
}

/// A linear layer, a transposition into [queries, keys, values][head][token][width], a cut of each,
/// a transposition of the keys, and behind the products one back to [token][head][width].
/// \param factor of queries and of keys; 1: there are no layers that multiply by it
Attention attention_of(std::int64_t tokens, std::int64_t heads, std::int64_t width, float factor,
                       Random& random) {
  Attention of{tokens, heads, width, std::pow(static_cast<double>(factor), 2), {}, {}};
  Network& network = of.network;
  const std::int64_t all = heads * width;
  const std::int64_t values = tokens * all;
  network.tensors = {TensorShape{1, 1, values}};
  network.tensors[0].layout = Layout::Order;
  const std::size_t linear = add(network, linear_of(tokens, all, 3 * all, random), {0}, 3 * values);
  const std::size_t turned = add(
      network, copy_of({3, heads, tokens, width}, {all, width, 3 * all, 1}), {linear}, 3 * values);
  for (std::int64_t part = 0; part < 3; ++part) {
    of.qkv.push_back(add(network, copy_of({values}, {1}, part * values), {turned}, values));
  }
  of.qkv[1] = add(network, copy_of({heads, width, tokens}, {tokens * width, 1, width}), {of.qkv[1]},
                  values);
  const std::int64_t head = tokens * width;
  const std::int64_t square = tokens * tokens;
  const auto scaled = [&](std::size_t part) {
    return factor == 1 ? of.qkv[part] : add(network, factor_of(factor), {of.qkv[part]}, values);
  };
  of.scaled = scaled(0);
  const std::size_t scores = add(network, product_of({{heads, head, head}}, tokens, width, tokens),
                                 {of.scaled, scaled(1)}, heads * square);
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.get<SoftmaxParams>().axis = {tokens, 1};
  const std::size_t shares = add(network, softmax, {scores}, heads * square);
  of.product = add(network, product_of({{heads, square, head}}, tokens, tokens, width),
                   {shares, of.qkv[2]}, values);
  const std::size_t back =
      add(network, copy_of({tokens, heads, width}, {width, head, 1}), {of.product}, values);
  add(network, linear_of(tokens, all, all, random), {back}, values);
  return of;
}

/// What attention gives, from its definition.
std::vector<double> define_attention(const Attention& of, const float* image) {
  const std::int64_t all = of.heads * of.width;
  const auto linear = [](const Layer& layer, const std::vector<double>& from) {
    const Product& product = layer.product();
    std::vector<double> to;
    for (std::int64_t r = 0; r < product.rows; ++r) {
      for (std::int64_t c = 0; c < product.columns; ++c) {
        double sum = layer.bias[static_cast<std::size_t>(c)];
        for (std::int64_t k = 0; k < product.sums; ++k) {
          sum += from[static_cast<std::size_t>(r * product.sums + k)] *
                 layer.weights[static_cast<std::size_t>(c * product.sums + k)];
        }
        to.push_back(sum);
      }
    }
    return to;
  };
  const std::vector<double> qkv =
      linear(of.network.layers.front(), {image, image + of.tokens * all});
  const auto at = [&](std::int64_t part, std::int64_t token, std::int64_t head, std::int64_t i) {
    return qkv[static_cast<std::size_t>((token * 3 + part) * all + head * of.width + i)];
  };
  std::vector<double> attended(static_cast<std::size_t>(of.tokens * all));
  for (std::int64_t head = 0; head < of.heads; ++head) {
    for (std::int64_t token = 0; token < of.tokens; ++token) {
      std::vector<double> powers;
      double total = 0;
      for (std::int64_t other = 0; other < of.tokens; ++other) {
        double score = 0;
        for (std::int64_t i = 0; i < of.width; ++i) {
          score += at(0, token, head, i) * at(1, other, head, i);
        }
        powers.push_back(std::exp(score * of.factor));
        total += powers.back();
      }
      for (std::int64_t other = 0; other < of.tokens; ++other) {
        for (std::int64_t i = 0; i < of.width; ++i) {
          attended[static_cast<std::size_t>(token * all + head * of.width + i)] +=
              powers[static_cast<std::size_t>(other)] / total * at(2, other, head, i);
        }
      }
    }
  }
  return linear(of.network.layers.back(), attended);
}

TEST_CASE("attention reads and writes heads where they lie, without a copy") {
  Random random(31);
  for (const auto& [tokens, heads, width] : {std::array<std::int64_t, 3>{7, 3, 16},
                                             {50, 2, 33},
                                             {17, 4, 8},
                                             {1, 3, 5},
                                             {9, 1, 20},
                                             {20, 3, 32}}) {
    CAPTURE(tokens);
    CAPTURE(heads);
    const bool scales = random.coin();
    CAPTURE(scales);
    Attention of = attention_of(tokens, heads, width, scales ? 0.7F : 1, random);
    for (Layer& layer : of.network.layers) {  // so that no exponent is large
      for (float& weight : layer.weights) weight *= 0.2F;
    }
    check_joined(of.network, 0, random);
    Network joined = of.network;
    join_copies(joined);
    CHECK(joined.layers.size() == (scales ? 7 : 5));
    const std::vector<float> image = random.values(of.network.tensors[0].shape.values());
    const std::vector<double> expected = define_attention(of, image.data());
    for (const Kernels* kernels : available_kernels(kernels_named)) {
      CHECK(largest_error(outputs(*program_of(joined, *kernels), image), expected) < 1e-4);
    }
  }
}

TEST_CASE("copies that products cannot do without stay, and so do their answers") {
  constexpr std::int64_t kTokens = 8;
  constexpr std::int64_t kHeads = 3;
  constexpr std::int64_t kWidth = 16;
  constexpr std::int64_t kValues = kTokens * kHeads * kWidth;
  struct Case {
    const char* what;
    std::int64_t copies;  ///< that are left, of six
    std::function<void(Attention&)> change;
  };
  const auto layer_at = [](Attention& of, std::size_t tensor) -> Layer& {
    return *std::find_if(of.network.layers.begin(), of.network.layers.end(),
                         [&](const Layer& layer) { return layer.output == tensor; });
  };
  const std::vector<Case> cases = {
      {"nothing", 0, [](Attention&) {}},
      {"a copy is read by another layer, and so is that before it", 2,
       [](Attention& of) {
         const std::size_t last = of.network.outputs[0];
         add(of.network, layer_of(LayerKind::Add), {last, of.qkv[1]}, kValues);
       }},
      {"a copy is an output", 1, [](Attention& of) { of.network.outputs.push_back(of.qkv[0]); }},
      {"a copy leaves values out, which are filled", 2,
       [&](Attention& of) {
         layer_at(of, of.qkv[0]).get<CopyParams>().boxes[0].loops[0].count -= 1;
       }},
      {"a copy has a second box over the first", 2,
       [&](Attention& of) {
         std::vector<Box>& boxes = layer_at(of, of.qkv[2]).get<CopyParams>().boxes;
         boxes.push_back(boxes[0]);
         boxes[1].loops[0].count /= 2;
         boxes[1].from += kValues / 2;
       }},
      {"a copy takes the rows backwards", 2,
       [&](Attention& of) {
         Layer& copy = layer_at(of, of.qkv[0]);
         copy.params = copy_of({kHeads, kTokens, kWidth}, {kTokens * kWidth, -kWidth, 1},
                               (kTokens - 1) * kWidth)
                           .params;
       }},
      {"the values of a head lie apart", 5,
       [](Attention& of) {
         Layer& turned = of.network.layers[1];
         turned.params = copy_of({3, kHeads, kTokens, kWidth},
                                 {kHeads * kWidth, 1, 3 * kHeads * kWidth, kHeads})
                             .params;
         Layer& back = of.network.layers[of.network.layers.size() - 2];
         back.params = copy_of({kTokens, kWidth, kHeads}, {kWidth, 1, kTokens * kWidth}).params;
       }},
      {"something is added to the queries", 1,
       [&](Attention& of) { layer_at(of, of.scaled).get<ScaleParams>().bias = {1}; }},
      {"the queries have an activation", 1,
       [&](Attention& of) { layer_at(of, of.scaled).activation.kind = ActivationKind::Relu; }},
      {"the queries are read by another layer", 1,
       [](Attention& of) {
         const std::size_t last = of.network.outputs[0];
         add(of.network, layer_of(LayerKind::Add), {last, of.scaled}, kValues);
       }},
      {"the rows of a head are in two groups, which lie apart", 3,
       [](Attention& of) {
         Layer& turned = of.network.layers[1];
         turned.params =
             copy_of({3, kHeads, 2, kTokens / 2, kWidth},
                     {kHeads * kWidth, kWidth, 3 * kHeads * kWidth, 2 * 3 * kHeads * kWidth, 1})
                 .params;
       }},
      {"the product is read by another layer too", 1,
       [](Attention& of) {
         const std::size_t last = of.network.outputs[0];
         add(of.network, layer_of(LayerKind::Add), {last, of.product}, kValues);
       }},
      {"the product is an output", 1,
       [](Attention& of) { of.network.outputs.push_back(of.product); }},
      {"some of the product is cut off", 1,
       [](Attention& of) {
         Layer& back = of.network.layers[of.network.layers.size() - 2];
         Layer& linear = of.network.layers.back();
         back.params = copy_of({kTokens - 1, kHeads, kWidth}, {kWidth, kTokens * kWidth, 1}).params;
         linear.product().rows -= 1;
         const TensorShape shape = {1, 1, kValues - kHeads * kWidth};
         of.network.tensors[back.output].shape = of.network.tensors[linear.output].shape = shape;
       }},
  };
  Random random(32);
  for (const Case& one : cases) {
    CAPTURE(std::string(one.what));
    Attention of = attention_of(kTokens, kHeads, kWidth, 0.7F, random);
    one.change(of);
    check_joined(of.network, one.copies, random);
  }
}

TEST_CASE("a number times what a copy gives stays where that copy stays, or repeats values") {
  enum class Sum { None, OfCopy, OfFactor };
  const auto factors_left = [](std::int64_t step, Sum sum) {
    Random random(37);
    Network network;
    network.tensors = {TensorShape{1, 1, 24}};
    network.tensors[0].layout = Layout::Order;
    const std::size_t moved = add(network, copy_of({2, 3, 4}, {step, 8, 1}), {0}, 24);
    const std::size_t scaled = add(network, factor_of(0.3F), {moved}, 24);
    std::size_t other = 0;
    if (sum != Sum::None) {
      other = sum == Sum::OfCopy ? moved : scaled;
      other = add(network, layer_of(LayerKind::Add), {other, other}, 24);
    }
    add(network, product_of({{2, 12, 12}}, 3, 4, 3, true), {other, scaled}, 18);
    check_joined(network, step == 4 && sum == Sum::None ? 0 : 1, random);
    join_copies(network);
    return count_of(network, LayerKind::ChannelScale);
  };
  CHECK(factors_left(4, Sum::None) == 0);
  CHECK(factors_left(0, Sum::None) == 1);
  CHECK(factors_left(4, Sum::OfCopy) == 1);
  CHECK(factors_left(4, Sum::OfFactor) == 1);
}

TEST_CASE("windows that go on in another row of what was transposed are read behind that") {
  Random random(36);
  Network network;
  network.tensors = {TensorShape{1, 1, 12}};
  network.tensors[0].layout = Layout::Order;
  const std::size_t turned = add(network, copy_of({3, 4}, {1, 3}), {0}, 12);
  // The last window ends in the second row of four. Rows and sums would fit a row each.
  const std::size_t windows = add(network, copy_of({4, 3}, {1, 1}), {turned}, 12);
  add(network, linear_of(4, 3, 5, random), {windows}, 20);
  check_joined(network, 1, random);
}

TEST_CASE("copies of parts that others cut out copy them at once") {
  // Rows of 20 values, of which the last ones come first, as where windows are shifted.
  const auto rolled = [](std::int64_t first, bool is_output) {
    Network network;
    network.tensors = {TensorShape{1, 1, 60}};
    network.tensors[0].layout = Layout::Order;
    const std::size_t begin = add(network, copy_of({3, first}, {20, 1}), {0}, 3 * first);
    const std::size_t end =
        add(network, copy_of({3, 20 - first}, {20, 1}, first), {0}, 60 - 3 * first);
    Layer join = layer_of(LayerKind::Copy);
    std::vector<Box>& boxes = join.get<CopyParams>().boxes;
    boxes.resize(2);
    boxes[0].loops = {{3, 20 - first, 20}, {20 - first, 1, 1}};
    boxes[1] = {1, 0, 20 - first, {{3, first, 20}, {first, 1, 1}}};
    add(network, join, {end, begin}, 60);
    if (is_output) network.outputs.push_back(begin);
    return network;
  };
  Random random(38);
  check_joined(rolled(3, false), 1, random);
  check_joined(rolled(17, false), 1, random);
  check_joined(rolled(3, true), 2, random);   // one part is needed
  check_joined(rolled(1, false), 2, random);  // of single values
  Network backwards = rolled(3, false);
  Box& box = backwards.layers[2].get<CopyParams>().boxes[1];
  box.from = 6;
  box.loops[0].from = -3;
  check_joined(backwards, 2, random);
}

TEST_CASE("copies do not become copies of single values") {
  Random random(39);
  Network network;
  network.tensors = {TensorShape{1, 1, 32 * 24}};
  network.tensors[0].layout = Layout::Order;
  const std::size_t turned = add(network, copy_of({24, 32}, {1, 24}), {0}, 32 * 24);
  add(network, copy_of({20, 30}, {32, 1}, 33), {turned}, 600);
  check_joined(network, 2, random);
}

TEST_CASE("a product reads a copy that another layer needs") {
  Random random(35);
  Network network;
  network.tensors = {TensorShape{1, 1, 24}};
  const std::size_t cut = add(network, copy_of({12}, {1}, 12), {0}, 12);
  const std::size_t sum = add(network, layer_of(LayerKind::Add), {cut, cut}, 12);
  const std::size_t product = add(network, product_of({}, 3, 4, 3, true), {cut, sum}, 9);
  join_copies(network);
  CHECK(count_of(network, LayerKind::Copy) == 1);
  CHECK(network.layers.back().output == product);
  CHECK(network.layers.back().inputs == std::vector<std::size_t>{cut, sum});
}

TEST_CASE("products by integers read what copies give") {
  Random random(33);
  Network network;
  network.tensors = {TensorShape{1, 1, 24}};
  const std::size_t turned = add(network, copy_of({4, 6}, {6, 1}), {0}, 24);
  Layer product = product_of({}, 4, 6, 5, true);
  product.integers.resize(30);
  const std::size_t given = add(network, product, {turned}, 20);
  add(network, copy_of({20}, {1}), {given}, 20);
  join_copies(network);
  CHECK(count_of(network, LayerKind::Copy) == 2);
}

// ---- any copies

/// Draws a copy of some values of [counts], in another order of the axes, or of windows along the
/// last two.
/// \param counts set to those of what it gives
Layer draw_copy(std::vector<std::int64_t>& counts, Random& random) {
  if (random.from(0, 5) == 0) {
    std::int64_t values = 1;
    for (const std::int64_t count : counts) values *= count;
    const std::int64_t line = counts.back() * counts[counts.size() - 2];
    const std::int64_t width = random.from(1, line);
    counts = {values / line, random.from(1, line - width + 1), width};
    return copy_of(counts, {line, 1, 1});
  }
  struct Axis {
    std::int64_t count;
    std::int64_t step;
  };
  std::vector<Axis> axes;
  std::int64_t step = 1;
  for (auto count = counts.rbegin(); count != counts.rend(); ++count) {
    axes.insert(axes.begin(), {*count, step});
    step *= *count;
  }
  for (std::size_t i = axes.size(); i > 1 && random.coin(); --i) {
    const auto other = random.from(0, static_cast<std::int64_t>(i) - 1);
    std::swap(axes[i - 1], axes[static_cast<std::size_t>(other)]);
  }
  std::int64_t begin = 0;
  std::vector<std::int64_t> steps;
  counts.clear();
  for (Axis& axis : axes) {
    const std::int64_t cut = random.from(0, 4) == 0 ? random.from(0, axis.count - 1) : 0;
    begin += cut * axis.step;
    axis.count -= cut;
    const bool splits = axis.count % 2 == 0 && random.from(0, 3) == 0;
    if (splits) {
      counts.push_back(2);
      steps.push_back(axis.count / 2 * axis.step);
    }
    counts.push_back(splits ? axis.count / 2 : axis.count);
    steps.push_back(axis.step);
  }
  return copy_of(counts, steps, begin);
}

TEST_CASE("products between any copies keep their bits") {
  Random random(34);
  std::int64_t all = 0;
  std::int64_t left = 0;
  for (int i = 0; i < 300; ++i) {
    Network network;
    std::vector<std::int64_t> counts = {random.from(1, 3), random.from(1, 4), random.from(1, 8),
                                        random.from(1, 8)};
    const auto values = [&] {
      std::int64_t product = 1;
      for (const std::int64_t count : counts) product *= count;
      return product;
    };
    network.tensors = {TensorShape{1, 1, values()}};
    network.tensors[0].layout = Layout::Order;
    std::size_t last = 0;
    std::vector<std::size_t> given;
    for (std::int64_t copies = random.from(1, 3); copies > 0; --copies) {
      Layer copy = draw_copy(counts, random);
      given.push_back(last = add(network, std::move(copy), {last}, values()));
    }
    // The last axis and some before it are summed up; a product of the values with themselves.
    std::int64_t sums = counts.back();
    if (random.from(0, 3) == 0 && counts.size() > 1) sums *= counts[counts.size() - 2];
    const std::int64_t lines = values() / sums;
    const std::int64_t some = random.from(1, 4);
    const std::int64_t matrices = lines % some == 0 ? some : 1;
    const std::int64_t rows = lines / matrices;
    const bool weighs = random.coin();
    Layer product = weighs ? linear_of(rows, sums, random.from(1, 40), random)
                           : product_of({}, rows, sums, rows, true);
    Product& of = product.product();
    if (matrices > 1) {
      of.matrices = {{matrices, rows * sums, weighs ? 0 : rows * sums}};
      of.lay_out(false, true);
    }
    const std::vector<std::size_t> operands =
        weighs ? std::vector<std::size_t>{last} : std::vector<std::size_t>{last, last};
    counts = {matrices, rows, of.columns};
    last = add(network, product, operands, values());
    for (std::int64_t copies = random.from(0, 2); copies > 0; --copies) {
      Layer copy = draw_copy(counts, random);
      last = add(network, std::move(copy), {last}, values());
    }
    if (random.from(0, 5) == 0) network.outputs.push_back(given.front());
    Network joined = network;
    join_copies(joined);
    all += count_of(network, LayerKind::Copy);
    left += count_of(joined, LayerKind::Copy);
    const Kernels& kernels = choose_kernels();
    const std::vector<float> images = random.values(2 * network.tensors[0].shape.values());
    CHECK(all_outputs(*program_of(joined, kernels), images) ==
          all_outputs(*program_of(network, kernels), images));
  }
  CHECK(left > all / 10);
  CHECK(left < all * 2 / 3);
}

// ---- steps that leave the tensors

void refuses_product(void (*change)(Product&), const std::string& why) {
  Network network;
  network.tensors = {TensorShape{1, 1, 200}};
  // Two heads of 5 tokens and 8 numbers, which lie side by side behind 40 values of something else.
  Layer product = product_of({{2, 8, 8}}, 5, 8, 5);
  Product& of = product.product();
  of.first = {40, 16, 1};
  of.second = {120, 1, 16};
  of.matrices[0].output = 5;
  of.output.row = 10;
  const std::size_t given = add(network, product, {0, 0}, 50);
  verify_network(network);
  change(network.layers[0].product());
  CHECK(given == 1);
  CHECK_ERROR(BackendFailure,
              "the plan of the native engine contradicts itself: the layer matmul 0 " + why,
              verify_network(network));
}

TEST_CASE("a product whose steps leave its tensors, or miss values of its output, is refused") {
  const std::string outside = "has matrices that lie outside of a tensor";
  refuses_product([](Product& of) { of.first.begin = 121; }, outside);  // to 120 it fits
  refuses_product([](Product& of) { of.first.begin = -1; }, outside);
  refuses_product([](Product& of) { of.first.row = 41; }, outside);
  refuses_product([](Product& of) { of.first.row = -1; }, outside);
  refuses_product([](Product& of) { of.matrices[0].first = 129; }, outside);
  refuses_product([](Product& of) { of.matrices[0].first = -1; }, outside);
  refuses_product([](Product& of) { of.second.begin = 129; }, outside);
  refuses_product([](Product& of) { of.second.column = 19; }, outside);
  refuses_product([](Product& of) { of.second.row = -1; }, outside);
  refuses_product([](Product& of) { of.matrices[0].second = 65; }, outside);
  refuses_product([](Product& of) { of.matrices[0].output = 6; }, outside);
  refuses_product([](Product& of) { of.output.begin = 1; }, outside);
  refuses_product([](Product& of) { of.sums = 1000; }, outside);
  refuses_product([](Product& of) { of.columns = 6; }, outside);
  const std::string apart = "has matrices in which no values lie side by side";
  refuses_product([](Product& of) { of.first.column = 2; }, apart);
  refuses_product([](Product& of) { of.second = {0, 2, 16}; }, apart);
  refuses_product(
      [](Product& of) {
        of.output = {0, 1, 5};
        of.matrices[0].output = 25;
      },
      "gives rows whose values do not lie side by side");
  const std::string missing = "does not give each value of its output once";
  refuses_product([](Product& of) { of.matrices[0].output = 4; }, missing);
  refuses_product([](Product& of) { of.output.row = 9; }, missing);
  refuses_product([](Product& of) { of.rows = 4; }, missing);
  refuses_product([](Product& of) { of.matrices.clear(); }, missing);
  refuses_product([](Product& of) { of.rows = 0; }, "has empty matrices");
}

TEST_CASE("a broadcast that begins too late in a tensor is refused") {
  Network network;
  network.tensors = {TensorShape{1, 1, 24}};
  Layer layer = layer_of(LayerKind::Broadcast);
  layer.params = BroadcastParams{
      BroadcastKind::Multiply, {{0, {}, 4}, {kNone, {2}}}, {{5, {4, 0, 0}}, {4, {1, 0, 0}}}};
  add(network, layer, {0}, 20);
  verify_network(network);
  auto& operands = network.layers[0].get<BroadcastParams>().operands;
  for (const std::int64_t begin : {5, -1}) {
    operands[0].begin = begin;
    CHECK_ERROR(BackendFailure, "reads values that there are not", verify_network(network));
  }
  operands[0].begin = 0;
  operands[1].begin = 1;
  CHECK_ERROR(BackendFailure, "reads values that there are not", verify_network(network));
}

}  // namespace
}  // namespace lenet::tests
