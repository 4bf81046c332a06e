#include "infer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "images/decoders.h"
#include "json_reader.h"
#include "lenet/interruption.h"
#include "picture.h"
#include "pixels.h"

namespace lenet::serve {
namespace {

using Kind = InferRequest::Kind;

[[noreturn]] void refuse(const std::string& what) { throw Refusal(400, what); }

/// The limit of pixels of an image file.
std::int64_t largest_image(const Limits& limits) {
  const auto most = static_cast<std::size_t>(kMaxImagePixels);
  return static_cast<std::int64_t>(std::min(limits.image_pixels, most));
}

/// The number of elements, which is at most `most`.
std::size_t count_values(const Shape& shape, std::size_t most) {
  std::size_t count = 1;
  const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  for (const std::int64_t size : shape) {
    if (size < 0) {
      refuse("a size in shape " + to_string(shape) + " is negative; sizes are integers from 0 on");
    }
    if (empty) continue;
    if (static_cast<std::uint64_t>(size) > most / count) {
      throw Refusal(413, "a tensor of shape " + to_string(shape) + " has more than " +
                             std::to_string(most) + " values, the limit of this server");
    }
    count *= static_cast<std::size_t>(size);
  }
  return empty ? 0 : count;
}

[[noreturn]] void refuse_base64(const std::string& problem) {
  refuse("the data of BYTES in JSON is not base64: " + problem +
         "; encode the bytes of the image file, with padding");
}

std::string decode_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) {
    refuse_base64(std::to_string(text.size()) + " characters are no multiple of 4");
  }
  const std::size_t padding =
      text.empty() ? 0 : text.size() - 1 - std::min(text.find_last_not_of('='), text.size() - 1);
  if (padding > 2) refuse_base64("it ends in more than two '='");
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - padding;
    const std::size_t digit = is_padding ? 0 : kDigits.find(text[i]);
    if (digit == std::string_view::npos) {
      refuse_base64("character " + std::to_string(i) + " is none of its digits");
    }
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (const unsigned shift : {16U, 8U, 0U}) bytes += static_cast<char>(bits >> shift & 0xFFU);
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

[[noreturn]] void refuse_tensors(const Limits& limits) {
  refuse("more than " + std::to_string(limits.tensors) +
         " tensors, the limit of this server (--max_tensors)");
}

void require_rank(const Shape& shape) {
  if (shape.size() > 8) refuse("a shape has more than 8 dimensions; no tensor may have more");
}

Asked::Input parse_input(JsonReader& in, const Limits& limits) {
  Asked::Input input;
  in.object({"name", "datatype", "shape", "parameters", "data"}, [&](std::size_t name) {
    if (name == 0) input.name = in.text();
    if (name == 1) input.datatype = in.text();
    if (name == 2) {
      Shape& shape = input.shape.emplace();
      in.array([&] {
        shape.push_back(in.integer());
        require_rank(shape);
      });
    }
    if (name == 3) {
      in.object({"binary_data_size", "shared_memory_region"}, [&](std::size_t parameter) {
        if (parameter == 1) refuse_shared_memory();
        input.binary_size = in.integer();
      });
    }
    if (name != 4) return;
    const std::size_t expected = input.shape ? count_values(*input.shape, limits.values) : 0;
    input.data = in.data(limits.values, expected);
  });
  return input;
}

Asked::Output parse_output(JsonReader& in) {
  Asked::Output output;
  bool has_name = false;
  in.object({"name", "parameters"}, [&](std::size_t name) {
    if (name == 0) output.name = in.text();
    has_name = has_name || name == 0;
    if (name == 0) return;
    in.object({"binary_data", "classification", "shared_memory_region"}, [&](std::size_t one) {
      if (one == 0) output.binary = in.boolean();
      if (one == 1) output.classes = in.integer();
      if (one == 2) refuse_shared_memory();
    });
  });
  if (!has_name) refuse("an output of the request has no name; add its \"name\"");
  return output;
}

Asked parse_asked(std::string_view json, const Limits& limits) {
  JsonReader in(json);
  Asked asked;
  in.object({"inputs", "id", "outputs", "parameters"}, [&](std::size_t name) {
    if (name == 0) {
      in.array([&] {
        if (++asked.inputs > limits.tensors) refuse_tensors(limits);
        asked.input = parse_input(in, limits);
      });
    }
    if (name == 1) asked.id = in.text();
    if (name == 2) {
      in.array([&] {
        if (asked.outputs.size() >= limits.tensors) refuse_tensors(limits);
        asked.outputs.push_back(parse_output(in));
      });
    }
    if (name != 3) return;
    in.object({"binary_data_output"}, [&](std::size_t) { asked.binary_output = in.boolean(); });
  });
  in.end();
  return asked;
}

bool begins_as_json(std::string_view text) {
  const std::size_t first = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  return text.substr(first, 1) == "{" || text.substr(first, 1) == "[";
}

/// \param multiply_adds of one image
void refuse_work(std::int64_t images, double multiply_adds, const Model& model,
                 const Limits& limits) {
  if (static_cast<double>(images) * multiply_adds <= static_cast<double>(limits.multiply_adds)) {
    return;
  }
  throw Refusal(413, std::to_string(images) + " images of model '" + model.name +
                         "' ask for more than " + std::to_string(limits.multiply_adds) +
                         " multiply-adds, the limit of this server (--max_multiply_adds)");
}

/// Makes of what a client asks for what a model can answer.
class Fitting {
 public:
  Fitting(const Model& model, const Limits& limits) : model_(model), limits_(limits) {}

