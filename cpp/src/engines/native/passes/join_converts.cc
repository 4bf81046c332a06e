#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engines/native/passes/passes.h"
#include "engines/native/runtime/views.h"

namespace lenet::native {
namespace {

/// A tensor as it lies in vectors with a border. Whether it gets one is not known yet; what can be
/// found there can be found without a border too, where rows follow one another.
std::optional<View> view_of_vectors(const TensorShape& shape, std::int64_t lanes) {
  if (shape.channels() % lanes != 0) return std::nullopt;
  constexpr std::int64_t kBorder = 1;
  const std::int64_t row = lanes * (shape.width() + 2 * kBorder);
  View view;
  add_run(view.runs, {shape.channels() / lanes, row * (shape.height() + 2 * kBorder)});
  add_run(view.runs, {lanes, 1});
  add_run(view.runs, {shape.height(), row});
  add_run(view.runs, {shape.width(), lanes});
  return view;
}

/// What a copy could read instead of each of its inputs: the tensor in vectors that a Convert puts
/// in order for it; kNone where there is none, or the copy cannot find its boxes there.
std::vector<std::size_t> sources_in_vectors(const Network& network, const Links& links,
                                            const Layer& copy, std::int64_t lanes) {
  std::vector<std::size_t> sources(copy.inputs.size(), kNone);
  std::vector<std::optional<View>> views(copy.inputs.size());
  for (std::size_t i = 0; i < copy.inputs.size(); ++i) {
    const std::size_t producer = links.producers[copy.inputs[i]];
    if (producer == kNone || network.layers[producer].kind != LayerKind::Convert) continue;
    const std::size_t from = network.layers[producer].inputs[0];
    // The input's layout is not chosen yet.
    if (network.tensors[from].layout != Layout::Vectors || from == network.input) continue;
    views[i] = view_of_vectors(network.tensors[from].shape, lanes);
    if (views[i]) sources[i] = from;
  }
  for (const Box& box : copy.get<CopyParams>().boxes) {
    const auto& view = views[box.input];
    if (view && !found_through(*view, box, kFromSide)) sources[box.input] = kNone;
  }
  return sources;
}

/// Whether every value of a tensor in vectors can be written by a copy, as it reads its inputs.
bool can_write(const Network& network, const Layer& copy, const View& vectors, std::int64_t values,
               std::int64_t lanes) {
  for (const Box& box : copy.get<CopyParams>().boxes) {
    const std::size_t input = copy.inputs[box.input];
    std::optional<Box> read = box;
    if (network.tensors[input].layout == Layout::Vectors && input != network.input) {
      const auto view = view_of_vectors(network.tensors[input].shape, lanes);
      if (view) read = found_through(*view, box, kFromSide);
    }
    if (!read || !found_through(vectors, *read, kToSide)) return false;
    values -= box.values();
  }
  return values == 0;
}

/// Has copies read tensors in vectors that a Convert puts in order for them.
void read_vectors(Network& network, std::int64_t lanes) {
  const Links links(network);
  for (Layer& copy : network.layers) {
    if (copy.kind != LayerKind::Copy) continue;
    const std::vector<std::size_t> sources = sources_in_vectors(network, links, copy, lanes);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (sources[i] != kNone) copy.inputs[i] = sources[i];
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
    const auto vectors = view_of_vectors(given.shape, lanes);
    const std::int64_t values = given.shape.values();
    if (!vectors || !can_write(network, copy, *vectors, values, lanes)) continue;
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
