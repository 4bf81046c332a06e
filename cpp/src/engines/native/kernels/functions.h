/// \file
/// Functions of vectors: less than 3 units in the last place from the true value, and of NaN NaN.
/// The polynomials are fitted to the functions with the least largest relative error.
///
/// Part of implementation.h.

inline Ints bits_of(Vector value) { return reinterpret_cast<Ints>(value); }
inline Vector with_bits(Ints bits) { return reinterpret_cast<Vector>(bits); }
inline Vector magnitude(Vector value) { return with_bits(bits_of(value) & 0x7fffffff); }
/// \param positive to which it gives the sign of `other`
inline Vector with_sign(Vector positive, Vector other) {
  return with_bits(bits_of(positive) | (bits_of(other) & ~0x7fffffff));
}
/// `value` where it is NaN, as below.
inline Vector at_least(Vector value, float least) { return larger(all(least), value); }
inline Vector at_most(Vector value, float most) { return smaller(all(most), value); }
inline Vector clipped(Vector value, float least, float most) {
  return at_most(at_least(value, least), most);
}

/// The coefficients of a polynomial, the highest first.
template <int Count>
inline Vector polynomial(Vector x, const float (&coefficients)[Count]) {
  Vector sum = all(coefficients[0]);
  unrolled<Count - 1>([&](int i) { sum = multiply_add(sum, x, all(coefficients[i + 1])); });
  return sum;
}

/// Between this and its negative e^x is a normal number; with others processors take far longer.
constexpr float kMaxExponent = 87;

/// e^x as power + power * part, of a power of 2. What is beyond the largest exponent is taken for
/// that.
struct Exponential {
  Vector power;
  Vector part;  ///< from -0.3 to 0.42
};

inline Exponential exponential(Vector x) {
  x = clipped(x, -kMaxExponent, kMaxExponent);
  // Behind it no bits of a fraction are left, and the last ones are those of the power.
  constexpr float kRound = 12582912 + 127;
  const Vector rounded = multiply_add(x, 1.44269504F, all(kRound));
  const Vector powers = rounded - kRound;
  // ln 2 in two parts
  const Vector rest = multiply_add(powers, -1.42860677e-6F, multiply_add(powers, -0.693145752F, x));
  constexpr float kTerms[] = {0.00139402226F, 0.00836645719F, 0.0416664071F, 0.16666545F, 0.5F};
  return {with_bits(bits_of(rounded) << 23),
          multiply_add(rest * rest, polynomial(rest, kTerms), rest)};
}

inline Vector bounded_exp(Vector x) {
  const auto [power, part] = exponential(x);
  return multiply_add(power, part, power);
}

/// e^x, which goes from 0 to infinity.
inline Vector exp(Vector x) {
  const Vector root = bounded_exp(x * 0.5F);
  return root * root;
}

/// e^x of x up to 0, within 2.2e-7 of itself. Below the least exponent it is 0. This takes less
/// time than exp().
inline Vector exp_of_negative(Vector x) {
  constexpr float kRound = 12582912 + 127;  // as in exponential()
  constexpr float kLog2e = 1.44269502F;     // 1 / ln 2 in two parts
  constexpr float kLog2eRest = 1.92596299e-8F;
  const Vector bounded = larger(all(-kMaxExponent), x);
  const Vector rounded = multiply_add(bounded, kLog2e, all(kRound));
  const Vector rest =
      multiply_add(bounded, all(kLog2eRest), multiply_add(bounded, kLog2e, kRound - rounded));
  // 2^rest within 9.2e-8: the polynomial of this degree, 1 at 0, with the least relative error.
  constexpr float kTerms[] = {0.00132647238F, 0.00967151299F, 0.0555073358F,
                              0.240222424F,   0.693147004F,   1};
  const Vector found = polynomial(rest, kTerms) * with_bits(bits_of(rounded) << 23);
  return x < -kMaxExponent ? Vector{} : found;
}

/// e^x - 1, exact to the last bits near 0 too.
inline Vector exp_minus_1(Vector x) {
  const auto [power, part] = exponential(x);
  return multiply_add(power, part, power - 1);
}

inline Vector tanh(Vector x) {
  const Vector less = exp_minus_1(-2 * magnitude(x));
  return with_sign(-less / (less + 2), x);
}

inline Vector sigmoid(Vector x) { return 1 / (1 + bounded_exp(-x)); }