  InferRequest fit(Asked asked, std::string_view binary) {
    if (asked.id.size() > limits_.id_bytes) {
      refuse("id has more than " + std::to_string(limits_.id_bytes) +
             " bytes, the limit of this server (--max_id_bytes)");
    }
    if (std::max(asked.inputs, asked.outputs.size()) > limits_.tensors) refuse_tensors(limits_);
    if (asked.inputs != 1) {
      refuse("the request has " + std::to_string(asked.inputs) + " inputs; model '" + model_.name +
             "' takes one, '" + model_.input.name + "'");
    }
    request_.id = std::move(asked.id);
    for (const Asked::Output& output : asked.outputs) add_output(output, asked.binary_output);
    input_ = std::move(asked.input);
    take_input(binary);
    return finish(asked.binary_output);
  }

  /// A body that is an image file.
  InferRequest fit_picture(std::string_view body, const PictureQuery& query) {
    request_.is_picture = true;
    request_.shape = {1};
    require_files();
    request_.files = {body};
    if (query.raw) return finish(false);
    if (!model_.plan) {
      throw Refusal(501, "model '" + model_.name +
                             "' is no classifier; add ?raw to the address for its outputs");
    }
    request_.wish = query.wish;
    for (const std::size_t output : model_.plan->wanted) {
      request_.outputs.push_back({output, false, 0});
    }
    return finish(false);
  }

  /// A body that is the values of whole images.
  InferRequest fit_raw(std::string_view body) {
    Shape& shape = request_.shape = model_.input.shape;
    if (shape.empty()) {
      refuse(
          "a body without JSON needs a model whose input has a shape; send the shape and the "
          "values in JSON");
    }
    shape[0] = 1;
    if (std::find(shape.begin(), shape.end(), -1) != shape.end()) {
      refuse("a body without JSON needs a model with one free dimension; its input has shape " +
             to_string(model_.input.shape) + "; send the shape and the values in JSON");
    }
    const Datatype& type = datatype_of(model_.input);
    const std::size_t image = count_values(shape, limits_.values) * type.size;
    if (image == 0 || body.empty() || body.size() % image != 0) {
      refuse("the body has " + std::to_string(body.size()) + " bytes; expected a multiple of " +
             std::to_string(image) + ", one image of " + type.dtype + " values");
    }
    request_.kind = kind_of(type);
    shape[0] = static_cast<std::int64_t>(body.size() / image);
    count_values(shape, limits_.values);
    request_.bytes = body;
    return finish(true);
  }

