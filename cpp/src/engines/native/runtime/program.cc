#include "engines/native/runtime/program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "engines/native/runtime/memory_plan.h"

namespace lenet::native {
namespace {

bool same_layout(const Placement& a, const Placement& b) {
  return a.per_unit == b.per_unit && a.element_bytes == b.element_bytes && a.border == b.border &&
         a.planar == b.planar && a.column == b.column && a.row == b.row && a.size == b.size;
}

/// Of the values of one image, without padding.
double value_bytes(const Placement& tensor) {
  return static_cast<double>(tensor.shape.values()) * (tensor.quant ? 1.0 : sizeof(float));
}

void fill(char* to, std::int64_t count, const Placement& tensor) {
  if (tensor.element_bytes == 2) {
    std::fill_n(reinterpret_cast<std::int16_t*>(to), count, static_cast<std::int16_t>(tensor.zero));
  } else {  // of float32, zeros
    std::memset(to, static_cast<int>(tensor.zero),
                static_cast<std::size_t>(count * tensor.element_bytes));
  }
}

void require_memory(std::int64_t bytes, std::int64_t channels, std::int64_t rows,
                    std::int64_t columns) {
  require_tensor_memory(static_cast<double>(bytes * channels) * static_cast<double>(rows) *
                        static_cast<double>(columns));
}

/// Of one row, in its place.
void softmax(float* row, std::int64_t count) {
  const float largest = *std::max_element(row, row + count);
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    row[i] = std::exp(row[i] - largest);
    sum += row[i];
  }
  for (std::int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] / sum);
}

}  // namespace

void Placement::channels_last(std::int64_t pixel, std::int64_t beyond) {
  const std::int64_t rows = shape.height + 2 * border;
  const std::int64_t columns = shape.width + 2 * border;
  require_memory(element_bytes, pixel, rows, columns);
  column = pixel;
  row = column * columns;
  size = row * rows + beyond;
}

void Placement::channels_first(std::int64_t lanes) {
  const std::int64_t rows = shape.height + 2 * border;
  const std::int64_t columns = round_up(shape.width + 2 * border, 2 * lanes);
  require_memory(element_bytes, shape.channels, rows, columns);
  column = 1;
  row = columns;
  channel = row * rows;
  size = channel * shape.channels + 4 * lanes;
}

void Program::set_tensors(const std::vector<TensorShape>& shapes, std::size_t input,
                          std::size_t output, bool softmax) {
  placements_.resize(shapes.size());
  for (std::size_t t = 0; t < shapes.size(); ++t) placements_[t].shape = shapes[t];
  input_ = input;
  output_ = output;
  softmax_ = softmax;
}

void Program::place(const std::vector<StepIo>& steps) {
  // Reading the images is step 0, what a network's step `s` does s + 1.
  std::vector<std::size_t> last_read(placements_.size());
  for (std::size_t s = 0; s < steps.size(); ++s) {
    last_read[steps[s].output] = s + 1;
    for (const std::size_t input : steps[s].inputs) last_read[input] = s + 1;
  }
  last_read[output_] = steps.size() + 1;
  const auto bytes_of = [&](std::size_t tensor) {
    const Placement& placement = placements_[tensor];
    return round_up(placement.size * placement.element_bytes, kCacheLine);
  };
  tensor_bytes_ = bytes_of(input_);
  for (const StepIo& step : steps) tensor_bytes_ += bytes_of(step.output);
  const bool share = tensor_bytes_ > min_shared_bytes_;

  // Of tensors that have memory of their own in all units, and in each.
  std::vector<Lifetime> lifetimes[2];
  for (auto& of_kind : lifetimes) of_kind.resize(placements_.size());
  std::vector<std::size_t> owners(placements_.size());  // of the memory that a tensor lies in
  std::iota(owners.begin(), owners.end(), std::size_t{0});
  const auto owned = [&](std::size_t tensor) -> Lifetime& {
    return lifetimes[placements_[tensor].per_unit ? 1 : 0][owners[tensor]];
  };
  clears_.assign(placements_.size(), false);
  const auto give_memory = [&](std::size_t tensor, std::size_t step) {
    owned(tensor) = {bytes_of(tensor), step, last_read[tensor]};
    clears_[tensor] = share && placements_[tensor].border > 0;
  };
  give_memory(input_, 0);
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const auto& [inputs, output, in_place] = steps[s];
    const auto over = std::find_if(inputs.begin(), inputs.end(), [&](std::size_t input) {
      return share && in_place && last_read[input] == s + 1 &&
             same_layout(placements_[input], placements_[output]);
    });
    if (over == inputs.end()) {
      give_memory(output, s + 1);
    } else {
      owners[output] = owners[*over];
      owned(output).last = last_read[output];
    }
  }
  for (const bool per_unit : {false, true}) {
    const MemoryPlan plan = plan_memory(lifetimes[per_unit ? 1 : 0], share);
    (per_unit ? unit_bytes_ : shared_bytes_) = plan.bytes;
    require_tensor_memory(static_cast<double>(plan.bytes));
    for (std::size_t t = 0; t < placements_.size(); ++t) {
      Placement& placement = placements_[t];
      if (placement.per_unit != per_unit) continue;
      placement.begin = plan.begins[owners[t]] + placement.border *
                                                     (placement.row + placement.column) *
                                                     placement.element_bytes;
    }
  }
}

