#include "lenet/c_api.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config_option.h"
#include "description/output_plan.h"
#include "images/decoders.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"
#include "lenet/version.h"

namespace {

lenet::Described describe(const lenet::Predictor& predictor, const std::string& preprocess) {
  const lenet::Config& config = predictor.config();
  return with_images(lenet::describe_model(config.model_file, preprocess, config.check_hashes,
                                           predictor.input_spec(), predictor.class_names()));
}

}  // namespace

struct lenet_config {
  lenet::Config config;
};

struct lenet_predictor {
  lenet::Predictor predictor;
  lenet::TensorView input = {};  // kept for the memory of its shape
  std::vector<lenet::Tensor> outputs = {};
};

struct lenet_pipeline {
  lenet::ImagePipeline pipeline;
};

struct lenet_classifier {
  lenet_classifier(const lenet::Config& config, const std::string& preprocess)
      : origin(config),
        described(describe(origin, preprocess)),
        pipeline(described.description.images),
        plan(plan_outputs(origin, described)) {
    pipeline.require_layout(origin.input_spec().shape, described.source);
  }

  /// Thread-safe, as a predictor is not: one that is idle runs, or a new clone.
  std::vector<lenet::Tensor> run(const lenet::TensorView& input) const {
    std::optional<lenet::Predictor> taken;
    {
      const std::lock_guard lock(mutex);
      if (idle.empty()) {
        taken = origin.clone();
      } else {
        taken = std::move(idle.back());
        idle.pop_back();
      }
    }
    const auto give_back = [&] {
      const std::lock_guard lock(mutex);
      idle.push_back(*std::move(taken));
    };
    try {
      std::vector<lenet::Tensor> outputs;
      run_plan(*taken, input, plan, outputs);
      give_back();
      return outputs;
    } catch (const lenet::Error&) {  // after which it can be used again
      give_back();
      throw;
    }
  }

  lenet::Predictor origin;
  lenet::Described described;
  lenet::ImagePipeline pipeline;
  lenet::OutputPlan plan;
  mutable std::mutex mutex = {};
  mutable std::vector<lenet::Predictor> idle = {};
};

namespace {

using lenet::ErrorCode;

/// With the memory that a result points to.
struct OwnedResult : lenet_result {
  lenet::Finding found;
  std::vector<lenet::Tensor> outputs;
  std::vector<lenet_prediction> listed;
  std::vector<const char*> texts;
  std::string note;
};

lenet_status report(lenet_error* error, lenet_status code, const char* text) {
  if (error == nullptr) return code;
  error->code = code;
  std::size_t length = std::min(std::strlen(text), sizeof error->message - 1);
  // No part of a character.
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80) --length;
  std::memcpy(error->message, text, length);
  error->message[length] = '\0';
  return code;
}

/// Nothing that is thrown leaves the library.
template <typename Action>
lenet_status guarded(lenet_error* error, Action&& action) noexcept {
  try {
    action();
    return report(error, LENET_OK, "");
  } catch (const lenet::Error& thrown) {
    return report(error, static_cast<lenet_status>(thrown.code()), thrown.what());
  } catch (const std::bad_alloc&) {
    return report(error, LENET_BACKEND_FAILURE, "out of memory");
  } catch (const std::exception& thrown) {
    return report(error, LENET_BACKEND_FAILURE, thrown.what());
  } catch (...) {
    return report(error, LENET_BACKEND_FAILURE, "unknown failure");
  }
}

template <typename Pointed>
Pointed* required(Pointed* pointer, const char* name) {
  if (pointer != nullptr) return pointer;
  throw lenet::Error(ErrorCode::BadInput, std::string("the argument '") + name + "' is NULL");
}

lenet_tensor_spec spec_of(const lenet::TensorSpec& spec) {
  return {spec.name.c_str(), spec.dtype.c_str(), spec.shape.data(), spec.shape.size()};
}

/// \throws Error BadInput when there is no such output.
void require_output(const lenet::Predictor& predictor, size_t index) {
  const std::size_t count = predictor.output_specs().size();
  if (index < count) return;
  throw lenet::Error(ErrorCode::BadInput, "index is " + std::to_string(index) +
                                              "; expected less than the number of outputs, " +
                                              std::to_string(count));
}

/// \param make gives what is in the handle
template <typename Handle, typename Make>
lenet_status create(Handle** handle, const char* name, lenet_error* error, Make&& make) {
  return guarded(error, [&] {
    *required(handle, name) = nullptr;
    *handle = new Handle{make()};
  });
}

