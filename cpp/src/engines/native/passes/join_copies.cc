#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"
#include "engines/native/runtime/views.h"

namespace lenet::native {
namespace {

/// The values of one side of a box, in their order there, as runs of the other side.
/// \param side of all values, without gaps, from place 0 on
/// \returns nothing where it is another side, or the runs of the other side go backwards
std::optional<std::vector<Run>> runs_of(const Box& box, std::int64_t Box::Loop::*side,
                                        std::int64_t Box::Loop::*other) {
  std::vector<Box::Loop> loops = box.loops;
  const auto one = [](const Box::Loop& loop) { return loop.count == 1; };
  loops.erase(std::remove_if(loops.begin(), loops.end(), one), loops.end());
  std::sort(loops.begin(), loops.end(),
            [side](const Box::Loop& a, const Box::Loop& b) { return a.*side > b.*side; });
  std::vector<Run> runs;
  std::int64_t values = box.values();
  for (const Box::Loop& loop : loops) {
    values /= loop.count;
    if (loop.*side != values || loop.*other < 0) return std::nullopt;
    add_run(runs, {loop.count, loop.*other});
  }
  return runs;
}

/// The only box of a copy that gives so many values; null.
const Box* only_box(const Layer& layer, std::int64_t values) {
  if (layer.kind != LayerKind::Copy || !has_only(layer, 0)) return nullptr;
  const auto& [boxes, fill] = layer.get<CopyParams>();  // which fills nothing
  return boxes.size() == 1 && boxes[0].values() == values ? &boxes[0] : nullptr;
}

/// By tensor that a copy gives: where its values lie in what that copy takes, or in what the copies
/// before it take. Other tensors have no view.
std::vector<View> find_views(const Network& network) {
  std::vector<View> views(network.tensors.size());
  for (const Layer& layer : network.layers) {
    const Box* const box = only_box(layer, network.tensors[layer.output].shape.values());
    auto runs = box == nullptr ? std::nullopt : runs_of(*box, &Box::Loop::to, &Box::Loop::from);
    if (!runs) continue;
    View& view = views[layer.output];
    view = {layer.inputs[box->input], box->from, *std::move(runs)};
    const View& before = views[view.tensor];
    if (before.tensor == kNone) continue;
    if (auto whole = found_through(before, view)) view = *std::move(whole);
  }
  return views;
}

/// The most values that a box has side by side in both tensors.
std::int64_t values_together(const Box& box) {
  std::int64_t most = 1;
  for (const Box::Loop& loop : box.loops) {
    if (loop.from == 1 && loop.to == 1) most = std::max(most, loop.count);
  }
  return most;
}

/// A box of a tensor of which a view tells where its values lie, as a box of the view's tensor.
/// \returns nothing where there is none, or it would copy single values instead of many together
std::optional<Box> through(const View& before, const Box& box) {
  constexpr std::int64_t kTogether = 16;  // a cache line
  auto made = found_through(before, box, kFromSide);
  const std::int64_t together = std::min(values_together(box), kTogether);
  const bool pays = made && together > 1 && values_together(*made) >= together;
  return pays ? std::move(made) : std::nullopt;
}

bool is_product(const Layer& layer) {
  return layer.kind == LayerKind::MatMul && layer.integers.empty();
}

/// Whether a layer multiplies each value by the same number, and does nothing else.
bool is_factor(const Layer& layer) {
  if (layer.kind != LayerKind::ChannelScale || !has_only(layer, 0) || !is_alike(layer)) {
    return false;
  }
  const auto& [scale, bias] = layer.get<ScaleParams>();
  return bias.empty() || bias[0] == 0;
}

/// Adds layers that compute what a factor behind a view gives. The factor multiplies the values
/// that the view takes, in the order in which they lie there. A copy then moves the results to
/// where the layer has them, unless they are there already.
void scale_before_copy(Network& network, const Layer& layer, const View& view) {
  std::vector<std::size_t> order(view.runs.size());  // the outermost runs first, as they lie there
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&view](std::size_t a, std::size_t b) {
    return view.runs[a].step > view.runs[b].step;
  });
  const bool is_in_place = std::is_sorted(order.begin(), order.end());
  const TensorShape shape = network.tensors[layer.output].shape;
  std::size_t scaled = layer.output;
  if (!is_in_place) {
    scaled = network.add_tensor(shape);
    network.tensors[scaled] = network.tensors[layer.output];
  }
  Layer& scale = network.add_layer(LayerKind::Broadcast, layer.name, {view.tensor}, scaled);
  auto& params = scale.get<BroadcastParams>();
  params.kind = BroadcastKind::Multiply;
  params.operands = {{0, {}, view.begin}, {kNone, {layer.get<ScaleParams>().scale[0]}}};
  Box box;
  for (const Run& run : view.runs) box.loops.push_back({run.count});
  std::int64_t values = shape.values();
  for (const std::size_t run : order) {
    const auto& [count, step] = view.runs[run];
    params.loops.push_back({count, {step, 0, 0}});
    box.loops[run].from = values /= count;
  }
  if (is_in_place) return;
  values = shape.values();
  for (Box::Loop& loop : box.loops) loop.to = values /= loop.count;
  network.add_layer(LayerKind::Copy, layer.name + ", moved", {scaled}, layer.output).params =
      CopyParams{{box}};
}

