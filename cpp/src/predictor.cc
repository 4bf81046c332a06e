#include "lenet/predictor.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <new>
#include <system_error>
#include <utility>

#include "engines/engine.h"
#include "finite.h"
#include "io/printable.h"
#include "layer_values.h"
#include "model/element_types.h"
#include "own_numbers.h"
#include "pixels.h"
#include "self_check.h"

namespace lenet {
namespace {

constexpr int kMaxThreads = 1024;
constexpr std::size_t kWorthAThread = std::size_t{1} << 20;  // floats

void require_options(const Config& config) {
  const auto require = [](bool fits, const char* name, std::int64_t value,
                          const std::string& what) {
    if (fits) return;
    throw Error(ErrorCode::BadInput,
                std::string(name) + " is " + std::to_string(value) + "; expected 1 " + what);
  };
  require(config.threads >= 1 && config.threads <= kMaxThreads, "threads", config.threads,
          "to " + std::to_string(kMaxThreads));
  require(config.max_batch_size >= 0, "max_batch_size", config.max_batch_size,
          "or more, or 0 for 64 a thread");
  require(config.time_limit_ms >= 0, "time_limit_ms", config.time_limit_ms,
          "or more, or 0 for no limit");
  require(config.load_seconds >= 0, "load_seconds", config.load_seconds,
          "or more, or 0 for no limit");
  require(config.max_sizes >= 0, "max_sizes", config.max_sizes, "or more, or 0 for any number");
}

/// How a quantized model is made of one of this format.
const char* how_to_quantize(ModelFormat format) {
  switch (format) {
    case ModelFormat::Onnx:
      return "lenet-cpp import makes a .pdmodel of it, which lenet-cpp quantize takes";
    case ModelFormat::Separate:
      return "lenet-cpp convert --to pdmodel makes a model of it which lenet-cpp quantize takes";
    default:
      return "lenet-cpp quantize makes a quantized model of it";
  }
}

/// \throws Error Unsupported: nothing of the model runs in int8.
void require_quantized(const Config& config, const Model& model) {
  if (model.format == ModelFormat::Json) {
    refuse_model(model,
                 " is a .json program, of which nothing runs in int8; quantize its .pdmodel with "
                 "lenet-cpp quantize");
  }
  if (!model.quantized) {
    const std::string why = " is not quantized, so that nothing of it runs in int8";
    const std::string precisions = name_precisions(config, model);
    if (!precisions.empty()) {
      refuse_model(model, why + ": " + how_to_quantize(model.format) + "; use precision " +
                              precisions + " for this one");
    }
    // The engine refuses this model in every precision, so that to quantize it does not help.
    Config in_float = config;
    in_float.precision = Precision::Fp32;
    const std::string other = name_other_engine(in_float, model);
    refuse_model(model, why + (other.empty() ? "" : "; use " + other + " with precision fp32"));
  }
  if (model.float_weights) {
    refuse_model(model,
                 " is quantized, but its weights are stored as float32, of which int8 makes wrong "
                 "answers; lenet-cpp quantize stores them as int8; this model runs with engine "
                 "paddle and precision fp32");
  }
}

/// What an engine gives is compared with what the model itself declares.
void require_output(const Shape& given, const TensorSpec& spec, std::int64_t images) {
  if (fits(given, spec, images)) return;
  throw Error(ErrorCode::BackendFailure, "the output '" + spec.name + "' for " +
                                             std::to_string(images) + " images has shape " +
                                             to_string(given) + "; the model declares " +
                                             to_string(spec.shape));
}

/// What each output that an engine gives is, by its name.
std::vector<OutputMeaning> meanings_of(const std::vector<TensorSpec>& outputs,
                                       const std::vector<NamedMeaning>& known) {
  const auto place_of = [&](const std::string& name) {
    const auto is_it = [&](const TensorSpec& spec) { return spec.name == name; };
    const auto found = std::find_if(outputs.begin(), outputs.end(), is_it);
    return found == outputs.end() ? kNoOutput : static_cast<std::size_t>(found - outputs.begin());
  };
  std::vector<OutputMeaning> meanings(outputs.size());
  for (const NamedMeaning& one : known) {
    const std::size_t place = place_of(one.name);
    if (place == kNoOutput) continue;
    OutputMeaning& meaning = meanings[place] = one.meaning;
    if (meaning.partner != kNoOutput) meaning.partner = place_of(known[meaning.partner].name);
    const bool stands_alone = meaning.partner == kNoOutput;
    if (meaning.role == OutputRole::Indices && stands_alone) {
      meaning.role = OutputRole::ClassNumbers;
    }
  }
  return meanings;
}

/// Whether the first dimension of an output is that of the images: it has the size of the input's.
/// \param declared by the engine
/// \param checked the same output as the check knows it; or null
/// \param images the first dimension of the input
bool is_by_image(const TensorSpec& declared, const Value* checked, std::int64_t images) {
  const std::size_t axis = checked != nullptr ? checked->images.axis : kNone;
  if (axis != kNone && axis != 0) return false;
  const Shape& shape = checked != nullptr ? checked->shape : declared.shape;
  // An open size stands for the number of images, whatever the input declares.
  return declared.by_image && !shape.empty() && (shape[0] < 0 || shape[0] == images);
}

/// What a clone takes over.
struct Loaded {
  Config config;
  /// Outlives the engines; without its contents where they need them no more.
  std::shared_ptr<const Model> model;
  const EngineRow* row = nullptr;  // of the engine that runs the model
  std::string reason;              // for the engine
  std::string refusals;            // of other engines, each in parentheses
  double multiply_adds = 0;        // for one image
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::vector<OutputMeaning> meanings;  // of each output
  /// Whether the shapes of outputs are those for sizes of images that were tried, so that other
  /// images may have others.
  bool open_sizes = false;
  /// The index of the chosen output, where the engine runs the whole program; else kNoOutput.
  std::size_t chosen = kNoOutput;
};

/// Where an output of a run goes, put together from those of its batches: to a tensor, which takes
/// its size, or to a buffer of the caller's.
struct Destination {
  /// Makes room for the output of so many images.
  void resize(std::size_t count, const Shape& shape, const TensorSpec& spec, std::int64_t images) {
    if (tensor == nullptr) {
      if (count == size) return;
      throw Error(ErrorCode::BadInput, "the memory for output '" + spec.name + "' holds " +
                                           std::to_string(size) + " values; that of " +
                                           std::to_string(images) + " images has " +
                                           std::to_string(count));
    }
    try {
      tensor->data.resize(count);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::BackendFailure,
                  "out of memory for the output of " + std::to_string(images) + " images");
    }
    data = tensor->data.data();
    tensor->shape = shape;
  }

