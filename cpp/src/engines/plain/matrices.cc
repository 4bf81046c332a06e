// Definitions of products of matrices, and of sums of products that an equation names.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engines/plain/call.h"
#include "engines/plain/products.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// The last two axes change places.
Array transposed(const Array& x) {
  Shape shape = x.shape;
  Integers steps = steps_of_shape(x.shape);
  std::swap(*(shape.end() - 1), *(shape.end() - 2));
  std::swap(*(steps.end() - 1), *(steps.end() - 2));
  return taken(x, places_of(shape, steps), shape);
}

/// The products of matrices, each with one of the others; the axes before the last two are
/// repeated.
/// \param batch the axes before the last two of the result
Array multiplied(const Array& left, const Array& right, const Shape& batch) {
  const auto before = [](const Array& x) { return Shape(x.shape.begin(), x.shape.end() - 2); };
  const std::int64_t rows = *(left.shape.end() - 2);
  const std::int64_t terms = left.shape.back();
  const std::int64_t columns = right.shape.back();
  Shape shape = batch;
  shape.insert(shape.end(), {rows, columns});
  Array made = make_array(left.dtype, shape);
  const Integers of_left = repeated_places(before(left), batch);
  const Integers of_right = repeated_places(before(right), batch);
  std::vector<std::uint64_t> integers[3] = {{left.integers.begin(), left.integers.end()},
                                            {right.integers.begin(), right.integers.end()},
                                            {made.integers.begin(), made.integers.end()}};
  for (std::size_t i = 0; i < of_left.size(); ++i) {
    const std::int64_t from = of_left[i] * rows * terms;
    const std::int64_t by = of_right[i] * terms * columns;
    const std::int64_t to = static_cast<std::int64_t>(i) * rows * columns;
    if (made.is_real()) {
      add_products<double>({left.reals.data() + from, terms}, {right.reals.data() + by, columns},
                           {made.reals.data() + to, columns}, rows, terms, columns);
    } else {
      add_products<std::uint64_t>({integers[0].data() + from, terms},
                                  {integers[1].data() + by, columns},
                                  {integers[2].data() + to, columns}, rows, terms, columns);
    }
  }
  for (std::size_t i = 0; i < integers[2].size(); ++i) {
    made.integers[i] = wrapped(made.dtype, static_cast<std::int64_t>(integers[2][i]));
  }
  return made;
}

/// Gemm's beta times what is repeated along the product.
void add_bias(const Call& call, Array& made) {
  const Array& bias = call.in("Bias");
  const double beta = call.number("beta", 1);
  const Integers places = repeated_places(bias.shape, call.shape());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto place = static_cast<std::size_t>(places[i]);
    if (made.is_real()) {
      made.reals[i] += beta * bias.number(place);
    } else {
      made.set(i, made.number(i) + beta * bias.number(place));
    }
  }
}

void multiply(const Call& call) {
  Array left = call.in("X");
  Array right = call.in("Y");
  // A vector is a matrix of one row before the product, and of one column behind it.
  const bool row = left.shape.size() == 1;
  const bool column = right.shape.size() == 1;
  if (row) left.shape.insert(left.shape.begin(), 1);
  if (column) right.shape.push_back(1);
  if (call.flag("transA")) left = transposed(left);
  if (call.flag("transB")) right = transposed(right);
  const std::size_t rank = std::max(left.shape.size(), right.shape.size()) - 2;
  const Shape batch(call.shape().begin(), call.shape().begin() + static_cast<std::ptrdiff_t>(rank));
  Array made = multiplied(left, right, batch);
  const double alpha = call.number("alpha", 1);
  for (std::size_t i = 0; alpha != 1 && i < made.count(); ++i) made.set(i, alpha * made.number(i));
  if (call.has("Bias")) add_bias(call, made);
  call.give(std::move(made));
}

/// The product of two matrices of some first axes and of those behind them.
void multiply_flat(const Call& call) {
  const auto flat = [&](const char* name, const char* axes) {
    Array x = call.in(name);
    const auto middle = x.shape.begin() + static_cast<std::ptrdiff_t>(call.integer(axes));
    x.shape = {count_of(Shape(x.shape.begin(), middle)), count_of(Shape(middle, x.shape.end()))};
    return x;
  };
  call.give(multiplied(flat("X", "x_num_col_dims"), flat("Y", "y_num_col_dims"), {}));
}

