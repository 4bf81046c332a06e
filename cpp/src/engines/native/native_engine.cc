#include "engines/native/native_engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "engines/native/compile/compile_float.h"
#include "engines/native/compile/compile_int8.h"
#include "engines/native/compile/compiled.h"
#include "engines/native/forms.h"
#include "engines/native/layer_times.h"
#include "engines/native/machine_limits.h"
#include "engines/native/read_network.h"
#include "engines/native/refusal.h"
#include "engines/native/runtime/thread_pool.h"
#include "model/rules/support.h"
#include "pixels.h"

namespace lenet {
namespace {

using native::Compiled;
using native::Forms;
using native::kImagesOfPiece;
using native::load_part;
using native::Program;

constexpr double kSecondsOfLimit = 0.05;
/// Multiply-adds that take as long as it does to wake a thread that sleeps.
constexpr double kMinWork = 6.5e6;
constexpr std::int64_t kWholeVectors = 16;  ///< of images side by side, in every instruction set

/// Where the pieces of a run begin, and its end. With several threads they become smaller towards
/// the end, so that all end at about the same time.
/// \param begins set; its memory is used again
void find_pieces(std::int64_t images, std::int64_t threads, std::int64_t least,
                 std::vector<std::int64_t>& begins) {
  begins.assign(1, 0);
  while (begins.back() < images) {
    const std::int64_t left = images - begins.back();
    const std::int64_t share = left / threads / least * least;
    const std::int64_t piece =
        threads == 1 ? kImagesOfPiece : std::clamp(share, least, kImagesOfPiece);
    begins.push_back(begins.back() + std::min(piece, left));
  }
}

std::int64_t least_piece(double multiply_adds, bool side_by_side) {
  const auto images = static_cast<std::int64_t>(std::ceil(kMinWork / (1 + multiply_adds)));
  return std::min(side_by_side ? native::round_up(images, kWholeVectors) : images, kImagesOfPiece);
}

void pack(Compiled& compiled) {
  load_part(compiled.other, compiled.file, std::exchange(compiled.pack, nullptr));
  compiled.least_piece =
      least_piece(compiled.one_by_one->total_multiply_adds(), compiled.side_by_side != nullptr);
}

/// The memory of one thread's runs.
class Workspace {
 public:
  /// \param outputs as Program::run has them
  /// \param team of which the threads compute each layer together; or null
  void run(const Compiled& compiled, const TensorView& input, std::int64_t first,
           std::int64_t images, float* const* outputs, const RunControl& control,
           native::Team* team = nullptr) {
    const auto require_running = [&control](std::size_t) { control.require_running(); };
    require_running(0);
    std::int64_t done = count_side_by_side(compiled, images);
    if (done > 0) {
      const Program& many = *compiled.side_by_side;
      many.run(input, first, done, side_by_side_.of(many, done), outputs, require_running);
    }
    while (done < images) {
      const std::int64_t count = std::min(images - done, compiled.images_one_by_one);
      const Program& program = *compiled.one_by_one;
      char* const memory = one_by_one_.of(program, count);
      if (team == nullptr) {
        program.run(input, first + done, count, memory, outputs, require_running);
      } else {
        const auto bytes =
            static_cast<std::size_t>(program.scratch_bytes()) * (team->threads() - 1);
        if (scratch_.size() < bytes) scratch_ = native::Aligned<char>(bytes);
        const native::Crew crew{*team, scratch_.data()};
        program.run(input, first + done, count, memory, outputs, require_running, &crew);
      }
      done += count;
    }
  }

  /// How many of so many images are computed side by side; the others one by one.
  static std::int64_t count_side_by_side(const Compiled& compiled, std::int64_t images) {
    if (compiled.side_by_side == nullptr) return 0;
    const std::int64_t lanes = compiled.side_by_side->images_per_unit();
    const std::int64_t rest = images % lanes;
    // A unit that is nearly full costs less than its images one by one.
    return rest * 4 > lanes * 3 ? images : images - rest;
  }