  /// Later images of the input would be overwritten, or freed, when it is run in batches.
  bool overlaps(const void* first, std::size_t bytes) const {
    const std::less<const void*> before;
    const float* const begin = tensor != nullptr ? tensor->data.data() : data;
    const std::size_t room = tensor != nullptr ? tensor->data.capacity() : size;
    return before(first, begin + room) && before(begin, static_cast<const char*>(first) + bytes);
  }

  bool wanted = false;
  Tensor* tensor = nullptr;  ///< null: a buffer
  float* data = nullptr;
  std::size_t size = 0;  ///< of the buffer
};

}  // namespace

struct Predictor::State final : Loaded, Outputs {
  State() = default;
  explicit State(const Loaded& loaded) : Loaded(loaded) {}

  void take(const EngineRow& taken, std::unique_ptr<Engine> its_engine) {
    row = &taken;
    config.engine = taken.kind;
    engine = std::move(its_engine);
  }

  /// Sets `by_image` of the outputs, as the check knows them, or else as they are declared.
  void find_by_image() {
    const Graph& graph = model->graph;
    const bool checked = !model->refusal && graph.inputs.size() == 1;
    std::int64_t images = input.shape.empty() ? -1 : input.shape[0];
    if (checked && !graph.values[graph.inputs[0]].shape.empty()) {
      images = graph.values[graph.inputs[0]].shape[0];
    }
    for (TensorSpec& output : outputs) {
      const Value* known = nullptr;
      for (const std::size_t index : graph.outputs) {
        const Value& value = graph.values[index];
        if (checked && value.name == output.name && value.has_shape) known = &value;
      }
      // Engines that know every shape give a scalar an empty one.
      const bool unknown = known == nullptr && output.shape.empty() && row->takes_any_shape;
      if (!unknown) output.by_image = is_by_image(output, known, images);
    }
  }

  bool wants(std::size_t index) const override {
    if (chosen != kNoOutput) return index == chosen && destinations[0].wanted;
    return destinations[index].wanted;
  }

