/// \file
/// What lenet.wasm gives JavaScript (lenet.js): one model, run one call after the other.
///
/// Functions that can fail return null then, and `lenet_error` says why. A block and what it points
/// to are valid until the next call.
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engines/native/native_engine.h"
#include "finite.h"
#include "lenet/image_pipeline.h"
#include "model/model.h"
#include "own_numbers.h"
#include "pixels.h"

#define LENET_EXPORT extern "C" __attribute__((used, visibility("default")))

namespace {

using lenet::Shape;

/// Values in memory. JavaScript reads it as five numbers of 32 bits.
struct Block {
  const void* data = nullptr;  ///< row-major
  std::int32_t shape[4] = {1, 1, 1, 1};

  Block(const void* values, const Shape& of_values) : data(values) {
    for (std::size_t i = 0; i < of_values.size() && i < 4; ++i) {
      shape[i] = static_cast<std::int32_t>(of_values[i]);
    }
  }
};

/// The outputs of a run, all that are there.
struct Results final : lenet::Outputs {
  std::vector<lenet::Tensor> tensors;

  bool wants(std::size_t /*index*/) const override { return true; }
  std::int64_t images() const override { return 1; }
  float* place(std::size_t index, const Shape& shape) override {
    lenet::Tensor& tensor = tensors[index];
    tensor.shape = shape;
    tensor.data.resize(lenet::element_count(shape));
    return tensor.data.data();
  }
};

struct Session {
  std::shared_ptr<const lenet::Model> model;
  lenet::ImagePipeline pipeline;
  std::unique_ptr<lenet::Engine> engine;
  std::unique_ptr<lenet::Engine> showing;  ///< made when it is first asked for
  lenet::RunControl control;
  lenet::Image prepared;
  lenet::Tensor values;
  Results results;

  void run(lenet::Engine& with, const lenet::TensorView& input) {
    require_shape(input, with.input_spec());
    results.tensors.resize(with.output_specs().size());
    const lenet::TensorSpec& spec = with.input_spec();
    if (spec.dtype == "float32") return with.run(input, results, control);
    with.run(own_input(input, spec, with.reads_numbers(), true).view, results, control);
  }
};

constexpr std::size_t kShown = 2;  // convolutions

std::unique_ptr<Session> session;
std::optional<Block> block;
std::string error;

/// Calls `work`, which gives a block, and keeps what it throws as text.
template <class Work>
const Block* answer(const Work& work) {
  try {
    block.emplace(work());
    return &*block;
  } catch (const std::exception& thrown) {
    error = thrown.what();
    return nullptr;
  }
}

lenet::TensorView prepared_pixels() {
  const lenet::Image& image = session->prepared;
  return session->pipeline.view(image.pixels.data(),
                                {1, image.height, image.width, image.channels});
}

}  // namespace

LENET_EXPORT void* lenet_alloc(std::size_t bytes) { return std::malloc(bytes); }
LENET_EXPORT void lenet_free(void* memory) { std::free(memory); }
LENET_EXPORT const char* lenet_error() { return error.c_str(); }

/// Loads a model in place of the one before.
/// \param preprocess what preprocess.json holds
/// \returns without data, the shape of the input: [N, channels, height, width], or
///   [N, height, width, channels] where preprocess.json has no ToCHW
LENET_EXPORT const Block* lenet_open(const char* program, std::size_t program_size,
                                     const char* params, std::size_t params_size,
                                     const char* preprocess, std::size_t preprocess_size) {
  return answer([&] {
    lenet::ModelFiles files;
    files.program = "model.pdmodel";
    files.params = "model.pdiparams";
    lenet::Config config;
    const lenet::ModelBytes bytes{{program, program_size}, {params, params_size}};
    auto pipeline = lenet::ImagePipeline::parse({preprocess, preprocess_size});
    auto model = load_model(files, config, &bytes);
    auto engine = create_native_engine(config, *model);
    const Shape& takes = engine->input_spec().shape;
    if (takes.size() != 4 || takes[pipeline.channels_last() ? 3 : 1] < 1) {
      throw lenet::Error(lenet::ErrorCode::Unsupported,
                         "the model takes " + lenet::to_string(takes) +
                             "; the page runs models of images [N, channels, height, width] or "
                             "[N, height, width, channels]");
    }
    pipeline.require_layout(takes);
    engine->prepare();
    session.reset(new Session{model, pipeline, std::move(engine), nullptr, {}, {}, {}, {}});
    return Block(nullptr, session->engine->input_spec().shape);
  });
}

