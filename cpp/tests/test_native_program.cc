// How the native engine's programs run: the steps that they take, and the memory of their tensors.

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "engines/native/runtime/memory_plan.h"
#include "engines/native/runtime/verify_plan.h"
#include "engines/run_control.h"
#include "native_support.h"
#include "notation.h"

namespace lenet::tests {
namespace {

using namespace native;

TEST_CASE("programs share large arrays that are equal, for as long as one has them") {
  constexpr std::int64_t kLarge = 1 << 15;
  const auto shared = std::make_shared<SharedArrays>();
  const auto fill = [](WeightArena& arena, std::int64_t count, float value) {
    auto* const numbers = arena.take<float>(count);
    std::fill_n(numbers, count, value);
    numbers[count - 1] = 1;
    return arena.share(numbers);
  };
  auto one = std::make_unique<WeightArena>(shared);
  WeightArena other(shared);
  const float* const of_one = fill(*one, kLarge, 2);
  CHECK(fill(other, kLarge, 2) == of_one);
  CHECK(fill(other, kLarge, 3) != of_one);
  CHECK(fill(other, kLarge + 16, 2) != of_one);
  CHECK(fill(*one, 8, 2) != fill(other, 8, 2));  // which lie side by side
  one.reset();
  CHECK(of_one[0] == 2);
  CHECK(of_one[kLarge - 1] == 1);
  WeightArena alone;
  CHECK(fill(alone, kLarge, 2) != of_one);
}

TEST_CASE("a concat of whole vectors costs nothing, within another too") {
  Random random(7);
  Network network;
  network.tensors = {
      TensorShape{3, 15, 16}};  // so large that only the last step takes all images at once
  const auto convolve = [&](std::size_t from, std::int64_t channels) {
    const TensorShape in = network.tensors[from].shape;
    Layer layer = convolution_of(3, 3);
    layer.inputs = {from};
    layer.convolution().window.padding = {1, 1, 1, 1};
    layer.weights = random.values(channels * in.channels() * 9);
    layer.bias = random.values(channels);
    add_layer(network, layer, {channels, in.height(), in.width()});
    return network.outputs[0];
  };
  const auto join = [&](std::vector<std::size_t> inputs) {
    Layer layer = layer_of(LayerKind::Concat);
    std::int64_t channels = 0;
    for (const std::size_t input : inputs) channels += network.tensors[input].shape.channels();
    layer.inputs = std::move(inputs);
    add_layer(network, layer, {channels, 15, 16});
    return network.outputs[0];
  };
  const std::size_t first = convolve(0, 32);
  const std::size_t second = convolve(first, 16);
  const std::size_t inner = join({first, second});
  convolve(join({inner, convolve(inner, 10)}), 5);
  const std::size_t odd = convolve(network.outputs[0], 10);
  convolve(join({odd, odd}), 5);       // which would share a vector with itself
  join({network.outputs[0], second});  // is copied, long after it was given
  const std::vector<float> images = random.values(3 * network.tensors[0].shape.values());
  const std::vector<double> expected = definition(network, images);
  const double largest = *std::max_element(expected.begin(), expected.end());
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const std::int64_t min_shared : {std::int64_t{0}, native::kMinSharedBytes}) {
      const auto program = compiled(network, *kernels, false, min_shared);
      std::int64_t in_place = 0;
      for (const LayerProfile& layer : program->layers()) in_place += layer.kernel == "in place";
      CHECK(in_place == 2);
      const std::vector<float> found = outputs(*program, images, 3);
      CHECK(largest_error(found, expected) <= 1e-5 * largest);
    }
  }
}

TEST_CASE("lifetimes that overlap lie apart, and others share memory") {
  Random random(5);
  std::vector<Lifetime> lifetimes;
  std::int64_t all = 0;
  for (int i = 0; i < 300; ++i) {
    const auto first = static_cast<std::size_t>(random.from(0, 200));
    const auto steps = static_cast<std::size_t>(random.from(0, 20));
    lifetimes.push_back({random.from(0, 5000), first, first + steps});
    all += round_up(lifetimes.back().bytes, kCacheLine);
  }
  CHECK(plan_memory(lifetimes, false).bytes == all);
  const MemoryPlan plan = plan_memory(lifetimes, true);
  CHECK(plan.bytes < all / 4);
  for (std::size_t a = 0; a < lifetimes.size(); ++a) {
    CHECK(plan.begins[a] % kCacheLine == 0);
    CHECK(plan.begins[a] + lifetimes[a].bytes <= plan.bytes);
    for (std::size_t b = 0; b < a; ++b) {
      const bool at_once =
          lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last;
      const bool apart = plan.begins[a] + lifetimes[a].bytes <= plan.begins[b] ||
                         plan.begins[b] + lifetimes[b].bytes <= plan.begins[a];
      if (at_once) CHECK(apart);
    }
  }
}

