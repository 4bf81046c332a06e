/// \file
/// The two ends of an inference: its request, read of JSON and binary tensors, and its response.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "lenet/tensor.h"
#include "model.h"
#include "service.h"

namespace lenet::serve {

/// Why a request is refused, with the status of the response.
class Refusal : public std::runtime_error {
 public:
  Refusal(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

/// An output that is asked for.
struct Wanted {
  std::size_t index = 0;            ///< in Model::outputs
  std::optional<bool> binary = {};  ///< nothing: as the whole request
  std::int64_t classes = 0;         ///< the most probable ones instead of the values; 0: the values
};

struct InferRequest {
  enum class Kind {
    Values,  ///< float32
    Pixels,  ///< uint8 of the shape of the model's input, divided by 255 as the library does
    Photos,  ///< uint8 [N, height, width, channels], to be normalized as preprocess.json says
    Files,   ///< images in files, {N}; `decode_files` makes Photos of them
  };
  std::string id;
  Kind kind = Kind::Values;
  Shape shape;
  std::vector<Wanted> outputs;
  // Where the input is, one of:
  std::string_view bytes;               ///< of Values and of uint8, anywhere in the body
  std::vector<float> numbers;           ///< of Values that came as JSON
  std::string pixels;                   ///< of uint8 that came as JSON, or from files
  std::vector<std::string_view> files;  ///< in the body or in `decoded`
  std::vector<std::string> decoded;     ///< of base64

  std::int64_t images() const { return shape.empty() ? 0 : shape[0]; }
  std::string_view input_bytes() const;
};

/// How many bytes of a request's body are JSON, which take time to read.
/// \throws Refusal 400: the header's value is no length, or exceeds the body
std::size_t json_bytes(const Request& request);

/// \param request whose body must outlive the result, in place
/// \throws Refusal 400, 413 (too many values), 501 (shared memory); InvalidJson
InferRequest parse_infer(const Request& request, const Model& model, const Limits& limits);

/// Decodes and prepares the images of Files.
/// \throws Refusal 400 (damaged), 413 (too large), 415 (a kind of image that is not read)
void decode_files(InferRequest& request, const Model& model, const Limits& limits);

/// \param tensors for each output of the request; of them images [first, first + request.images())
Response infer_response(const InferRequest& request, const Model& model,
                        const std::shared_ptr<const std::vector<Tensor>>& tensors,
                        std::int64_t first);

}  // namespace lenet::serve
