#include "description/toolkit_steps.h"

#include "description/description.h"
#include "io/printable.h"

namespace lenet::toolkits {

using nlohmann::json;

void refuse(const std::string& what) { throw Error(ErrorCode::Unsupported, printable(what)); }
void refuse(const Field& field) { refuse(field.where + " " + field.shown()); }

void refuse_others(const Field& field) {
  for (const auto& member : field.value.items()) {
    if (field.asked.count(member.key()) == 0) {
      refuse(field.where + (field.where.empty() ? "" : ".") + member.key() + " is not known");
    }
  }
}

void require(Field& values, const char* name, const json& only) {
  if (values.gives(name) && values[name].value != only) refuse(values[name]);
}

std::string lower(std::string text) {
  for (char& byte : text) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
  }
  return text;
}

Size size_of(const Field& field, bool width_first) {
  if (!field.value.is_array()) {
    const std::int64_t size = field.integer(kMaxImagePixels);
    return {size, size};
  }
  const Size size = field.height_width();
  return width_first ? Size{size.second, size.first} : size;
}

std::string interpolation_of(const Field& field, bool of_opencv) {
  const std::string name = lower(field.text());
  if (name == "linear") return "bilinear";
  if (name == "cubic") return "bicubic";
  if (name == "nearest" || name == "bilinear" || name == "bicubic") return name;
  if (name == (of_opencv ? "area" : "lanczos")) return name;
  refuse(field.where + " " + field.shown() + " of " + (of_opencv ? "opencv" : "pillow"));
}

std::string size_text_of(const Size& size) {
  return print("\"size\":[%lld,%lld]", static_cast<long long>(size.first),
               static_cast<long long>(size.second));
}

std::string resize_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* rounding) {
  return print(R"({"type":"Resize","library":"%s","interpolation":"%s",)", library,
               interpolation.c_str()) +
         (size.second > 0 ? size_text_of(size)
                          : print(R"("short_side":%lld,"rounding":"%s")",
                                  static_cast<long long>(size.first), rounding)) +
         "}";
}

std::string crop_step(const Size& size, const char* rounding, const std::string& more) {
  return print(R"({"type":"CenterCrop","rounding":"%s",)", rounding) + size_text_of(size) + more +
         "}";
}

std::string fitted_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* fit) {
  return print(R"({"type":"Resize","library":"%s","interpolation":"%s","fit":"%s",)", library,
               interpolation.c_str(), fit) +
         size_text_of(size) + "}";
}

std::string normalize_step(double scale, const std::string& mean, const std::string& std) {
  return R"({"type":"Normalize","scale":)" + json(scale).dump() + ",\"mean\":" + mean +
         ",\"std\":" + std + "}";
}

std::string description_of(const char* mode, const std::string& steps, const std::string& rest) {
  return print(R"({"format_version":1,"mode":"%s","steps":[)", mode) + steps +
         R"({"type":"ToCHW"}])" + rest + "}";
}

std::string text_of(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string labels_of(const Field& list) {
  json texts = json::array();
  for (const Field& item : list.items()) {
    if (item.value.is_structured()) item.wrong("a text");
    texts.push_back(python_text(item.value));
  }
  return ",\"labels\":" + text_of(texts);
}

}  // namespace lenet::toolkits