inline Vector log(Vector x) {
  constexpr float kLeastNormal = 1.17549435e-38F;
  constexpr float kShift = 8388608;  // 2^23
  const auto small = x < kLeastNormal;
  // Unsigned, of which the differences may wrap: x may be negative.
  using Bits = Lanes<std::uint32_t>::Vector;
  const auto bits = reinterpret_cast<Bits>(bits_of(small ? x * kShift : x));
  const auto least = reinterpret_cast<Bits>(bits_of(all(0.707106781F)));
  const Ints powers = reinterpret_cast<Ints>(bits - least) >> 23;
  const Bits of_powers = reinterpret_cast<Bits>(powers) << 23;
  const Vector rest = with_bits(reinterpret_cast<Ints>(bits - of_powers)) - 1;
  constexpr float kTerms[] = {-0.0785954595F, 0.128816217F, -0.131287679F, 0.141811967F,
                              -0.166245535F,  0.200022861F, -0.250008106F, 0.333333164F};
  const Vector power = __builtin_convertvector(powers, Vector) - (small ? all(23.0F) : Vector{});
  const Vector square = rest * rest;
  const Vector low = multiply_add(square * rest, polynomial(rest, kTerms), power * 1.42860677e-6F);
  const Vector found = multiply_add(power, 0.693145752F, multiply_add(square, -0.5F, rest) + low);
  const Vector infinity = all(__builtin_inff());
  const Vector special = x == 0 ? -infinity : x < 0 ? infinity - infinity : x;
  return ((x > 0) & (x < infinity)) ? found : special;
}

/// ln(1 + x), of x from 0 on; exact to the last bits near 0 too.
inline Vector log_plus_1(Vector x) {
  const Vector sum = 1 + x;
  return log(sum) + (x - (sum - 1)) / sum;
}

/// ln(1 + e^x)
inline Vector softplus(Vector x) {
  return larger(Vector{}, x) + log_plus_1(bounded_exp(-magnitude(x)));
}

inline Vector erf(Vector x) {
  constexpr float kNear = 0.95F;
  constexpr float kNearTerms[] = {-0.000588677358F, 0.0049731168F, -0.0267533343F,
                                  0.112814665F,     -0.37612462F,  0.128379151F};
  // -ln(1 - erf(x)) / x
  constexpr float kFarTerms[] = {1.23395257e-05F, -0.000333960983F, 0.0036881112F, -0.0238592792F,
                                 0.106350571F,    0.635082006F,     1.12866569F};
  const Vector positive = at_most(magnitude(x), 4);
  const Vector far = -exp_minus_1(-positive * polynomial(positive, kFarTerms));
  const Vector near = multiply_add(x, polynomial(x * x, kNearTerms), x);
  return positive < kNear ? near : with_sign(far, x);
}

inline Vector gelu_of_erf(Vector x) { return x * 0.5F * (1 + erf(x * 0.707106781F)); }

#if LENET_LANES >= 8
/// x / 2 + |x| * f(|x|), where f is the function of gelu_table(). Its errors are about those of
/// gelu_of_erf(), which takes three times as long.
class Gelu {
 public:
  Gelu() {
    const float* const table = gelu_table(kIntervals);
    for (int i = 0; i <= kDegree; ++i) {
      low_[i] = load(table + i * kIntervals);
      high_[i] = load(table + i * kIntervals + kLanes);
    }
  }
  Vector operator()(Vector x) const {
    constexpr float kScale = (kIntervals - 1) / kGeluEnd;
    constexpr float kRound = 12582912;  // behind it no bits of a fraction are left
    const Vector size = at_most(magnitude(x), kGeluEnd);
    const Vector rounded = multiply_add(size, kScale, all(kRound));
    const Ints interval = bits_of(rounded);  // its last bits
    const Vector rest = multiply_add(size, kScale, kRound - rounded);
    Vector sum = shuffled(low_[0], high_[0], interval);
    for (int i = 1; i <= kDegree; ++i) {
      sum = multiply_add(sum, rest, shuffled(low_[i], high_[i], interval));
    }
    return multiply_add(magnitude(x), sum, x * 0.5F);
  }

 private:
  static constexpr int kIntervals = 2 * kLanes;
  static constexpr int kDegree = kLanes == 16 ? 4 : 5;

  Vector low_[kDegree + 1];
  Vector high_[kDegree + 1];
};
#else
/// With few lanes a table has too few intervals.
struct Gelu {
  Vector operator()(Vector x) const { return gelu_of_erf(x); }
};
#endif

