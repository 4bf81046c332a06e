/// \file
/// The two ends of an inference: its request, which HTTP has in JSON and binary tensors, and its
/// response.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "json_reader.h"
#include "lenet/tensor.h"
#include "model.h"
#include "request.h"

namespace lenet::serve {

/// Why a request is refused, with the status of the response.
class Refusal : public std::runtime_error {
 public:
  Refusal(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

/// What a client says that it wants, of any model.
struct Asked {
  struct Input {
    std::string name;
    std::string datatype;
    std::optional<Shape> shape;
    std::optional<std::int64_t> binary_size;  ///< of its values, which come behind all this
    std::optional<JsonData> data;             ///< or these are its values
  };
  struct Output {
    std::string name;
    std::optional<bool> binary;  ///< nothing: as the whole request
    std::int64_t classes = 0;    ///< the most probable ones instead of the values; 0: the values
  };
  std::string id;
  std::size_t inputs = 0;
  Input input;  ///< the last of them
  std::vector<Output> outputs;
  bool binary_output = false;
};

[[noreturn]] void refuse_shared_memory();

/// Appends each text behind its length, as binary data have it.
void append_binary(std::string& to, const std::vector<std::string>& texts);

/// An output that is asked for.
struct Wanted {
  std::size_t index = 0;  ///< in Model::outputs
  bool binary = false;
  std::int64_t classes = 0;  ///< as in Asked
};

/// A response before it is written.
struct Inferred {
  struct Output {
    std::string name;
    Datatype datatype = {};
    bool binary = false;
    Shape shape;
    std::optional<std::vector<std::string>> texts;  ///< of classes; nothing: values
    const float* values = nullptr;                  ///< of any type
    std::size_t count = 0;                          ///< of values

    const char* type() const { return texts ? "BYTES" : datatype.name; }
    /// The values as FP32, and so as they lie in `tensors`.
    std::string_view floats() const {
      return {reinterpret_cast<const char*>(values), count * sizeof(float)};
    }
    bool is_fp32() const { return !texts && datatype.name == std::string_view("FP32"); }
    /// Appends the values in the model's type, or the texts, as binary data have them.
    void append_to(std::string& to) const;
  };
  std::string model;
  std::string version;
  std::string id;
  std::vector<Output> outputs;
  std::shared_ptr<const std::vector<Tensor>> tensors;  ///< has the values
};

struct InferRequest {
  enum class Kind {
    Values,   ///< float32
    Numbers,  ///< of the type of a model that takes no float32, without uint8
    Pixels,   ///< uint8 of the shape of the model's input, taken as the library takes pixels
    Photos,   ///< uint8 [N, height, width, channels], to be normalized as preprocess.json says
    Files,    ///< images in files, {N}; `decode_files` makes Photos of them
  };
  std::string id;
  bool is_picture = false;   ///< the body is one image file
  std::optional<Wish> wish;  ///< of a picture: the response has its classes, not the outputs
  bool has_json = true;      ///< the response has it too
  Kind kind = Kind::Values;
  Shape shape;
  std::vector<Wanted> outputs;
  // Where the input is, one of:
  std::string_view bytes;               ///< of Values, Numbers and uint8, anywhere in the body
  std::vector<float> numbers;           ///< of Values that came as JSON
  std::string pixels;                   ///< of uint8 that came as JSON, or from files
  std::vector<std::string_view> files;  ///< in the body or in `decoded`
  std::vector<std::string> decoded;     ///< of base64
  std::int64_t decode_work = 0;         ///< of all Files, as decode_work() of each

  std::int64_t images() const { return shape.empty() ? 0 : shape[0]; }
  std::string_view input_bytes() const;
};

/// How many bytes of a request's body are JSON, which take time to read: all that are no picture,
/// where the header says nothing of it.
/// \throws Refusal 400: the header's value is no length, or exceeds the body
std::size_t json_bytes(const Request& request);

/// \param request whose body must outlive the result, in place
/// \throws Refusal 400, 413 (too many values), 501 (shared memory; classes of no classifier);
///   InvalidJson
InferRequest parse_infer(const Request& request, const Model& model, const Limits& limits);

/// Sets decode_work of Files by their headers, in time linear in their bytes.
/// \throws Refusal 413: it is more than 64 of the largest images
void weigh_files(InferRequest& request, const Limits& limits);

/// Decodes and prepares the images of Files.
/// \throws Refusal 400 (damaged), 413 (too large), 415 (a kind of image that is not read), 503 (not
///   enough memory); what an Interruption of this thread throws, which is asked between files and
///   within one
void decode_files(InferRequest& request, const Model& model, const Limits& limits);

/// Checks the work of a request whose files are decoded, also for a model of open sizes, of which
/// it takes as long to know as to read the model.
/// \throws Refusal 413; Error BadInput: the model does not take images of that size
void require_work(const InferRequest& request, Model& model, const Limits& limits);

/// \param tensors for each output of the request; of them images [first, first + request.images())
Response infer_response(const InferRequest& request, const Model& model,
                        const std::shared_ptr<const std::vector<Tensor>>& tensors,
                        std::int64_t first);

}  // namespace lenet::serve