/// A plan made by hand, of blocks of 4 channels and images of 2 x 2 with a border.
struct HandMade {
  static constexpr std::int64_t kBlockBytes = 4 * 4 * 4 * 4;  ///< with the border
  static constexpr std::int64_t kFirstPixel = (4 + 1) * 4 * 4;

  std::vector<Placement> placements;
  std::vector<StepIo> steps;
  std::size_t first_batched = 6;
  std::vector<OutputSource> outputs = {{7}};
  std::vector<bool> clears = std::vector<bool>(8, true);
  std::int64_t shared_bytes = 1152;
  std::int64_t unit_bytes = 576;

  /// Where a tensor lies whose border begins at so many bytes.
  static Place at(Place::Memory memory, std::int64_t bytes) {
    return {memory, bytes + kFirstPixel};
  }
  void add_tensor(std::int64_t channels, Place place) {
    Placement& tensor = placements.emplace_back();
    tensor.shape = {channels, 2, 2};
    tensor.border = 1;
    tensor.lay_out(4);
    tensor.place = place;
  }
  HandMade() {
    add_tensor(4, at(Place::Shared, 0));                  // the image
    add_tensor(4, at(Place::Shared, 576));                // a part of tensor 3
    add_tensor(4, at(Place::Shared, 576 + kBlockBytes));  // another one
    add_tensor(8, at(Place::Shared, 576));
    add_tensor(8, at(Place::Shared, 0));  // in the image's memory
    add_tensor(8, at(Place::Shared, 0));  // over the one before
    add_tensor(8, at(Place::OfUnit, 0));
    add_tensor(8, at(Place::OfUnit, 0));  // over the one before
    for (const std::size_t part : {1U, 2U}) {
      placements[part].size -= std::exchange(placements[part].beyond, 0);
    }
    clears[5] = clears[7] = false;
    steps = {{{0}, 1},       {{1}, 2},   {{1, 2}, 3, kNone, {true, true}}, {{3}, 4}, {{4, 3}, 5, 0},
             {{1, 5, 2}, 6}, {{6}, 7, 0}};
  }
  void verify() const {
    verify_plan({steps, first_batched, 0, outputs, placements, clears, shared_bytes, unit_bytes},
                [](std::size_t step) { return std::string(1, static_cast<char>('a' + step)); });
  }
};

void refuses(void (*change)(HandMade&), const std::string& why) {
  HandMade plan;
  change(plan);
  CHECK_ERROR(BackendFailure, "the plan of the native engine contradicts itself: " + why,
              plan.verify());
}