 private:
  struct Memory {
    native::Aligned<char> bytes;
    std::int64_t images = 0;

    char* of(const Program& program, std::int64_t wanted) {
      if (images < wanted) {
        bytes = program.memory(wanted);
        images = wanted;
      }
      return bytes.data();
    }
  };

  Memory one_by_one_;
  Memory side_by_side_;
  native::Aligned<char> scratch_;  ///< of a team
};

class NativeEngine final : public Engine {
 public:
  /// \param forms of a model with open sizes, which `compiled` is one of; or null
  NativeEngine(std::shared_ptr<Compiled> compiled, std::shared_ptr<Forms> forms, int threads)
      : compiled_(std::move(compiled)),
        forms_(std::move(forms)),
        workspaces_(static_cast<std::size_t>(threads)),
        pool_(workspaces_.size()),
        places_(compiled_->outputs.size()) {}

  TensorSpec input_spec() const override { return forms_ ? forms_->input : compiled_->input; }
  std::vector<TensorSpec> output_specs() const override {
    return forms_ ? forms_->outputs : compiled_->outputs;
  }
  std::int64_t largest_batch(int /*threads*/) const override {
    return std::numeric_limits<std::int64_t>::max();  // cut into pieces here
  }

  void run(const TensorView& input, Outputs& outputs, RunControl& control) override {
    if (forms_ != nullptr) {
      take_values_shape(input, shape_);
      take_form(shape_);
    }
    const std::int64_t images = input.shape[0];
    std::vector<Apart> apart;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const Images& at = compiled_->output_images[i];
      const bool has_images = at.axis != kNone;  // else it is for one image, which is all of it
      shape_ = compiled_->outputs[i].shape;
      if (has_images) shape_[at.axis] = images * at.per_image;
      places_[i] = outputs.wants(i) ? outputs.place(i, shape_) : nullptr;
      const std::int64_t runs = has_images ? product(shape_, 0, at.axis) * at.before : 1;
      if (places_[i] == nullptr || runs == 1) continue;
      Apart& one = apart.emplace_back();
      one.runs = runs;
      one.values.resize(static_cast<std::size_t>(product(shape_, 0, shape_.size())));
      one.to = std::exchange(places_[i], one.values.data());
    }
    run_pieces(input, places_.data(), control);
    for (const Apart& one : apart) one.put_together(images);
  }

  bool reads_pixels() const override { return true; }

  std::unique_ptr<Engine> clone() const override {
    return std::make_unique<NativeEngine>(compiled_, forms_, static_cast<int>(workspaces_.size()));
  }

  // Of larger networks, Paddle's oneDNN is (docs/native-engine.md).
  bool is_fastest() const override { return compiled_->is_fastest; }

  void prepare() override {
    if (forms_ == nullptr) pack(*compiled_);
  }

  bool needs_model() const override { return forms_ != nullptr; }

  CompiledSizes compiled_sizes() const override {
    return forms_ ? forms_->compiled() : CompiledSizes{};
  }

  ComputedPrecision computed_precision(Precision asked) const override {
    const bool reduced = compiled_->arithmetic != native::Arithmetic::Float32;
    std::string why = compiled_->why;
    if (!compiled_->half.empty()) {
      why += (why.empty() ? "" : "; ") + ("the model's " + compiled_->half) +
             " numbers are widened to float32";
    }
    return {reduced ? asked : Precision::Fp32, std::move(why)};
  }