/// \param run gives what the predictor makes of the input
template <typename Run>
lenet_status run_guarded(lenet_predictor* predictor, const lenet_input* input, lenet_error* error,
                         Run&& run) {
  return guarded(error, [&] {
    lenet_predictor& own = *required(predictor, "predictor");
    required(input, "input");
    if (input->rank > 0) required(input->shape, "shape");
    own.input.data = input->data;
    own.input.shape.assign(input->shape, input->shape + input->rank);
    own.input.pixels = input->pixels;
    own.input.table = nullptr;
    own.input.numbers = nullptr;
    if (input->pipeline != nullptr) own.input.table = input->pipeline->pipeline.view({}, {}).table;
    run(own);
  });
}

lenet_output output_of(const lenet::Tensor& tensor) {
  return {tensor.data.data(), tensor.data.size(), tensor.shape.data(), tensor.shape.size()};
}

/// \param prepare gives the pixels for the model, and whether the picture was dark
template <typename Prepare>
lenet_status classify(const lenet_classifier* classifier, size_t topk, const double* threshold,
                      lenet_result** result, lenet_error* error, Prepare&& prepare) {
  return guarded(error, [&] {
    *required(result, "result") = nullptr;
    const lenet_classifier& own = *required(classifier, "classifier");
    bool is_dark = false;
    const lenet::Image image = prepare(own, is_dark);
    auto made = std::make_unique<OwnedResult>();
    made->outputs = own.run(
        own.pipeline.view(image.pixels.data(), {1, image.height, image.width, image.channels}));
    lenet::Wish wish;
    if (topk > 0) wish.topk = static_cast<std::int64_t>(std::min<size_t>(topk, INT64_MAX));
    if (threshold != nullptr && std::isnan(*threshold)) {
      throw lenet::Error(ErrorCode::BadInput, "the threshold is not a number");
    }
    if (threshold != nullptr) wish.threshold = *threshold;
    made->found = interpret(own.plan, lenet::views_of(made->outputs), 0, own.described,
                            own.origin.config(), wish);
    for (const lenet::Prediction& one : made->found.predictions) {
      made->listed.push_back({one.class_id, one.label ? one.label->c_str() : nullptr, one.value,
                              one.score, one.head.empty() ? nullptr : one.head.c_str()});
    }
    for (const std::string& one : made->found.attributes) made->texts.push_back(one.c_str());
    made->predictions = made->listed.data();
    made->count = made->listed.size();
    made->attributes = made->texts.data();
    made->attribute_count = made->texts.size();
    made->output = output_of(made->outputs[0]);
    made->value_name = lenet::value_name(own.plan, own.described.description.outputs);
    std::vector<std::string> notes = own.described.image_notes;
    notes.insert(notes.end(), {own.described.note, own.plan.note});
    for (const std::string& note : notes) {
      if (!note.empty()) made->note += (made->note.empty() ? "" : "; ") + note;
    }
    if (is_dark)
      made->note.insert(0, lenet::kDarkNote + std::string(made->note.empty() ? "" : "; "));
    made->warning = made->note.empty() ? nullptr : made->note.c_str();
    *result = made.release();
  });
}

}  // namespace

const char* lenet_version(void) { return lenet::version(); }

lenet_config* lenet_config_create(void) { return new (std::nothrow) lenet_config; }

lenet_status lenet_config_set(lenet_config* config, const char* name, const char* value,
                              lenet_error* error) {
  return guarded(error, [&] {
    lenet::Config& target = required(config, "config")->config;
    lenet::set_option(target, required(name, "name"), required(value, "value"));
  });
}

void lenet_config_free(lenet_config* config) { delete config; }

lenet_status lenet_predictor_create(const lenet_config* config, lenet_predictor** predictor,
                                    lenet_error* error) {
  return create(predictor, "predictor", error,
                [&] { return lenet::Predictor(required(config, "config")->config); });
}

lenet_status lenet_predictor_create_from_memory(const lenet_config* config, const void* program,
                                                size_t program_size, const void* params,
                                                size_t params_size, lenet_predictor** predictor,
                                                lenet_error* error) {
  return create(predictor, "predictor", error, [&] {
    const lenet::Config& known = required(config, "config")->config;
    if (program_size > 0) required(program, "program");
    if (params_size > 0) required(params, "params");
    return lenet::Predictor(known, {{static_cast<const char*>(program), program_size},
                                    {static_cast<const char*>(params), params_size}});
  });
}

lenet_status lenet_predictor_clone(const lenet_predictor* origin, lenet_predictor** predictor,
                                   lenet_error* error) {
  return create(predictor, "predictor", error,
                [&] { return required(origin, "origin")->predictor.clone(); });
}

void lenet_predictor_free(lenet_predictor* predictor) { delete predictor; }

lenet_status lenet_predictor_input_spec(const lenet_predictor* predictor, lenet_tensor_spec* spec,
                                        lenet_error* error) {
  return guarded(error, [&] {
    *required(spec, "spec") = spec_of(required(predictor, "predictor")->predictor.input_spec());
  });
}

