#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engines/native/passes/passes.h"
#include "engines/native/runtime/views.h"

namespace lenet::native {
namespace {

/// A tensor as it lies in vectors with a border, which is not known yet: what can be found there
/// can be found without one, where rows follow one another, too.
std::optional<View> view_of_vectors(const NetworkTensor& tensor, std::int64_t lanes) {
  if (tensor.shape.channels() % lanes != 0) return std::nullopt;
  Placement placement;
  placement.shape = tensor.shape;
  placement.layout = Layout::Vectors;
  placement.border = 1;
  placement.lay_out(lanes);
  return view_of(placement);
}

/// Whether every box of an input of a copy can be read where a tensor lies in vectors.
bool can_read(const Layer& copy, std::size_t input, const View& vectors) {
  for (const Box& box : copy.get<CopyParams>().boxes) {
    if (box.input == input && !found_through(vectors, box, kFromSide)) return false;
  }
  return true;
}

/// Whether every value of a tensor in vectors can be written by a copy.
bool can_write(const Layer& copy, const View& vectors, std::int64_t values) {
  for (const Box& box : copy.get<CopyParams>().boxes) {
    if (!found_through(vectors, box, kToSide)) return false;
    values -= box.values();
  }
  return values == 0;
}

/// Has copies read tensors in vectors that a Convert puts in order for them.
void read_vectors(Network& network, std::int64_t lanes) {
  const Links links(network);
  for (Layer& copy : network.layers) {
    if (copy.kind != LayerKind::Copy) continue;
    for (std::size_t i = 0; i < copy.inputs.size(); ++i) {
      const std::size_t producer = links.producers[copy.inputs[i]];
      if (producer == kNone || network.layers[producer].kind != LayerKind::Convert) continue;
      const std::size_t from = network.layers[producer].inputs[0];
      // The input's layout is not chosen yet.
      if (network.tensors[from].layout != Layout::Vectors || from == network.input) continue;
      const auto vectors = view_of_vectors(network.tensors[from], lanes);
      if (vectors && can_read(copy, i, *vectors)) copy.inputs[i] = from;
    }
  }
}

/// Has copies write tensors in vectors where a Convert alone reads what they give.
void write_vectors(Network& network, std::int64_t lanes) {
  const Links links(network);
  std::vector<bool> joined(network.layers.size());
  for (const Layer& copy : network.layers) {
    const std::size_t reader = links.readers[copy.output];
    if (copy.kind != LayerKind::Copy || links.uses[copy.output] != 1 || reader == kNone ||
        network.layers[reader].kind != LayerKind::Convert) {
      continue;
    }
    const NetworkTensor& given = network.tensors[network.layers[reader].output];
    if (given.layout != Layout::Vectors) continue;
    const auto vectors = view_of_vectors(given, lanes);
    if (!vectors || !can_write(copy, *vectors, given.shape.values())) continue;
    network.tensors[copy.output] = given;
    joined[reader] = true;
  }
  std::size_t at = 0;
  drop_copies(network, [&](const Layer&) { return joined[at++]; });
}

}  // namespace

void join_converts(Network& network, std::int64_t lanes) {
  read_vectors(network, lanes);
  write_vectors(network, lanes);
  drop_unused(network);
}

}  // namespace lenet::native
