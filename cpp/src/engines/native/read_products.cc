// Products of matrices.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "engines/native/network_reader.h"
#include "model/rules/einsum.h"

namespace lenet::native {
namespace {

/// Returns loops over the matrices of a product.
/// \param first the leading sizes of the operands, of the same rank \param of its matrices
std::vector<Product::Loop> read_matrices(NetworkReader& reader, const Shape& first,
                                         const Shape& second, const Product& of) {
  const Integers first_steps = steps_of(first);
  const Integers second_steps = steps_of(second);
  std::vector<Product::Loop> loops;
  for (std::size_t i = 0; i < first.size(); ++i) {
    reader.require(first[i] == second[i] || first[i] == 1 || second[i] == 1,
                   "product of matrices of such different sizes");
    const std::int64_t count = std::max(first[i], second[i]);
    if (count == 1) continue;
    loops.push_back({count, first[i] == 1 ? 0 : first_steps[i] * of.rows * of.sums,
                     second[i] == 1 ? 0 : second_steps[i] * of.sums * of.columns});
  }
  return loops;
}

/// Applies the factors alpha and beta of a Gemm, and its bias.
void add_factors(NetworkReader& reader, Layer& made) {
  const OperatorView& view = reader.view();
  const auto alpha = static_cast<float>(view.number("alpha", 1));
  const auto beta = static_cast<float>(view.number("beta", 1));
  const bool is_finite = std::isfinite(alpha) && std::isfinite(beta);
  if (!is_finite) reader.refuse("has a factor that is not finite");
  for (float& weight : made.weights) weight *= alpha;
  for (float& scale : made.weight_scales) scale *= alpha;
  if (alpha != 1 && made.stored.data != nullptr) made.weight_scales.resize(made.bias.size(), alpha);
  if (!view.has("Bias")) return;
  const std::vector<float> bias = reader.floats("Bias");
  const Shape& of_bias = reader.shape("Bias");
  const auto classes = static_cast<std::int64_t>(made.bias.size());
  const bool one = bias.size() == 1;
  reader.require(
      (one && of_bias.size() <= 2) || of_bias == Shape{classes} || of_bias == Shape{1, classes},
      "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < made.bias.size(); ++o) made.bias[o] = beta * bias[one ? 0 : o];
}

/// Reads a product of constants or of what is computed, with any leading dimensions.
void read_product(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  Shape a = reader.sizes("X");
  Shape b = reader.sizes("Y");
  Product of;
  const bool first_transposed = view.flag("transA", false);
  const bool second_transposed = view.flag("transB", false);
  if (reader.op().kind == "FlatMatMul") {
    // The axes behind the first ones are one, and so are those of the matrix.
    reader.require(view.integer("y_num_col_dims") == 1 && b.size() == 2,
                   "product with a constant but a matrix");
    const auto rows = static_cast<std::size_t>(view.integer("x_num_col_dims"));
    a = {product(a, 0, rows), product(a, rows, a.size())};
  }
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  of.rows = a[a.size() - (first_transposed ? 1 : 2)];
  of.sums = a[a.size() - (first_transposed ? 2 : 1)];
  of.columns = b[b.size() - (second_transposed ? 2 : 1)];
  reader.require(of.sums == b[b.size() - (second_transposed ? 1 : 2)],
                 "product of matrices of such different sizes");
  const std::size_t rank = std::max(a.size(), b.size()) - 2;
  const Shape first = aligned({a.begin(), a.end() - 2}, rank);
  const Shape second = aligned({b.begin(), b.end() - 2}, rank);
  const bool weighs = weights_of(reader, "Y") != nullptr && product(second, 0, rank) == 1;
  const Shape given = reader.given_sizes();
  if (weighs && !first_transposed) {
    of.rows *= product(first, 0, rank);
  } else {
    of.matrices = read_matrices(reader, first, second, of);
  }
  of.lay_out(first_transposed, weighs || second_transposed);
  reader.require(of.count() * of.rows * of.columns == product(given, 0, given.size()),
                 "product with a constant of a matrix for each image");
  std::vector<std::size_t> inputs = {reader.tensor_or_constant("X")};
  if (!weighs) inputs.push_back(reader.tensor_or_constant("Y"));
  reader.require(weighs || (view.number("alpha", 1) == 1 && !view.has("Bias")),
                 "kernel for a Gemm of two tensors that scales or adds");
  Layer& made = reader.layer(LayerKind::MatMul, std::move(inputs));
  made.product() = std::move(of);
  if (!weighs) return;
  made.bias.assign(static_cast<std::size_t>(made.product().columns), 0);
  give_weights(reader, made, "Y", second_transposed ? 0 : 1);
  add_factors(reader, made);
  if (!view.has("Bias")) made.bias.clear();  // a sum behind it may become its bias
}

/// Reads a product of matrices. If one row of each image is multiplied by a constant, it is a fully
/// connected layer.
void read_matmul(NetworkReader& reader) {
  const bool first = !reader.is_computed("X");  // the constant
  const std::string constant_name = first ? "X" : "Y";
  const std::string computed_name = first ? "Y" : "X";
  if (reader.is_computed(constant_name)) return read_product(reader);
  const Value* found = weights_of(reader, constant_name);
  reader.require(found != nullptr, "product with what is not constant");
  Shape matrix = found->shape;
  if (matrix.size() == 1) matrix.insert(matrix.begin() + (first ? 0 : 1), 1);
  // The axis of the constant that goes into the result; along the other one products are summed.
  const bool transposed = reader.view().flag(first ? "transA" : "transB", false);
  const std::size_t axis = first == transposed ? 1 : 0;
  const std::size_t rank = matrix.size();
  const std::int64_t outputs = matrix[rank - 2 + axis];
  const std::int64_t sums = matrix[rank - 1 - axis];
  const std::size_t input = reader.tensor(computed_name);
  const TensorShape image = reader.shape_of(input);
  const bool flat = image.values() == sums && product(matrix, 0, rank - 2) == 1;
  if (!flat) return read_product(reader);
  Layer& made = reader.layer(LayerKind::Convolution, {input});
  made.convolution().window.kernel = {image.height(), image.width()};  // what was flattened
  made.bias.assign(static_cast<std::size_t>(outputs), 0);
  give_weights(reader, made, constant_name, axis);
  add_factors(reader, made);
  reader.set_shape(made.output, {outputs});
}

/// Returns a tensor with the values of another one in an order that may be the same.
std::size_t arranged(NetworkReader& reader, Box box, std::size_t input, const TensorShape& shape) {
  const bool stays = box.is_run(0, 0, reader.shape_of(input).values());
  return stays ? reader.add_view(input, shape) : reader.add_copy(std::move(box), input, shape);
}

/// Reads a product of two tensors, or a sum of one, that an equation describes.
void read_einsum(NetworkReader& reader) {
  const Einsum einsum = read_equation(reader.view());
  reader.require(einsum.terms.size() <= 2, "kernel for an equation of more than two tensors");
  const std::string& to = einsum.output->letters;
  const auto has = [](const std::string& letters, char letter) {
    return letters.find(letter) != std::string::npos;
  };
  std::map<char, std::int64_t> counts;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    const Shape of = reader.sizes("X", i);
    for (std::size_t axis = 0; axis < of.size(); ++axis) {
      std::int64_t& known = counts.emplace(einsum.terms[i].letters[axis], 1).first->second;
      known = std::max(known, of[axis]);
    }
  }
  const auto count = [&](const std::string& letters) {
    std::int64_t product = 1;
    for (const char letter : letters) product *= counts.at(letter);
    return product;
  };
  /// What is taken of an operand: its letters, each once, and from one index of each to the next.
  struct Taken {
    std::size_t tensor;
    std::string letters;
    std::map<char, std::int64_t> steps;
  };
  const auto in_order = [&](const Taken& from, const std::string& order) {
    Box box;
    std::int64_t place = count(order);
    for (const char letter : order) {
      box.add({counts.at(letter), from.steps.at(letter), place /= counts.at(letter)});
    }
    return box;
  };
  const auto one_after_the_other = [&](std::size_t tensor, const std::string& letters) {
    Taken made{tensor, letters, {}};
    std::int64_t step = count(letters);
    for (const char letter : letters) made.steps[letter] = step /= counts.at(letter);
    return made;
  };
  // An operand without the letters that neither the other one nor the result has, along which it is
  // summed up. An axis of one value that is repeated has no letter.
  const auto take = [&](std::size_t index, const std::string& other) {
    const Shape of = reader.sizes("X", index);
    const Integers steps = steps_of(of);
    const bool computed = reader.is_computed("X", index);
    Taken taken{computed ? reader.tensor("X", index) : reader.add_constant("X", index), {}, {}};
    std::string gone;
    for (std::size_t axis = 0; axis < of.size(); ++axis) {
      const char letter = einsum.terms[index].letters[axis];
      if (of[axis] != counts.at(letter)) continue;
      if (taken.steps.count(letter) == 0) {
        (has(to, letter) || has(other, letter) ? taken.letters : gone) += letter;
      }
      taken.steps[letter] += steps[axis];  // of a letter that is there twice, the diagonal
    }
    if (gone.empty()) return taken;
    const std::size_t last = arranged(reader, in_order(taken, taken.letters + gone), taken.tensor,
                                      {count(taken.letters), 1, count(gone)});
    Layer& sum = reader.add_layer(LayerKind::Reduce, last, {count(taken.letters)},
                                  "sum for " + reader.type());
    sum.params = ReduceParams{{count(gone), 1}};
    return one_after_the_other(sum.output, taken.letters);
  };
  if (einsum.terms.size() == 1) {
    const Taken only = take(0, "");
    reader.layer(LayerKind::Identity, {arranged(reader, in_order(only, to), only.tensor,
                                                reader.image_shape(reader.given_sizes()))});
    return;
  }
  const Taken a = take(0, einsum.terms[1].letters);
  const Taken b = take(1, a.letters);
  std::string batch, rows, columns, sums;
  for (const char letter : a.letters) {
    const bool both = has(b.letters, letter);
    reader.require(both || has(to, letter), "kernel for an equation that repeats an axis of a sum");
    (both && has(to, letter) ? batch : both ? sums : rows) += letter;
  }
  for (const char letter : b.letters) {
    if (!has(a.letters, letter)) columns += letter;
  }
  Product of;
  of.rows = count(rows);
  of.sums = count(sums);
  of.columns = count(columns);
  of.matrices = {{count(batch), of.rows * of.sums, of.sums * of.columns}};
  of.lay_out();
  const std::size_t first = arranged(reader, in_order(a, batch + rows + sums), a.tensor,
                                     {count(batch), of.rows, of.sums});
  const std::size_t second = arranged(reader, in_order(b, batch + sums + columns), b.tensor,
                                      {count(batch), of.sums, of.columns});
  Layer& made = reader.layer(LayerKind::MatMul, {first, second});
  made.output = reader.add_tensor({count(batch), of.rows, of.columns});
  made.product() = std::move(of);
  const Taken product = one_after_the_other(made.output, batch + rows + columns);
  reader.layer(LayerKind::Identity, {arranged(reader, in_order(product, to), product.tensor,
                                              reader.image_shape(reader.given_sizes()))});
}

constexpr OperatorRow kOperators[] = {
    {"MatMul Gemm FlatMatMul", read_matmul},
    {"Einsum", read_einsum},
};

}  // namespace

OperatorRows product_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native