TEST_CASE("a plan is right, or the verifier names the step that reads what is not there") {
  HandMade right;
  right.verify();
  right.clears[6] = false;  // nothing else lies there, in the next run neither
  right.verify();
  for (const std::size_t t : {6U, 7U}) right.placements[t].zero = 3;  // with which it begins
  right.verify();
  right.steps[2] = {{1, 1}, 3, kNone, {true, false}};  // the second one over a part that is done
  right.steps[5].inputs = {1, 5};
  right.verify();
  HandMade nested;  // tensor 3 is a part of another one, which takes a part of it once more
  nested.add_tensor(12, HandMade::at(Place::Shared, 576 - HandMade::kBlockBytes));
  nested.placements[3].size -= std::exchange(nested.placements[3].beyond, 0);
  nested.clears.push_back(true);
  nested.steps.resize(3);
  nested.steps.push_back({{1, 3}, 8, kNone, {false, true}});
  nested.first_batched = 4;
  nested.outputs.clear();
  nested.verify();
  // A part is overwritten before the whole is read.
  refuses(
      [](HandMade& plan) {
        plan.placements[7].place = HandMade::at(Place::Shared, 576);
        plan.steps.insert(plan.steps.begin() + 2, {{0}, 7});
      },
      "step 4 (d) reads what step 1 (a) gives, over which lies what step 3 (c) gives");
  // A sum lies over what is read once more.
  refuses([](HandMade& plan) { plan.steps[5].inputs[1] = 4; },
          "step 6 (f) reads what step 4 (d) gives, over which lies what step 5 (e) gives");
  // It may not: each of its elements depends on others too.
  refuses([](HandMade& plan) { plan.steps[4].in_place = kNone; },
          "step 5 (e) writes over what step 4 (d) gives while it reads that");
  // A copy is left out: from the memory of another kind, in another order, of a part of a vector.
  const std::string elsewhere = " gives, which lies elsewhere";
  refuses(
      [](HandMade& plan) {
        plan.placements[1].place = HandMade::at(Place::OfUnit, 576);
        plan.unit_bytes = 1152;
      },
      "step 3 (c) does not copy what step 1 (a)" + elsewhere);
  refuses([](HandMade& plan) { plan.steps[2].inputs = {2, 1}; },
          "step 3 (c) does not copy what step 2 (b)" + elsewhere);
  refuses([](HandMade& plan) { plan.placements[1].shape = {3, 2, 2}; },
          "step 3 (c) does not copy what step 1 (a)" + elsewhere);
  // The image's pixels lie where the border is, or what stands for another zero.
  refuses([](HandMade& plan) { plan.clears[4] = false; },
          "step 5 (e) reads what step 4 (d) gives, whose border is not clear");
  refuses([](HandMade& plan) { plan.placements[5].zero = 3; },
          "step 6 (f) reads what step 5 (e) gives, whose border is not clear");
  // Lifetimes end too early: within a run, and in one memory for all units.
  refuses([](HandMade& plan) { plan.steps[5].inputs[0] = 0; },
          "step 6 (f) reads what reading the images gives, over which lies what step 5 (e) gives");
  refuses([](HandMade& plan) { plan.first_batched = 5; },
          "step 6 (f) reads what step 1 (a) gives of all units, which one memory cannot hold");
  refuses([](HandMade& plan) { plan.outputs[0].tensor = 6; },
          "writing an output reads what step 6 (f) gives, over which lies what step 7 (g) gives");
  refuses([](HandMade& plan) { plan.steps[0].inputs[0] = 6; },
          "step 1 (a) reads what step 6 (f) gives, which is not there");
  refuses([](HandMade& plan) { plan.shared_bytes -= 64; }, "step 3 (c) writes outside the memory");
  // Channels of a concatenation are given by no part of it.
  refuses([](HandMade& plan) { plan.steps[2] = {{1}, 3, kNone, {true}}; },
          "step 3 (c) joins parts that are not all of what it gives");
}

/// One layer of each kind whose fit is not only that of its number of values.
Network one_of_each() {
  Network network;
  network.tensors = {TensorShape{3, 6, 6}};
  Layer convolution = convolution_of(3, 3);
  convolution.convolution().window.padding = {1, 1, 1, 1};
  convolution.weights.resize(std::size_t{4} * 3 * 9);
  convolution.bias.resize(4);
  add_layer(network, convolution, {4, 6, 6});
  Layer pool = pool_of(2, 2);
  add_layer(network, pool, {4, 3, 3});
  Layer concat = layer_of(LayerKind::Concat);
  concat.inputs = {2, 2};
  add_layer(network, concat, {8, 3, 3});
  Layer channels = layer_of(LayerKind::Channels);
  channels.params = ChannelsParams{{{0, 7}, {0, 0}}};
  add_layer(network, channels, {2, 3, 3});
  Layer copy = layer_of(LayerKind::Copy);  // padded with two channels behind
  copy.params = CopyParams{{{0, 0, 0, {{18, 1, 1}}}}};
  add_layer(network, copy, {4, 3, 3});
  Layer reduce = layer_of(LayerKind::Reduce);
  reduce.params = ReduceParams{{9, 1}};
  add_layer(network, reduce, {4});
  Layer sum = layer_of(LayerKind::Add);
  sum.inputs = {5, 6};  // of each pixel and its channel's number
  add_layer(network, sum, {4, 3, 3});
  add_layer(network, layer_of(LayerKind::View), {36});
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    network.layers[i].name = std::string(1, static_cast<char>('a' + i));
  }
  return network;
}

void refuses_network(void (*change)(Network&), const std::string& why) {
  Network network = one_of_each();
  change(network);
  CHECK_ERROR(BackendFailure, "the plan of the native engine contradicts itself: " + why,
              verify_network(network));
}