  Profile profile(std::int64_t images, int runs, const RunControl& control) override {
    if (forms_ != nullptr && sizes_.empty()) take_form(forms_->tried);
    Profile profile;
    profile.images = images;
    profile.instructions = compiled_->instructions;
    const std::vector<float> input(
        static_cast<std::size_t>(images * compiled_->one_by_one->input_values()), 0.5F);
    const Shape shape = {images};  // of which nothing but the number of images is looked at
    std::vector<std::vector<float>> results;
    std::vector<float*> outputs;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const std::int64_t values = images * compiled_->one_by_one->output_values(i);
      outputs.push_back(results.emplace_back(static_cast<std::size_t>(values)).data());
    }
    native::measure_batch(profile, runs, [&] {
      const double start = native::seconds_now();
      run_pieces({input.data(), shape}, outputs.data(), control);
      return native::seconds_now() - start;
    });
    profile.multiply_add_limit =
        native::measure_multiply_add_limit(kSecondsOfLimit, compiled_->arithmetic).per_second;
    profile.memory_limit = native::measure_memory_limit(kSecondsOfLimit);
    const auto add_part = [&](const Program& program, std::int64_t of_part, std::int64_t at_once) {
      auto memory = program.memory(at_once);
      ProfilePart part{of_part, at_once, program.layers(), {}};
      const std::size_t layers = part.layers.size();
      native::measure_part(profile, std::move(part), runs, [&] {
        std::vector<double> times(layers);
        double before = native::seconds_now();
        program.run({input.data(), {}}, 0, at_once, memory.data(), outputs.data(),
                    [&](std::size_t layer) {
                      control.require_running();
                      const double after = native::seconds_now();
                      times[layer] += after - before;
                      before = after;
                    });
        return times;
      });
    };
    const std::int64_t piece = std::min(images, kImagesOfPiece);
    const std::int64_t many = Workspace::count_side_by_side(*compiled_, piece);
    if (many > 0) add_part(*compiled_->side_by_side, many, many);
    if (piece > many) {
      add_part(*compiled_->one_by_one, piece - many,
               std::min(piece - many, compiled_->images_one_by_one));
    }
    return profile;
  }

 private:
  /// An output whose images are not one after the other, as they are computed.
  struct Apart {
    std::int64_t runs = 1;  ///< of values side by side that an image has
    std::vector<float> values;
    float* to = nullptr;

    void put_together(std::int64_t images) const {
      const std::int64_t length = static_cast<std::int64_t>(values.size()) / images / runs;
      for (std::int64_t run = 0; run < images * runs; ++run) {
        const std::int64_t place = run % runs * images + run / runs;
        std::copy_n(values.data() + run * length, length, to + place * length);
      }
    }
  };

  /// \param sizes of an input, of which the number of images does not matter
  void take_form(const Shape& sizes) {
    if (sizes_.size() == sizes.size() &&
        std::equal(sizes.begin() + 1, sizes.end(), sizes_.begin() + 1)) {
      return;
    }
    compiled_ = forms_->of(sizes);
    sizes_ = sizes;
    for (Workspace& workspace : workspaces_) workspace = Workspace();
  }

  void run_pieces(const TensorView& input, float* const* outputs, const RunControl& control) {
    const std::int64_t images = input.shape[0];
    const std::int64_t least = compiled_->least_piece;
    const std::int64_t threads =
        std::clamp<std::int64_t>(images / least, 1, static_cast<std::int64_t>(workspaces_.size()));
    // Too few images for the threads, each of them enough work for all.
    if (images < static_cast<std::int64_t>(workspaces_.size()) && least == 1) {
      return native::Team::run(pool_, workspaces_.size(), [&](native::Team& team) {
        workspaces_[0].run(*compiled_, input, 0, images, outputs, control, &team);
      });
    }
    if (threads == 1 && images <= kImagesOfPiece) {
      return workspaces_[0].run(*compiled_, input, 0, images, outputs, control);
    }
    find_pieces(images, threads, least, begins_);
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t thread) {
      for (std::size_t i = next++; i + 1 < begins_.size(); i = next++) {
        workspaces_[thread].run(*compiled_, input, begins_[i], begins_[i + 1] - begins_[i], outputs,
                                control);
      }
    };
    pool_.run(static_cast<std::size_t>(threads), work);
  }

  // Changed by prepare() only; of open sizes the last form that ran, or one that only tells what is
  // so for all of them.
  std::shared_ptr<Compiled> compiled_;
  std::shared_ptr<Forms> forms_;
  Shape sizes_;                        // that `compiled_` runs, of open ones; empty: none yet
  std::vector<Workspace> workspaces_;  // of threads
  native::ThreadPool pool_;
  std::vector<std::int64_t> begins_;  // of pieces
  // Of a run, whose memory is used again.
  std::vector<float*> places_;  // of outputs
  Shape shape_;
};