  float* place(std::size_t given, const Shape& shape) override {
    const std::size_t index = chosen == kNoOutput ? given : 0;
    const TensorSpec& spec = outputs[index];
    const bool whole = at_once == all_images;
    // What onnxruntime runs may be declared wrong, and nobody knows the shape for each size that is
    // open. All that comes of one image is its own.
    const bool own = whole && (all_images == 1 || !spec.by_image || spec.shape.empty());
    const bool by_image = !shape.empty() && shape[0] == at_once;
    const bool any = row->takes_any_shape || open_sizes;
    const bool declared = !spec.shape.empty() && !open_sizes;
    if (any && !declared && !own && !by_image) refuse_rows(spec, shape);
    if (!any || !(own || by_image)) require_output(shape, spec, at_once);
    Destination& to = destinations[index];
    const std::size_t count = element_count(shape);
    if (whole) {
      to.resize(count, shape, spec, all_images);
      return to.data;
    }
    const std::size_t row_size = count / static_cast<std::size_t>(at_once);
    to.resize(row_size * static_cast<std::size_t>(all_images), shape, spec, all_images);
    if (to.tensor != nullptr) to.tensor->shape[0] = all_images;
    return to.data + row_size * static_cast<std::size_t>(done);
  }

  /// Refuses an output that the predictor expected to have a row for each image.
  [[noreturn]] void refuse_rows(const TensorSpec& spec, const Shape& shape) const {
    std::string text = "the output '" + spec.name + "' has no row for each image, but the shape " +
                       to_string(shape) + " for " + std::to_string(at_once) +
                       " images, which the model does not declare";
    const bool is_fixed = !input.shape.empty() && input.shape[0] > 1;
    const std::int64_t most = at_once == all_images ? 1 : at_once;
    if (!is_fixed) text += "; run no more than " + std::to_string(most) + " at once";
    throw Error(ErrorCode::Unsupported, text);
  }

  /// Leaves but the chosen output.
  void take_chosen() {
    if (chosen == kNoOutput) return;
    outputs = {outputs[chosen]};
    OutputMeaning meaning = meanings[chosen];
    meaning.partner = kNoOutput;
    if (meaning.role == OutputRole::Indices) meaning.role = OutputRole::ClassNumbers;
    meanings = {meaning};
  }

  /// Gives outputs of no images. \throws Error BadInput: one belongs to a run as a whole.
  void place_nothing() {
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      if (!destinations[i].wanted) continue;
      if (!outputs[i].by_image) refuse_batch(outputs[i], "needs at least one image");
      Shape shape = outputs[i].shape;
      if (shape.empty()) shape.push_back(0);
      // Without a run it is not known what else is free.
      for (std::int64_t& dimension : shape) dimension = std::max<std::int64_t>(dimension, 0);
      shape[0] = 0;
      destinations[i].resize(0, shape, outputs[i], 0);
    }
  }

  /// \param why ends a sentence about the output \throws Error BadInput.
  [[noreturn]] static void refuse_batch(const TensorSpec& output, const std::string& why) {
    throw Error(ErrorCode::BadInput, "the output '" + output.name +
                                         "' has no batch axis, it is computed of all images "
                                         "together, and " +
                                         why);
  }

  /// \param most images of a piece \throws Error BadInput: an output belongs to a run as a whole.
  void require_whole(std::int64_t images, std::int64_t most, const char* remedy) const {
    if (images <= most) return;
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      if (!destinations[i].wanted || outputs[i].by_image) continue;
      refuse_batch(outputs[i], std::to_string(images) + " images would run in pieces of " +
                                   std::to_string(most) + "; " + remedy);
    }
  }

  std::int64_t images() const override { return all_images; }

  /// Before anything is computed. \throws Error BadInput.
  void require_images(std::int64_t count) {
    if (!model->graph.require_images) return;
    if (std::find(fitting.begin(), fitting.end(), count) != fitting.end()) return;
    model->graph.require_images(count);
    constexpr std::size_t kRemembered = 64;
    if (fitting.size() == kRemembered) fitting.clear();
    fitting.push_back(count);
  }

  /// How many of so many images run at once. \throws Error BadInput: they cannot run in pieces.
  std::int64_t largest_piece(std::int64_t images) const {
    if (!input.shape.empty() && input.shape[0] > 0) {
      require_whole(images, input.shape[0], "give the shape that the model declares");
      return input.shape[0];
    }
    if (config.max_batch_size > 0) {
      require_whole(images, config.max_batch_size, "give no more at once, or raise max_batch_size");
      return config.max_batch_size;
    }
    // Pieces might not fit a program that does not take any number of images.
    const Graph& graph = model->graph;
    if (graph.require_images || graph.joins_images) return images;
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      if (destinations[i].wanted && !outputs[i].by_image) return images;
    }
    if (config.precision == Precision::Tf32) return images;
    // For more, cuDNN 9.19 lacks float32 kernels of some convolutions: onnxruntime takes TF32's.
    return config.device != "cpu" ? kImagesPerThread : engine->largest_batch(config.threads);
  }

  RunControl control;
  std::vector<Destination> destinations;  // of a run, for each output
  std::int64_t all_images = 0;            // of the run
  std::int64_t done = 0;                  // in batches before this one
  std::int64_t at_once = 0;               // in this one
  std::vector<std::int64_t> fitting;      // numbers of images, of a model that does not take any
  TensorView batch;                       // of a run, whose shape's memory is used again
  Tensor values;                          // of its pixels, for an engine that reads none
  std::unique_ptr<Engine> engine;
  std::shared_ptr<LayerValues> shows;  // after a run; set atomically, for cancel()
};

