#include "engines/native/compile/program_builder.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engines/native/contradiction.h"
#include "engines/native/ops/families.h"

namespace lenet::native {
namespace {

/// Bytes of a convolution's integers from which on the images of a batch share them: others are in
/// the second-level cache anyway.
constexpr double kMinSharedWeights = 1 << 16;

std::size_t other_input(const Layer& sum, std::size_t input) {
  return sum.inputs[sum.inputs[0] == input ? 1 : 0];
}

/// The pool of 2 x 2 that alone reads what a layer gives, and could become part of it; kNone.
std::size_t pool_after(const Network& network, const Links& links, std::size_t layer) {
  const std::size_t given = network.layers[layer].output;
  const std::size_t reader = links.readers[given];
  const bool follows = reader != kNone && links.uses[given] == 1;
  return follows && is_none_or_relu(network.layers[layer].activation) &&
                 is_max_pool_2x2(network, network.layers[reader])
             ? reader
             : kNone;
}

/// The sum that alone reads what a convolution or product gives, and whose other input is there
/// before: it could become part of that layer; or kNone.
std::size_t sum_after(const Network& network, const Links& links, std::size_t layer) {
  const std::size_t given = network.layers[layer].output;
  const std::size_t reader = links.readers[given];
  if (reader == kNone || links.uses[given] != 1 ||
      network.layers[layer].activation.kind != ActivationKind::None ||
      network.layers[reader].kind != LayerKind::Add) {
    return kNone;
  }
  const std::size_t other = other_input(network.layers[reader], given);
  const std::size_t producer = links.producers[other];
  const NetworkTensor& added = network.tensors[other];
  // Products add values in the order of the program. A vector may be in both layouts.
  const bool same =
      lie_alike(added, network.tensors[given]) &&
      (network.layers[layer].kind != LayerKind::MatMul || added.layout == Layout::Order);
  return same && producer != kNone && producer < layer ? reader : kNone;
}

/// Makes the operator of a layer in float32 or bf16.
/// \param method of a convolution or product; null for others
std::unique_ptr<Op> make_float_op(const PlacedLayer& source, const MethodRow* method) {
  const auto make = method != nullptr ? method->make : facts_of(source.layer.kind).family.make;
  if (make == nullptr) contradict("the layer " + source.layer.name + " has no operator");
  return make(source);
}

/// Whether its kernels take an image's channels one after the other. Those of groups take vectors.
bool reads_planes(const Layer& layer) {
  return layer.kind == LayerKind::Convolution && layer.convolution().groups == 1;
}

}  // namespace

ProgramBuilder::ProgramBuilder(const Network& network, const Kernels& kernels, bool interleaved,
                               std::int64_t min_shared_bytes, const Bf16Kernels* bf16,
                               const std::optional<IntegerOps>& integers, bool fuses)
    : kernels_(kernels),
      bf16_(bf16),
      integer_ops_(integers),
      images_per_unit_(interleaved ? kernels.lanes : 1),
      min_shared_bytes_(min_shared_bytes),
      fuses_(fuses) {
  auto& placements = arrangement_.placements;
  placements.resize(network.tensors.size());
  arrangement_.parts.reserve(network.tensors.size());
  for (std::size_t t = 0; t < network.tensors.size(); ++t) {
    placements[t].shape = network.tensors[t].shape;
    placements[t].layout = network.tensors[t].layout;
    placements[t].quant = network.tensors[t].quant;
    arrangement_.parts.push_back({t, 0});
  }
  arrangement_.input = network.input;
  arrangement_.outputs = output_sources(network);
  const auto may_read = [&](const Layer& layer) {
    const auto& read = layer.inputs;
    return std::find(read.begin(), read.end(), network.input) == read.end() || reads_planes(layer);
  };
  Placement& input = placements[network.input];
  if (input.layout == Layout::Vectors && input.shape.pixels() > 1 &&
      std::all_of(network.layers.begin(), network.layers.end(), may_read)) {
    input.layout = Layout::Planes;
  }
  lower(network, interleaved);
  if (interleaved) {
    for (Placement& tensor : placements) tensor.layout = Layout::Images;
  }
  for (std::size_t s = 0; s < lowered_.size(); ++s) describe_step(network, s);
  if (!interleaved) join_in_place(network);
  lay_out(network.input);
  for (const StepIo& step : arrangement_.steps) lay_out(step.output);
  arrangement_.first_batched = interleaved ? 0 : first_batched(network);
}

std::int64_t ProgramBuilder::tensor_bytes() const {
  std::int64_t bytes = arrangement_.placements[arrangement_.input].bytes();
  for (const StepIo& step : arrangement_.steps) {
    bytes += arrangement_.placements[step.output].bytes();
  }
  return bytes;
}

std::unique_ptr<Program> ProgramBuilder::make_program(const Network& network) {
  const ProgramKernels kernels{kernels_, integer_ops_ ? integer_ops_->kernels : nullptr};
  const auto name_of = [&](std::size_t s) { return network.layers[lowered_[s].layer].name; };
  return std::make_unique<Program>(kernels, images_per_unit_, min_shared_bytes_,
                                   std::move(arrangement_), name_of);
}

bool ProgramBuilder::uses_winograd3x3() const {
  return std::any_of(lowered_.begin(), lowered_.end(), [](const Lowered& step) {
    return step.method != nullptr && step.method->make == make_winograd3x3;
  });
}

void ProgramBuilder::lower(const Network& network, bool interleaved) {
  const Links links(network);
  // By tensor: padded, an output, or not read by convolutions alone.
  std::vector<bool> no_planes(network.tensors.size());
  for (const OutputSource& output : arrangement_.outputs) no_planes[output.tensor] = true;
  for (const Layer& layer : network.layers) {
    if (reads_planes(layer) && !layer.convolution().window.pads()) continue;
    for (const std::size_t input : layer.inputs) no_planes[input] = true;
  }
  std::vector<bool> fused(network.layers.size());
  lowered_.reserve(network.layers.size());
  arrangement_.steps.reserve(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    if (fused[i] || is_written_softmax(network, links, layer)) continue;
    Lowered step{i};
    StepIo io{layer.inputs, layer.output};
    if (layer.kind == LayerKind::Convolution || layer.kind == LayerKind::MatMul) {
      choose_method(network, links, interleaved, no_planes, step);
      if (step.pool != kNone) {
        io.output = network.layers[step.pool].output;
        fused[step.pool] = true;
      }
      if (step.sum != kNone) {
        io.inputs.push_back(other_input(network.layers[step.sum], layer.output));
        io.output = network.layers[step.sum].output;
        fused[step.sum] = true;
      }
    }
    lowered_.push_back(step);
    arrangement_.steps.push_back(std::move(io));
  }
}

void ProgramBuilder::choose_method(const Network& network, const Links& links, bool interleaved,
                                   const std::vector<bool>& no_planes, Lowered& step) {
  auto& placements = arrangement_.placements;
  const Layer& layer = network.layers[step.layer];
  const int8::Kernels* const integers = integer_ops_ ? integer_ops_->kernels : nullptr;
  MethodCase of{network, layer, kernels_, bf16_, integers, false, false, false};
  if (!layer.integers.empty()) {  // passes have fused what these compute too
    step.method = &find_method(of);
    return;
  }
  if (layer.kind == LayerKind::MatMul) {
    step.method = &find_method(of);
    if (fuses_ && step.method->also == AlsoComputes::Sum) {
      step.sum = sum_after(network, links, step.layer);
    }
    return;
  }
  of.interleaved = interleaved;
  of.from_planes = placements[layer.inputs[0]].layout == Layout::Planes;
  if (!of.from_planes && !splits_vectors(network, layer, kernels_.lanes)) {
    step.tap_lanes = kernels_.lanes;
  }
  const std::size_t pool = fuses_ ? pool_after(network, links, step.layer) : kNone;
  const std::size_t given = pool == kNone ? layer.output : network.layers[pool].output;
  // Images side by side have no such layout, but add up in the same order.
  of.to_planes = placements[network.input].layout == Layout::Planes && !no_planes[given] &&
                 suits_planes(network, layer, kernels_);
  if (of.to_planes) placements[given].layout = Layout::Planes;
  step.method = &find_method(of);
  if (step.method->also == AlsoComputes::MaxPool2x2) step.pool = pool;
  if (fuses_ && step.method->also == AlsoComputes::Sum) {
    step.sum = sum_after(network, links, step.layer);
  }
}

std::size_t ProgramBuilder::first_batched(const Network& network) const {
  const std::vector<StepIo>& steps = arrangement_.steps;
  const auto reads_weights = [&](std::size_t s) {
    double values = static_cast<double>(network.tensors[steps[s].output].shape.values());
    for (const std::size_t input : steps[s].inputs) {
      values += static_cast<double>(network.tensors[input].shape.values());
    }
    const Layer& layer = network.layers[lowered_[s].layer];
    if (is_integer_convolution(layer)) {
      return is_whole_image(network.tensors[layer.inputs[0]].shape, layer,
                            network.tensors[layer.output].shape) ||
             bytes_of(layer) > std::max(values, kMinSharedWeights);
    }
    return !has_weights(layer) || bytes_of(layer) > values * sizeof(float);
  };
  std::size_t first = lowered_.size();
  while (first > 0 && reads_weights(first - 1)) --first;
  return first;
}

void ProgramBuilder::describe_step(const Network& network, std::size_t step) {
  const Layer& layer = network.layers[lowered_[step].layer];
  // A convolution may write over what it adds, but not one that keeps sums in the output meanwhile,
  // as products do too.
  const bool adds_last = layer.kind == LayerKind::Convolution &&
                         !is_whole_image(network.tensors[layer.inputs[0]].shape, layer,
                                         network.tensors[layer.output].shape);
  arrangement_.steps[step].in_place = facts_of(layer.kind).has(kInPlace) ? 0
                                      : adds_last                        ? 1
                                                                         : kNone;
  const auto& [first, pool, sum, method, tap_lanes] = lowered_[step];
  const std::size_t computed[] = {first, pool, sum};
  arrangement_.steps[step].keeps_zeros = std::all_of(
      std::begin(computed), std::end(computed),
      [&](std::size_t of) { return of == kNone || keeps_zeros(network, network.layers[of]); });
  if (layer.kind == LayerKind::Convolution && method->reads_border) {
    arrangement_.placements[layer.inputs[0]].pad(layer.convolution().window);
  }
}

void ProgramBuilder::lay_out(std::size_t tensor) {
  Placement& placement = arrangement_.placements[tensor];
  std::int64_t lanes = kernels_.lanes;
  if (integer_ops_ && placement.layout == Layout::ChannelsLast) {
    // Kernels of integers write whole vectors of their own.
    lanes = std::max<std::int64_t>(lanes, integer_ops_->kernels->lanes);
  }
  if (placement.quant) {
    placement.element_bytes = integer_ops_->kernels->bytes;
    placement.zero = integer_ops_->kernels->zero - shift_of(placement.quant);
  }
  placement.lay_out(lanes);
}

void ProgramBuilder::join_in_place(const Network& network) {
  auto& placements = arrangement_.placements;
  auto& parts = arrangement_.parts;
  auto& steps = arrangement_.steps;
  std::vector<bool> given(placements.size());
  for (const StepIo& io : steps) {
    const Layout layout = placements[io.output].layout;
    given[io.output] = layout == Layout::Vectors || layout == Layout::Order;
  }
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (network.layers[lowered_[s].layer].kind != LayerKind::Concat) continue;
    auto& [inputs, output, in_place, there, zeros] = steps[s];
    if (placements[output].layout == Layout::ChannelsLast) continue;
    const ChannelPart whole = parts[output];  // the joints of the joints lie in the last
    there.resize(inputs.size());
    std::int64_t first = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::size_t input = inputs[i];
      const Placement& tensor = placements[input];
      const std::int64_t channels = tensor.shape.channels();
      const bool ends = channels % kernels_.lanes == 0 || i + 1 == inputs.size();
      // Vectors without a border may be read in the order of the program.
      const bool may_widen =
          tensor.shape.pixels() > 1 || tensor.border == placements[output].border;
      if (given[input] && parts[input].whole == input && first % kernels_.lanes == 0 && ends &&
          may_widen) {
        parts[input] = {whole.whole, whole.channel + first};
        there[i] = true;
      }
      first += channels;
    }
  }
  for (std::size_t t = 0; t < parts.size(); ++t) {
    Placement& whole = placements[parts[t].whole];
    whole.border = std::max(whole.border, placements[t].border);
  }
  for (std::size_t t = 0; t < parts.size(); ++t) {
    placements[t].border = placements[parts[t].whole].border;
  }
}