/// Where a product reads what copies give times a number, such as scaled queries, has the values
/// multiplied before they are copied: then the product can read what the last copy takes.
void scale_before_copies(Network& network) {
  const Links links(network);
  const std::vector<View> views = find_views(network);
  auto layers = std::exchange(network.layers, {});
  for (Layer& layer : layers) {
    const View* const view = is_factor(layer) ? &views[layer.inputs[0]] : nullptr;
    const std::size_t reader = links.readers[layer.output];
    const bool feeds_product =
        links.uses[layer.output] == 1 && reader != kNone && is_product(layers[reader]);
    const auto goes_on = [](const Run& run) { return run.step > 0; };
    if (view != nullptr && view->tensor != kNone && links.uses[layer.inputs[0]] == 1 &&
        feeds_product && std::all_of(view->runs.begin(), view->runs.end(), goes_on)) {
      scale_before_copy(network, layer, *view);
    } else {
      network.layers.push_back(std::move(layer));
    }
  }
  drop_unused(network);
}

/// Has products and copies read what copies take.
class Reading {
 public:
  explicit Reading(Network& network)
      : network_(network), views_(find_views(network)), needed_(network.tensors.size()) {}

  void join() {
    find_needed();
    for (Layer& layer : network_.layers) {
      if (is_product(layer)) read_in_place(layer);
      if (layer.kind == LayerKind::Copy) copy_in_place(layer);
    }
  }

 private:
  /// Finds the tensors that a layer or an output needs which cannot read a view of another one.
  void find_needed() {
    for (const std::size_t output : network_.outputs) needed_[output] = true;
    for (auto layer = network_.layers.rbegin(); layer != network_.layers.rend(); ++layer) {
      if (views_[layer->output].tensor != kNone && !needed_[layer->output]) continue;
      const std::vector<bool> reads_views = can_read_views(*layer);
      for (std::size_t i = 0; i < layer->inputs.size(); ++i) {
        if (!reads_views[i]) needed_[layer->inputs[i]] = true;
      }
    }
  }

  /// By input of a layer: whether it can be read where the copies took it that give it.
  std::vector<bool> can_read_views(const Layer& layer) const {
    std::vector<bool> can(layer.inputs.size());
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      const bool is_view = views_[layer.inputs[i]].tensor != kNone;
      can[i] = is_view && (layer.kind == LayerKind::Copy ||
                           (is_product(layer) && product_through_view(layer, i)));
    }
    if (layer.kind != LayerKind::Copy) return can;
    for (const Box& box : layer.get<CopyParams>().boxes) {
      can[box.input] = can[box.input] && through(views_[layer.inputs[box.input]], box);
    }
    return can;
  }

  /// The product of a layer that reads an operand where copies took it; nothing where it cannot, or
  /// would take longer than with the copies.
  std::optional<Product> product_through_view(const Layer& layer, std::size_t operand) const {
    const View& view = views_[layer.inputs[operand]];
    if (view.tensor == kNone) return std::nullopt;
    const Product& of = layer.product();
    auto found = found_through(view, of, operand == 0 ? kFirstOperand : kSecondOperand);
    if (!found) return std::nullopt;
    // The second operand is packed either way. The first one is read as it is where its rows have
    // their values side by side. Else each thread would turn it, for each part of the columns.
    const bool has_rows = of.sums == 1 || found->first.column == 1;
    const bool was_turned = of.first.column != 1 && found->first.row == 1;
    const bool packs = found->second.row == 1 || found->second.column == 1;
    if (operand == 0 ? !has_rows && !was_turned : !packs) return std::nullopt;
    return found;
  }

  void read_in_place(Layer& layer) const {
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      if (needed_[layer.inputs[i]]) continue;  // the copy stays
      auto found = product_through_view(layer, i);
      if (!found) continue;
      layer.product() = *std::move(found);
      layer.inputs[i] = views_[layer.inputs[i]].tensor;
    }
  }

  void copy_in_place(Layer& layer) const {
    std::vector<bool> reads_views = can_read_views(layer);
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      reads_views[i] = reads_views[i] && !needed_[layer.inputs[i]];
    }
    for (Box& box : layer.get<CopyParams>().boxes) {
      if (reads_views[box.input]) box = *through(views_[layer.inputs[box.input]], box);
    }
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      if (reads_views[i]) layer.inputs[i] = views_[layer.inputs[i]].tensor;
    }
  }

  Network& network_;
  std::vector<View> views_;   ///< by tensor, see find_views
  std::vector<bool> needed_;  ///< by tensor
};

/// Has products write what copies behind them give, where nothing else reads what they give.
void write_in_place(Network& network) {
  const Links links(network);
  std::vector<bool> done(network.layers.size());  // copies that products make
  for (Layer& layer : network.layers) {
    std::size_t given = layer.output;
    while (is_product(layer) && links.uses[given] == 1 && links.readers[given] != kNone) {
      const std::size_t reader = links.readers[given];
      const Layer& copy = network.layers[reader];
      const std::int64_t values = network.tensors[given].shape.values();
      const Box* const box = only_box(copy, values);
      const bool keeps_all = network.tensors[copy.output].shape.values() == values;
      if (box == nullptr || copy.inputs.size() != 1 || !keeps_all) break;
      auto runs = runs_of(*box, &Box::Loop::from, &Box::Loop::to);
      if (!runs) break;
      auto found =
          found_through({copy.output, box->to, *std::move(runs)}, layer.product(), kProductOutput);
      if (!found || (found->columns > 1 && found->output.column != 1)) break;
      layer.product() = *std::move(found);
      given = copy.output;
      done[reader] = true;
    }
    network.tensors[layer.output] = network.tensors[given];
  }
  std::size_t at = 0;
  drop_copies(network, [&](const Layer&) { return done[at++]; });
}

}  // namespace

void join_copies(Network& network) {
  const auto copies = [](const Layer& layer) { return layer.kind == LayerKind::Copy; };
  if (std::none_of(network.layers.begin(), network.layers.end(), copies)) return;
  scale_before_copies(network);
  Reading(network).join();
  drop_unused(network);
  write_in_place(network);
}

}  // namespace lenet::native