 private:
  void add_output(const Asked::Output& output, bool binary) {
    const auto found =
        std::find_if(model_.outputs.begin(), model_.outputs.end(),
                     [&](const TensorSpec& spec) { return spec.name == output.name; });
    if (found == model_.outputs.end()) {
      refuse("model '" + model_.name + "' has no output '" + output.name + "'; GET /v2/models/" +
             model_.name + " lists its outputs");
    }
    const auto index = static_cast<std::size_t>(found - model_.outputs.begin());
    for (const Wanted& other : request_.outputs) {
      if (other.index == index)
        refuse("output '" + output.name + "' is asked for twice; name it once");
    }
    if (output.classes < 0) {
      refuse("classification is negative; expected a number of classes, or 0 for the values");
    }
    request_.outputs.push_back({index, output.binary.value_or(binary), output.classes});
  }

  void take_input(std::string_view binary) {
    if (input_.name != model_.input.name) {
      refuse("model '" + model_.name + "' has no input '" + input_.name + "'; its input is '" +
             model_.input.name + "'");
    }
    if (!input_.shape) {
      refuse("the input has no \"shape\"; the model takes " + to_string(model_.input.shape));
    }
    require_rank(*input_.shape);
    const std::size_t count = count_values(*input_.shape, limits_.values);
    request_.shape = std::move(*input_.shape);
    if (input_.binary_size.has_value() == input_.data.has_value()) {
      refuse("the input needs either data or the parameter binary_data_size");
    }
    const auto rest = static_cast<std::int64_t>(binary.size());
    if (input_.binary_size.value_or(0) != rest) {
      refuse("binary_data_size is " + std::to_string(input_.binary_size.value_or(0)) + "; " +
             std::to_string(rest) + " bytes follow the JSON");
    }
    if (input_.datatype == "FP32") return take_values(binary, count);
    if (input_.datatype == "UINT8") return take_pixels(binary, count);
    if (input_.datatype == "BYTES") return take_files(binary, count);
    const Datatype& own = datatype_of(model_.input);
    if (input_.datatype == own.name) return take_numbers(binary, count, own);
    const bool other = kind_of(own) == Kind::Numbers;
    refuse("datatype '" + input_.datatype + "' is not supported; use " +
           (other ? own.name + std::string(", ") : std::string()) + "FP32, UINT8 or BYTES");
  }

  static Kind kind_of(const Datatype& type) {
    const std::string_view name = type.name;
    return name == "FP32" ? Kind::Values : name == "UINT8" ? Kind::Pixels : Kind::Numbers;
  }

  /// Takes numbers for a model whose input has another type than float32.
  void take_numbers(std::string_view binary, std::size_t count, const Datatype& type) {
    if (!input_.data) {
      request_.kind = Kind::Numbers;
      request_.bytes = take_binary(binary, count * type.size);
      return;
    }
    take_values(binary, count);  // which the library compares with the type
    constexpr float kMostExact = 0x1p24F;
    const auto is_exact = [](float number) { return std::abs(number) < kMostExact; };
    const bool whole = type.name[0] == 'I';
    if (whole && !std::all_of(request_.numbers.begin(), request_.numbers.end(), is_exact)) {
      refuse(
          "JSON holds an integer of 16777216 or more, which is read as float32; send the values "
          "as binary data");
    }
  }

  /// \returns nothing when the data is binary
  JsonData* json_data(std::size_t count, bool texts) {
    if (!input_.data) return nullptr;
    JsonData& data = *input_.data;
    if (texts ? !data.numbers.empty() : !data.texts.empty()) {
      refuse("the data are not those of datatype " + input_.datatype + "; expected " +
             (texts ? "texts in base64" : "numbers"));
    }
    if ((texts ? data.texts.size() : data.numbers.size()) != count ||
        (data.shape.size() > 1 && data.shape != request_.shape)) {
      refuse("the data have shape " + to_string(data.shape) + "; the input says " +
             to_string(request_.shape));
    }
    return &data;
  }

