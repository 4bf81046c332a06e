#include "model.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "classify_files.h"
#include "model/element_types.h"

namespace lenet::serve {
namespace {

std::unique_ptr<const Predictor> load_predictor(const std::string& path, const Options& options) {
  Config config = options.config;
  config.model_file = path;
  config.time_limit_ms = options.limits.request_ms;
  try {
    return std::make_unique<const Predictor>(config);
  } catch (const Error& error) {
    // Paddle's engine cannot be stopped; its models are served all the same.
    if (error.code() != ErrorCode::Unsupported || config.time_limit_ms == 0) throw;
  }
  config.time_limit_ms = 0;
  return std::make_unique<const Predictor>(config);
}

nlohmann::json tensors_json(const std::vector<TensorSpec>& specs, bool of_config) {
  nlohmann::json tensors;
  for (const TensorSpec& spec : specs) {
    const std::string type = datatype_of(spec).name;
    tensors.push_back({{"name", spec.name},
                       {of_config ? "data_type" : "datatype", of_config ? "TYPE_" + type : type},
                       {of_config ? "dims" : "shape", spec.shape}});
  }
  return tensors;
}

nlohmann::json counter_json(const Counter& counter) {
  return {{"count", counter.count.load()}, {"ns", counter.nanoseconds.load()}};
}

}  // namespace

const Datatype& datatype_of(const TensorSpec& spec) {
  static constexpr Datatype kDatatypes[] = {
      {"float32", "FP32", 4},  {"uint8", "UINT8", 1},  {"int32", "INT32", 4},
      {"int64", "INT64", 8},   {"float64", "FP64", 8}, {"float16", "FP16", 2},
      {"bfloat16", "BF16", 2}, {"bool", "BOOL", 1},
  };
  const auto* const found =
      std::find_if(std::begin(kDatatypes), std::end(kDatatypes),
                   [&](const Datatype& each) { return spec.dtype == each.dtype; });
  return found == std::end(kDatatypes) ? kDatatypes[0] : *found;
}

Model::Model(std::string model_name, std::int64_t model_version, const std::string& path,
             const Options& options)
    : name(std::move(model_name)),
      version(std::to_string(model_version)),
      first_(load_predictor(path, options)) {
  const Config& config = first_->config();
  platform_ = std::string("lenet_") + to_string(config.engine);
  input = first_->input_spec();
  outputs = first_->output_specs();
  meanings = first_->output_meanings();
  joins_images = first_->joins_images();
  multiply_adds = first_->multiply_adds();
  try {
    described = apps::describe(*first_, "", options.changes);
    if (!options.changes.empty()) described = with_images(std::move(described));
    if (!options.labels.empty()) described.note.clear();  // it is about labels
    if (!described.source.empty()) {
      const ImagePipeline prepares(described.description.images);
      prepares.require_layout(input.shape, described.source);
      pipeline = prepares;
    }
  } catch (const Error& error) {
    // Arrays need no description, unless the user changes its steps.
    if (!options.changes.empty()) throw;
    const bool is_layout = error.code() == ErrorCode::BadInput;
    if (error.code() != ErrorCode::Unsupported && !is_layout) throw;
    described.note = error.what();
  }
  if (!options.labels.empty()) {
    give_labels(described, read_class_names(options.labels), options.labels);
  }
  try {
    plan = plan_outputs(*first_, described);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    require_classes(false, described);
    return;  // its outputs are served as they are
  }
  require_classes(gives_classes(*plan, described.description.outputs), described);
  takes_labels(static_cast<std::size_t>(plan->num_classes), described, config);
}

bool Model::has_score_of_each_class(std::size_t output) const {
  const OutputMeaning& meaning = meanings[output];
  return is_real(outputs[output].dtype) && !meaning.picked &&
         meaning.role != OutputRole::ClassNumbers && meaning.role != OutputRole::Indices &&
         meaning.role != OutputRole::MultiHot;
}

bool Model::is_classifier(std::size_t output) const {
  return plan && std::any_of(plan->heads.begin(), plan->heads.end(),
                             [&](const Head& head) { return plan->wanted[head.values] == output; });
}

void Model::measure(int seconds) {
  constexpr std::chrono::milliseconds kAgain(20);  // a run that just begins does not notice
  std::future<void> run = std::async(std::launch::async, [this] { try_out(); });
  const auto goes_on = [&](auto time) { return run.wait_for(time) == std::future_status::timeout; };
  const bool is_late = goes_on(std::chrono::seconds(seconds));
  for (bool runs = is_late; runs; runs = goes_on(kAgain)) cancel();
  try {
    run.get();
  } catch (const std::exception&) {
    if (!is_late) throw;
    throw Error(ErrorCode::BackendFailure, "its first run takes longer than " +
                                               std::to_string(seconds) +
                                               " s, the limit of this server (--trial_seconds)");
  }
}

void Model::try_out() try {
  constexpr int kRuns = 5;
  constexpr std::chrono::milliseconds kEnough(50);
  Shape shape = input.shape;
  const bool known = !shape.empty() && std::all_of(shape.begin() + 1, shape.end(),
                                                   [](std::int64_t size) { return size > 0; });
  image_us = std::numeric_limits<double>::infinity();
  if (!known) return;
  shape[0] = std::max<std::int64_t>(shape[0], 1);
  const std::vector<float> zeros(element_count(shape));
  Tensor output;
  const Lease predictor = lend();
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kRuns && Clock::now() - begin < kEnough; ++i) {
    const Clock::time_point start = Clock::now();
    predictor->run({zeros.data(), shape}, output);
    const std::chrono::duration<double, std::micro> time = Clock::now() - start;
    // The first run prepares memory, unless it is the only one.
    image_us = std::min(image_us, time.count() / static_cast<double>(shape[0]));
  }
} catch (const Error& error) {
  if (error.code() != ErrorCode::BadInput) throw;  // the model takes other numbers of images
}

