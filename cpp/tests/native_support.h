/// What the tests of the native engine's programs share.
#pragma once

#include <cmath>
#include <functional>
#include <random>

#include "engines/native/compile/program_builder.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/ops/int8/integers.h"
#include "engines/native/ops/verify_network.h"
#include "engines/native/passes/passes.h"
#include "engines/native/runtime/thread_pool.h"
#include "support.h"

namespace lenet::tests {

/// The kernels of each instruction set of this processor, once.
/// \param named native::kernels_named, or that of int8
template <class Kernels>
std::vector<const Kernels*> available_kernels(const Kernels& (*named)(const char*)) {
  std::vector<const Kernels*> found;
  for (const std::string& set : native::available_sets()) {
    const Kernels* kernels = &named(set.c_str());
    if (std::find(found.begin(), found.end(), kernels) == found.end()) found.push_back(kernels);
  }
  return found;
}

/// The same numbers each time, of every C++ library: only an engine's own numbers are laid down by
/// the standard, not what a distribution makes of them.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::int64_t from(std::int64_t least, std::int64_t most) {
    const auto count = static_cast<std::uint64_t>(most - least + 1);
    return least + static_cast<std::int64_t>((engine_() * count) >> 32);
  }
  bool coin() { return from(0, 1) == 0; }
  /// A power of 2.
  float power(std::int64_t least, std::int64_t most) {
    return std::ldexp(1.0F, static_cast<int>(from(least, most)));
  }
  /// Of a normal distribution, by the polar method of Marsaglia and Bray (1964).
  std::vector<float> values(std::int64_t count) {
    std::vector<float> found(static_cast<std::size_t>(count));
    for (float& value : found) {
      double square = 0;
      double x = 0;
      while (square == 0 || square > 1) {
        const double y = uniform();
        x = uniform();
        square = x * x + y * y;
      }
      value = static_cast<float>(x * std::sqrt(-2 * std::log(square) / square));
    }
    return found;
  }

 private:
  /// From -1 to 1.
  double uniform() { return static_cast<double>(engine_()) / (1ULL << 31) - 1; }

  std::mt19937 engine_;
};

inline native::Activation relu_or_none(Random& random) {
  return {random.coin() ? native::ActivationKind::Relu : native::ActivationKind::None};
}

/// How many windows fit along a direction (0: rows, 1: columns) of an image of that size.
inline std::int64_t count_windows(std::int64_t size, const Window& window, std::size_t i) {
  const std::int64_t padded = size + window.padding[2 * i] + window.padding[2 * i + 1];
  return (padded - window.dilations[i] * (window.kernel[i] - 1) - 1) / window.strides[i] + 1;
}

inline native::Layer layer_of(native::LayerKind kind) {
  native::Layer layer;
  layer.set_kind(kind);
  return layer;
}

inline native::Layer convolution_of(std::int64_t height, std::int64_t width) {
  native::Layer layer = layer_of(native::LayerKind::Convolution);
  layer.convolution().window.kernel = {height, width};
  return layer;
}

/// A pool of the largest of windows side by side, of so many rows and columns.
inline native::Layer pool_of(std::int64_t height, std::int64_t width) {
  native::Layer layer = layer_of(native::LayerKind::Pool);
  Window& window = layer.get<native::PoolParams>().window;
  window.kernel = window.strides = {height, width};
  return layer;
}

/// Adds a layer to what the last one gave.
inline void add_layer(native::Network& network, native::Layer layer,
                      const native::TensorShape& shape) {
  if (layer.inputs.empty()) layer.inputs = {network.tensors.size() - 1};
  layer.output = network.tensors.size();
  network.outputs = {layer.output};
  network.tensors.push_back(shape);
  network.layers.push_back(std::move(layer));
}

