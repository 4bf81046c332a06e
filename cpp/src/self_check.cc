#include "self_check.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "agreement.h"
#include "engines/engine.h"
#include "io/printable.h"
#include "lenet/interruption.h"
#include "lenet/wrong_layer.h"
#include "model/element_types.h"

namespace lenet {
namespace {

constexpr std::int64_t kImages = 3;

/// Values as images have them, which are the same each time. \param shape without open sizes
Tensor random_images(const Shape& shape, const std::string& dtype) {
  std::mt19937 random;
  Tensor images{std::vector<float>(element_count(shape)), shape};
  const int type = element_type_named(dtype).dtype;
  for (float& value : images.data) {
    const auto bits = static_cast<std::uint32_t>(random() >> 8);  // 24, which float32 has exactly
    if (is_real(dtype)) {
      value = static_cast<float>(bits) * 0x1p-23F - 1;  // in [-1, 1)
    } else {
      value = static_cast<float>(bits % (type == kBool ? 2 : type == kInt8 ? 128 : 256));
    }
  }
  return images;
}

/// Some of the images. \param count from `first` on
TensorView part_of(const Tensor& images, std::int64_t first, std::int64_t count) {
  TensorView view = images.view();
  const std::size_t size = images.data.size() / static_cast<std::size_t>(images.shape[0]);
  view.data += static_cast<std::size_t>(first) * size;
  view.shape[0] = count;
  return view;
}

using Outputs = std::vector<Tensor>;

/// What an image has of outputs with a batch axis.
Outputs rows_of(const Outputs& outputs, std::int64_t image) {
  Outputs rows;
  for (const Tensor& output : outputs) {
    const TensorView row = part_of(output, image, 1);
    rows.push_back({{row.data, row.data + element_count(row.shape)}, row.shape});
  }
  return rows;
}

/// Whether it has an output of that name: of an .onnx some engines leave out integers that say less
/// than the scores.
bool gives(const Predictor& predictor, const std::string& name) {
  const std::vector<TensorSpec>& outputs = predictor.output_specs();
  return std::any_of(outputs.begin(), outputs.end(),
                     [&](const TensorSpec& output) { return output.name == name; });
}

/// The configuration without what limits runs and sizes.
Config without_limits(Config config) {
  config.self_check = false;
  config.time_limit_ms = 0;
  config.max_sizes = 0;
  return config;
}

class SelfCheck {
 public:
  SelfCheck(Predictor& predictor, const ModelBytes* bytes)
      : predictor_(predictor),
        bytes_(bytes),
        config_(without_limits(predictor.config())),
        tolerance_(plain_tolerance(config_, predictor.quantized())),
        plain_(open(plain_config(config_))) {
    const bool exact = config_.precision == Precision::Fp32 && !predictor.quantized();
    for (const TensorSpec& output : predictor.output_specs()) {
      const bool real = is_real(output.dtype);
      if (!gives(plain_, output.name) || (!exact && !real)) continue;
      names_.push_back(output.name);
      is_real_.push_back(real);
    }
    if (names_.empty()) {
      throw Error(ErrorCode::Unsupported,
                  "the plain program gives none of the outputs, or integers alone, which depend on "
                  "rounding in this precision");
    }
  }

  void run() {
    const std::vector<Shape> shapes = shapes_to_try();
    std::string why;
    const bool compared = std::any_of(shapes.begin(), shapes.end(),
                                      [&](const Shape& shape) { return runs(shape, why); });
    if (!compared) throw Error(ErrorCode::Unsupported, why);
  }

 private:
  Predictor open(const Config& config) const {
    return bytes_ == nullptr ? Predictor(config) : Predictor(config, *bytes_);
  }

  /// The input has all images together; for open sizes there are several to try.
  std::vector<Shape> shapes_to_try() const {
    Shape shape = predictor_.input_spec().shape;
    if (shape.empty()) return {shape};
    if (shape[0] < 0) shape[0] = kImages;
    if (std::find(shape.begin(), shape.end(), -1) == shape.end()) return {shape};
    return sizes_to_try(shape);
  }