TEST_CASE("the layers of a network fit, or the verifier names the one that does not") {
  verify_network(one_of_each());
  // The padding of an issue: it was taken for the same values in another shape.
  refuses_network([](Network& network) { network.layers[4].set_kind(LayerKind::Identity); },
                  "the layer e gives another number of values than it takes");
  refuses_network([](Network& network) { network.layers[4].kind = LayerKind::Identity; },
                  "the layer e has the parameters of another kind");
  refuses_network([](Network& network) { network.tensors[5].quant.scale = 1; },
                  "the layer e gives integers that it has no kernel for");
  refuses_network(
      [](Network& network) {
        network.tensors[4].quant.scale = 1;
        network.tensors[4].layout = native::Layout::ChannelsLast;
      },
      "the layer e takes integers that it has no kernel for");
  refuses_network([](Network& network) { network.tensors[8].shape = {40}; },
                  "the layer h gives another number of values than it takes");
  refuses_network([](Network& network) { network.tensors[3].shape = {9, 3, 3}; },
                  "the layer c gives other channels than it takes");
  refuses_network(
      [](Network& network) { network.layers[3].get<ChannelsParams>().sources[0].channel = 8; },
      "the layer d reads a channel that there is not");
  refuses_network(
      [](Network& network) { network.layers[3].get<ChannelsParams>().sources.pop_back(); },
      "the layer d gives other channels than it takes");
  refuses_network([](Network& network) { network.layers[4].get<CopyParams>().boxes[0].from = 1; },
                  "the layer e reads values that there are not");
  refuses_network([](Network& network) { network.layers[4].get<CopyParams>().boxes[0].to = 19; },
                  "the layer e writes values that its output does not have");
  refuses_network([](Network& network) { network.layers[5].get<ReduceParams>().axis.count = 10; },
                  "the layer f has an axis that does not divide its values");
  refuses_network([](Network& network) { network.tensors[6].shape = {5}; },
                  "the layer f does not give one value for each axis");
  refuses_network([](Network& network) { network.layers[6].inputs[0] = 4; },
                  "the layer g combines tensors of other shapes");
  refuses_network([](Network& network) { network.layers[0].convolution().groups = 2; },
                  "the layer a reads more channels than there are");
  refuses_network([](Network& network) { network.tensors[1].shape = {4, 7, 6}; },
                  "the layer a has windows that end outside the padded image");
  refuses_network([](Network& network) { network.tensors[2].shape = {5, 3, 3}; },
                  "the layer b gives other channels than it takes");
  refuses_network([](Network& network) { network.layers[2].inputs[1] = 7; },
                  "the layer c takes a tensor that no layer before it gives");
  refuses_network(
      [](Network& network) {
        network.outputs = {9};
        network.tensors.push_back(TensorShape{1});
      },
      "an output is given by no layer");
}

TEST_CASE("a layer with a field that its kind does not compute is refused") {
  const auto of = [](const std::string& layer) { return "the layer " + layer + " has "; };
  const std::string lost = ", which nothing would compute";
  for (const std::size_t layer : {2U, 3U, 4U, 5U, 7U}) {
    Network network = one_of_each();
    network.layers[layer].activation.kind = ActivationKind::Relu;
    CHECK_ERROR(BackendFailure, "has a function that its kind does not compute",
                verify_network(network));
  }
  refuses_network(
      [](Network& network) { network.layers[1].activation.kind = ActivationKind::Sigmoid; },
      of("b") + "a function that its kind does not compute");
  refuses_network(
      [](Network& network) { network.layers[6].activation.kind = ActivationKind::Scalar; },
      of("g") + "a function that its kind does not compute");
  refuses_network([](Network& network) { network.layers[4].bias = {1}; },
                  of("e (copy)") + "a bias" + lost);
  refuses_network([](Network& network) { network.layers[6].weights = {1}; },
                  of("g (add)") + "weights" + lost);
  refuses_network([](Network& network) { network.layers[6].stored.data = "1234"; },
                  of("g (add)") + "weights" + lost);
  refuses_network([](Network& network) { network.layers[3].integers = {1}; },
                  of("d (channels)") + "weights that are integers" + lost);
  refuses_network([](Network& network) { network.layers[0].rests = {1}; },
                  of("a (convolution)") + "the rests of integers" + lost);
  refuses_network([](Network& network) { network.layers[7].weight_scales = {1}; },
                  of("h (view)") + "scales of weights" + lost);
}

