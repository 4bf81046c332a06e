#include "engines/native/runtime/program.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "engines/native/contradiction.h"
#include "engines/native/runtime/memory_plan.h"
#include "engines/native/runtime/softmax.h"
#include "engines/native/runtime/verify_plan.h"
#include "pixels.h"

namespace lenet::native {
namespace {

/// Whether a tensor may lie where another one does, in whose border then nothing changes.
bool has_room(const Placement& under, const Placement& over) {
  return under.is_like(over) && under.size == over.size &&
         (over.border == 0 || under.zero == over.zero);
}

/// The bytes of the values of one image, without padding.
double value_bytes(const Placement& tensor) {
  return static_cast<double>(tensor.shape.values()) * (tensor.quant ? 1.0 : sizeof(float));
}

/// The name of a tensor's layout in a profile. It has the axes from the outermost to the innermost,
/// c and n behind the size of a vector of channels or images.
std::string name_of(const Placement& tensor) {
  switch (tensor.layout) {
    case Layout::Vectors:
      return tensor.lanes == 1 ? "NCHW" : "NCHW" + std::to_string(tensor.lanes) + "c";
    case Layout::Order:
    case Layout::Planes:
      return "NCHW";
    case Layout::ChannelsLast:
      return "NHWC";
    case Layout::Images:
      return tensor.block == 1 ? "NCHW" : "NHWC" + std::to_string(tensor.block) + "n";
  }
  return "";
}

void fill(char* to, std::int64_t count, const Placement& tensor) {
  if (tensor.element_bytes == 2) {
    std::fill_n(reinterpret_cast<std::int16_t*>(to), count, static_cast<std::int16_t>(tensor.zero));
  } else {  // of float32 it is 0
    std::memset(to, static_cast<int>(tensor.zero),
                static_cast<std::size_t>(count * tensor.element_bytes));
  }
}

/// Whether `holds` is so of each number of a tensor in float32.
/// \param first its first pixel
/// \param behind of those behind the last channel; else of its values
template <class Holds>
bool holds_all(const Placement& tensor, const float* first, bool behind, const Holds& holds) {
  const auto [channels, height, width] = tensor.shape.image();
  const std::int64_t end = behind ? channels + tensor.behind() : channels;
  for (std::int64_t c = behind ? channels : 0; c < end; ++c) {
    const float* const channel = first + tensor.channel_offset(c);
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        if (!holds(channel[y * tensor.row + x * tensor.column])) return false;
      }
    }
  }
  return true;
}

}  // namespace

bool forgets_runs() {
  const char* const value = std::getenv("LENET_NATIVE_FORGET");
  return value != nullptr && std::string(value) == "1";
}

Program::Program(const ProgramKernels& kernels, std::int64_t images_per_unit,
                 std::int64_t min_shared_bytes, Arrangement arrangement, const NameOfStep& name_of)
    : kernels_(kernels),
      images_per_unit_(images_per_unit),
      placements_(std::move(arrangement.placements)),
      parts_(std::move(arrangement.parts)),
      ios_(std::move(arrangement.steps)),
      input_(arrangement.input),
      outputs_(std::move(arrangement.outputs)),
      first_batched_(arrangement.first_batched),
      producers_(placements_.size(), kNone) {
  place(min_shared_bytes, name_of);
  steps_.reserve(ios_.size());
}