/// The pixel of a convolution or pool at [c, y, x], from the definition.
inline double windowed(const native::Layer& layer, const std::vector<double>& image,
                       const native::TensorShape& in, const native::TensorShape& out,
                       std::int64_t c, std::int64_t y, std::int64_t x) {
  const bool pool = layer.kind == native::LayerKind::Pool;
  const Window& window = pool ? layer.get<native::PoolParams>().window : layer.convolution().window;
  const std::int64_t inputs = pool ? 1 : in.channels() / layer.convolution().groups;
  const std::int64_t first = pool ? c : c / (out.channels() / layer.convolution().groups) * inputs;
  // Pointers and counts of its own: an unoptimized build under a sanitizer spends its time here.
  const std::int64_t taps = window.kernel[0] * window.kernel[1];
  const float* const weights =
      layer.weights.empty() ? nullptr : &layer.weights[0] + c * inputs * taps;
  const std::int8_t* const integers =
      layer.integers.empty() ? nullptr : &layer.integers[0] + c * inputs * taps;
  const std::int64_t top = y * window.strides[0] - window.padding[0];
  const std::int64_t left = x * window.strides[1] - window.padding[2];
  double largest = -std::numeric_limits<double>::infinity();
  double sum = 0;
  int inside = 0;
  int padded = 0;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::int64_t row = top + tap / window.kernel[1] * window.dilations[0];
    const std::int64_t column = left + tap % window.kernel[1] * window.dilations[1];
    padded += row < in.height() + window.padding[1] && column < in.width() + window.padding[3];
    if (row < 0 || column < 0 || row >= in.height() || column >= in.width()) continue;
    ++inside;
    const double* const pixel = image.data() + row * in.width() + column;
    for (std::int64_t from = 0; from < inputs; ++from) {
      const double value = pixel[(first + from) * in.height() * in.width()];
      const std::int64_t at = from * taps + tap;
      if (pool && value > largest) largest = value;
      sum += value * (weights != nullptr ? weights[at] : integers != nullptr ? integers[at] : 1);
    }
  }
  const auto channel = static_cast<std::size_t>(c);
  if (!pool)
    return sum * (layer.weight_scales.empty() ? 1 : layer.weight_scales[channel]) +
           layer.bias[channel];
  const native::PoolKind kind = layer.get<native::PoolParams>().kind;
  if (kind == native::PoolKind::Max) return largest;
  return sum / (kind == native::PoolKind::Average ? inside : padded);
}

inline double activated(double value, const native::Activation& activation) {
  const double alpha = activation.alpha;
  switch (activation.kind) {
    case native::ActivationKind::Relu:
      return std::max(value, 0.0);
    case native::ActivationKind::LeakyRelu:
      return value < 0 ? alpha * value : value;
    case native::ActivationKind::Clip:
      return std::clamp<double>(value, alpha, activation.beta);
    case native::ActivationKind::HardSwish:
      return value * std::clamp(alpha * value + activation.beta, 0.0, 1.0);
    case native::ActivationKind::Gelu:
      return value / 2 * (1 + std::erf(value / std::sqrt(2.0)));
    default:
      REQUIRE(activation.kind == native::ActivationKind::None);
      return value;
  }
}

/// Writes the values of a box from its loop `at` on.
inline void copy_box(const Box& box, std::size_t at, const double* from, double* to) {
  if (at == box.loops.size()) {
    *to = *from;
    return;
  }
  const auto& [count, step, to_step] = box.loops[at];
  for (std::int64_t i = 0; i < count; ++i) {
    copy_box(box, at + 1, from + i * step, to + i * to_step);
  }
}

/// What a layer gives that moves values, or goes along an axis.
/// \param results of as many values as it gives
inline void move_values(const native::Layer& layer, const native::TensorShape& to,
                        const std::vector<std::vector<double>>& tensors,
                        std::vector<double>& results) {
  using native::LayerKind;
  const std::vector<double>& values = tensors[layer.inputs[0]];
  if (layer.kind == LayerKind::View) results = values;
  if (layer.kind == LayerKind::Copy) {
    const auto& copy = layer.get<native::CopyParams>();
    results.assign(results.size(), copy.fill);
    for (const Box& box : copy.boxes) {
      copy_box(box, 0, &tensors[layer.inputs[box.input]][0] + box.from, &results[0] + box.to);
    }
  }
  if (layer.kind == LayerKind::Channels) {
    const auto& sources = layer.get<native::ChannelsParams>().sources;
    for (std::size_t c = 0; c < sources.size(); ++c) {
      const auto& [input, channel] = sources[c];
      std::copy_n(&tensors[layer.inputs[input]][0] + channel * to.pixels(), to.pixels(),
                  &results[0] + static_cast<std::int64_t>(c) * to.pixels());
    }
  }
  const bool softmax = layer.kind == LayerKind::Softmax;
  if (!softmax && layer.kind != LayerKind::Reduce) return;
  const native::Axis& axis =
      softmax ? layer.get<native::SoftmaxParams>().axis : layer.get<native::ReduceParams>().axis;
  const auto count = static_cast<std::size_t>(axis.count);
  const auto inner = static_cast<std::size_t>(axis.inner);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::size_t rows = softmax ? count * inner : inner;  // of results, as of an axis
    const double* const first = &values[i / rows * count * inner + i % inner];
    std::vector<double> row;
    for (std::size_t k = 0; k < count; ++k) row.push_back(first[k * inner]);
    double power = 0;
    double sum = 0;
    for (const double value : row) {
      power += std::exp(value);
      sum += value;
    }
    results[i] = softmax ? std::exp(values[i]) / power
                 : layer.get<native::ReduceParams>().kind == native::ReduceKind::Max
                     ? *std::max_element(row.begin(), row.end())
                     : sum / static_cast<double>(count);
    if (softmax && layer.get<native::SoftmaxParams>().logarithm) results[i] = std::log(results[i]);
  }
}

