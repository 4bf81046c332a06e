#include <algorithm>
#include <array>
#include <charconv>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "description/description.h"
#include "description/metadata.h"
#include "description/toolkits.h"
#include "description/units.h"
#include "io/file.h"
#include "io/json.h"
#include "io/printable.h"
#include "io/text.h"
#include "io/yaml.h"
#include "model/hash_check.h"
#include "platform/platform.h"
#include "utf8.h"

namespace lenet {
using platform::beside;
using platform::name_of;
namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

/// In this order: what this project wrote knows the most.
constexpr std::array<const char*, 7> kNames = {
    "preprocess.json",          "inference.yml", "inference_cls.yaml", "model.yml", "infer_cfg.yml",
    "preprocessor_config.json", "config.json"};

/// PaddleClas's, PaddleX 3's and PaddleOCR's; PaddleX 2's; PaddleDetection's. PaddleX 3 has aliases
/// in others.
const std::set<std::string> kYmlMembers = {"PreProcess",     "PostProcess", "Transforms",
                                           "TransformsMode", "_Attributes", "Preprocess",
                                           "arch",           "metric",      "label_list"};

/// The text of a file of names: UTF-8 without NUL, at most as long as a YAML may be.
/// \throws Error as read_class_names
std::string text_of_names(std::string_view bytes, const std::string& path) {
  const auto refuse = [&](const std::string& problem) {
    throw Error(ErrorCode::BadInput, "'" + path + "' is not a list of labels: " + problem);
  };
  if (bytes.size() > kMaxYamlBytes) {
    refuse("it has " + std::to_string(bytes.size()) + " bytes; at most " +
           std::to_string(kMaxYamlBytes) + " are read");
  }
  const std::string text(without_mark(bytes));
  if (!is_utf8(text)) refuse("it is not UTF-8; save it as such");
  const std::size_t nul = text.find('\0');
  if (nul != std::string::npos) {
    const auto lines =
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    refuse("line " + std::to_string(lines + 1) + " has a NUL character");
  }
  return text;
}

/// Lines of a number, `between`, and a name.
std::string read_label_lines(const std::string& path, const std::string& between) {
  json names = json::object();
  each_line(text_of_names(read_file(path), path), [&](std::string_view line) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) return;
    const std::size_t end = between.empty() ? std::string::npos : line.find(between);
    const std::string number(line.substr(0, end));
    const std::string name(end < line.size() ? line.substr(end + between.size()) : "");
    if (!names.emplace(number, name).second) throw InvalidJson("'" + number + "' comes twice");
  });
  return ",\"labels\":" + labels_by_number(names);
}

constexpr const char* kManifest = "manifest.json";
/// What Custom Vision and Teachable Machine write beside a model.
constexpr const char* kLabels = "labels.txt";

constexpr const char* kSpace = " \t\r\v\f";

std::string_view stripped(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

/// What follows `number` and space; empty when the line is not of this form.
std::string_view after_number(std::string_view line, std::size_t number) {
  const std::size_t end = std::min(line.find_first_of(kSpace), line.size());
  std::size_t found = 0;
  const auto result = std::from_chars(line.data(), line.data() + end, found);
  const bool fits = result.ec == std::errc() && result.ptr == line.data() + end;
  return fits && found == number ? stripped(line.substr(end)) : "";
}

/// Names without the numbers before them, from 0 or from 1 on, where each line has its number.
/// Numbers from 1 on stay where two names would become the same: "1 star", "2 stars", "3 stars".
/// \param path for messages
/// \throws Error as read_class_names
Names parse_class_names(std::string_view bytes, const std::string& path) {
  Names names;
  Names numbered;
  std::size_t first = 0;  // number
  const std::string text = text_of_names(bytes, path);
  each_line(text, [&](std::string_view line) {
    line = stripped(line);
    if (line.empty()) return;
    if (names.empty() && !after_number(line, 1).empty()) first = 1;
    const std::string_view name = after_number(line, first + names.size());
    if (!name.empty()) numbered.emplace_back(name);
    names.emplace_back(line);
  });
  if (names.empty()) {
    throw Error(ErrorCode::BadInput, "'" + path + "' lists no label: write one name in each line");
  }
  if (numbered.size() != names.size()) return names;
  const bool differ =
      std::set<std::string>(numbered.begin(), numbered.end()).size() == names.size();
  return first == 0 || differ ? numbered : names;
}

/// \param program its name alone
Manifest parse_manifest(const std::string& text, const std::string& path,
                        const std::string& program) {
  try {
    const auto document = parse_json(text);
    if (document.at("format_version") != 1) throw InvalidJson("its format_version is not 1");
    if (!document.at("models").contains(program)) return {};
    Manifest manifest{document.at("classes").get<Names>(), {}};
    for (const std::string& name : manifest.classes) {
      if (name.find('\0') != std::string::npos) throw InvalidJson("a class has a NUL character");
    }
    const auto& softmax = document.at("softmax");
    if (!softmax.is_null()) manifest.softmax = softmax.get<bool>();
    return manifest;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::BadModel, "'" + path + "' is not a valid manifest: " + error.what());
  }
}