inline Vector square_root(Vector x) {
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

inline Vector hard_sigmoid(Vector x, const Activation& of) {
  return clipped(multiply_add(x, of.alpha, all(of.beta)), 0, 1);
}

inline Vector hard_swish(Vector x, const Activation& of) { return x * hard_sigmoid(x, of); }

// Called from many tiles: GCC would make a copy for each.
#ifndef __clang__
__attribute__((noipa))
#else
__attribute__((noinline))
#endif
void activate(const Activation& of, const float* from, float* to, std::int64_t count) {
  const auto each = [&](const auto& function) {
    for (std::int64_t i = 0; i < count; i += kLanes) store(to + i, function(load(from + i)));
  };
  const float alpha = of.alpha;
  const float beta = of.beta;
  switch (of.kind) {
    case ActivationKind::None:
      return each([](Vector x) { return x; });
    case ActivationKind::Relu:
      return each([](Vector x) { return larger(x, Vector{}); });
    case ActivationKind::Clip:
      return each([&](Vector x) { return clipped(x, alpha, beta); });
    case ActivationKind::LeakyRelu:
      return each([&](Vector x) { return x < 0 ? x * alpha : x; });
    case ActivationKind::Elu:
      return each([&](Vector x) { return x < 0 ? exp_minus_1(x) * alpha : x * beta; });
    case ActivationKind::HardSigmoid:
      return each([&](Vector x) { return hard_sigmoid(x, of); });
    case ActivationKind::HardSwish:
      return each([&](Vector x) { return hard_swish(x, of); });
    case ActivationKind::Sigmoid:
      return each([](Vector x) { return sigmoid(x); });
    case ActivationKind::Swish: {
      // Sigmoid never quite becomes 0.
      const float least = alpha > 0 ? -kMaxExponent / alpha : -__builtin_inff();
      return each([&](Vector x) { return at_least(x, least) * sigmoid(x * alpha); });
    }
    case ActivationKind::Gelu:
      return each(Gelu());
    case ActivationKind::GeluTanh:
      // x / 2 * (1 + tanh(y)) is x * sigmoid(2 * y); of -10, 0.
      return each([](Vector x) {
        return at_least(x, -10) * sigmoid(multiply_add(x * x * x, 0.0713548163F, x * 1.59576912F));
      });
    case ActivationKind::Mish:
      return each([](Vector x) {
        const Vector power = bounded_exp(at_most(x, 20));
        const Vector term = power * (power + 2);
        return at_least(x, -kMaxExponent) * (term / (term + 2));
      });
    case ActivationKind::Tanh:
      return each([](Vector x) { return tanh(x); });
    case ActivationKind::Softplus:
      return each([&](Vector x) { return x * alpha > beta ? x : softplus(x * alpha) / alpha; });
    case ActivationKind::Softsign:
      return each([](Vector x) { return x / (1 + magnitude(x)); });
    case ActivationKind::Erf:
      return each([](Vector x) { return erf(x); });
    case ActivationKind::Exp:
      return each([](Vector x) { return exp(x); });
    case ActivationKind::Log:
      return each([](Vector x) { return log(x); });
    case ActivationKind::Sqrt:
      return each([](Vector x) { return square_root(x); });
    case ActivationKind::Abs:
      return each([](Vector x) { return magnitude(x); });
    case ActivationKind::Reciprocal:
      return each([](Vector x) { return 1 / x; });
    case ActivationKind::ThresholdedRelu:
      return each([&](Vector x) { return x > alpha ? x : Vector{}; });
    case ActivationKind::Round: {
      // Added to a number below 2^22 it leaves the number in the lowest bits, rounded to even.
      const Vector rounder = all(0x1.8p23F);
      return each([&](Vector x) {
        // What is no number becomes the least, as where it is rounded to integers.
        const Vector above = larger(x / all(alpha), all(-beta));
        const Vector steps = at_most(above, 255 - beta);
        return ((steps + rounder) - rounder) * alpha;
      });
    }
    case ActivationKind::Scalar:
      return;  // one value after the other: ops/elementwise.cc
  }
}

/// Not used by the kernels of bf16.
[[maybe_unused]] void combine(const CombineTask& task) {
  constexpr std::int64_t kCached = 2048;  // what is activated after it has been stored
  const bool relu = task.activation.kind == ActivationKind::Relu;
  const bool is_other = task.activation.kind != ActivationKind::None && !relu;
  if (task.count > kCached && is_other) {
    CombineTask part = task;
    for (std::int64_t i = 0; i < task.count; i += kCached) {
      part.count = task.count - i < kCached ? task.count - i : kCached;
      combine(part);
      part.a += task.a_step / kLanes * part.count;
      part.b += task.b_step / kLanes * part.count;
      part.c += task.b_step / kLanes * part.count;
      part.output += part.count;
    }
    return;
  }
  const auto each = [&task, relu, is_other](const auto& function) {
    const float* a = task.a;
    const float* b = task.b;
    for (std::int64_t i = 0; i < task.count; i += kLanes, a += task.a_step, b += task.b_step) {
      store(task.output + i, rectified(function(load(a), load(b)), relu));
    }
    if (is_other) {
      activate(task.activation, task.output, task.output, task.count);
    }
  };
  switch (task.kind) {
    case Combination::Add:
      return each([](Vector a, Vector b) { return a + b; });
    case Combination::Subtract:
      return each([](Vector a, Vector b) { return a - b; });
    case Combination::Multiply:
      return each([](Vector a, Vector b) { return a * b; });
    case Combination::Divide:
      return each([](Vector a, Vector b) { return a / b; });
    case Combination::Maximum:
      return each([](Vector a, Vector b) { return larger(a, b); });
    case Combination::Minimum:
      return each([](Vector a, Vector b) { return smaller(a, b); });
    case Combination::PRelu:
      return each([](Vector a, Vector b) { return a < 0 ? a * b : a; });
    case Combination::Scale: {
      const float* c = task.c;
      return each([&](Vector a, Vector b) {
        const Vector bias = load(c);
        c += task.b_step;
        return multiply_add(a, b, bias);
      });
    }
  }
}