Predictor::Predictor(const Config& config) : Predictor(config, nullptr) {
  if (config.self_check) self_check(*this, nullptr);
}

Predictor::Predictor(const Config& config, const ModelBytes& model) : Predictor(config, &model) {
  if (config.self_check) self_check(*this, &model);
}

Predictor::Predictor(const Config& given, const ModelBytes* bytes) try
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  Config& config = state.config = given;
  require_options(config);
  const ModelFiles files = bytes == nullptr ? find_model_files(config, prefers_onnx(config.engine))
                                            : find_model_files(config, *bytes);
  const bool named = config.engine != EngineKind::Auto;
  if (bytes == nullptr) {
    config.model_file = files.program;
    config.params_file = files.params;
    config.model_dir.clear();
  }
  load_or_choose(files, bytes);
  const Engine& engine = *state.engine;
  const std::string said = state.refusals.empty() ? "" : " " + state.refusals;
  state.reason = named                 ? "the one that was named"
                 : engine.is_fastest() ? "auto: the fastest that runs this model" + said
                                       : "auto: no faster one runs this model" + said;
  state.input = engine.input_spec();
  state.outputs = engine.output_specs();
  state.open_sizes = state.model->graph.with_sizes != nullptr;
  state.find_by_image();
  state.meanings = meanings_of(state.outputs, state.model->output_meanings);
  state.take_chosen();
  if (state.model->graph.require_images) {  // also where one number alone fits
    state.input.shape[0] = -1;
    for (TensorSpec& output : state.outputs) {
      if (output.by_image && !output.shape.empty()) output.shape[0] = -1;
    }
    return;
  }
  if (!engine.needs_model()) state.model = state.model->without_contents();
} catch (const std::bad_alloc&) {
  const std::string name = "'" + given.model_file + given.model_dir + "'";
  throw Error(ErrorCode::BackendFailure,
              "out of memory while loading " + (bytes == nullptr ? name : "a model in memory"));
}

Predictor::Predictor(std::unique_ptr<State> state) : state_(std::move(state)) {}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

Tensor Predictor::run(const TensorView& input) {
  Tensor output;
  run(input, output);
  return output;
}

void Predictor::run(const TensorView& input, Tensor& output) {
  state_->destinations.assign(state_->outputs.size(), {});
  state_->destinations[0] = {true, &output};
  run_wanted(input);
}

void Predictor::run(const TensorView& input, float* output, std::size_t size) {
  if (size > 0 && output == nullptr) throw Error(ErrorCode::BadInput, "the output has no memory");
  state_->destinations.assign(state_->outputs.size(), {});
  state_->destinations[0] = {true, nullptr, output, size};
  run_wanted(input);
}