/// What a network gives for an image, from the definition of its layers.
inline std::vector<double> definition_of_one(const native::Network& network, const float* image) {
  using native::LayerKind;
  std::vector<std::vector<double>> tensors(network.tensors.size());
  tensors[network.input].assign(image, image + network.tensors[network.input].shape.values());
  for (const native::Layer& layer : network.layers) {
    const std::vector<double>& values = tensors[layer.inputs[0]];
    const native::TensorShape& in = network.tensors[layer.inputs[0]].shape;
    const native::TensorShape& out = network.tensors[layer.output].shape;
    native::QuantParams quant;
    if (layer.kind == LayerKind::Quantize) quant = layer.get<native::QuantizeParams>().quant;
    std::vector<double> results;
    if (layer.kind == LayerKind::Channels || native::needs_order(layer)) {
      results.resize(static_cast<std::size_t>(out.values()));
      move_values(layer, out, tensors, results);
      tensors[layer.output] = std::move(results);
      continue;
    }
    for (std::int64_t c = 0; c < out.channels(); ++c) {
      for (std::int64_t y = 0; y < out.height(); ++y) {
        for (std::int64_t x = 0; x < out.width(); ++x) {
          const std::size_t i = results.size();
          double found = 0;
          if (layer.kind == LayerKind::Convolution || layer.kind == LayerKind::Pool) {
            found = windowed(layer, values, in, out, c, y, x);
          } else if (layer.kind == LayerKind::Concat && i >= values.size()) {
            found = tensors[layer.inputs[1]][i - values.size()];
          } else {
            found = values[i];
          }
          if (layer.kind == LayerKind::Add) found += tensors[layer.inputs[1]][i];
          if (layer.kind == LayerKind::ChannelScale) {
            const auto channel = static_cast<std::size_t>(c);
            const auto& [scale, bias] = layer.get<native::ScaleParams>();
            found = found * scale[channel] + bias[channel];
          }
          if (layer.kind == LayerKind::Quantize) {
            const double step = quant.scale;
            found = std::clamp(std::nearbyint(found / step), -quant.zero_point * 1.0,
                               255.0 - quant.zero_point) *
                    step;
          }
          results.push_back(activated(found, layer.activation));
        }
      }
    }
    tensors[layer.output] = std::move(results);
  }
  return tensors[network.outputs[0]];
}

/// The same for all images.
inline std::vector<double> definition(const native::Network& network,
                                      const std::vector<float>& images) {
  std::vector<double> all;
  for (std::size_t at = 0; at < images.size();) {
    const std::vector<double> one = definition_of_one(network, &images[at]);
    all.insert(all.end(), one.begin(), one.end());
    at += static_cast<std::size_t>(network.tensors[network.input].shape.values());
  }
  return all;
}

/// A program of a network, with its weights packed. Its tensors share memory if they take more.
inline std::unique_ptr<native::Program> compiled(
    native::Network network, const native::Kernels& kernels, bool interleaved = false,
    std::int64_t min_shared_bytes = 0, const native::Bf16Kernels* bf16 = nullptr,
    const std::optional<native::IntegerOps>& integers = {}) {
  native::arrange_layers(network, kernels.lanes);
  native::verify_network(network);
  native::ProgramBuilder builder(network, kernels, interleaved, min_shared_bytes, bf16, integers);
  auto program = builder.make_program(network);
  builder.add_steps(network, *program);
  return program;
}
/// A program that computes in integers what it can.
inline std::unique_ptr<native::Program> compiled(native::Network network,
                                                 const native::int8::Kernels& kernels,
                                                 std::int64_t min_shared_bytes = 0) {
  native::verify_network(network);
  native::plan_integers(network);
  return compiled(std::move(network), native::choose_kernels(), false, min_shared_bytes, nullptr,
                  native::int8::integer_ops(kernels));
}