void ProgramBuilder::add_steps(const Network& network, Program& program,
                               std::shared_ptr<SharedArrays> shared) const {
  WeightArena& arena = program.arena();
  arena = WeightArena(std::move(shared));
  LayerMemory memory(network.file_bytes);
  double weights = 0;
  for (const Lowered& step : lowered_) weights += bytes_of(network.layers[step.layer]);
  arena.reserve(static_cast<std::size_t>(std::min(weights, memory.most())));
  const auto fused = [&](std::size_t layer) {
    return layer == kNone ? nullptr : &network.layers[layer];
  };
  for (std::size_t s = 0; s < lowered_.size(); ++s) {
    const Lowered& step = lowered_[s];
    const StepIo& io = program.steps()[s];
    const Layer& layer = network.layers[step.layer];
    PlacedLayer source{kernels_,
                       integer_ops_ ? integer_ops_->kernels : nullptr,
                       bf16_,
                       layer,
                       fused(step.pool),
                       fused(step.sum),
                       step.method == nullptr ? Method::Channels : step.method->method,
                       step.method == nullptr ? "" : step.method->name,
                       step.tap_lanes,
                       network.tensors[layer.output].shape,
                       {},
                       io.there,
                       program.placement(io.output),
                       memory,
                       arena};
    for (const std::size_t input : io.inputs) source.inputs.push_back(program.placement(input));
    std::string name = layer.name;
    for (const Layer* with : {source.pool, source.sum}) {
      if (with != nullptr) name += ", " + with->name;
    }
    program.add_step(layer, std::move(name), multiply_adds(network, layer),
                     is_of_integers(network, layer) ? integer_ops_->make(source)
                                                    : make_float_op(source, step.method));
  }
}

bool ProgramBuilder::is_of_integers(const Network& network, const Layer& layer) const {
  const auto is_channels_last = [&](std::size_t tensor) {
    return network.tensors[tensor].layout == Layout::ChannelsLast;
  };
  return !layer.integers.empty() || takes_integers(network, layer) ||
         layer.kind == LayerKind::Quantize ||
         (layer.kind == LayerKind::Convert &&
          (is_channels_last(layer.inputs[0]) || is_channels_last(layer.output)));
}

}  // namespace lenet::native
