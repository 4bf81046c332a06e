/// \file
/// Runs an exported image classifier from C99, and from what calls C: Go, Rust, and others.
///
///     #include <lenet/c_api.h>
///
///     lenet_error error;
///     lenet_config* config = lenet_config_create();
///     lenet_config_set(config, "model_dir", "inference_model/lenet", NULL);
///     lenet_predictor* predictor = NULL;
///     if (lenet_predictor_create(config, &predictor, &error) != LENET_OK) puts(error.message);
///     ...
///     lenet_predictor_free(predictor);
///     lenet_config_free(config);
///
/// or, with images and the description that stands beside the model:
///
///     lenet_classifier* classifier = NULL;
///     lenet_result* result = NULL;
///     lenet_classifier_create(config, NULL, &classifier, &error);
///     lenet_classifier_classify_file(classifier, bytes, size, 5, NULL, &result, &error);
///     printf("%d %g\n", (int)result->predictions[0].class_id, result->predictions[0].value);
///     lenet_result_free(result);
///     lenet_classifier_free(classifier);
///
/// Errors: a function that can fail returns LENET_OK or an error's code, and writes code and text
/// to its last argument, which may be NULL: the caller's memory, as a goroutine may change threads
/// before it reads the text. Unless said otherwise, an error leaves unchanged what the other
/// arguments point to. NULL is a LENET_BAD_INPUT that names the argument; the functions that end in
/// _free ignore it.
///
/// Ownership: who creates a handle frees it. What a function fills in belongs to the handle or the
/// library. Arguments are copied.
///
/// Thread-safety: a handle is used by one thread at a time, but for lenet_predictor_cancel, for
/// runs with one pipeline and for a classifier, which classifies in any number of threads at once.
/// lenet_predictor_clone makes a predictor for another thread. Different handles are independent.
///
/// Texts are UTF-8 and end with a NUL. Names of files are bytes, as the system takes them.
#ifndef LENET_C_API_H
#define LENET_C_API_H

#include <stddef.h>
#include <stdint.h>

#include "lenet/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What a function returns: LENET_OK or an error, of the values of lenet::ErrorCode.
typedef int32_t lenet_status;

#define LENET_OK 0
#define LENET_FILE_NOT_FOUND 3    ///< a file or folder does not exist or cannot be read
#define LENET_BAD_MODEL 4         ///< the model is damaged, or not what its checksums describe
#define LENET_BAD_INPUT 5         ///< an argument has the wrong type, shape or value
#define LENET_UNSUPPORTED 6       ///< not available in this build, or not for this model
#define LENET_VERSION_MISMATCH 7  ///< a library is not a version that this build was made for
#define LENET_BACKEND_FAILURE 8   ///< the engine failed while loading or running, or no memory

/// Why a function failed.
typedef struct lenet_error {
  lenet_status code;
  char message[1020];  ///< one line; a longer one is cut
} lenet_error;

typedef struct lenet_config lenet_config;        ///< what to load and how to run it
typedef struct lenet_predictor lenet_predictor;  ///< a loaded model
typedef struct lenet_pipeline lenet_pipeline;    ///< what a preprocess.json describes
/// A loaded model, with the description of its images and outputs, and the names of its classes.
typedef struct lenet_classifier lenet_classifier;

/// What a model declares about its input or an output; valid as long as the predictor.
typedef struct lenet_tensor_spec {
  const char* name;
  const char* dtype;     ///< "float32"; of others, such as "int64", runs have float32 all the same,
                         ///< in which a bool is 0 or 1, and for an input of a model of uint8 also
                         ///< pixels
  const int64_t* shape;  ///< `rank` sizes, outermost first; -1 (the batch) is free
  size_t rank;
} lenet_tensor_spec;