void Program::place(std::int64_t min_shared_bytes, const NameOfStep& name_of) {
  const auto whole = [this](std::size_t tensor) { return parts_[tensor].whole; };
  const auto keep = [&](std::size_t tensor) {
    placements_[whole(tensor)].place = {Place::OfUnit, 0};
  };
  for (const OutputSource& output : outputs_) keep(output.tensor);
  for (std::size_t s = first_batched_; s < ios_.size(); ++s) {
    keep(ios_[s].output);
    std::for_each(ios_[s].inputs.begin(), ios_[s].inputs.end(), keep);
  }
  // Reading the images is step 0, what a network's step `s` does s + 1.
  std::vector<std::size_t> last_read(placements_.size());
  for (std::size_t s = 0; s < ios_.size(); ++s) {
    last_read[ios_[s].output] = s + 1;
    for (const std::size_t input : ios_[s].inputs) last_read[input] = s + 1;
  }
  for (const OutputSource& output : outputs_) last_read[output.tensor] = ios_.size() + 1;
  std::vector<bool> alone(placements_.size(), true);
  for (std::size_t t = 0; t < placements_.size(); ++t) {
    placements_[t].place = placements_[whole(t)].place;
    last_read[whole(t)] = std::max(last_read[whole(t)], last_read[t]);
    if (whole(t) != t) alone[t] = alone[whole(t)] = false;
  }
  for (std::size_t t = 0; t < placements_.size(); ++t) last_read[t] = last_read[whole(t)];
  tensor_bytes_ = placements_[input_].bytes();
  for (const StepIo& step : ios_) tensor_bytes_ += placements_[step.output].bytes();
  const bool share = tensor_bytes_ > min_shared_bytes;

  std::vector<Lifetime> lifetimes(placements_.size());  // of tensors with memory of their own
  std::vector<std::size_t> owners(placements_.size());  // of the memory that a tensor lies in
  std::iota(owners.begin(), owners.end(), std::size_t{0});
  clears_.assign(placements_.size(), false);
  const auto give_memory = [&](std::size_t tensor, std::size_t step) {
    Lifetime& lifetime = lifetimes[whole(tensor)];  // from when its first part is given
    if (lifetime.bytes == 0)
      lifetime = {placements_[whole(tensor)].bytes(), step, last_read[tensor]};
    clears_[tensor] = share && placements_[tensor].border > 0;
  };
  give_memory(input_, 0);
  for (std::size_t s = 0; s < ios_.size(); ++s) {
    const std::vector<std::size_t>& inputs = ios_[s].inputs;
    const std::size_t output = ios_[s].output;
    const auto first =
        inputs.begin() + static_cast<std::ptrdiff_t>(std::min(ios_[s].in_place, inputs.size()));
    const auto over = std::find_if(first, inputs.end(), [&](std::size_t input) {
      // Not over what is read elsewhere than in its place, nor over what a part of is.
      return share && last_read[input] == s + 1 && alone[output] && whole(input) == input &&
             std::none_of(inputs.begin(), first,
                          [&](std::size_t other) { return whole(other) == input; }) &&
             has_room(placements_[input], placements_[output]);
    });
    if (over == inputs.end()) {
      give_memory(output, s + 1);
    } else {
      owners[output] = owners[*over];
      lifetimes[owners[output]].last = last_read[output];
    }
  }
  const auto need_rows = [this](std::size_t tensor) {  // a row, and rows of one channel
    const TensorShape& shape = placements_[tensor].shape;
    need_scratch(float_bytes({shape.channels() + images_per_unit_, 1, shape.width()}));
  };
  need_rows(input_);
  for (const OutputSource& output : outputs_) need_rows(output.tensor);
  for (const Place::Memory memory : {Place::Shared, Place::OfUnit}) {
    std::vector<Lifetime> of_kind = lifetimes;
    for (std::size_t t = 0; t < placements_.size(); ++t) {
      if (placements_[t].place.memory() != memory) of_kind[t] = {};
    }
    const MemoryPlan plan = plan_memory(of_kind, share);
    (memory == Place::OfUnit ? unit_bytes_ : shared_bytes_) = plan.bytes;
    require_tensor_memory(static_cast<double>(plan.bytes));
    for (std::size_t t = 0; t < placements_.size(); ++t) {
      Placement& placement = placements_[t];
      if (placement.place.memory() != memory) continue;
      const std::int64_t first = placement.border * (placement.row + placement.column) +
                                 placements_[whole(t)].channel_offset(parts_[t].channel);
      placement.place = {memory, plan.begins[owners[whole(t)]] + first * placement.element_bytes};
      // Behind a part lies another one: its kernels write whole vectors.
      if (whole(t) != t) placement.size -= std::exchange(placement.beyond, 0);
    }
  }
  verify_plan(
      {ios_, first_batched_, input_, outputs_, placements_, clears_, shared_bytes_, unit_bytes_},
      name_of);
}

LayerProfile Program::describe(std::string name, std::size_t tensor, double other_bytes) const {
  LayerProfile profile;
  profile.name = std::move(name);
  const Placement& placement = placements_[tensor];
  profile.layout = name_of(placement);
  profile.activation_bytes = value_bytes(placements_[tensor]) + other_bytes;
  return profile;
}

void Program::add_step(const Layer& layer, std::string name, double multiply_adds,
                       std::unique_ptr<const Op> op) {
  const auto& [inputs, output, in_place, there, keeps_zeros] = ios_[steps_.size()];
  double input_bytes = 0;
  for (const std::size_t input : inputs) input_bytes += value_bytes(placements_[input]);
  LayerProfile profile = describe(std::move(name), output, input_bytes);
  profile.output = placements_[output].shape.sizes();
  profile.multiply_adds = multiply_adds;
  multiply_adds_ += multiply_adds;
  profile.weight_bytes = bytes_of(layer);
  if (op->halves_weights()) {
    profile.weight_bytes -= static_cast<double>(layer.view_weights().count * sizeof(float) / 2);
  }
  profile.kernel = op->kernel();
  if (op->is_empty()) profile.activation_bytes = 0;
  need_scratch(op->scratch_bytes());
  producers_[output] = steps_.size();
  steps_.push_back({std::move(profile), std::move(op)});
}