// ---- Einsum

/// The letters of a term of an equation, one for each axis. A digit stands for an axis of "...",
/// counted from the last one.
std::string letters_of(const std::string& term, std::size_t rank) {
  std::string letters;
  for (const char letter : term) {
    if (letter != '.' && letter != ' ') letters += letter;
  }
  const std::size_t ellipsis = term.find('.');
  if (ellipsis == std::string::npos) return letters;
  std::string axes;
  for (std::size_t i = rank - letters.size(); i-- > 0;) axes += static_cast<char>('0' + i);
  std::string before;
  for (const char letter : term.substr(0, ellipsis))
    before += letter == ' ' ? "" : std::string(1, letter);
  return before + axes + letters.substr(before.size());
}

/// The letters that terms name once, in their order, behind the axes of "...".
std::string implied_output(const std::vector<std::string>& terms) {
  std::map<char, int> times;
  for (const std::string& term : terms) {
    for (const char letter : term) ++times[letter];
  }
  std::string output;
  std::string digits;
  for (const auto& [letter, count] : times) {
    if (letter <= '9') digits.insert(digits.begin(), letter);
    if (letter > '9' && count == 1) output += letter;
  }
  return digits + output;
}

void sum_products(const Call& call) {
  const std::string equation = call.text("equation", "");
  const std::size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow) + ",";
  std::vector<std::string> terms;
  std::map<char, std::int64_t> sizes;
  std::size_t digits = 0;
  for (std::size_t end = left.find(','); end != std::string::npos; end = left.find(',')) {
    const Shape& shape = call.in("X", terms.size()).shape;
    terms.push_back(letters_of(left.substr(0, end), shape.size()));
    left.erase(0, end + 1);
    std::size_t own_digits = 0;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const char letter = terms.back().at(i);
      std::int64_t& size = sizes.emplace(letter, 1).first->second;
      if (shape[i] != 1) size = shape[i];
      own_digits += letter <= '9' ? 1 : 0;
    }
    digits = std::max(digits, own_digits);
  }
  std::string output = implied_output(terms);
  if (arrow != std::string::npos) {
    const std::string right = equation.substr(arrow + 2);
    const auto is_letter = [](char c) { return c != ' ' && c != '.'; };
    const auto named =
        static_cast<std::size_t>(std::count_if(right.begin(), right.end(), is_letter));
    output = letters_of(right, named + digits);
  }
  Shape kept;
  Shape summed;
  std::string gone;
  for (const char letter : output) kept.push_back(sizes.at(letter));
  for (const auto& [letter, size] : sizes) {
    if (output.find(letter) != std::string::npos) continue;
    gone += letter;
    summed.push_back(size);
  }
  std::vector<Integers> firsts;  // by operand, for each value of the result
  std::vector<Integers> terms_of_sum;
  for (std::size_t k = 0; k < terms.size(); ++k) {
    const Shape& shape = call.in("X", k).shape;
    const Integers own = steps_of_shape(shape);
    const auto steps = [&](const std::string& letters) {
      Integers found(letters.size());
      for (std::size_t i = 0; i < shape.size(); ++i) {
        const std::size_t at = letters.find(terms[k][i]);  // a letter twice: the diagonal
        if (at != std::string::npos && shape[i] != 1) found[at] += own[i];
      }
      return found;
    };
    firsts.push_back(places_of(kept, steps(output)));
    terms_of_sum.push_back(places_of(summed, steps(gone)));
  }
  Array made = call.make();
  for (std::size_t i = 0; i < made.count(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < terms_of_sum[0].size(); ++j) {
      double product = 1;
      for (std::size_t k = 0; k < terms.size(); ++k) {
        product *=
            call.in("X", k).number(static_cast<std::size_t>(firsts[k][i] + terms_of_sum[k][j]));
      }
      sum += product;
    }
    made.set(i, sum);
  }
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"MatMul Gemm", multiply},
    {"FlatMatMul", multiply_flat},
    {"Einsum", sum_products},
};

}  // namespace

Definitions product_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
