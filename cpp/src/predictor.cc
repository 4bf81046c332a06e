#include "lenet/predictor.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "engines/engine.h"

namespace lenet {
namespace {

constexpr int kMaxThreads = 1024;

void require_options(const Config& config) {
  if (config.threads < 1 || config.threads > kMaxThreads) {
    throw Error(ErrorCode::BadInput, "threads is " + std::to_string(config.threads) +
                                         "; expected 1 to " + std::to_string(kMaxThreads));
  }
  if (config.precision != "fp32") {
    throw Error(ErrorCode::Unsupported,
                "precision '" + config.precision + "' is not available; this build has: fp32");
  }
  if (config.max_batch_size < 1) {
    throw Error(ErrorCode::BadInput, "max_batch_size is " + std::to_string(config.max_batch_size) +
                                         "; expected 1 or more");
  }
}

void require_shape(const Shape& given, const TensorSpec& spec) {
  bool fits = given.size() == spec.shape.size();
  for (std::size_t i = 0; fits && i < given.size(); ++i) {
    fits = given[i] >= 0 && (spec.shape[i] < 0 || given[i] == spec.shape[i]);
  }
  if (!fits) {
    throw Error(ErrorCode::BadInput, "input '" + spec.name + "' has shape " + to_string(given) +
                                         "; the model expects " + to_string(spec.shape));
  }
}

void require_finite(const float* values, std::size_t count, const std::string& name) {
  // On the bits, so that the loop vectorizes: the exponent of NaN and infinity is all ones.
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof(bits));
    found |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  }
  if (found != 0) {
    throw Error(ErrorCode::BadInput, "input '" + name +
                                         "' holds NaN or infinity; clean the data, or set "
                                         "check_finite to false to let it through");
  }
}

}  // namespace

struct Predictor::State {
  Config config;
  std::unique_ptr<Engine> engine;
  TensorSpec input;
  TensorSpec output;
};

Predictor::Predictor(const Config& config) : state_(std::make_unique<State>()) {
  require_options(config);
  const ModelFiles files = find_model_files(config);
  check_model_files(files, config.check_hashes);
  state_->config = config;
  state_->config.model_file = files.program;
  state_->config.params_file = files.params;
  state_->config.model_dir.clear();
  if (config.accelerator == Accelerator::Auto) {
    state_->config.accelerator = choose_accelerator(files);
  }
  state_->engine = create_engine(state_->config, files);
  state_->input = state_->engine->input_spec();
  state_->output = state_->engine->output_spec();
}

Predictor::Predictor(std::unique_ptr<Engine> engine, const Predictor& origin)
    : state_(std::make_unique<State>()) {
  state_->config = origin.state_->config;
  state_->input = origin.state_->input;
  state_->output = origin.state_->output;
  state_->engine = std::move(engine);
}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

Tensor Predictor::run(const TensorView& input) {
  Tensor output;
  run(input, output);
  return output;
}

void Predictor::run(const TensorView& input, Tensor& output) {
  require_shape(input.shape, state_->input);
  const std::size_t count = element_count(input.shape);
  if (count > 0 && input.data == nullptr) {
    throw Error(ErrorCode::BadInput, "input '" + state_->input.name + "' has no data");
  }
  if (state_->config.check_finite) require_finite(input.data, count, state_->input.name);

  const std::int64_t images = input.shape.empty() ? 1 : input.shape[0];
  if (images == 0) {
    output.shape = state_->output.shape;
    output.shape[0] = 0;
    output.data.clear();
    return;
  }
  const std::size_t image_size = count / static_cast<std::size_t>(images);
  TensorView batch{input.data, input.shape};
  for (std::int64_t done = 0; done < images; done += batch.shape[0]) {
    batch.shape[0] = std::min(state_->config.max_batch_size, images - done);
    batch.data = input.data + static_cast<std::size_t>(done) * image_size;
    Shape shape = state_->engine->run(batch);
    if (shape.empty() || shape[0] != batch.shape[0]) {
      throw Error(ErrorCode::BackendFailure, "the model gave an output of shape " +
                                                 to_string(shape) + " for a batch of " +
                                                 std::to_string(batch.shape[0]));
    }
    const std::size_t row = element_count(shape) / static_cast<std::size_t>(shape[0]);
    shape[0] = images;
    output.data.resize(row * static_cast<std::size_t>(images));
    output.shape = std::move(shape);
    state_->engine->copy_output(output.data.data() + row * static_cast<std::size_t>(done));
  }
}

Predictor Predictor::clone() const { return Predictor(state_->engine->clone(), *this); }

void Predictor::set_layer_callback(LayerCallback callback) {
  state_->engine->set_layer_callback(std::move(callback));
}

const TensorSpec& Predictor::input_spec() const noexcept { return state_->input; }
const TensorSpec& Predictor::output_spec() const noexcept { return state_->output; }
const Config& Predictor::config() const noexcept { return state_->config; }

}  // namespace lenet