void Program::forget(Place::Memory memory, const Frame& frame) const {
  constexpr int kOfNan = 0xFF;  // each byte of a NaN, in float32 and in bf16
  if (memory == Place::Shared) {
    std::memset(frame.shared, kOfNan, static_cast<std::size_t>(shared_bytes_ + scratch_bytes_));
  } else {
    std::memset(frame.units, kOfNan, static_cast<std::size_t>(frame.count * unit_bytes_));
  }
  for (std::size_t t = 0; t < placements_.size(); ++t) {
    const Placement& placement = placements_[t];
    const bool is_kept = placement.border > 0 && !clears_[t];
    if (is_kept && placement.size > 0 && placement.place.memory() == memory) {
      clear_border(t, frame);
    }
  }
}

void Program::clear_border(std::size_t tensor, const Frame& frame, bool gaps) const {
  const Placement& placement = placements_[tensor];
  const auto [_, height, width] = placement.shape.image();
  const std::int64_t rows = placement.border * placement.row;  // above or below
  const std::int64_t before = placement.border * placement.column;
  const std::int64_t gap = placement.row - width * placement.column;  // between rows
  for (std::int64_t unit = 0; unit < (placement.place.memory() == Place::OfUnit ? frame.count : 1);
       ++unit) {
    for (std::int64_t p = 0; p < placement.planes; ++p) {
      const auto clear = [&](std::int64_t first, std::int64_t count) {
        const std::int64_t at = (p * placement.block + first) * placement.element_bytes;
        fill(frame.at<char>(placement, unit) + at, count, placement);
      };
      clear(-rows - before, rows + before);
      for (std::int64_t y = 1; gaps && y < height; ++y) clear(y * placement.row - gap, gap);
      clear(height * placement.row - gap, gap - before + rows);
    }
  }
}

void Program::clear_behind(std::size_t tensor, const Frame& frame) const {
  const Placement& placement = placements_[tensor];
  if (placement.behind() == 0) return;
  for (std::int64_t unit = 0; unit < frame.count; ++unit) {
    placement.clear_behind(frame.at<float>(placement, unit));
  }
}

void Program::require_zeros_behind(std::size_t step, const Frame& frame) const {
  const auto& io = ios_[step];
  const Placement& to = placements_[io.output];
  for (std::int64_t unit = 0; to.behind() > 0 && unit < frame.count; ++unit) {
    const auto is_zero = [](float number) { return number == 0; };
    if (holds_all(to, frame.at<float>(to, unit), true, is_zero)) continue;
    // A weight of 0 times infinity is no number.
    std::vector<std::size_t> tensors = io.inputs;
    tensors.push_back(io.output);
    const bool finite = std::all_of(tensors.begin(), tensors.end(), [&](std::size_t tensor) {
      const Placement& placement = placements_[tensor];
      return placement.quant || holds_all(placement, frame.at<float>(placement, unit), false,
                                          [](float number) { return std::isfinite(number); });
    });
    if (finite) {
      contradict("step " + std::to_string(step + 1) + " (" + steps_[step].profile.name +
                 ") gives other numbers than 0 behind the last channel");
    }
  }
}

const bool* Program::find_needed(float* const* outputs, char* memory) const {
  if (std::find(outputs, outputs + outputs_.size(), nullptr) == outputs + outputs_.size()) {
    return nullptr;
  }
  bool* const needed = reinterpret_cast<bool*>(memory + shared_bytes_ + scratch_bytes_);
  std::fill_n(needed, steps_.size(), false);
  const auto need = [&](std::size_t tensor) {
    if (producers_[tensor] != kNone) needed[producers_[tensor]] = true;
  };
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    if (outputs[o] != nullptr) need(outputs_[o].tensor);
  }
  for (std::size_t s = steps_.size(); s-- > 0;) {
    if (needed[s]) std::for_each(ios_[s].inputs.begin(), ios_[s].inputs.end(), need);
  }
  return needed;
}

Aligned<char> Program::memory(std::int64_t images) const {
  const std::int64_t units = (images + images_per_unit_ - 1) / images_per_unit_;
  Aligned<char> memory(static_cast<std::size_t>(shared_bytes_ + scratch_bytes_ + needed_bytes() +
                                                units * unit_bytes_));
  const Frame all = frame(memory.data(), units);
  for (std::size_t t = 0; t < placements_.size(); ++t) {
    // Float32 has its zeros already.
    if (placements_[t].border > 0 && placements_[t].zero != 0 && !clears_[t]) clear_border(t, all);
  }
  return memory;
}