/// What a run takes, in row-major order: values in the model's unit (for the bundled LeNet, grey
/// levels from 0 to 1), or pixels, which become values where they are read.
typedef struct lenet_input {
  const float* data;      ///< the product of the shape; NULL where that is 0, or for pixels
  const uint8_t* pixels;  ///< NULL, or instead of `data` values from 0 to 255
  const int64_t* shape;   ///< `rank` sizes: those of the input's spec, with any number of images
  size_t rank;            ///< in front; of pixels for a pipeline [N, height, width, channels]
  /// Whose Normalize the pixels get; NULL: they are divided by 255, but for a model whose input is
  /// of another type than float32, which takes them as they are.
  const lenet_pipeline* pipeline;
} lenet_input;

/// An output of a run, in row-major order; valid until the predictor runs again or is freed.
typedef struct lenet_output {
  const float* data;     ///< `size` values
  size_t size;           ///< the product of the shape
  const int64_t* shape;  ///< `rank` sizes, outermost first; for a classifier [N, classes]
  size_t rank;
} lenet_output;

#define LENET_GREY 0  ///< the bytes of a pixel, in this order, as lenet::PixelFormat
#define LENET_RGB 1
#define LENET_BGR 2
#define LENET_RGBA 3
#define LENET_BGRA 4

/// Decoded pixels of 8 bits a channel, which are read where they are; see lenet::ImageView.
typedef struct lenet_pixels {
  const uint8_t* data;  ///< of the first row
  int64_t height;       ///< in pixels
  int64_t width;
  size_t row_bytes;  ///< from a row to the next; 0: the rows follow each other directly
  int32_t format;    ///< LENET_GREY to LENET_BGRA
} lenet_pixels;

/// A class of an image.
typedef struct lenet_prediction {
  int64_t class_id;
  const char* label;  ///< NULL where its name is not known
  float value;        ///< what value_name of the result says; NaN where there is no value, as of
                      ///< class numbers alone
  float score;        ///< the output of this class, as the model gives it; or NaN
  const char* head;   ///< of a model that gives several answers, such as attributes, which one
                      ///< this belongs to; else NULL
} lenet_prediction;

/// What was found in an image. What it points to lives as long as it.
typedef struct lenet_result {
  const lenet_prediction* predictions;  ///< `count`, in the order in which they are reported
  size_t count;                         ///< 0 when no class reaches the threshold
  const char* const* attributes;        ///< instead, of a description whose name ends in Attribute
  size_t attribute_count;
  lenet_output output;     ///< of the model, from which the classes are: logits, probabilities, the
                           ///< values of a top-k; or features, of which there are no predictions
  const char* value_name;  ///< "probability", or "score" where the outputs are of another kind
  const char* warning;     ///< of the picture or the description, for the user; mostly NULL
} lenet_result;

/// The version of the library, "MAJOR.MINOR.PATCH".
LENET_API const char* lenet_version(void);

/// \returns a configuration with the defaults of lenet::Config; NULL when there is no memory.
LENET_API lenet_config* lenet_config_create(void);

/// Sets an option of lenet::Config, such as "engine", to a value as on the command line.
LENET_API lenet_status lenet_config_set(lenet_config* config, const char* name, const char* value,
                                        lenet_error* error);

LENET_API void lenet_config_free(lenet_config* config);

/// Loads the model that the configuration names, which may be freed or changed after it.
/// \param predictor receives the handle, which lenet_predictor_free frees; NULL after an error
LENET_API lenet_status lenet_predictor_create(const lenet_config* config,
                                              lenet_predictor** predictor, lenet_error* error);

/// The same of a model in memory, which the library copies; the configuration names no files.
/// \param program what a .pdmodel, a .json or an .onnx (with its values within) holds
/// \param params what the .pdiparams holds; NULL for an .onnx
LENET_API lenet_status lenet_predictor_create_from_memory(const lenet_config* config,
                                                          const void* program, size_t program_size,
                                                          const void* params, size_t params_size,
                                                          lenet_predictor** predictor,
                                                          lenet_error* error);

/// Creates another predictor of the same model, which shares its weights and may outlive it.
LENET_API lenet_status lenet_predictor_clone(const lenet_predictor* origin,
                                             lenet_predictor** predictor, lenet_error* error);

LENET_API void lenet_predictor_free(lenet_predictor* predictor);