std::vector<Tensor> Predictor::run_outputs(const TensorView& input,
                                           const std::vector<std::string>& names) {
  const std::vector<TensorSpec>& specs = state_->outputs;
  std::vector<Tensor> outputs(names.empty() ? specs.size() : names.size());
  state_->destinations.assign(specs.size(), {});
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto named = [&](const TensorSpec& spec) { return spec.name == names[i]; };
    const auto found = names.empty() ? specs.begin() + static_cast<std::ptrdiff_t>(i)
                                     : std::find_if(specs.begin(), specs.end(), named);
    if (found == specs.end()) {
      throw Error(ErrorCode::Unsupported, std::string("the ") + state_->row->name +
                                              " engine gives no output '" + names[i] +
                                              "' of this model; see output_specs, or use another "
                                              "engine");
    }
    Destination& destination =
        state_->destinations[static_cast<std::size_t>(found - specs.begin())];
    if (destination.wanted)
      throw Error(ErrorCode::BadInput, "output '" + names[i] + "' is named twice");
    destination = {true, &outputs[i]};
  }
  run_wanted(input);
  return outputs;
}

void Predictor::run_wanted(const TensorView& input) try {
  State& state = *state_;
  const Config& config = state.config;
  require_shape(input, state.input);
  const std::size_t count = element_count(input.shape);
  const bool pixels = input.pixels != nullptr;
  const bool numbers = input.numbers != nullptr;
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw Error(ErrorCode::BadInput, "input '" + state.input.name + "' " + what);
  };
  require(input.data == nullptr || (!pixels && input.table == nullptr), "has values and pixels");
  require(!numbers || (input.data == nullptr && !pixels && input.table == nullptr),
          "has numbers of the model's type and others");
  require(count == 0 || input.data != nullptr || pixels || numbers, "has no data");
  const ElementType& type = element_type_named(state.input.dtype);
  const bool other_type = type.dtype != kFloat32;
  require(!numbers || other_type, "is of float32, which comes as values");
  std::vector<Destination>& to = state.destinations;
  const void* const first = pixels    ? static_cast<const void*>(input.pixels)
                            : numbers ? input.numbers
                                      : static_cast<const void*>(input.data);
  const std::size_t bytes = count * (pixels ? 1 : numbers ? type.size : sizeof(float));
  const auto overlaps = [&](const Destination& each) { return each.overlaps(first, bytes); };
  const bool checks_table = pixels && input.table != nullptr && !input.table->finite;
  if (std::any_of(to.begin(), to.end(), overlaps)) {
    const std::string copy(static_cast<const char*>(first), bytes);
    TensorView view = input;
    if (pixels) view.pixels = reinterpret_cast<const std::uint8_t*>(copy.data());
    if (numbers) view.numbers = copy.data();
    if (!pixels && !numbers) view.data = reinterpret_cast<const float*>(copy.data());
    return run_wanted(view);
  }
  if (other_type) {
    const OwnInput own =
        own_input(input, state.input, state.engine->reads_numbers(), config.check_finite);
    run_batches(own.view);
    if (state.shows) state.shows->run(input);
    return;
  }
  if (config.check_finite && checks_table) {
    Tensor copy;
    read_values(input, copy);
    return run_wanted(copy.view());
  }
  bool finite = true;
  const auto look = [&] { finite = all_finite(input.data, count); };
  const auto require_finite = [&] {
    require(
        finite,
        "holds NaN or infinity; clean the data, or set check_finite to false to let it through");
  };
  std::future<void> looking;  // ends before this function does, however that comes
  if (config.check_finite && !pixels) {
    // This thread only waits while a GPU computes.
    if (config.device != "cpu" && count >= kWorthAThread) {
      looking = std::async(std::launch::async, look);
    } else {
      look();
      require_finite();
    }
  }

  run_batches(input);
  if (looking.valid()) {
    looking.get();
    require_finite();
  }
  if (state.shows) state.shows->run(input);
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "out of memory while running the model");
} catch (const std::system_error& error) {
  throw Error(ErrorCode::BackendFailure, std::string("cannot start a thread: ") + error.what());
}