/// Prepares an image as preprocess.json says, for lenet_answer and lenet_show.
/// \param pixels [height, width, channels]
/// \param channels 1: grey; 3: red, green, blue
/// \returns bytes [height, width, channels] as the model sees them, before they are normalized
LENET_EXPORT const Block* lenet_prepare(const unsigned char* pixels, int height, int width,
                                        int channels) {
  return answer([&] {
    lenet::Image image{{}, height, width, channels};
    image.pixels.assign(pixels, pixels + lenet::element_count({height, width, channels}));
    session->prepared = session->pipeline.prepare(image);
    const lenet::Image& prepared = session->prepared;
    return Block(prepared.pixels.data(), {prepared.height, prepared.width, prepared.channels});
  });
}

/// \returns float32, the prepared image in the model's unit: [1, channels, height, width], or
///   [1, height, width, channels] where preprocess.json has no ToCHW
LENET_EXPORT const Block* lenet_values() {
  return answer([] {
    lenet::read_values(prepared_pixels(), session->values);
    return Block(session->values.data.data(), session->values.shape);
  });
}

/// Runs the prepared image. \returns float32 [1, classes]
LENET_EXPORT const Block* lenet_answer() {
  return answer([] {
    session->run(*session->engine, prepared_pixels());
    const lenet::Tensor& output = session->results.tensors[0];
    return Block(output.data.data(), output.shape);
  });
}

/// Runs values in the model's unit, or pixels, which are divided by 255 for a model of float32, and
/// are the numbers that another one takes.
/// \param values float32, or null; \param pixels instead, [images, channels, height, width]
/// \param height of the images, where the model takes any; \param width likewise
/// \returns float32 [images, classes]
LENET_EXPORT const Block* lenet_run(const float* values, const unsigned char* pixels, int images,
                                    int height, int width) {
  return answer([&] {
    Shape shape = session->engine->input_spec().shape;
    shape[0] = images;
    if (shape.at(2) < 0) shape[2] = height;
    if (shape.at(3) < 0) shape[3] = width;
    if (values != nullptr && !lenet::all_finite(values, lenet::element_count(shape))) {
      throw lenet::Error(lenet::ErrorCode::BadInput, "the input holds NaN or infinity");
    }
    session->run(*session->engine, {values, shape, pixels});
    const lenet::Tensor& output = session->results.tensors[0];
    return Block(output.data.data(), output.shape);
  });
}

/// What one of the first convolutions gives for the prepared image, with its activation.
/// \param index 0: the first; all are computed then
/// \returns float32 [1, channels, height, width]; no channels: there is no such convolution
LENET_EXPORT const Block* lenet_show(std::size_t index) {
  return answer([&] {
    std::unique_ptr<lenet::Engine>& showing = session->showing;
    if (!showing) {
      showing = create_native_engine({}, *session->model, kShown);
      showing->prepare();
    }
    if (index == 0) session->run(*showing, prepared_pixels());
    // The model's own outputs come first.
    const std::size_t at = session->engine->output_specs().size() + index;
    if (at >= session->results.tensors.size()) return Block(nullptr, {1, 0, 0, 0});
    const lenet::Tensor& output = session->results.tensors[at];
    return Block(output.data.data(), output.shape);
  });
}