  /// Compares images of a size. \param why gets the reason where the model does not take them
  /// \returns whether it takes them
  bool runs(const Shape& shape, std::string& why) {
    const Tensor images = random_images(shape, predictor_.input_spec().dtype);
    const Outputs together = run(plain_, images.view(), why);
    bool compared = compare(together, images.view(), why);
    const Shape& declared = predictor_.input_spec().shape;
    if (declared.empty() || declared[0] > 0) return compared;  // for that number alone
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      const TensorView one = part_of(images, i, 1);
      const bool is_row = !together.empty() && !predictor_.joins_images();
      const Outputs expected = is_row ? rows_of(together, i) : run(plain_, one, why);
      compared = compare(expected, one, why) || compared;
    }
    return compared;
  }

  /// \returns nothing where the model does not take that many images of that size
  Outputs run(Predictor& predictor, const TensorView& images, std::string& why) const {
    check_interruption();
    try {
      return predictor.run_outputs(images, names_);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::BadInput) throw;
      why = error.what();
      return {};
    }
  }

  /// \param expected empty where the plain program does not take the images
  /// \returns whether they were compared
  bool compare(const Outputs& expected, const TensorView& images, std::string& why) const {
    if (expected.empty()) return false;
    const Outputs found = run(predictor_, images, why);
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Difference difference = lenet::compare(expected[i], found[i], is_real_[i], tolerance_);
      if (difference.share > 1) refuse(names_[i], images, difference);
    }
    return !found.empty();
  }

  [[noreturn]] void refuse(const std::string& output, const TensorView& images,
                           const Difference& difference) const {
    const std::int64_t count = images.shape.empty() ? 1 : images.shape[0];
    std::string size = print("%.3g", difference.largest);
    if (std::isfinite(difference.share)) {
      size += print(", %.3g times the tolerance", difference.share);
    }
    const std::string model = bytes_ == nullptr ? config_.model_file : "model in memory";
    throw Error(ErrorCode::BackendFailure,
                "'" + model + "': self_check: the " + to_string(config_.engine) +
                    " engine computes the output '" + output +
                    "' otherwise than the plain program for " + std::to_string(count) +
                    (count == 1 ? " image" : " images") + ": the largest difference is " + size +
                    first_layer(output, images) +
                    "; use another engine for this model, and report this as a fault of lenet");
  }

  /// A clause on the layer that differs first; empty where the engine does not give it.
  std::string first_layer(const std::string& output, const TensorView& images) const try {
    if (!gives_any_value(config_.engine)) return "";
    Config config = config_;
    config.output_name = output;
    const auto is_wrong = [&](const std::string& name) -> std::optional<bool> {
      check_interruption();
      config.output_name = name;
      try {
        Predictor engine = open(config);
        const Tensor expected = open(plain_config(config)).run(images);
        const bool real = is_real(engine.output_spec().dtype);
        return lenet::compare(expected, engine.run(images), real, tolerance_).share > 1;
      } catch (const Error&) {  // the engine does not give this value
        return std::nullopt;
      }
    };
    const auto layer = find_wrong_layer(config, is_wrong, bytes_);
    if (!layer) return "";
    return "; the first layer that differs is " + layer->type + " '" + layer->name + "'";
  } catch (const Error&) {  // the search is a help, without which the model is refused too
    return "";
  }

  Predictor& predictor_;
  const ModelBytes* bytes_;
  Config config_;
  double tolerance_;
  Predictor plain_;
  std::vector<std::string> names_;  // of the outputs that are compared
  std::vector<bool> is_real_;       // of each
};

}  // namespace

void self_check(Predictor& predictor, const ModelBytes* bytes) try {
  const Config& config = predictor.config();
  if (config.time_limit_ms == 0 && config.max_sizes == 0) return SelfCheck(predictor, bytes).run();
  const Config unlimited = without_limits(config);
  Predictor another = bytes == nullptr ? Predictor(unlimited) : Predictor(unlimited, *bytes);
  SelfCheck(another, bytes).run();
} catch (const Error& error) {
  // The check of a program that other engines run unchecked may call it damaged.
  const bool refused =
      error.code() == ErrorCode::Unsupported || error.code() == ErrorCode::BadModel;
  if (!refused) throw;
  throw Error(ErrorCode::Unsupported, std::string("self_check is not possible: ") + error.what() +
                                          "; leave self_check out to run the model unchecked");
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "out of memory for self_check");
}

}  // namespace lenet