void Predictor::run_batches(const TensorView& input) {
  State& state = *state_;
  const Config& config = state.config;
  const bool pixels = input.pixels != nullptr;
  const std::int64_t images = state.all_images = input.shape.empty() ? 1 : input.shape[0];
  if (images == 0) {
    return state.place_nothing();
  }
  state.done = 0;
  state.control.begin(config.time_limit_ms);
  Engine& engine = *state.engine;
  const std::int64_t most = state.largest_piece(images);
  state.require_images(std::min(most, images));
  if (images % most > 0) state.require_images(images % most);
  const auto run_engine = [&](const TensorView& batch) {
    state.at_once = batch.shape.empty() ? 1 : batch.shape[0];
    const bool converts = pixels && !engine.reads_pixels();
    TensorView converted;
    if (converts) {
      read_values(batch, state.values);
      converted = state.values.view();
    }
    state.control.require_running();
    engine.run(converts ? converted : batch, state, state.control);
  };
  if (images <= most) return run_engine(input);
  const std::size_t image_size = element_count(input.shape) / static_cast<std::size_t>(images);
  const std::size_t number_size = element_type_named(state.input.dtype).size;
  TensorView& batch = state.batch;
  batch = input;
  for (; state.done < images; state.done += state.at_once) {
    batch.shape[0] = std::min(most, images - state.done);
    const std::size_t done = static_cast<std::size_t>(state.done) * image_size;
    if (input.data != nullptr) batch.data = input.data + done;
    if (pixels) batch.pixels = input.pixels + done;
    if (input.numbers != nullptr) {
      batch.numbers = static_cast<const char*>(input.numbers) + done * number_size;
    }
    run_engine(batch);
  }
}

void Predictor::load(const ModelFiles& files, const ModelBytes* bytes) {
  State& state = *state_;
  const std::vector<const EngineRow*> choice = find_engines(state.config, files);
  state.model = load_model(files, state.config, bytes);
  state.multiply_adds = state.model->graph.multiply_adds;
  if (state.config.precision == Precision::Int8) require_quantized(state.config, *state.model);
  choose_engine(choice);
}

void Predictor::load_or_choose(const ModelFiles& files, const ModelBytes* bytes) {
  State& state = *state_;
  const Config asked = state.config;
  const std::string& name = asked.output_name;
  try {
    return load(files, bytes);
  } catch (const Error& error) {
    const bool may_be_output = !name.empty() && name != kEveryValue && name != kFeatures;
    if (error.code() != ErrorCode::Unsupported || !may_be_output) throw;
    // Other engines than the native one run the whole program, and give its own outputs alone.
    const Error first = error;
    state.config = asked;
    state.config.output_name.clear();
    state.refusals.clear();
    try {
      load(files, bytes);
    } catch (const Error&) {
      throw first;
    }
    const std::vector<TensorSpec> outputs = state.engine->output_specs();
    const auto is_it = [&](const TensorSpec& spec) { return spec.name == name; };
    const auto found = std::find_if(outputs.begin(), outputs.end(), is_it);
    if (found == outputs.end()) throw first;
    state.chosen = static_cast<std::size_t>(found - outputs.begin());
    state.config.output_name = name;
  }
}

void Predictor::choose_engine(const std::vector<const EngineRow*>& choice) {
  State& state = *state_;
  const EngineRow* slower = nullptr;
  std::unique_ptr<Engine> slower_engine;
  std::string& refusals = state.refusals;
  for (const EngineRow* row : choice) {
    const bool last = row == choice.back();
    state.take(*row, nullptr);
    try {
      Config asked = state.config;
      if (!last) asked.engine = EngineKind::Auto;
      state.engine = row->create(asked, state.model);
      const bool only = last && slower == nullptr;
      if (only || state.engine->is_fastest()) return state.engine->prepare();
      if (slower == nullptr) {
        slower = row;
        slower_engine = std::move(state.engine);
      }
    } catch (const Error& error) {
      const std::string blank = refusals.empty() ? "" : " ";
      if (last && slower == nullptr) throw Error(error.code(), error.what() + blank + refusals);
      // What is wrong with the model is so for each engine, but not what is wrong with an engine.
      const bool of_engine =
          error.code() == ErrorCode::Unsupported || error.code() == ErrorCode::BackendFailure;
      if (slower == nullptr && !of_engine) throw;
      refusals += blank + "(engine " + row->name + ": " + error.what() + ")";
    }
  }
  state.take(*slower, std::move(slower_engine));
  state.engine->prepare();
}

const std::string& Predictor::engine_refusals() const noexcept { return state_->refusals; }

ComputedPrecision Predictor::computed_precision() const {
  return state_->engine->computed_precision(state_->config.precision);
}

Accelerator Predictor::accelerator(std::int64_t images) const {
  return state_->engine->accelerator(images);
}

CompiledSizes Predictor::compiled_sizes() const { return state_->engine->compiled_sizes(); }