bool is_json(const std::string& path) { return platform::suffix_of(path) == ".json"; }

/// The form of `preprocess.json` of a toolkit's file.
ReadDescription translate(const std::string& text, const std::string& path) {
  ReadDescription result;
  // Of the name alone: the folders are those of who trained the model.
  const auto read_labels = [&](const std::string& name, const std::string& between) -> std::string {
    const std::string file = beside(path, name_of(name));
    if (!platform::is_file(file)) {
      result.note = "there is no '" + printable(file) + "', which '" + printable(path) +
                    "' names for the names of the classes: copy it there, or use --labels";
      return "";
    }
    try {
      return read_label_lines(file, between);
    } catch (const InvalidJson& error) {
      throw InvalidJson("'" + file + "': " + error.what());
    }
  };
  const json document = is_json(path) ? parse_json(text) : parse_yaml(text, kYmlMembers);
  json id2label;
  const std::string config = beside(path, "config.json");
  if (is_json(path) && config != path && platform::is_file(config)) {
    try {
      const json parsed = parse_json(read_file(config));
      if (parsed.contains("id2label")) id2label = parsed["id2label"];
    } catch (const InvalidJson& error) {
      throw InvalidJson("'" + config + "': " + error.what());
    }
  }
  result.text = translate_description(document, read_labels, id2label);
  return result;
}

/// Without a file that was written with the model, it would give other results in silence.
/// \param named whether the user names a description in place of the model's own
/// \throws Error BadModel when a file that SHA256SUMS beside the program lists is missing
void require_listed(const std::string& program, bool check_hashes, bool named) {
  HashCheck check(check_hashes);
  for (const char* name : {kManifest, kLabels}) check.require_listed(beside(program, name));
  if (named) return;
  for (const char* name : kNames) check.require_listed(beside(program, name));
}

/// Puts together what the files and the program say.
/// \param file, input as UndescribedModel has them
/// \param inside what an .onnx, which is `program`, says of itself
/// \param own_names as Predictor::class_names
Described described(ReadDescription read, std::string source, Manifest manifest,
                    const std::string& program, const std::string& file, const TensorSpec& input,
                    MetadataDescription inside, const Names& own_names,
                    const StepChanges& changes) {
  Described found;
  if (source.empty() && !inside.preprocess.empty()) {
    read.text = std::move(inside.preprocess);
    source = program;
  }
  found.note = std::move(read.note);
  if (source.empty()) {
    try {
      read = usual_description({program, file, input, inside.producer}, changes);
      found.image_notes.push_back(std::move(read.note));
      source = program;
      found.assumed = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::BadInput) throw;  // of the changes
      found.missing = error;
    }
  } else if (!changes.empty()) {
    parse_description(read.text, source);
    read = changed_description(read.text, source, file, changes);
    found.image_notes.push_back(std::move(read.note));
  }
  if (!source.empty()) {
    found.description = parse_description(read.text, source);
    const std::string note = unit_note(found.description.images.normalize);
    if (!note.empty()) found.image_notes.push_back(note);
  }
  Names& labels = found.description.labels;
  found.labels_source = labels.empty() ? kManifest : source;
  if (labels.empty()) labels = std::move(manifest.classes);
  if (labels.empty()) {
    labels = inside.classes.empty() ? own_names : std::move(inside.classes);
    found.labels_source = program;
  }
  found.softmax = manifest.softmax;
  found.source = std::move(source);
  return found;
}

}  // namespace

std::string no_description(const std::string& program) {
  std::string names;
  for (const char* name : kNames) names += (names.empty() ? "" : ", ") + std::string(name);
  return "nothing beside '" + program + "' describes how images are prepared (looked for " + names +
         ")";
}

std::string find_description(const std::string& program) {
  for (const char* name : kNames) {
    const std::string path = beside(program, name);
    if (!platform::exists(path)) continue;
    // Any tool may have written a file of this name.
    const bool is_ours =
        name != kNames.back() || read_file(path).find("\"pretrained_cfg\"") != std::string::npos;
    if (is_ours) return path;
  }
  return "";
}