LENET_API lenet_status lenet_predictor_input_spec(const lenet_predictor* predictor,
                                                  lenet_tensor_spec* spec, lenet_error* error);

/// The number of outputs, 1 or more; see lenet::Predictor::output_specs.
LENET_API lenet_status lenet_predictor_output_count(const lenet_predictor* predictor, size_t* count,
                                                    lenet_error* error);

/// \param index below the number of outputs
LENET_API lenet_status lenet_predictor_output_spec(const lenet_predictor* predictor, size_t index,
                                                   lenet_tensor_spec* spec, lenet_error* error);

/// What an output is, as far as the program tells; see lenet::OutputRole.
/// \param index below the number of outputs
/// \param role receives "unknown", "logits", "probabilities", "scores", "features",
///   "class_numbers", "indices" or "multi_hot"; valid for ever
LENET_API lenet_status lenet_predictor_output_role(const lenet_predictor* predictor, size_t index,
                                                   const char** role, lenet_error* error);

/// Runs for the first output. \param output is filled in
LENET_API lenet_status lenet_predictor_run(lenet_predictor* predictor, const lenet_input* input,
                                           lenet_output* output, lenet_error* error);

/// The same into memory of the caller's, `output`: room for `size` values, exactly the output's.
LENET_API lenet_status lenet_predictor_run_into(lenet_predictor* predictor,
                                                const lenet_input* input, float* output,
                                                size_t size, lenet_error* error);

/// Runs once for several outputs. LENET_UNSUPPORTED: the engine gives none of that name.
/// \param names of the specs of the outputs, each once
/// \param outputs `count` of them are filled in, in the order of the names
LENET_API lenet_status lenet_predictor_run_outputs(lenet_predictor* predictor,
                                                   const lenet_input* input,
                                                   const char* const* names, size_t count,
                                                   lenet_output* outputs, lenet_error* error);

/// \param description what a preprocess.json holds; its steps before Normalize are the caller's
LENET_API lenet_status lenet_pipeline_create(const char* description, lenet_pipeline** pipeline,
                                             lenet_error* error);

LENET_API void lenet_pipeline_free(lenet_pipeline* pipeline);

/// Loads a model, and reads what stands beside it: preprocess.json or what a toolkit wrote
/// (docs/preprocessing.md), and manifest.json.
/// \param preprocess the file of the description; NULL: the one beside the model, or without one
///   what the shape of the input tells, of which the results' `warning` says so.
///   LENET_FILE_NOT_FOUND or LENET_UNSUPPORTED where it does not
/// \param classifier receives the handle, which lenet_classifier_free frees; NULL after an error
LENET_API lenet_status lenet_classifier_create(const lenet_config* config, const char* preprocess,
                                               lenet_classifier** classifier, lenet_error* error);

LENET_API void lenet_classifier_free(lenet_classifier* classifier);

/// Classifies an image, with the results of lenet_classify.
/// \param bytes what an image file holds; see lenet::decode_image
/// \param topk the number of classes; 0: what the description says, which is 5 by default
/// \param threshold in place of those of the description; NULL: these
/// \param result receives what lenet_result_free frees; NULL after an error
LENET_API lenet_status lenet_classifier_classify_file(const lenet_classifier* classifier,
                                                      const void* bytes, size_t size, size_t topk,
                                                      const double* threshold,
                                                      lenet_result** result, lenet_error* error);

/// Classifies an image of which the caller has the pixels; see lenet_classifier_classify_file.
LENET_API lenet_status lenet_classifier_classify_pixels(const lenet_classifier* classifier,
                                                        const lenet_pixels* pixels, size_t topk,
                                                        const double* threshold,
                                                        lenet_result** result, lenet_error* error);

LENET_API void lenet_result_free(lenet_result* result);

/// Ends the run that another thread is in, if there is one, with LENET_BACKEND_FAILURE; the
/// predictor can be used again. LENET_UNSUPPORTED with the Paddle engine. See also the option
/// "time_limit_ms".
LENET_API lenet_status lenet_predictor_cancel(lenet_predictor* predictor, lenet_error* error);

#ifdef __cplusplus
}
#endif

#endif
