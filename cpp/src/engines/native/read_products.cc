// Products of matrices.

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "engines/native/network_reader.h"
#include "model/rules/einsum.h"

namespace lenet::native {

void NetworkReader::read_matmul() {
  const bool first = !is_computed(value("X"));  // the constant
  const std::string constant_name = first ? "X" : "Y";
  const std::string computed_name = first ? "Y" : "X";
  if (is_computed(value(constant_name))) return read_product();
  const Value* found = weights(constant_name);
  require(found != nullptr, "product with what is not constant");
  Shape matrix = found->shape;
  if (matrix.size() == 1) matrix.insert(matrix.begin() + (first ? 0 : 1), 1);
  // The axis of the constant that goes into the result; along the other one products are summed.
  const bool transposed = view_->flag(first ? "transA" : "transB", false);
  const std::size_t axis = first == transposed ? 1 : 0;
  const std::size_t rank = matrix.size();
  const std::int64_t outputs = matrix[rank - 2 + axis];
  const std::int64_t sums = matrix[rank - 1 - axis];
  const std::size_t input = tensor(computed_name);
  const TensorShape image = shape_of(input);
  const bool flat = image.values() == sums && product(matrix, 0, rank - 2) == 1;
  if (!flat) return read_product();
  Layer& made = layer(LayerKind::Convolution, {input});
  made.convolution().window.kernel = {image.height(), image.width()};  // what was flattened
  made.bias.assign(static_cast<std::size_t>(outputs), 0);
  give_weights(made, constant_name, axis);
  add_factors(made);
  network_.tensors[made.output].shape = {outputs};
}

void NetworkReader::read_product() {
  Shape a = sizes("X");
  Shape b = sizes("Y");
  Product of;
  const bool first_transposed = view_->flag("transA", false);
  const bool second_transposed = view_->flag("transB", false);
  if (op_->kind ==
      "FlatMatMul") {  // the axes behind the first ones are one, and so those of the matrix
    require(view_->integer("y_num_col_dims") == 1 && b.size() == 2,
            "product with a constant but a matrix");
    const auto rows = static_cast<std::size_t>(view_->integer("x_num_col_dims"));
    a = {product(a, 0, rows), product(a, rows, a.size())};
  }
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  of.rows = a[a.size() - (first_transposed ? 1 : 2)];
  of.sums = a[a.size() - (first_transposed ? 2 : 1)];
  of.columns = b[b.size() - (second_transposed ? 2 : 1)];
  require(of.sums == b[b.size() - (second_transposed ? 1 : 2)],
          "product of matrices of such different sizes");
  const std::size_t rank = std::max(a.size(), b.size()) - 2;
  const Shape first = aligned({a.begin(), a.end() - 2}, rank);
  const Shape second = aligned({b.begin(), b.end() - 2}, rank);
  const bool weighs = weights("Y") != nullptr && product(second, 0, rank) == 1;
  const Shape given = given_sizes();
  if (weighs && !first_transposed) {
    of.rows *= product(first, 0, rank);
  } else {
    of.matrices = read_matrices(first, second, of);
  }
  of.lay_out(first_transposed, weighs || second_transposed);
  require(of.count() * of.rows * of.columns == product(given, 0, given.size()),
          "product with a constant of a matrix for each image");
  std::vector<std::size_t> inputs = {is_computed(value("X")) ? tensor("X") : add_constant("X")};
  if (!weighs) inputs.push_back(is_computed(value("Y")) ? tensor("Y") : add_constant("Y"));
  require(weighs || (view_->number("alpha", 1) == 1 && !view_->has("Bias")),
          "kernel for a Gemm of two tensors that scales or adds");
  Layer& made = layer(LayerKind::MatMul, std::move(inputs));
  made.product() = std::move(of);
  if (!weighs) return;
  made.bias.assign(static_cast<std::size_t>(made.product().columns), 0);
  give_weights(made, "Y", second_transposed ? 0 : 1);
  add_factors(made);
  if (!view_->has("Bias")) made.bias.clear();  // a sum behind it may become its bias
}

std::vector<Product::Loop> NetworkReader::read_matrices(const Shape& first, const Shape& second,
                                                        const Product& of) const {
  const Integers first_steps = steps_of(first);
  const Integers second_steps = steps_of(second);
  std::vector<Product::Loop> loops;
  for (std::size_t i = 0; i < first.size(); ++i) {
    require(first[i] == second[i] || first[i] == 1 || second[i] == 1,
            "product of matrices of such different sizes");
    const std::int64_t count = std::max(first[i], second[i]);
    if (count == 1) continue;
    loops.push_back({count, first[i] == 1 ? 0 : first_steps[i] * of.rows * of.sums,
                     second[i] == 1 ? 0 : second_steps[i] * of.sums * of.columns});
  }
  return loops;
}

void NetworkReader::add_factors(Layer& made) {
  const auto alpha = static_cast<float>(view_->number("alpha", 1));
  const auto beta = static_cast<float>(view_->number("beta", 1));
  if (!std::isfinite(alpha) || !std::isfinite(beta)) refuse("has a factor that is not finite");
  for (float& weight : made.weights) weight *= alpha;
  for (float& scale : made.weight_scales) scale *= alpha;
  if (alpha != 1 && made.stored.data != nullptr) made.weight_scales.resize(made.bias.size(), alpha);
  if (!view_->has("Bias")) return;
  const std::vector<float> bias = floats("Bias");
  const Shape& of_bias = shape("Bias");
  const auto classes = static_cast<std::int64_t>(made.bias.size());
  const bool one = bias.size() == 1;
  require((one && of_bias.size() <= 2) || of_bias == Shape{classes} || of_bias == Shape{1, classes},
          "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < made.bias.size(); ++o) made.bias[o] = beta * bias[one ? 0 : o];
}

void NetworkReader::read_einsum() {
  const Einsum einsum = read_equation(*view_);
  require(einsum.terms.size() <= 2, "kernel for an equation of more than two tensors");
  const std::string& to = einsum.output->letters;
  const auto has = [](const std::string& letters, char letter) {
    return letters.find(letter) != std::string::npos;
  };
  std::map<char, std::int64_t> counts;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    const Shape of = sizes("X", i);
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
    const Shape of = sizes("X", index);
    const Integers steps = steps_of(of);
    const bool computed = is_computed(value("X", index));
    Taken taken{computed ? tensor("X", index) : add_constant("X", index), {}, {}};
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
    const std::size_t last = arranged(in_order(taken, taken.letters + gone), taken.tensor,
                                      {count(taken.letters), 1, count(gone)});
    Layer& sum = add_layer(LayerKind::Reduce, last, {count(taken.letters)}, "sum for " + type());
    sum.params = ReduceParams{{count(gone), 1}};
    return one_after_the_other(sum.output, taken.letters);
  };
  if (einsum.terms.size() == 1) {
    const Taken only = take(0, "");
    layer(LayerKind::Identity,
          {arranged(in_order(only, to), only.tensor, image_shape(given_sizes()))});
    return;
  }
  const Taken a = take(0, einsum.terms[1].letters);
  const Taken b = take(1, a.letters);
  std::string batch, rows, columns, sums;
  for (const char letter : a.letters) {
    const bool both = has(b.letters, letter);
    require(both || has(to, letter), "kernel for an equation that repeats an axis of a sum");
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
  const std::size_t first =
      arranged(in_order(a, batch + rows + sums), a.tensor, {count(batch), of.rows, of.sums});
  const std::size_t second =
      arranged(in_order(b, batch + sums + columns), b.tensor, {count(batch), of.sums, of.columns});
  Layer& made = layer(LayerKind::MatMul, {first, second});
  made.output = network_.add_tensor({count(batch), of.rows, of.columns});
  made.product() = std::move(of);
  const Taken product = one_after_the_other(made.output, batch + rows + columns);
  layer(LayerKind::Identity,
        {arranged(in_order(product, to), product.tensor, image_shape(given_sizes()))});
}

}  // namespace lenet::native