std::vector<LayerProfile> Program::layers() const {
  const auto copied = [](std::int64_t values) {
    return static_cast<double>(values) * sizeof(float);
  };
  std::vector<LayerProfile> layers = {
      describe("reading the images", input_, copied(input_values()))};
  for (const Step& step : steps_) layers.push_back(step.profile);
  for (const OutputSource& output : outputs_) {
    layers.push_back(describe(output.softmax ? "softmax" : "writing the output", output.tensor,
                              copied(placements_[output.tensor].shape.values())));
  }
  return layers;
}

void Program::read_input(const TensorView& input, std::int64_t first, std::int64_t count,
                         const Frame& frame) const {
  const auto [channels, height, width] = placements_[input_].shape.image();
  auto* const values = reinterpret_cast<float*>(frame.scratch) + channels * width;
  std::array<const float*, 16> rows{};
  // Where a channel lies together, it is read as a whole: rows of several in turn take longer.
  const bool by_channel = channels == 1 || placements_[input_].column == 1;
  const std::int64_t at_once = by_channel && input.pixels == nullptr ? height : 1;
  clear_behind(input_, frame);
  for (std::int64_t unit = 0; unit < frame.count; ++unit) {
    for (std::int64_t y = 0; y < height; y += at_once) {
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t i = 0; i < images_per_unit_; ++i) {
          // A unit that is not full repeats its last image.
          const std::int64_t image = first + std::min(unit * images_per_unit_ + i, count - 1);
          const float*& row = rows[static_cast<std::size_t>(i)];
          if (input.pixels == nullptr) {
            row = input.data + ((image * channels + c) * height + y) * width;
          } else {
            read_row(input, image, c, y, values + i * width);
            row = values + i * width;
          }
        }
        write_rows(kernels_, placements_[input_], rows.data(), images_per_unit_, c, y, y + at_once,
                   frame.at<char>(placements_[input_], unit), frame.scratch);
      }
    }
  }
}

void Program::write_output(const OutputSource& source, const Frame& frame, std::int64_t image,
                           float* output) const {
  const Placement& from = placements_[source.tensor];
  const auto [channels, height, width] = from.shape.image();
  for (std::int64_t y = 0; y < height; ++y) {
    const char* const first = frame.at<char>(from, image / images_per_unit_);
    const float* row = read_row(kernels_, from, first, y, reinterpret_cast<float*>(frame.scratch)) +
                       image % images_per_unit_;
    for (std::int64_t c = 0; c < channels; row += from.block) {
      for (std::int64_t lane = 0; lane < from.lanes && c < channels; ++lane, ++c) {
        for (std::int64_t x = 0; x < width; ++x) {
          output[(c * height + y) * width + x] = row[lane + x * from.column];
        }
      }
    }
  }
  if (source.softmax) softmax(output, {from.shape.values(), 1}, source.logarithm, output);
}

void Program::compute(const Op& op, const Frame& frame, const Crew* crew) const {
  if (crew == nullptr || !op.splits()) return op.run(frame);
  const std::size_t parts = Frame::kPartsOfThread * crew->team.threads();
  crew->team.share(static_cast<std::uint32_t>(parts), [&](std::size_t thread, std::uint32_t part) {
    Frame own = frame;
    own.part = part;
    own.parts = static_cast<std::int64_t>(parts);
    if (thread > 0)
      own.scratch = crew->scratch + (static_cast<std::int64_t>(thread) - 1) * scratch_bytes_;
    op.run(own);
  });
}

void Program::run(const TensorView& input, std::int64_t first, std::int64_t images, char* memory,
                  float* const* outputs, const std::function<void(std::size_t)>& done,
                  const Crew* crew) const {
  const bool* const needed = find_needed(outputs, memory);
  const Frame all = frame(memory, (images + images_per_unit_ - 1) / images_per_unit_);
  if (forgets_) forget(Place::OfUnit, all);
  const auto read = [&](const Frame& frame, std::int64_t done_before, std::int64_t count) {
    if (forgets_) forget(Place::Shared, frame);
    if (clears_[input_]) clear_border(input_, frame);
    read_input(input, first + done_before, count, frame);
    done(0);
  };
  const auto run = [&](const Frame& frame, std::size_t begin, std::size_t end) {
    for (std::size_t s = begin; s < end; ++s) {
      if (needed != nullptr && !needed[s]) continue;
      const Op& op = *steps_[s].op;
      const std::size_t output = ios_[s].output;
      if (clears_[output]) clear_border(output, frame, !op.clears_gaps());
      compute(op, frame, crew);
      if (!ios_[s].keeps_zeros) clear_behind(output, frame);
      if (forgets_) require_zeros_behind(s, frame);
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
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    if (outputs[o] == nullptr) continue;
    for (std::int64_t i = 0; i < images; ++i) {
      write_output(outputs_[o], all, i, outputs[o] + (first + i) * output_values(o));
    }
    done(1 + steps_.size() + o);
  }
}

}  // namespace lenet::native