  void take_values(std::string_view binary, std::size_t count) {
    JsonData* const data = json_data(count, false);
    if (data != nullptr) {
      request_.numbers = std::move(data->numbers);
    } else {
      request_.bytes = take_binary(binary, count * sizeof(float));
    }
  }

  std::string_view take_binary(std::string_view binary, std::size_t size) const {
    if (binary.size() == size) return binary;
    refuse("binary_data_size is " + std::to_string(binary.size()) + "; shape " +
           to_string(request_.shape) + " of " + input_.datatype + " takes " + std::to_string(size));
  }

  void take_pixels(std::string_view binary, std::size_t count) {
    const bool photo =
        model_.pipeline && request_.shape.size() == 4 &&
        (model_.input.shape.empty() || !fits(request_.shape, model_.input, request_.images()));
    request_.kind = photo ? Kind::Photos : Kind::Pixels;
    JsonData* const data = json_data(count, false);
    if (data == nullptr) {
      request_.bytes = take_binary(binary, count);
      return;
    }
    request_.pixels.reserve(count);
    for (const float number : data->numbers) {
      if (!(number >= 0 && number <= 255) || number != std::floor(number)) {
        refuse("a value of UINT8 is no integer from 0 to 255; send other values as FP32");
      }
      request_.pixels += static_cast<char>(static_cast<std::uint8_t>(number));
    }
  }

  void require_files() {
    request_.kind = Kind::Files;
    if (model_.pipeline) return;
    const Described& described = model_.described;
    refuse("model '" + model_.name + "' takes no image files: " +
           (described.missing ? described.missing->what() : described.note));
  }

  void take_files(std::string_view binary, std::size_t count) {
    require_files();
    if (request_.shape.size() != 1) {
      refuse("BYTES of shape " + to_string(request_.shape) + "; expected [N], an image file each");
    }
    JsonData* const data = json_data(count, true);
    if (data != nullptr) {
      for (const std::string& text : data->texts) request_.decoded.push_back(decode_base64(text));
      request_.files.assign(request_.decoded.begin(), request_.decoded.end());
      return;
    }
    constexpr const char* kEndEarly =
        "the data of BYTES end early; expected the length of each file in 4 bytes, then the file";
    for (std::size_t i = 0; i < count; ++i) {  // each after its length
      std::uint32_t size = 0;
      if (binary.size() < sizeof(size)) refuse(kEndEarly);
      std::memcpy(&size, binary.data(), sizeof(size));
      binary.remove_prefix(sizeof(size));
      if (binary.size() < size) refuse(kEndEarly);
      request_.files.push_back(binary.substr(0, size));
      binary.remove_prefix(size);
    }
    if (!binary.empty()) {
      refuse("the data of BYTES hold more than the " + std::to_string(count) +
             " files that the shape says");
    }
  }

  InferRequest finish(bool binary) {
    refuse_work(request_.images(), model_.multiply_adds, model_, limits_);
    std::vector<Wanted>& outputs = request_.outputs;
    if (!outputs.empty()) return std::move(request_);
    for (std::size_t i = 0; i < model_.outputs.size(); ++i) outputs.push_back({i, binary, 0});
    return std::move(request_);
  }

  const Model& model_;
  const Limits& limits_;
  InferRequest request_;
  Asked::Input input_;
};

}  // namespace

std::string_view InferRequest::input_bytes() const {
  if (!numbers.empty()) {
    return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
  }
  return pixels.empty() ? bytes : std::string_view(pixels);
}

void refuse_shared_memory() {
  throw Refusal(501, "this server does not support shared memory; send the values in the request");
}

