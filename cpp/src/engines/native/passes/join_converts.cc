#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"
#include "engines/native/runtime/views.h"

namespace lenet::native {
namespace {

constexpr std::size_t kMaxPieces = 64;  // of a box: each of them is copied by itself

/// A tensor as it lies in vectors with a border. Whether it gets one is not known yet; what can be
/// found there can be found without a border too, where rows follow one another.
View view_of_vectors(const TensorShape& shape, std::int64_t lanes) {
  constexpr std::int64_t kBorder = 1;
  const std::int64_t blocks = (shape.channels() + lanes - 1) / lanes;
  const std::int64_t row = lanes * (shape.width() + 2 * kBorder);
  View view;
  add_run(view.runs, {blocks, row * (shape.height() + 2 * kBorder)});
  add_run(view.runs, {lanes, 1});
  add_run(view.runs, {shape.height(), row});
  add_run(view.runs, {shape.width(), lanes});
  return view;
}

/// A box whose loops go either through a channel of one side or from channel to channel.
/// \param pixels of a channel of that side
Box by_channels(const Box& box, const BoxSide& side, std::int64_t pixels) {
  Box made = box;
  made.loops.clear();
  for (const Box::Loop& loop : box.loops) {
    const std::int64_t step = loop.*side.step;
    const std::int64_t inside = step > 0 && pixels % step == 0 ? pixels / step : 1;
    if (inside == 1 || loop.count % inside != 0) {
      made.loops.push_back(loop);
      continue;
    }
    made.loops.push_back({loop.count / inside, loop.from * inside, loop.to * inside});
    made.loops.push_back({inside, loop.from, loop.to});
  }
  return made;
}

/// Cuts a box into pieces whose channels lie in the same vectors of one side. Of several loops that
/// go from channel to channel only that of neighbours stays a loop.
/// \param pixels of a channel of that side
/// \returns the box itself where there would be more than kMaxPieces
std::vector<Box> cut_at_vectors(const Box& box, const BoxSide& side, std::int64_t pixels,
                                std::int64_t lanes) {
  const Box whole = by_channels(box, side, pixels);
  std::vector<Box> pieces = {whole};
  for (const bool neighbours : {false, true}) {  // the others say which channel these begin at
    for (std::size_t i = 0; i < whole.loops.size(); ++i) {
      const Box::Loop& loop = whole.loops[i];
      const std::int64_t step = loop.*side.step;
      const bool is_of_channels = step != 0 && step % pixels == 0;
      if (!is_of_channels || (step == pixels) != neighbours) continue;
      std::vector<Box> cut;
      for (const Box& piece : pieces) {
        for (std::int64_t done = 0; done < loop.count;) {
          Box part = piece;
          part.from += done * loop.from;
          part.to += done * loop.to;
          const std::int64_t channel = part.*side.first / pixels;
          const std::int64_t together = neighbours ? lanes - channel % lanes : 1;
          part.loops[i].count = std::min(together, loop.count - done);
          done += part.loops[i].count;
          cut.push_back(std::move(part));
          if (cut.size() > kMaxPieces) return {box};
        }
      }
      pieces = std::move(cut);
    }
  }
  return pieces;
}

/// Where a copy finds its inputs: those in vectors by a view.
class Reading {
 public:
  /// \param inputs of the copy
  Reading(const Network& network, const std::vector<std::size_t>& inputs, std::int64_t lanes)
      : views_(inputs.size()) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const NetworkTensor& tensor = network.tensors[inputs[i]];
      // The layout of the network's input is not chosen yet.
      if (tensor.layout == Layout::Vectors && inputs[i] != network.input) {
        views_[i] = view_of_vectors(tensor.shape, lanes);
      }
    }
  }

  /// Returns a box with the places at which it reads; nothing where these have no regular steps.
  std::optional<Box> find(const Box& box) const {
    const auto& view = views_[box.input];
    return view ? found_through(*view, box, kFromSide) : box;
  }

 private:
  std::vector<std::optional<View>> views_;
};

/// A box, in pieces where `fits` says no to the whole.
/// \param shape of the tensor in vectors on that side
/// \returns nothing where a piece does not fit either
template <class Fits>
std::optional<Boxes> fitting_boxes(const Box& box, const BoxSide& side, const TensorShape& shape,
                                   std::int64_t lanes, const Fits& fits) {
  if (fits(box)) return Boxes{box};
  Boxes pieces = cut_at_vectors(box, side, shape.pixels(), lanes);
  if (!std::all_of(pieces.begin(), pieces.end(), fits)) return std::nullopt;
  return pieces;
}

/// Has copies read tensors in vectors that a Convert puts in order for them.
void read_vectors(Network& network, std::int64_t lanes) {
  const Links links(network);
  for (Layer& copy : network.layers) {
    if (copy.kind != LayerKind::Copy) continue;
    std::vector<std::size_t> inputs = copy.inputs;
    for (std::size_t& input : inputs) {
      const std::size_t producer = links.producers[input];
      if (producer == kNone || network.layers[producer].kind != LayerKind::Convert) continue;
      require_only(network.layers[producer], 0);
      const std::size_t from = network.layers[producer].inputs[0];
      if (network.tensors[from].layout == Layout::Vectors && from != network.input) input = from;
    }
    const Reading reading(network, inputs, lanes);
    const auto fits = [&](const Box& box) { return reading.find(box).has_value(); };
    Boxes& boxes = copy.get<CopyParams>().boxes;
    std::vector<std::optional<Boxes>> fitting;
    for (const Box& box : boxes) {
      const TensorShape& shape = network.tensors[inputs[box.input]].shape;
      fitting.push_back(fitting_boxes(box, kFromSide, shape, lanes, fits));
      if (!fitting.back()) inputs[box.input] = copy.inputs[box.input];
    }
    Boxes read;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      const bool whole = inputs[boxes[i].input] == copy.inputs[boxes[i].input];
      if (whole) fitting[i] = Boxes{boxes[i]};
      read.insert(read.end(), fitting[i]->begin(), fitting[i]->end());
    }
    boxes = std::move(read);
    copy.inputs = std::move(inputs);
  }
}

/// Has copies write tensors in vectors where a Convert alone reads what they give.
void write_vectors(Network& network, std::int64_t lanes) {
  const Links links(network);
  std::vector<bool> joined(network.layers.size());
  for (Layer& copy : network.layers) {
    const std::size_t reader = links.readers[copy.output];
    if (copy.kind != LayerKind::Copy || links.uses[copy.output] != 1 || reader == kNone ||
        network.layers[reader].kind != LayerKind::Convert) {
      continue;
    }
    const NetworkTensor& given = network.tensors[network.layers[reader].output];
    if (given.layout != Layout::Vectors) continue;
    const View vectors = view_of_vectors(given.shape, lanes);
    const Reading reading(network, copy.inputs, lanes);
    const auto fits = [&](const Box& box) {
      const std::optional<Box> read = reading.find(box);
      return read && found_through(vectors, *read, kToSide);
    };
    Boxes written;
    std::int64_t values = 0;
    for (const Box& box : copy.get<CopyParams>().boxes) {
      const auto fitting = fitting_boxes(box, kToSide, given.shape, lanes, fits);
      if (!fitting) break;
      written.insert(written.end(), fitting->begin(), fitting->end());
      values += box.values();
    }
    if (values != given.shape.values()) continue;  // what no box writes would have to be filled
    copy.get<CopyParams>().boxes = std::move(written);
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