Model::Lease Model::lend() {
  std::unique_ptr<Predictor> lent;
  std::unique_lock<std::mutex> lock(mutex_);
  if (idle_.empty()) {
    lock.unlock();
    lent = std::make_unique<Predictor>(first_->clone());
    lock.lock();
  } else {
    lent = std::move(idle_.back());
    idle_.pop_back();
  }
  idle_.reserve(idle_.size() + running_.size() + 1);  // to give it back takes no memory
  running_.insert(lent.get());
  return {lent.release(), [this](Predictor* back) {
            const std::lock_guard<std::mutex> giving(mutex_);
            running_.erase(back);
            idle_.emplace_back(back);
          }};
}

void Model::cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Predictor* predictor : running_) {
    try {
      predictor->cancel();
    } catch (const Error&) {  // this engine cannot be stopped
    }
  }
}

double Model::multiply_adds_of(const Shape& shape) {
  if (multiply_adds > 0 || shape.empty()) return multiply_adds;
  constexpr std::size_t kRemembered = 64;
  const Shape image(shape.begin() + 1, shape.end());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [known, work] : works_) {
      if (known == image) return work;
    }
  }
  const double work = first_->multiply_adds(shape);
  const std::lock_guard<std::mutex> lock(mutex_);
  works_.emplace_front(image, work);
  if (works_.size() > kRemembered) works_.pop_back();
  return work;
}

nlohmann::json Model::metadata() const {
  return {{"name", name},
          {"versions", {version}},
          {"platform", platform_},
          {"inputs", tensors_json({input}, false)},
          {"outputs", tensors_json(outputs, false)}};
}

nlohmann::json Model::config() const {
  return {{"name", name},
          {"platform", platform_},
          {"backend", "lenet"},
          {"version_policy", {{"specific", {{"versions", {std::stoll(version)}}}}}},
          {"max_batch_size", 0},  // the shapes hold the batch
          {"input", tensors_json({input}, true)},
          {"output", tensors_json(outputs, true)}};
}

nlohmann::json Model::counted() const {
  const Statistics& s = statistics;
  return {{"name", name},
          {"version", version},
          {"last_inference", s.last_run_ms.load()},
          {"inference_count", s.images.load()},
          {"execution_count", s.runs.load()},
          {"inference_stats",
           {{"success", counter_json(s.success)},
            {"fail", counter_json(s.fail)},
            {"queue", counter_json(s.queue)},
            {"compute_input", counter_json(s.input)},
            {"compute_infer", counter_json(s.infer)},
            {"compute_output", counter_json(s.output)}}},
          {"batch_stats", nlohmann::json::array()}};
}

}  // namespace lenet::serve
