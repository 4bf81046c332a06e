/// \file
/// Steps of preprocess.json as text, which the translations of toolkits' descriptions are made of.
/// Text takes a fifth of the code that objects would take.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "description/field.h"

namespace lenet::toolkits {

/// \throws Error Unsupported, with the name of what is not done
[[noreturn]] void refuse(const std::string& what);
[[noreturn]] void refuse(const Field& field);

/// Refuses members that were not asked for.
void refuse_others(const Field& field);

/// Refuses a member that is there and has another value than this one.
void require(Field& values, const char* name, const nlohmann::json& only);

std::string lower(std::string text);

/// Height and width; a width of 0 says that the height is that of the shorter side.
using Size = std::pair<std::int64_t, std::int64_t>;

/// A number, or two: width and height, or the other way round.
Size size_of(const Field& field, bool width_first);

/// The names that both have for OpenCV's, and PaddleClas for Pillow's.
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