lenet_status lenet_predictor_output_count(const lenet_predictor* predictor, size_t* count,
                                          lenet_error* error) {
  return guarded(error, [&] {
    *required(count, "count") = required(predictor, "predictor")->predictor.output_specs().size();
  });
}

lenet_status lenet_predictor_output_spec(const lenet_predictor* predictor, size_t index,
                                         lenet_tensor_spec* spec, lenet_error* error) {
  return guarded(error, [&] {
    const lenet::Predictor& own = required(predictor, "predictor")->predictor;
    require_output(own, index);
    *required(spec, "spec") = spec_of(own.output_specs()[index]);
  });
}

lenet_status lenet_predictor_output_role(const lenet_predictor* predictor, size_t index,
                                         const char** role, lenet_error* error) {
  return guarded(error, [&] {
    const lenet::Predictor& own = required(predictor, "predictor")->predictor;
    require_output(own, index);
    *required(role, "role") = to_string(own.output_meanings()[index].role);
  });
}

lenet_status lenet_predictor_run(lenet_predictor* predictor, const lenet_input* input,
                                 lenet_output* output, lenet_error* error) {
  return run_guarded(predictor, input, error, [&](lenet_predictor& own) {
    required(output, "output");
    own.outputs.resize(1);
    own.predictor.run(own.input, own.outputs[0]);
    *output = output_of(own.outputs[0]);
  });
}

lenet_status lenet_predictor_run_into(lenet_predictor* predictor, const lenet_input* input,
                                      float* output, size_t size, lenet_error* error) {
  return run_guarded(predictor, input, error,
                     [&](lenet_predictor& own) { own.predictor.run(own.input, output, size); });
}

lenet_status lenet_predictor_run_outputs(lenet_predictor* predictor, const lenet_input* input,
                                         const char* const* names, size_t count,
                                         lenet_output* outputs, lenet_error* error) {
  return run_guarded(predictor, input, error, [&](lenet_predictor& own) {
    std::vector<std::string> wanted;
    for (size_t i = 0; i < count; ++i) {
      wanted.emplace_back(required(required(names, "names")[i], "names[i]"));
    }
    if (count == 0) throw lenet::Error(ErrorCode::BadInput, "count is 0; expected 1 or more");
    required(outputs, "outputs");
    own.outputs = own.predictor.run_outputs(own.input, wanted);
    std::transform(own.outputs.begin(), own.outputs.end(), outputs, output_of);
  });
}

lenet_status lenet_pipeline_create(const char* description, lenet_pipeline** pipeline,
                                   lenet_error* error) {
  return create(pipeline, "pipeline", error,
                [&] { return lenet::ImagePipeline::parse(required(description, "description")); });
}

void lenet_pipeline_free(lenet_pipeline* pipeline) { delete pipeline; }

lenet_status lenet_classifier_create(const lenet_config* config, const char* preprocess,
                                     lenet_classifier** classifier, lenet_error* error) {
  return guarded(error, [&] {
    *required(classifier, "classifier") = nullptr;
    *classifier = new lenet_classifier(required(config, "config")->config,
                                       preprocess == nullptr ? "" : preprocess);
  });
}

void lenet_classifier_free(lenet_classifier* classifier) { delete classifier; }

lenet_status lenet_classifier_classify_file(const lenet_classifier* classifier, const void* bytes,
                                            size_t size, size_t topk, const double* threshold,
                                            lenet_result** result, lenet_error* error) {
  return classify(
      classifier, topk, threshold, result, error, [&](const lenet_classifier& own, bool& is_dark) {
        const auto* file = static_cast<const char*>(required(bytes, "bytes"));
        const auto image = lenet::open_image(
            {{file, size}, "the image", lenet::kMaxImagePixels, own.pipeline.depth(), &is_dark});
        return own.pipeline.prepare(*image);
      });
}

lenet_status lenet_classifier_classify_pixels(const lenet_classifier* classifier,
                                              const lenet_pixels* pixels, size_t topk,
                                              const double* threshold, lenet_result** result,
                                              lenet_error* error) {
  return classify(classifier, topk, threshold, result, error,
                  [&](const lenet_classifier& own, bool&) {
                    const lenet_pixels& given = *required(pixels, "pixels");
                    return own.pipeline.prepare(
                        lenet::ImageView{given.data, given.height, given.width, given.row_bytes,
                                         static_cast<lenet::PixelFormat>(given.format)});
                  });
}

void lenet_result_free(lenet_result* result) { delete static_cast<OwnedResult*>(result); }

lenet_status lenet_predictor_cancel(lenet_predictor* predictor, lenet_error* error) {
  return guarded(error, [&] { required(predictor, "predictor")->predictor.cancel(); });
}
