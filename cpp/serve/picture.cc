#include "picture.h"

#include <algorithm>
#include <charconv>

#include "images/decoders.h"
#include "infer.h"
#include "io/printable.h"
#include "json_reader.h"

namespace lenet::serve {
namespace {

constexpr std::string_view kClassification = "classification=";
constexpr std::string_view kJpeg = "\xff\xd8\xff";
constexpr const char* kSend =
    "; send the file of a picture as it is (curl -T photo.jpg ADDRESS), or a request in JSON; a "
    "body of the input's values needs the header Inference-Header-Content-Length: 0";

/// What people send in place of a picture, by its first bytes.
struct OtherBody {
  std::string_view begin;
  const char* name;
};

constexpr OtherBody kOtherBodies[] = {
    {"--", "a form (multipart/form-data, as curl -F sends it)"},
    {"\x89PNG", "a PNG that lost its line ends (curl -d takes them away)"},
    {kJpeg, "a JPEG that lost its zeros and line ends (curl -d takes them away)"},
    {"\x1f\x8b", "gzip data without the header Content-Encoding: gzip"},
    {"PK\x03\x04", "a ZIP archive"},
    {"%PDF", "a PDF"},
    {"<", "a text in HTML, XML or SVG"},
};

std::string name_of(std::string_view body) {
  constexpr std::size_t kShown = 16;
  if (body.empty()) return "empty (0 bytes)";
  for (const OtherBody& other : kOtherBodies) {
    if (body.substr(0, other.begin.size()) == other.begin) return other.name;
  }
  const std::string_view begin = body.substr(0, kShown);
  const bool is_text = std::none_of(begin.begin(), begin.end(), [](unsigned char byte) {
    return byte < ' ' && byte != '\t' && byte != '\n' && byte != '\r';
  });
  if (is_text) return "a text that begins with '" + printable(std::string(begin)) + "'";
  std::string bytes;
  for (const char byte : begin) bytes += print(" %02x", static_cast<unsigned char>(byte));
  return std::to_string(body.size()) + " bytes that begin with" + bytes;
}

[[noreturn]] void refuse_query(const std::string& query) {
  throw Refusal(400, "the query '" + printable(query) +
                         "' is not known for a picture; expected ?classification=K, for the K best "
                         "classes, or ?raw, for the outputs");
}

std::int64_t parse_classes(std::string_view text) {
  std::int64_t classes = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), classes);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || classes < 1) {
    throw Refusal(400, "classification is '" + printable(std::string(text)) +
                           "'; expected an integer from 1 on, the number of classes");
  }
  return classes;
}

/// Writes a list. \param append writes one of the values
template <typename Values, typename Append>
void append_list(std::string& json, const Values& values, const Append& append) {
  json += '[';
  bool is_first = true;
  for (const auto& value : values) {
    if (!is_first) json += ',';
    is_first = false;
    append(value);
  }
  json += ']';
}

/// Writes null for what JSON does not have.
void append_value(std::string& json, float value) {
  if (!append_json(json, value)) json += "null";
}

void append_prediction(std::string& json, const Prediction& one, const char* value_name) {
  json += '{';
  if (!one.head.empty()) {
    append_json(json += "\"head\":", one.head);
    json += ',';
  }
  json.append("\"class\":").append(std::to_string(one.class_id)).append(",\"label\":");
  if (one.label) {
    append_json(json, *one.label);
  } else {
    json += "null";
  }
  json.append(",\"").append(value_name).append("\":");
  append_value(json, one.value);
  json += '}';
}

}  // namespace

PictureQuery parse_query(const std::string& query) {
  PictureQuery asked;
  if (query.empty()) return asked;
  if (query == "raw") {
    asked.raw = true;
  } else if (query.rfind(kClassification, 0) == 0) {
    asked.wish.topk = parse_classes(std::string_view(query).substr(kClassification.size()));
  } else {
    refuse_query(query);
  }
  return asked;
}

bool is_picture(std::string_view body) {
  constexpr std::size_t kLooked = std::size_t{1} << 17;  // bytes, more than a segment has
  const bool is_jpeg = body.substr(0, kJpeg.size()) == kJpeg;
  if (is_jpeg && body.substr(0, kLooked).find('\0') == std::string_view::npos) return false;
  return is_image_file(body);
}

void refuse_body(std::string_view body) {
  throw Refusal(400, "the body is " + name_of(body) + kSend);
}

std::string finding_json(const Finding& found, const char* value_name) {
  std::string json;
  if (!found.features.empty()) {
    json = "{\"features\":";
    append_list(json, found.features, [&](float value) { append_value(json, value); });
    json += '}';
  } else if (!found.attributes.empty()) {
    json = "{\"attributes\":";
    append_list(json, found.attributes, [&](const std::string& text) { append_json(json, text); });
    json += ",\"output\":";
    append_list(json, found.flags, [&](int flag) { json += std::to_string(flag); });
    json += '}';
  } else {
    append_list(json, found.predictions,
                [&](const Prediction& one) { append_prediction(json, one, value_name); });
  }
  return json += '\n';
}

}  // namespace lenet::serve