/// The kernels of this processor that multiply in bf16, or null.
inline const native::Bf16Kernels* bf16_kernels() try {
  return &native::choose_bf16_kernels();
} catch (const Error& error) {
  CHECK(error.code() == ErrorCode::Unsupported);
  return nullptr;
}

/// Returns the kernels that the processor has, and loops that stand in for tiles it may lack.
inline std::vector<const native::Bf16Kernels*> bf16_kernels_and_tiles() {
  std::vector<const native::Bf16Kernels*> found;
  if (bf16_kernels() != nullptr) found.push_back(bf16_kernels());
#if defined(__x86_64__)
  if (bf16_kernels() != nullptr) found.push_back(&native::kPlainTilesBf16);
  if (bf16_kernels() == &native::kAmxBf16) found.push_back(&native::kAvx512Bf16);
#endif
  return found;
}

/// Rounds to 8 significant bits, to the nearest, and to even in the middle.
inline void round_to_bf16(std::vector<float>& values) {
  for (float& value : values) {
    int exponent = 0;
    const double fraction = std::frexp(static_cast<double>(value), &exponent);
    value = static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8));
  }
}

/// The largest difference of values from those of the definition.
inline double largest_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::abs(found[i] - expected[i]));
  }
  return worst;
}

inline bool has_kernel(const native::Program& program, const std::string& kernel) {
  const std::vector<LayerProfile> layers = program.layers();
  return std::any_of(layers.begin(), layers.end(),
                     [&](const LayerProfile& layer) { return layer.kernel == kernel; });
}

/// What a program gives for images, so many at once.
inline std::vector<float> outputs(const native::Program& program, const std::vector<float>& images,
                                  std::int64_t at_once = 1) {
  const std::int64_t image = program.input_values();
  const std::int64_t count = static_cast<std::int64_t>(images.size()) / image;
  auto memory = program.memory(at_once);
  std::vector<float> found(static_cast<std::size_t>(count * program.output_values()));
  float* const output = found.data();
  for (std::int64_t n = 0; n < count; n += at_once) {
    program.run({images.data(), {}}, n, at_once, memory.data(), &output);
  }
  return found;
}

/// Returns what a program gives for images, all at once, when threads share each layer.
inline std::vector<float> outputs_of_threads(const native::Program& program,
                                             const std::vector<float>& images, std::int64_t count,
                                             std::size_t threads) {
  auto memory = program.memory(count);
  native::Aligned<char> scratch(static_cast<std::size_t>(program.scratch_bytes()) * threads);
  std::vector<float> found(static_cast<std::size_t>(count * program.output_values()));
  float* const output = found.data();
  native::ThreadPool pool(threads);
  native::Team::run(pool, threads, [&](native::Team& team) {
    const native::Crew crew{team, scratch.data()};
    const auto ignore = [](std::size_t) {};
    program.run({images.data(), {}}, 0, count, memory.data(), &output, ignore, &crew);
  });
  return found;
}

/// A program of a network as it is, without passes.
inline std::unique_ptr<native::Program> program_of(const native::Network& network,
                                                   const native::Kernels& kernels,
                                                   const native::Bf16Kernels* bf16 = nullptr) {
  native::verify_network(network);
  native::ProgramBuilder builder(network, kernels, false, 0, bf16);
  auto program = builder.make_program(network);
  builder.add_steps(network, *program);
  return program;
}