std::string Program::layout_of(std::size_t tensor) const {
  if (images_per_unit_ > 1) return "NHWC" + std::to_string(images_per_unit_) + "n";
  return placements_[tensor].planar ? "NCHW" : "NHWC";
}

LayerProfile Program::describe(const Layer& layer, double multiply_adds, std::size_t output) const {
  const auto& [channels, height, width] = placements_[output].shape;
  LayerProfile profile;
  profile.name = layer.name;
  profile.layout = layout_of(output);
  profile.output = {channels, height, width};
  profile.multiply_adds = multiply_adds;
  profile.weight_bytes = bytes_of(layer);
  profile.activation_bytes = value_bytes(placements_[output]);
  for (const std::size_t input : layer.inputs) {
    profile.activation_bytes += value_bytes(placements_[input]);
  }
  return profile;
}

LayerProfile Program::describe_copy(const char* name, std::size_t tensor) const {
  LayerProfile profile;
  profile.name = name;
  profile.layout = layout_of(tensor);
  profile.activation_bytes =
      static_cast<double>(placements_[tensor].shape.values()) * sizeof(float);
  profile.activation_bytes += value_bytes(placements_[tensor]);
  return profile;
}

void Program::add_step(LayerProfile profile, std::size_t output, std::unique_ptr<const Op> op) {
  need_scratch(op->scratch_bytes());
  profile.kernel = op->kernel();
  steps_.push_back({std::move(profile), output, std::move(op)});
}

void Program::need_scratch(std::int64_t bytes) {
  scratch_bytes_ = std::max(scratch_bytes_, round_up(bytes, kCacheLine));
}

void Program::clear_border(std::size_t tensor, const Frame& frame) const {
  const Placement& placement = placements_[tensor];
  const auto& [channels, height, width] = placement.shape;
  const std::int64_t bytes = placement.element_bytes;
  const std::int64_t line = placement.border * (placement.row + placement.column);
  const std::int64_t gap = placement.row - width * placement.column;
  for (std::int64_t unit = 0; unit < (placement.per_unit ? frame.count : 1); ++unit) {
    char* to = frame.at<char>(placement, unit);
    for (std::int64_t c = 0; c < (placement.planar ? channels : 1); ++c) {
      // The rows above; behind each row and before the next; the rows below.
      fill(to - line * bytes, line, placement);
      for (std::int64_t y = 0; y + 1 < height; ++y) {
        fill(to + (y * placement.row + width * placement.column) * bytes, gap, placement);
      }
      const std::int64_t end = (height - 1) * placement.row + width * placement.column;
      const std::int64_t all = (height + placement.border) * placement.row;
      fill(to + end * bytes, all - end - placement.border * placement.column, placement);
      to += placement.channel * bytes;
    }
  }
}

Frame Program::frame(char* memory, std::int64_t units) const {
  char* scratch = memory + shared_bytes_;
  return {memory, scratch + scratch_bytes_, unit_bytes_, units, scratch};
}

Aligned<char> Program::memory(std::int64_t images) const {
  const std::int64_t units = (images + images_per_unit_ - 1) / images_per_unit_;
  Aligned<char> memory(
      static_cast<std::size_t>(shared_bytes_ + scratch_bytes_ + units * unit_bytes_));
  const Frame all = frame(memory.data(), units);
  for (std::size_t t = 0; t < placements_.size(); ++t) {
    // Float32 has its zeros already.
    if (placements_[t].border > 0 && placements_[t].zero != 0 && !clears_[t]) clear_border(t, all);
  }
  return memory;
}

std::vector<LayerProfile> Program::layers() const {
  std::vector<LayerProfile> layers = {describe_copy("reading the images", input_)};
  for (const Step& step : steps_) layers.push_back(step.profile);
  layers.push_back(describe_copy(softmax_ ? "softmax" : "writing the output", output_));
  return layers;
}

void Program::run(const TensorView& input, std::int64_t first, std::int64_t images, char* memory,
                  float* output, const std::function<void(std::size_t)>& done) const {
  const Frame all = frame(memory, (images + images_per_unit_ - 1) / images_per_unit_);
  const auto read = [&](const Frame& frame, std::int64_t done_before, std::int64_t count) {
    if (clears_[input_]) clear_border(input_, frame);
    read_input(input, first + done_before, count, frame);
    done(0);
  };
  const auto run = [&](const Frame& frame, std::size_t begin, std::size_t end) {
    for (std::size_t s = begin; s < end; ++s) {
      if (clears_[steps_[s].output]) clear_border(steps_[s].output, frame);
      steps_[s].op->run(frame);
      done(1 + s);
    }
  };
  if (first_batched_ == 0) read(all, 0, images);
  for (std::int64_t unit = 0; first_batched_ > 0 && unit < all.count; ++unit) {
    Frame one = all;
    one.units += unit * unit_bytes_;
    one.count = 1;
    const std::int64_t before = unit * images_per_unit_;
    read(one, before, std::min(images - before, images_per_unit_));
    run(one, 0, first_batched_);
  }
  run(all, first_batched_, steps_.size());
  for (std::int64_t i = 0; i < images; ++i) {
    float* row = output + i * output_values();
    write_output(all, i, row);
    if (softmax_) softmax(row, output_values());
  }
  done(1 + steps_.size());
}

}  // namespace lenet::native
