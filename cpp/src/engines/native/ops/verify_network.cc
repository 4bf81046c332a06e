#include "engines/native/ops/verify_network.h"

#include <cstddef>
#include <vector>

#include "engines/native/contradiction.h"
#include "engines/native/ops/families.h"

namespace lenet::native {
namespace {

/// Requires that a layer has no field that its operator does not compute.
void check_fields(const LayerCheck& of) {
  const Layer& layer = of.layer;
  const LayerFacts& facts = facts_of(layer.kind);
  require_only(layer, facts.computes | kActivation);
  of.require(applies(layer, layer.activation), "has a function that its kind does not compute");
  constexpr unsigned kOfWeights = kWeights | kWeightScales | kIntegers;
  of.require(has_weights(layer) || has_only(layer, ~kOfWeights),
             "multiplies tensors, and has weights");
  of.require(layer.integers.empty() || !layer.weight_scales.empty(), "has integers without scales");
  of.require(!is_integer_convolution(layer) || is_bound(layer.activation),
             "has a function that is not computed of integers");
}

/// Requires that only operators of integers write integers, and read them where they lie as
/// integers do.
void check_integers(const LayerCheck& of) {
  const Layer& layer = of.layer;
  const std::vector<NetworkTensor>& tensors = of.network.tensors;
  const bool rounds = layer.kind == LayerKind::Quantize;
  const bool takes = takes_integers(of.network, layer);
  of.require(!tensors[layer.output].quant || rounds || takes,
             "gives integers that it has no kernel for");
  of.require(!tensors[layer.output].quant || tensors[layer.output].layout == Layout::ChannelsLast,
             "gives integers in the layout of float32");
  if (rounds || takes || layer.kind == LayerKind::Convert) return;
  for (const std::size_t input : layer.inputs) {
    of.require(!tensors[input].quant || tensors[input].layout != Layout::ChannelsLast,
               "takes integers that it has no kernel for");
  }
}

}  // namespace

void verify_network(const Network& network) {
  std::vector<bool> given(network.tensors.size());  // by the image or a layer
  given[network.input] = true;
  for (const Layer& layer : network.layers) {
    const LayerCheck check(network, layer);
    for (const std::size_t input : layer.inputs) {
      check.require(given[input], "takes a tensor that no layer before it gives");
    }
    check.require(!layer.inputs.empty() || layer.kind == LayerKind::Constant, "takes nothing");
    check.require(layer.params.index() == facts_of(layer.kind).first_params().index(),
                  "has the parameters of another kind");
    check_fields(check);
    facts_of(layer.kind).family.check(check);
    check_integers(check);
    given[layer.output] = true;
  }
  for (const std::size_t output : network.outputs) {
    if (!given[output]) contradict("an output is given by no layer");
  }
}

}  // namespace lenet::native
