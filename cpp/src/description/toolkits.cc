#include "description/toolkits.h"

#include <charconv>

#include "description/description.h"
#include "description/toolkit_steps.h"

namespace lenet {

using nlohmann::json;

namespace {

/// The description of MobileViT has no normalization.
bool is_of_hugging_face(const json& document) {
  return document.contains("image_mean") || document.contains("do_normalize") ||
         document.contains("image_processor_type");
}

}  // namespace

std::string labels_by_number(const json& names) {
  if (!names.is_object()) Field{names, "the labels", {}}.wrong("names by their numbers");
  std::vector<std::string> labels(names.size());
  std::vector<bool> given(names.size());
  for (const auto& [number, name] : names.items()) {
    std::size_t index = 0;
    const char* const end = number.data() + number.size();
    const auto found = std::from_chars(number.data(), end, index);
    if (found.ec != std::errc() || found.ptr != end || index >= labels.size() || given[index]) {
      throw InvalidJson("the labels: expected the numbers 0 to " +
                        std::to_string(labels.size() - 1) + ", found " + number);
    }
    given[index] = true;
    labels[index] = python_text(name);
  }
  return toolkits::text_of(labels);
}

bool is_of_toolkit(const json& document) {
  return is_of_hugging_face(document) || document.contains("pretrained_cfg") ||
         document.contains("input_size");
}

std::string translate_description(const json& document, const toolkits::ReadLabels& read_labels,
                                  const json& id2label) {
  Field whole{document, "", {}};
  if (!document.is_object()) whole.wrong("values by name");
  if (whole.has("PreProcess")) return toolkits::from_clas(whole, read_labels);
  if (whole.has("Transforms")) return toolkits::from_x2(whole);
  if (whole.has("Preprocess")) return toolkits::from_detection(whole);
  if (is_of_hugging_face(document)) return toolkits::from_hugging_face(whole, id2label);
  if (is_of_toolkit(document)) return toolkits::from_timm(whole);
  toolkits::refuse(
      "it is no description that is known: it has neither PreProcess (PaddleClas, PaddleX 3, "
      "PaddleOCR) nor Transforms (PaddleX 2) nor Preprocess (PaddleDetection)");
}

}  // namespace lenet
