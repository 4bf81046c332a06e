#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "description/outputs.h"
#include "infer.h"
#include "json_reader.h"
#include "model/element_types.h"
#include "own_numbers.h"
#include "picture.h"

namespace lenet::serve {
namespace {

/// What a description makes of an output of each image, at most so many texts: "VALUE:INDEX" or
/// "VALUE:INDEX:NAME" of classes, attributes by their names; and nothing where an image has fewer.
std::vector<std::string> class_texts(const Described& described, const Config& config,
                                     const float* values, std::int64_t images, std::size_t classes,
                                     std::int64_t most) {
  Wish wish;
  if (described.description.outputs.type == PostProcess::Topk) wish.topk = most;
  const bool named = takes_labels(classes, described, config);
  std::vector<std::string> texts;
  for (std::int64_t image = 0; image < images; ++image, values += classes) {
    const std::size_t end = texts.size() + static_cast<std::size_t>(most);
    const std::string problem = problem_of(values, classes, OutputRole::Unknown);
    if (!problem.empty()) throw no_class("image " + std::to_string(image), problem, "");
    // The output's own values, as the protocol has it.
    Finding found = interpret(values, classes, described.description, OutputRole::Unknown, wish);
    for (const Prediction& one : found.predictions) {
      std::string& text = texts.emplace_back();
      if (!append_json(text, one.value)) text += one.value > 0 ? "inf" : "-inf";
      text += ":" + std::to_string(one.class_id);
      if (one.label && named) text += ":" + *one.label;
    }
    for (std::string& attribute : found.attributes) texts.push_back(std::move(attribute));
    texts.resize(end);
  }
  return texts;
}

/// What the description makes of a picture.
Response picture_response(const Wish& wish, const Model& model, const std::vector<Tensor>& tensors,
                          std::int64_t image) {
  const Finding found =
      interpret(*model.plan, views_of(tensors), image, model.described, model.options(), wish);
  Response response;
  response.body = finding_json(found, value_name(*model.plan, model.described.description.outputs));
  return response;
}

/// Appends a value in the way JSON has its type. \returns whether JSON has it: it is finite
bool append_value(std::string& json, const Inferred::Output& output, float value) {
  if (is_real(output.datatype.dtype)) return append_json(json, value);
  if (output.type() == std::string_view("BOOL")) {
    json += value != 0 ? "true" : "false";
  } else {
    json += std::to_string(static_cast<std::int64_t>(value));
  }
  return true;
}

Response to_json(const Inferred& inferred) {
  constexpr std::size_t kLarge = std::size_t{1} << 16;  // is not copied
  Response response;
  std::string& json = response.body;
  std::string binary;
  json.reserve(256);
  append_json(json += "{\"model_name\":", inferred.model);
  json.append(",\"model_version\":\"").append(inferred.version).append("\"");
  if (!inferred.id.empty()) append_json(json += ",\"id\":", inferred.id);
  json += ",\"outputs\":[";
  bool has_binary = false;
  for (const Inferred::Output& output : inferred.outputs) {
    append_json(json += json.back() == '[' ? "{\"name\":" : ",{\"name\":", output.name);
    json.append(",\"datatype\":\"").append(output.type()).append("\"");
    append_json(json += ",\"shape\":", output.shape);
    if (output.binary) {
      has_binary = true;
      const std::size_t before = binary.size();
      std::size_t size = output.floats().size();
      if (output.is_fp32() && size >= kLarge && &output == &inferred.outputs.back()) {
        response.tail = output.floats();
        response.tail_owner = inferred.tensors;
      } else {
        output.append_to(binary);
        size = binary.size() - before;
      }
      json += ",\"parameters\":{\"binary_data_size\":" + std::to_string(size) + "}}";
      continue;
    }
    json += ",\"data\":[";
    for (std::size_t k = 0; output.texts && k < output.texts->size(); ++k) {
      append_json(json += k > 0 ? "," : "", (*output.texts)[k]);
    }
    for (std::size_t k = 0; k < output.count; ++k) {
      if (k > 0) json += ',';
      if (append_value(json, output, output.values[k])) continue;
      throw Refusal(500, "an output is not finite, which JSON does not have; ask for binary data");
    }
    json += "]}";
  }
  json += "]}";
  if (!has_binary) return response;
  response.content_type = "application/octet-stream";
  response.headers.emplace_back("Inference-Header-Content-Length", std::to_string(json.size()));
  json += binary;
  return response;
}

}  // namespace

void append_binary(std::string& to, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    const auto size = static_cast<std::uint32_t>(text.size());
    to.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
  }
}

void Inferred::Output::append_to(std::string& to) const {
  if (texts) return append_binary(to, *texts);
  if (is_fp32()) {
    to += floats();
    return;
  }
  to += converted_to(element_type_named(datatype.dtype), values, count);
}

Response infer_response(const InferRequest& request, const Model& model,
                        const std::shared_ptr<const std::vector<Tensor>>& tensors,
                        std::int64_t first) {
  if (request.wish) return picture_response(*request.wish, model, *tensors, first);
  const std::int64_t images = request.images();
  Inferred inferred{model.name, model.version, request.id, {}, tensors};
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    const Wanted& wanted = request.outputs[i];
    const Tensor& tensor = (*tensors)[i];
    const TensorSpec& spec = model.outputs[wanted.index];
    Inferred::Output& output = inferred.outputs.emplace_back();
    output.name = spec.name;
    output.datatype = datatype_of(spec);
    output.binary = wanted.binary;
    output.shape = tensor.shape;
    output.values = tensor.data.data();
    output.count = tensor.data.size();
    std::size_t row = 0;  // of an image
    if (spec.by_image) {  // of a batch that may have other requests' images
      row = output.count / static_cast<std::size_t>(std::max<std::int64_t>(tensor.shape[0], 1));
      output.shape[0] = images;
      output.values += row * static_cast<std::size_t>(first);
      output.count = row * static_cast<std::size_t>(images);
    }
    if (wanted.classes == 0) continue;
    if (!spec.by_image || !model.has_score_of_each_class(wanted.index) || output.shape.size() < 2 ||
        (images > 0 && row == 0)) {
      throw Refusal(400, "output '" + spec.name +
                             "' has no score for each class; leave classification out to get its "
                             "values");
    }
    const auto classes = static_cast<std::int64_t>(std::min<std::size_t>(row, INT32_MAX));
    const std::int64_t most = std::min(wanted.classes, classes);
    output.texts = class_texts(model.is_classifier(wanted.index) ? model.described : Described(),
                               model.options(), output.values, images, row, most);
    output.shape = {images, most};
    output.count = 0;
  }
  if (request.has_json) return to_json(inferred);
  Response response;
  response.inferred = std::make_shared<const Inferred>(std::move(inferred));
  return response;
}

}  // namespace lenet::serve