Predictor Predictor::clone() const {
  const Loaded& loaded = *state_;
  auto state = std::make_unique<State>(loaded);
  state->engine = state_->engine->clone();
  return Predictor(std::move(state));
}

void Predictor::set_layer_callback(LayerCallback callback) {
  State& state = *state_;
  std::atomic_store(&state.shows, {});
  if (state.engine->has_layers()) return state.engine->set_layer_callback(std::move(callback));
  if (!callback) return;
  const EngineRow& row = *state.row;
  if (!row.gives_any_value) {
    throw Error(ErrorCode::Unsupported,
                std::string("the ") + row.name +
                    " engine cannot show each operator's output; use engine native, or engine "
                    "paddle, for an .onnx with the model that lenet-cpp import makes");
  }
  if (state.config.model_file.empty()) {
    throw Error(ErrorCode::Unsupported,
                "the native engine shows the values of a model in files, and this is a model in "
                "memory; use engine paddle");
  }
  std::atomic_store(&state.shows, std::make_shared<LayerValues>(state.config, std::move(callback)));
}

void Predictor::cancel() {
  if (const auto shows = std::atomic_load(&state_->shows)) shows->cancel();
  if (state_->row->stops) return state_->control.cancel();
  throw Error(ErrorCode::Unsupported,
              "this predictor's engine cannot end a run early; choose one that has time limits");
}

Profile Predictor::profile(std::int64_t images, int runs) try {
  constexpr std::int64_t kMaxImages = std::int64_t{1} << 20;
  constexpr int kMaxRuns = 10'000;  // the times of each are kept
  const std::int64_t fixed = state_->input.shape.empty() ? -1 : state_->input.shape[0];
  const bool fits = fixed <= 0 || images == fixed;
  if (images < 1 || images > kMaxImages || runs < 0 || runs > kMaxRuns || !fits) {
    throw Error(ErrorCode::BadInput,
                "cannot profile " + std::to_string(runs) + " runs of " + std::to_string(images) +
                    " images; expected 0 to " + std::to_string(kMaxRuns) + " runs, of " +
                    (fixed > 0 ? std::to_string(fixed) : "1 to " + std::to_string(kMaxImages)) +
                    " images");
  }
  state_->require_images(images);
  state_->control.begin(0);
  Profile profile = state_->engine->profile(images, runs, state_->control);
  profile.engine = state_->row->name;
  profile.reason = state_->reason;
  profile.precision = to_string(state_->config.precision);
  const ComputedPrecision computed = computed_precision();
  profile.computed_precision = to_string(computed.precision);
  profile.precision_reason = computed.reason;
  profile.model_file = state_->config.model_file;
  profile.threads = state_->config.threads;
  profile.compiled = compiled_sizes();
  return profile;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "out of memory while profiling the model");
}

const TensorSpec& Predictor::input_spec() const noexcept { return state_->input; }
const TensorSpec& Predictor::output_spec() const noexcept { return state_->outputs.front(); }
const std::vector<TensorSpec>& Predictor::output_specs() const noexcept { return state_->outputs; }
const Config& Predictor::config() const noexcept { return state_->config; }
bool Predictor::quantized() const noexcept { return state_->model->quantized; }
double Predictor::multiply_adds() const noexcept { return state_->multiply_adds; }
double Predictor::multiply_adds(const Shape& input) const {
  const Model& model = *state_->model;
  if (!model.graph.with_sizes || model.refusal) return state_->multiply_adds;
  require_shape({nullptr, input}, state_->input);
  return model.graph.with_sizes(input)->multiply_adds;
}
bool Predictor::joins_images() const noexcept {
  const auto& outputs = state_->outputs;
  return state_->model->graph.joins_images ||
         std::any_of(outputs.begin(), outputs.end(),
                     [](const auto& each) { return !each.by_image; });
}
const std::vector<OutputMeaning>& Predictor::output_meanings() const noexcept {
  return state_->meanings;
}

const std::vector<std::string>& Predictor::class_names() const noexcept {
  return state_->model->class_names;
}

const char* to_string(OutputRole role) {
  constexpr const char* kNames[] = {"unknown",  "logits",        "probabilities", "scores",
                                    "features", "class_numbers", "indices",       "multi_hot"};
  return kNames[static_cast<std::size_t>(role)];
}

}  // namespace lenet