TEST_CASE("a layer of another kind keeps its name and its tensors alone") {
  Layer layer = one_of_each().layers[0];
  layer.activation.kind = ActivationKind::Relu;
  layer.convolution().pool = true;
  CHECK(fields_of(layer) == (kActivation | kWeights | kBias | kStages));
  layer.set_kind(LayerKind::Activate);
  CHECK(fields_of(layer) == 0);
  CHECK(layer.name == "a");
  CHECK(layer.inputs == std::vector<std::size_t>{0});
  CHECK(layer.output == 1);
}

/// A convolution to 5 channels, a function of them, and their sum.
Network function_between_convolutions(ActivationKind kind) {
  Network network;
  network.tensors = {TensorShape{3, 2, 2}};
  Layer convolution = convolution_of(1, 1);
  for (const float weight : {0.0F, 0.25F, 0.5F, 0.75F, 1.0F}) {
    convolution.weights.insert(convolution.weights.end(), 3, weight);
  }
  convolution.bias.assign(5, 1);
  add_layer(network, convolution, {5, 2, 2});
  Layer function = layer_of(LayerKind::Activate);
  function.activation.kind = kind;
  function.activation.alpha = function.activation.beta = 1;
  add_layer(network, function, {5, 2, 2});
  Layer sum = convolution_of(1, 1);
  sum.weights.assign(5, 1);
  sum.bias = {0};
  add_layer(network, sum, {1, 2, 2});
  return network;
}

TEST_CASE("a convolution applies every function, behind whose last channel there is 0") {
  for (const native::FunctionFacts& row : native::kFunctions) {
    if (row.kind == ActivationKind::None) continue;
    CAPTURE(std::string(row.name));
    Network network = function_between_convolutions(row.kind);
    native::simplify(network);
    CHECK(network.layers.size() == (row.kind == ActivationKind::Scalar ? 3 : 2));
  }
  // The last vector of 5 channels is filled with 0, of which the logarithm is infinite.
  Network network = function_between_convolutions(ActivationKind::Log);
  native::simplify(network);
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> found = outputs(*compiled(network, *kernels), image);
    REQUIRE(found.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
      const auto pixel = static_cast<double>(image[i] + image[i + 4] + image[i + 8]);
      double expected = 0;
      for (int c = 0; c < 5; ++c) expected += std::log(1 + 0.25 * c * pixel);
      CHECK(found[i] == doctest::Approx(expected).epsilon(1e-5));
    }
  }
}

TEST_CASE("a function behind a sum leaves 0 behind the last channel, whatever it gives for 0") {
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  struct Case {
    ActivationKind kind;
    double (*function)(double x);
  };
  for (const Case& each :
       {Case{ActivationKind::Log, [](double x) { return std::log(x); }},
        Case{ActivationKind::Reciprocal, [](double x) { return 1 / x; }},
        Case{ActivationKind::Exp, [](double x) { return std::exp(x); }},
        Case{ActivationKind::Sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }}}) {
    CAPTURE(std::string(to_string(each.kind)));
    Network network = function_between_convolutions(each.kind);
    // What the first convolution gives is added to what another one gives of it.
    Layer same = convolution_of(1, 1);
    same.inputs = {1};
    same.bias.resize(5);
    same.weights.resize(25);
    for (std::size_t c = 0; c < 5; ++c) same.weights[c * 6] = 1;
    Layer sum = layer_of(LayerKind::Add);
    same.output = network.add_tensor({5, 2, 2});
    sum.output = network.add_tensor({5, 2, 2});
    sum.inputs = {same.output, 1};
    network.layers[1].inputs = {sum.output};
    network.layers.insert(network.layers.begin() + 1, {same, sum});
    native::simplify(network);
    REQUIRE(network.layers.size() == 4);
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      CHECK(program->layers().size() == 5);  // with the image and the output: the sum is fused
      const std::vector<float> found = outputs(*program, image);
      REQUIRE(found.size() == 4);
      for (std::size_t i = 0; i < 4; ++i) {
        const auto pixel = static_cast<double>(image[i] + image[i + 4] + image[i + 8]);
        double expected = 0;
        for (int c = 0; c < 5; ++c) expected += each.function(2 * (1 + 0.25 * c * pixel));
        CHECK(found[i] == doctest::Approx(expected).epsilon(1e-5));
      }
    }
  }
}

