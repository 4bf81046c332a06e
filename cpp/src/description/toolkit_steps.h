/// \file
/// The steps of preprocess.json as text, from which the translations of toolkits' descriptions are
/// composed. Text needs a fifth of the code that objects would need.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "description/field.h"

namespace lenet::toolkits {

/// \throws Error Unsupported, with the name of the unsupported step
[[noreturn]] void refuse(const std::string& what);
[[noreturn]] void refuse(const Field& field);

/// Refuses a description with members that the translation did not read.
void refuse_others(const Field& field);

/// Refuses a member that exists and has another value than this one.
void require(Field& values, const char* name, const nlohmann::json& only);

std::string lower(std::string text);

/// Height and width; if the width is 0, the height is the length of the shorter side.
using Size = std::pair<std::int64_t, std::int64_t>;

/// Reads one number, or two: width and height, or height and width.
Size size_of(const Field& field, bool width_first);

/// The names of OpenCV's filters in both toolkits, and of Pillow's filters in PaddleClas.
std::string interpolation_of(const Field& field, bool of_opencv);

std::string size_text_of(const Size& size);

/// \param rounding of the longer side, as the field of Resize, where the size is a shorter side
std::string resize_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* rounding);

/// \param more members, each with a comma before it
std::string crop_step(const Size& size, const char* rounding = "down",
                      const std::string& more = "");

/// A smaller image gets a black border.
constexpr const char* kBlack = ",\"fill\":[0,0,0]";

/// \param fit as the field of Resize
std::string fitted_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* fit);

std::string normalize_step(double scale, const std::string& mean, const std::string& std);

/// \param steps each with a comma behind it
/// \param rest members, each with a comma before it
std::string description_of(const char* mode, const std::string& steps, const std::string& rest);

std::string text_of(const nlohmann::json& value);

/// The member `labels`, with a comma before it; names are written as Python would write them.
std::string labels_of(const Field& list);

/// Reads a file of labels, as translate_description takes it.
using ReadLabels = std::function<std::string(const std::string& name, const std::string& between)>;

/// \{ The description that preprocess.json would have, of a document of that toolkit.
std::string from_clas(Field document, const ReadLabels& read_labels);
std::string from_x2(Field document);
std::string from_detection(Field document);
std::string from_hugging_face(Field document, const nlohmann::json& id2label);
std::string from_timm(Field document);
/// \}

}  // namespace lenet::toolkits