/// Gives what the first convolutions compute as outputs too.
void show_convolutions(native::Network& network, std::size_t most) {
  for (const native::Layer& layer : network.layers) {
    const native::TensorShape& shape = network.tensors[layer.output].shape;
    if (most == 0) break;
    if (layer.kind != native::LayerKind::Convolution || shape.pixels() == 1) continue;
    network.outputs.push_back(layer.output);
    const std::int64_t images = network.input_spec.shape[0];
    network.output_specs.push_back(
        {layer.name, {images, shape.channels(), shape.height(), shape.width()}, "float32"});
    network.output_images.push_back({0, 1, 1});
    --most;
  }
}

/// \param other the engine that may run the model instead; may be empty
/// \throws Error as native::choose_bf16
native::Bf16Choice choose_bf16(const std::string& other) try {
  return native::choose_bf16();
} catch (const Error& error) {
  if (error.code() != ErrorCode::Unsupported || other.empty()) throw;
  throw Error(error.code(), std::string(error.what()) + ", or " + other);
}

}  // namespace

std::unique_ptr<Engine> create_native_engine(const Config& config, const Model& model,
                                             std::size_t shown) {
  const bool int8 = config.precision == Precision::Int8;
  std::string other = name_other_engine(config, model);
  if (other.empty() && !model.graph.half.empty()) {
    other = "a float32 export of this " + std::string(model.graph.half) + " model";
  }
  const native::Bf16Choice bf16 =
      config.precision == Precision::Bf16 ? choose_bf16(other) : native::Bf16Choice{};
  if (!int8 && model.quantized && !model.refusal) {
    refuse_model(
        model, " is quantized, which the native engine computes in int8 only: use precision int8" +
                   (other.empty() ? "" : ", or " + other));
  }
  const auto shared = model.graph.with_sizes ? std::make_shared<native::SharedArrays>() : nullptr;
  // For open sizes this is called as long as the engine lives, and the model.
  const auto compile_graph = [=, precision = config.precision, check = config.check_finite,
                              optimizes = config.ir_optim, &model](const Graph& graph) {
    return load_part(other, model.path, [&] {
      native::Network network = native::load_network(model, graph, check, optimizes);
      show_convolutions(network, shown);
      auto compiled = std::make_shared<Compiled>();
      compiled->other = other;
      compiled->half = graph.half;
      compiled->file = model.path;
      compiled->input = network.input_spec;
      compiled->outputs = network.output_specs;
      compiled->output_images = network.output_images;
      if (precision == Precision::Int8) {
        native::compile_int8(std::move(network), optimizes, shared, *compiled);
      } else {
        native::compile_float(std::move(network), bf16, optimizes, shared, *compiled);
      }
      return compiled;
    });
  };
  if (!model.graph.with_sizes || model.refusal) {
    return std::make_unique<NativeEngine>(compile_graph(model.graph), nullptr, config.threads);
  }
  const auto compile_sizes = [=, &model](const Shape& sizes) {
    const std::unique_ptr<const Graph> graph = model.graph.with_sizes(sizes);
    std::shared_ptr<Compiled> compiled = compile_graph(*graph);
    pack(*compiled);  // while there are the constants that lie in the graph
    return compiled;
  };
  Shape tried;
  const std::shared_ptr<Compiled> compiled = native::try_sizes(model, other, compile_graph, tried);
  auto forms = std::make_shared<Forms>(compile_sizes, config.max_sizes, *compiled, tried);
  return std::make_unique<NativeEngine>(compiled, std::move(forms), config.threads);
}

}  // namespace lenet