ReadDescription read_description(const std::string& path, bool check_hashes) {
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  const std::string subject = "'" + printable(path) + "'";
  try {
    const bool ours = is_json(path) && !is_of_toolkit(parse_json(text));
    ReadDescription found =
        ours ? ReadDescription{std::string(without_mark(text)), ""} : translate(text, path);
    parse_description(found.text, path);
    return found;
  } catch (const InvalidJson& error) {
    throw Error(ErrorCode::BadModel, subject + " is not a valid description of preprocessing: " +
                                         printable(error.what()));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    throw Error(ErrorCode::Unsupported, subject + ": " + error.what());
  }
}

Manifest read_manifest(const std::string& program, bool check_hashes) {
  const std::string path = beside(program, kManifest);
  if (!platform::exists(path)) return {};
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  return parse_manifest(text, path, name_of(program));
}

NamedLabels find_labels(const std::string& program, bool check_hashes) {
  const std::string path = beside(program, kLabels);
  if (!platform::is_file(path)) return {};
  HashCheck{check_hashes}(path, read_file(path));
  return {read_class_names(path), path};
}

Described describe_model(const std::string& program, const std::string& preprocess,
                         bool check_hashes, const TensorSpec& input, const Names& own_names,
                         const StepChanges& changes) {
  // Named outright it is used as it is; beside the model it is one of the model's files.
  const bool named = !preprocess.empty();
  require_listed(program, check_hashes, named);
  std::string source = named ? preprocess : find_description(program);
  ReadDescription read;
  if (!source.empty()) read = read_description(source, check_hashes && !named);
  Described found =
      described(std::move(read), std::move(source), read_manifest(program, check_hashes), program,
                beside(program, kNames[0]), input, describe_metadata(read_metadata(program)),
                own_names, changes);
  if (found.description.labels.empty()) {
    NamedLabels listed = find_labels(program, check_hashes);
    found.description.labels = std::move(listed.labels);
    found.labels_source = std::move(listed.source);
  }
  return found;
}

Described describe_model(const std::string& program, const std::string& preprocess,
                         const ModelBytes& model, const TensorSpec& input, const Names& own_names,
                         const StepChanges& changes) {
  const auto content = [&](const char* name) -> std::string {
    const auto found = model.external.find(name);
    return found == model.external.end() ? "" : std::string(found->second);
  };
  std::string source = preprocess;
  ReadDescription read;
  if (!preprocess.empty()) {
    read = read_description(preprocess, false);
  } else if (read.text = content(kNames[0]); !read.text.empty()) {
    source = kNames[0];
  }
  Manifest manifest;
  if (const std::string text = content(kManifest); !text.empty()) {
    manifest = parse_manifest(text, kManifest, program);
  }
  Metadata metadata;
  if (platform::suffix_of(program) == ".onnx") metadata = metadata_of(model.program);
  Described found = described(std::move(read), std::move(source), std::move(manifest), program, "",
                              input, describe_metadata(metadata), own_names, changes);
  const std::string labels = content(kLabels);
  if (found.description.labels.empty() && !labels.empty()) {
    found.description.labels = parse_class_names(labels, kLabels);
    found.labels_source = kLabels;
  }
  return found;
}

FileContents read_files_beside(const std::string& program, bool check_hashes) {
  require_listed(program, check_hashes, false);
  FileContents files;
  const std::string description = find_description(program);
  if (!description.empty()) {
    files[kNames[0]] = read_description(description, check_hashes).text;
  }
  HashCheck check(check_hashes);
  for (const char* name : {kManifest, kLabels}) {
    const std::string path = beside(program, name);
    if (!platform::is_file(path)) continue;
    files[name] = read_file(path);
    check(path, files[name]);
  }
  return files;
}

Described with_images(Described found) {
  if (found.missing) throw *found.missing;
  return found;
}

std::vector<std::string> read_class_names(const std::string& path) {
  if (path.find(',') != std::string::npos && !platform::exists(path)) {
    throw Error(
        ErrorCode::FileNotFound,
        "there is no file '" + path + "': labels are given as a file with one name in each line");
  }
  return parse_class_names(read_file(path), path);
}

void give_labels(Described& described, std::vector<std::string> labels, const std::string& source) {
  Description& description = described.description;
  if (labels.size() == 2) {
    std::copy(labels.begin(), labels.end(), description.outputs.pair.begin());
  }
  description.labels = std::move(labels);
  described.labels_source = source;
  described.labels_given = true;
}

ImagePipeline ImagePipeline::load(const std::string& path, bool check_hashes) {
  const std::string text = read_description(path, check_hashes).text;
  return ImagePipeline(parse_description(text, path).images);
}

}  // namespace lenet