/// All that a program gives for images, so many at once, output by output.
inline std::vector<float> all_outputs(const native::Program& program,
                                      const std::vector<float>& images, std::int64_t at_once = 1) {
  const std::int64_t count = static_cast<std::int64_t>(images.size()) / program.input_values();
  std::vector<std::vector<float>> found;
  for (std::size_t o = 0; o < program.outputs(); ++o) {
    found.emplace_back(static_cast<std::size_t>(count * program.output_values(o)));
  }
  std::vector<float*> places;
  for (std::vector<float>& values : found) places.push_back(values.data());
  auto memory = program.memory(at_once);
  for (std::int64_t n = 0; n < count; n += at_once) {
    program.run({images.data(), {}}, n, at_once, memory.data(), places.data());
  }
  std::vector<float> all;
  for (const std::vector<float>& values : found) {
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

/// A copy that permutes or cuts, or repeats: from the place `begin` of its input on, `counts` from
/// the outermost to the innermost, and how far apart the values are there.
inline native::Layer copy_of(std::vector<std::int64_t> counts, std::vector<std::int64_t> steps,
                             std::int64_t begin = 0) {
  native::Layer layer = layer_of(native::LayerKind::Copy);
  Box box;
  box.from = begin;
  box.loops.resize(counts.size());
  std::int64_t to = 1;
  for (std::size_t i = counts.size(); i-- > 0;) {
    box.loops[i] = {counts[i], steps[i], to};
    to *= counts[i];
  }
  layer.get<native::CopyParams>().boxes = {box};
  return layer;
}

// ---- a layer against its definition

/// The values that a layer gives, computed in double from its definition.
struct Definition {
  std::vector<double> values;
  std::vector<double> sizes;  ///< of the terms of each value; an error is divided by its size
};

/// Computes what a layer gives for its inputs, each of one image.
using Define = std::function<Definition(const std::vector<std::vector<float>>&)>;

/// Draws no function, or one of those that the layers of transformers apply to their results.
inline native::Activation draw_activation(Random& random) {
  using native::ActivationKind;
  constexpr native::Activation kAll[] = {
      {}, {}, {ActivationKind::Relu}, {ActivationKind::Clip, -1, 2}, {ActivationKind::Gelu}};
  return kAll[random.from(0, 4)];
}

/// A tensor of so many values, of one of the shapes that lie in the order of the program.
inline native::TensorShape shape_of(std::int64_t values, Random& random) {
  return random.coin() ? native::TensorShape{values} : native::TensorShape{1, 1, values};
}

/// A network of one layer, whose inputs are parts of the image one after the other.
inline native::Network network_of(native::Layer layer, const std::vector<std::int64_t>& inputs,
                                  std::int64_t values, Random& random) {
  native::Network network;
  std::int64_t all = 0;
  for (const std::int64_t input : inputs) all += input;
  network.tensors = {native::TensorShape{1, 1, all}};
  std::int64_t first = 0;
  for (const std::int64_t input : inputs) {
    native::Layer copy = layer_of(native::LayerKind::Copy);
    copy.inputs = {0};
    Box box;
    box.from = first;
    box.add({input, 1, 1});
    copy.params = native::CopyParams{{box}};
    layer.inputs.push_back(network.tensors.size());
    add_layer(network, copy, shape_of(input, random));
    first += input;
  }
  layer.name = to_string(layer.kind);
  add_layer(network, layer, shape_of(values, random));
  return network;
}

constexpr std::int64_t kCheckedImages = 3;  // at once, in check_program

/// Compares what a program of one layer gives with the definition. The outputs must have the same
/// bits for any number of images at once, and of threads.
/// \param images kCheckedImages of them
/// \param inputs how many values each input of the layer has
/// \param error the largest that is allowed, divided by the size (Definition::sizes)
inline void check_program(const native::Program& program, const std::vector<float>& images,
                          const std::vector<std::int64_t>& inputs, const Define& define,
                          double error) {
  const std::int64_t image = program.input_values();
  const std::int64_t values = program.output_values();
  const std::vector<float> found = outputs(program, images);
  CHECK(outputs(program, images, kCheckedImages) == found);
  double worst = 0;
  for (std::int64_t n = 0; n < kCheckedImages; ++n) {
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
      CHECK(outputs_of_threads(program, own, 1, threads) == one);
    }
  }
  CHECK(worst <= error);
}

/// Compares a network of network_of() with the definition of its layer in every instruction set, as
/// check_program does.
inline void check_network(const native::Network& network, const std::vector<std::int64_t>& inputs,
                          Random& random, const Define& define, double error) {
  const std::vector<float> images =
      random.values(kCheckedImages * network.tensors[0].shape.values());
  for (const native::Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    check_program(*compiled(network, *kernels), images, inputs, define, error);
  }
}

/// Compares a layer with its definition in every instruction set.
/// \param values how many the layer gives
inline void check_layer(const native::Layer& layer, const std::vector<std::int64_t>& inputs,
                        std::int64_t values, Random& random, const Define& define, double error) {
  check_network(network_of(layer, inputs, values, random), inputs, random, define, error);
}

}  // namespace lenet::tests