/// Writes 1 everywhere, behind the last channel too.
class WritesOnes final : public Op {
 public:
  explicit WritesOnes(const Placement& to) : to_(to) {}
  void run(const Frame& frame) const override {
    std::fill_n(frame.at<float>(to_, 0), to_.size - to_.beyond, 1.0F);
  }
  std::string kernel() const override { return "ones"; }

 private:
  Placement to_;
};

TEST_CASE("an operator that writes behind the last channel is found where runs forget") {
  const Kernels& kernels = choose_kernels();
  if (kernels.lanes == 1) return;  // there is nothing behind a channel
  REQUIRE(forgets_runs());         // as ctest has these tests
  for (const auto kind : {ActivationKind::Relu, ActivationKind::Exp}) {
    Layer function = layer_of(LayerKind::Activate);
    function.activation.kind = kind;
    function.name = "function";
    Network network;
    network.tensors = {TensorShape{3, 2, 2}};
    add_layer(network, function, {3, 2, 2});
    separate_layouts(network);
    network.tensors[0].layout = network.tensors[1].layout = Layout::Vectors;
    ProgramBuilder builder(network, kernels, false);
    const auto program = builder.make_program(network);
    program->add_step(network.layers[0], "function", 0,
                      std::make_unique<WritesOnes>(program->placement(1)));
    const std::vector<float> image(12, 1);
    if (kind == ActivationKind::Relu) {  // which keeps zeros
      CHECK_ERROR(BackendFailure, "(function) gives other numbers than 0 behind the last channel",
                  outputs(*program, image));
    } else {
      CHECK(outputs(*program, image) == image);
    }
  }
}

TEST_CASE("a run begins with NaN where that is asked for, but for borders that are kept clear") {
  Random random(11);
  Network network;
  network.tensors = {TensorShape{3, 9, 9}};
  Layer layer = convolution_of(3, 3);
  layer.convolution().window.padding = {1, 1, 1, 1};
  layer.weights = random.values(std::int64_t{5} * 3 * 9);
  layer.bias = random.values(5);
  add_layer(network, layer, {5, 9, 9});
  const std::vector<float> images = random.values(network.tensors[0].shape.values());
  const std::vector<double> expected = definition(network, images);
  REQUIRE(forgets_runs());  // as ctest has these tests
  for (const std::int64_t min_shared : {std::int64_t{0}, native::kMinSharedBytes}) {
    const auto program = compiled(network, native::choose_kernels(), false, min_shared);
    auto memory = program->memory(1);
    std::fill_n(memory.data(), memory.size(), char{0x7F});  // of an earlier run, huge numbers
    std::vector<float> found(expected.size());
    float* const output = found.data();
    program->run({images.data(), {}}, 0, 1, memory.data(), &output);
    CHECK(largest_error(found, expected) <= 1e-5);
  }
}

/// ResNet50_vd for images of 224 x 224, without weights.
Network resnet50_vd() {
  Network network;
  network.tensors = {TensorShape{3, 224, 224}};
  const auto add = [&](Layer layer, std::vector<std::size_t> inputs, std::int64_t channels,
                       std::int64_t stride) {
    const TensorShape in = network.tensors[inputs[0]].shape;
    layer.inputs = std::move(inputs);
    if (layer.kind != LayerKind::Add) {
      const bool is_pool = layer.kind == LayerKind::Pool;
      Window& window = is_pool ? layer.get<PoolParams>().window : layer.convolution().window;
      window.strides = {stride, stride};
      const std::int64_t pad = (window.kernel[0] - 1) / 2;
      window.padding = {pad, pad, pad, pad};
    }
    add_layer(network, layer, {channels, in.height() / stride, in.width() / stride});
    return network.outputs[0];
  };
  const auto convolve = [&](std::size_t from, std::int64_t channels, std::int64_t kernel,
                            std::int64_t stride) {
    return add(convolution_of(kernel, kernel), {from}, channels, stride);
  };
  const auto pool = [&](std::size_t from, std::int64_t kernel) {
    return add(pool_of(kernel, kernel), {from}, network.tensors[from].shape.channels(), 2);
  };
  std::size_t last = pool(convolve(convolve(convolve(0, 32, 3, 2), 32, 3, 1), 64, 3, 1), 3);
  const std::array<int, 4> blocks = {3, 4, 6, 3};
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    const std::int64_t width = std::int64_t{64} << stage;
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::int64_t stride = block == 0 && stage > 0 ? 2 : 1;
      const std::size_t first = convolve(last, width, 1, 1);
      const std::size_t sum = convolve(convolve(first, width, 3, stride), 4 * width, 1, 1);
      if (stride == 2) last = pool(last, 2);
      if (block == 0) last = convolve(last, 4 * width, 1, 1);
      last = add(layer_of(LayerKind::Add), {sum, last}, 4 * width, 1);
    }
  }
  return network;
}

