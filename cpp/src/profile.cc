#include "lenet/profile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/printable.h"
#include "lenet/version.h"

namespace lenet {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::array<std::string, 10>;

constexpr std::size_t kTextColumns = 3;  // the others are numbers, to the right
constexpr std::size_t kMaxName = 120;    // one long name must not widen every line

/// 416520 as 416,520; nothing for 0.
std::string with_commas(double number) {
  if (number == 0) return "";
  std::string digits = print("%.0f", number);
  for (std::size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, ",");
  return digits;
}

std::string percent(double share) { return share > 0 ? print("%.1f %%", 100 * share) : ""; }

/// Such as 3x48x192.
std::string by_sizes(const Shape& shape) {
  std::string text;
  for (const auto size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

Row row_of(const LayerProfile& layer, const ProfilePart& part) {
  const double images = static_cast<double>(part.at_once);
  return {layer.name.size() > kMaxName ? layer.name.substr(0, kMaxName) + "..." : layer.name,
          layer.kernel,
          layer.layout,
          by_sizes(layer.output),
          with_commas(layer.multiply_adds),
          with_commas(layer.weight_bytes + layer.activation_bytes * images),
          print("%.2f", layer.microseconds),
          percent(layer.time_share),
          percent(layer.multiply_add_share),
          percent(layer.memory_share)};
}

std::string table_of(const ProfilePart& part) {
  std::vector<Row> rows = {{"layer", "kernel", "layout", "output", "multiply-adds", "bytes", "us",
                            "time", "multiply-add limit", "memory limit"}};
  for (const LayerProfile& layer : part.layers) rows.push_back(row_of(layer, part));
  rows.push_back(row_of(part.total, part));
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      line += "  " + (i < kTextColumns ? row[i] + space : space + row[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

/// Names may hold what is not UTF-8: a file's path.
std::string dump(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json json_of(const LayerProfile& layer) {
  Json json;
  json["name"] = layer.name;
  json["kernel"] = layer.kernel;
  json["layout"] = layer.layout;
  json["output"] = layer.output;
  json["multiply_adds"] = std::llround(layer.multiply_adds);
  json["weight_bytes"] = std::llround(layer.weight_bytes);
  json["activation_bytes"] = std::llround(layer.activation_bytes);
  json["microseconds"] = layer.microseconds;
  json["time_share"] = layer.time_share;
  json["multiply_add_share"] = layer.multiply_add_share;
  json["memory_share"] = layer.memory_share;
  return json;
}

}  // namespace

std::string to_table(const Profile& profile) {
  const double images = static_cast<double>(profile.images);
  std::string why = profile.precision_reason;
  if (!why.empty()) why = "        computed in " + profile.computed_precision + ": " + why + "\n";
  std::string text = print(
      "engine %s (%s), %s, precision %s, threads %d\n"
      "model   %s\n"
      "%slimit   %.1f billion multiply-adds a second, one core, %s\n"
      "memory  %.1f GB a second, one core\n"
      "batch   %.0f, %.2f us, %.2f us an image, %s of the limit (median of %d)\n",
      profile.engine.c_str(), profile.reason.c_str(), profile.instructions.c_str(),
      profile.precision.c_str(), profile.threads, profile.model_file.c_str(), why.c_str(),
      profile.multiply_add_limit / 1e9, profile.computed_precision.c_str(),
      profile.memory_limit / 1e9, images, profile.microseconds, profile.microseconds / images,
      percent(profile.multiply_add_share).c_str(), profile.runs);
  if (!profile.compiled.sizes.empty()) {
    text +=
        print("sizes   %.1f MB of weights for", static_cast<double>(profile.compiled.bytes) / 1e6);
    for (const auto& [image, bytes] : profile.compiled.sizes) {
      text += print(" %s (%.1f MB)", by_sizes(image).c_str(), static_cast<double>(bytes) / 1e6);
    }
    text += "\n";
  }
  for (const ProfilePart& part : profile.parts) {
    text += "\n" + std::to_string(part.images) + (part.images == 1 ? " image" : " images");
    if (part.at_once < part.images) text += ", " + std::to_string(part.at_once) + " at a time";
    text += "\n" + table_of(part);
  }
  return text + R"(
Multiply-adds are counted for one image, by the definition of the operators. Winograd's method, and
int8 at the border of an image, need fewer, so that their share of the limit can be above 100 %.
Bytes count weights, inputs and outputs once; data in the caches can exceed the memory limit. Times
are medians, and include reading the clock after each line (about 0.03 us). Layers on one line are
computed together. A batch of more than 64 images is timed with 64.
)";
}

std::string to_json(const Profile& profile) {
  Json json;
  json["version"] = version();
  json["engine"] = profile.engine;
  json["reason"] = profile.reason;
  json["instructions"] = profile.instructions;
  json["precision"] = profile.precision;
  json["computed_precision"] = profile.computed_precision;
  json["precision_reason"] = profile.precision_reason;
  json["model_file"] = profile.model_file;
  json["threads"] = profile.threads;
  json["runs"] = profile.runs;
  json["images"] = profile.images;
  json["microseconds"] = profile.microseconds;
  json["multiply_adds"] = std::llround(profile.multiply_adds);
  json["multiply_add_share"] = profile.multiply_add_share;
  json["multiply_add_limit"] = profile.multiply_add_limit;
  json["memory_limit"] = profile.memory_limit;
  Json& sizes = json["compiled_sizes"] = Json::object();
  for (const auto& one : profile.compiled.sizes) sizes[by_sizes(one.image)] = one.bytes;
  json["compiled_bytes"] = profile.compiled.bytes;
  for (const ProfilePart& part : profile.parts) {
    Json& found = json["parts"].emplace_back();
    found["images"] = part.images;
    found["at_once"] = part.at_once;
    for (const LayerProfile& layer : part.layers) found["layers"].push_back(json_of(layer));
    found["total"] = json_of(part.total);
  }
  return dump(json);
}

std::string to_trace(const Profile& profile) {
  Json events = Json::array();
  double begin = 0;
  for (const ProfilePart& part : profile.parts) {
    for (const LayerProfile& layer : part.layers) {
      Json& event = events.emplace_back();
      event["name"] = layer.name;
      event["cat"] = profile.engine;
      event["ph"] = "X";
      event["ts"] = begin;
      event["dur"] = layer.microseconds;
      event["pid"] = 1;
      event["tid"] = 1;
      event["args"] = json_of(layer);
      event["args"]["images"] = part.at_once;
      begin += layer.microseconds;
    }
  }
  return dump(events);
}

}  // namespace lenet