std::size_t json_bytes(const Request& request) {
  if (request.asked != nullptr) return 0;
  if (!request.header_length) return is_picture(request.body) ? 0 : request.body.size();
  const std::string& text = *request.header_length;
  std::uint64_t length = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || end.ec != std::errc() || end.ptr != text.data() + text.size()) {
    refuse(
        "Inference-Header-Content-Length is no length; expected how many bytes of the body are "
        "JSON");
  }
  if (length > request.body.size()) {
    refuse("Inference-Header-Content-Length is " + std::to_string(length) + "; the body has " +
           std::to_string(request.body.size()) + " bytes");
  }
  return length;
}

InferRequest parse_infer(const Request& request, const Model& model, const Limits& limits) {
  const std::string_view body = request.body;
  Fitting fitting(model, limits);
  if (request.asked != nullptr) {
    InferRequest fitted = fitting.fit(*request.asked, body);
    fitted.has_json = false;
    return fitted;
  }
  if (!request.header_length) {
    if (is_picture(body)) return fitting.fit_picture(body, parse_query(request.query));
    if (!begins_as_json(body)) refuse_body(body);
  }
  const std::size_t length = json_bytes(request);
  if (length == 0) return fitting.fit_raw(body);
  return fitting.fit(parse_asked(body.substr(0, length), limits), body.substr(length));
}

void weigh_files(InferRequest& request, const Limits& limits) {
  constexpr std::int64_t kLargestImages = 64;  // as many images of VGG16 are the limit of its work
  const std::int64_t largest = largest_image(limits);
  for (const std::string_view file : request.files) {
    // A file of more work is refused when it is opened.
    request.decode_work += std::min(decode_work(file), kScansOfLargestImage * largest);
    if (request.decode_work <= kLargestImages * largest) continue;
    throw Refusal(413, "the image files have more than " + std::to_string(kLargestImages) +
                           " times " + std::to_string(largest) +
                           " pixels together, where each scan of a progressive JPEG counts; send "
                           "fewer in a request");
  }
}

void decode_files(InferRequest& request, const Model& model, const Limits& limits) {
  Shape shape;  // of the first; the model takes no others beside it
  // Before any is decoded: how large they will be the model's input tells.
  Shape all = model.input.shape;
  if (!all.empty()) all[0] = request.images();
  for (std::int64_t& size : all) size = std::max<std::int64_t>(size, 1);
  count_values(all, limits.values);
  for (std::size_t i = 0; i < request.files.size(); ++i) {
    const std::string name = request.is_picture ? "the image" : "image " + std::to_string(i);
    check_interruption();
    try {
      const auto file = open_image(
          {request.files[i], name, largest_image(limits), model.pipeline->depth(), nullptr});
      const Image image = model.pipeline->prepare(*file);
      const Shape prepared = {request.images(), image.height, image.width, image.channels};
      if (i == 0) shape = prepared;
      if (prepared != shape) {
        refuse("the images differ in size after their preparation; send each in its own request");
      }
      count_values(shape, limits.values);
      request.pixels.append(image.pixels.begin(), image.pixels.end());
    } catch (const Error& error) {
      const bool is_full = error.code() == ErrorCode::BackendFailure;  // the memory
      const bool is_unknown = error.code() == ErrorCode::Unsupported;
      throw Refusal(is_full ? 503 : is_unknown ? 415 : 400, error.what());
    }
  }
  if (request.files.empty()) refuse("BYTES of shape [0] hold no image; send at least one");
  request.kind = Kind::Photos;
  request.shape = shape;
  request.files.clear();
  request.decoded.clear();
}

void require_work(const InferRequest& request, Model& model, const Limits& limits) {
  Shape shape = request.shape;
  if (request.kind == Kind::Photos) {
    take_values_shape(model.pipeline->view(nullptr, request.shape), shape);
  }
  refuse_work(request.images(), model.multiply_adds_of(shape), model, limits);
}

}  // namespace lenet::serve