TEST_CASE("activations of ResNet50_vd take less than 12 MB") {
  const Network network = resnet50_vd();
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    ProgramBuilder builder(network, *kernels, false);
    const std::int64_t tensor_bytes = builder.tensor_bytes();
    const std::unique_ptr<native::Program> program = builder.make_program(network);
    CHECK(program->tensor_bytes() == tensor_bytes);
    CHECK(program->tensor_bytes() > 50'000'000);
    CHECK(program->unit_bytes() < 12'000'000);
  }
}

TEST_CASE(
    "outputs, softmax among them, are what their layers give, cost no other step, and can be "
    "cancelled") {
  Network network;
  network.tensors = {TensorShape{3, 1, 1}};
  Layer doubled = layer_of(LayerKind::Convolution);
  doubled.weights = {2, 0, 0, 0, 2, 0, 0, 0, 2};
  doubled.bias = {0, 0, 0};
  add_layer(network, doubled, {3, 1, 1});
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.params = SoftmaxParams{{3, 1}};
  add_layer(network, softmax, {3, 1, 1});
  doubled.bias = {5, 5, 5};
  for (const std::size_t input : {1U, 3U}) {  // a chain, whose middle is an output too
    doubled.inputs = {input};
    add_layer(network, doubled, {3, 1, 1});
  }
  network.outputs = {2, 1, 4, 2};
  const float l = std::log(2.0F);
  const float m = std::log(5.0F);
  const std::array<float, 3> image = {0, l / 2, m / 2};
  const std::array<double, 12> expected = {.125, .25,        .625,       0,    l,   m,
                                           15,   15 + 4 * l, 15 + 4 * m, .125, .25, .625};
  const auto check = [&](const auto& program) {
    auto memory = program->memory(1);
    for (const auto& [wanted, steps] :
         {std::pair(1U, "014"), std::pair(2U, "015"),  //
          std::pair(4U, "01236"), std::pair(14U, "0123567"), std::pair(15U, "01234567")}) {
      std::array<float, 12> found{};
      std::array<float*, 4> places{};
      for (std::size_t i = 0; i < 4; ++i) {
        if ((wanted >> i & 1) != 0) places[i] = &found[3 * i];
      }
      std::string done;
      RunControl control;
      const auto run = [&] {
        program->run({image.data(), {}}, 0, 1, memory.data(), places.data(), [&](std::size_t step) {
          done += std::to_string(step);
          control.require_running();
        });
      };
      run();
      CAPTURE(done);
      CHECK(done == steps);
      for (std::size_t i = 0; i < 12; ++i) {
        CHECK(found[i] == doctest::Approx((wanted >> i / 3 & 1) == 0 ? 0 : expected[i]));
      }
      control.cancel();
      CHECK_ERROR(BackendFailure, "the run was cancelled", run());
      CHECK(done == steps + std::string("0"));
    }
  };
  check(compiled(network, native::choose_kernels()));
  check(compiled(network, native::int8::choose_kernels()));
  network.layers[2].inputs = {2};
  CHECK(compiled(network, native::int8::choose_kernels()) != nullptr);
}

TEST_CASE("the output may lie over the input") {
  const TemporaryFolder folder;
  const std::string graph =
      onnx_graph("Conv x w -> y", "w[4,1,1,1]=1,2,3,4", "x[-1,1,1,2] -> y[-1,4,1,2]");
  Predictor predictor(config_of("max_batch_size=1", write_onnx(folder, graph)));
  const std::vector<float> expected = {1,  2,  2,  4,  3,  6,  4,  8,  // 1, 2 times 1, 2, 3, 4
                                       10, 20, 20, 40, 30, 60, 40, 80};
  Tensor tensor{{1, 2, 10, 20}, {2, 1, 1, 2}};
  predictor.run(tensor.view(), tensor);
  CHECK(tensor.shape == Shape{2, 4, 1, 2});
  CHECK(tensor.data == expected);
}

}  // namespace
}  // namespace lenet::tests
