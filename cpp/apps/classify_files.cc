#include "classify_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "attached.h"
#include "io/array_file.h"
#include "io/file.h"
#include "io/json.h"
#include "lenet/error.h"
#include "model/hash_check.h"

namespace lenet::apps {
namespace fs = std::filesystem;
namespace {

using Names = std::vector<std::string>;

// As in Python, also those that only Python decodes: an image is refused rather than left out.
constexpr std::array<std::string_view, 14> kSuffixes = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg",
                                                        ".jpg", ".pbm", ".pgm",  ".png", ".pnm",
                                                        ".ppm", ".tif", ".tiff", ".webp"};

bool is_image(const fs::directory_entry& entry) {
  std::string suffix = entry.path().extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
  std::error_code failed;
  return std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end() &&
         entry.path().filename().native()[0] != '.' && entry.is_regular_file(failed);
}

Names images_in(const std::string& folder) {
  Names images;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (is_image(entry)) images.push_back(entry.path().string());
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorCode::FileNotFound,
                "cannot read folder '" + folder + "': " + error.code().message());
  }
  std::sort(images.begin(), images.end());
  if (!images.empty()) return images;
  std::string known;
  for (const std::string_view suffix : kSuffixes) known += " " + std::string(suffix);
  throw Error(ErrorCode::FileNotFound,
              "'" + folder + "': no image in this folder; looked for" + known);
}

constexpr const char* kSpace = " \t\r\v\f";

std::string stripped(const std::string& text) {
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// What follows `number` and space; empty when the line is not of this form.
std::string after_number(const std::string& line, std::size_t number) {
  const std::size_t end = std::min(line.find_first_of(kSpace), line.size());
  std::size_t found = 0;
  const auto result = std::from_chars(line.data(), line.data() + end, found);
  const bool fits = result.ec == std::errc() && result.ptr == line.data() + end;
  return fits && found == number ? stripped(line.substr(end)) : "";
}

/// \param program its name alone
Manifest parse_manifest(const std::string& text, const std::string& path,
                        const std::string& program) {
  try {
    const auto document = parse_json(text);
    if (document.at("format_version") != 1) throw InvalidJson("its format_version is not 1");
    if (!document.at("models").contains(program)) return {};
    Manifest manifest{document.at("classes").get<Names>(), {}};
    const auto& softmax = document.at("softmax");
    if (!softmax.is_null()) manifest.softmax = softmax.get<bool>();
    return manifest;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::BadModel, "'" + path + "' is not a valid manifest: " + error.what());
  }
}

/// \returns null when it holds one image, or cannot be read, which shows when that is tried
std::shared_ptr<const Stack> read_stack(const std::string& path) try {
  auto stack = std::make_shared<Stack>();
  stack->bytes = read_file(path);
  const Array array = parse_npy(stack->bytes, path);
  stack->begin = static_cast<std::size_t>(array.bytes.data() - stack->bytes.data());
  stack->shape = array.shape;
  const auto is_channels = [](std::int64_t size) { return size == 1 || size == 3; };
  if (array.shape.size() == 3 && !is_channels(array.shape[2])) stack->shape.push_back(1);
  const bool usable = array.dtype == "|u1" && stack->shape.size() == 4 &&
                      is_channels(stack->shape[3]) && stack->shape[1] * stack->shape[2] > 0;
  return usable ? stack : nullptr;
} catch (const Error&) {
  return nullptr;
}

}  // namespace

std::string ImageName::text() const {
  return stack ? file + "[" + std::to_string(row) + "]" : file;
}

Image ImageName::read() const {
  if (!stack) return decode_image(file);
  const Shape& shape = stack->shape;
  const auto size = static_cast<std::size_t>(shape[1] * shape[2] * shape[3]);
  const char* const first = &stack->bytes[stack->begin + static_cast<std::size_t>(row) * size];
  return {{first, first + size}, shape[1], shape[2], shape[3]};
}

std::vector<ImageName> find_images(const Names& names, bool missing) {
  std::vector<ImageName> images;
  for (const std::string& name : names) {
    std::error_code failed;
    const fs::file_status status = fs::status(name, failed);
    if (fs::is_directory(status)) {
      for (std::string& file : images_in(name)) images.push_back({std::move(file), nullptr});
    } else if (!fs::exists(status) && !missing) {
      throw Error(ErrorCode::FileNotFound,
                  "cannot read '" + name + "': " + (failed ? failed.message() : "it is missing"));
    } else {
      const bool may_be_stack = fs::path(name).extension() == ".npy";
      const std::shared_ptr<const Stack> stack = may_be_stack ? read_stack(name) : nullptr;
      const std::int64_t count = stack ? stack->shape[0] : 1;
      for (std::int64_t row = 0; row < count; ++row) images.push_back({name, stack, row});
    }
  }
  return images;
}

Manifest read_manifest(const std::string& program, bool check_hashes) {
  const std::string path = fs::path(program).replace_filename("manifest.json").string();
  std::error_code failed;
  if (!fs::exists(path, failed)) return {};
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  return parse_manifest(text, path, fs::path(program).filename().string());
}

Described describe(const Config& config, const std::string& preprocess) {
  Described found;
  const AttachedModel* const attached = attached_model(config);
  ReadDescription read;
  if (!preprocess.empty()) {
    // Named outright it is used as it is; beside the model it is one of the model's files.
    read = read_description(found.source = preprocess, false);
  } else if (attached != nullptr) {
    read.text = attached->preprocess;
    if (!read.text.empty()) found.source = "preprocess.json";
  } else if (found.source = find_description(config.model_file); !found.source.empty()) {
    read = read_description(found.source, config.check_hashes);
  }
  found.note = read.note;
  if (!found.source.empty()) found.description = parse_description(read.text, found.source);
  Manifest manifest;
  if (attached == nullptr) {
    manifest = read_manifest(config.model_file, config.check_hashes);
  } else if (!attached->manifest.empty()) {
    manifest = parse_manifest(std::string(attached->manifest), "manifest.json", attached->name);
  }
  found.softmax = manifest.softmax;
  Names& labels = found.description.labels;
  found.labels_source = labels.empty() ? "manifest.json" : found.source;
  if (labels.empty()) labels = manifest.classes;
  return found;
}

Described require_description(const Config& config, const std::string& preprocess) {
  Described found = describe(config, preprocess);
  if (!found.source.empty()) return found;
  const bool attached = attached_model(config) != nullptr;
  throw Error(ErrorCode::FileNotFound,
              (attached ? std::string("the model in this program has no preprocess.json")
                        : "nothing beside '" + config.model_file +
                              "' describes how images are prepared (looked for " +
                              description_names() + ")") +
                  "; name such a file with --preprocess, or write ImageNet's: python -c \"from "
                  "lenet_cpp import images; images.imagenet().save('preprocess.json')\"");
}

Names read_class_names(const std::string& path) {
  std::string text = read_file(path);
  if (text.rfind("\xef\xbb\xbf", 0) == 0) text.erase(0, 3);  // the byte order mark
  try {
    static_cast<void>(nlohmann::json(text).dump());  // checks that it is UTF-8
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::BadInput, "'" + path + "' is not a list of labels: it is not UTF-8");
  }
  Names names;
  Names numbered;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line = stripped(line);
    if (line.empty()) continue;
    const std::string name = after_number(line, names.size());
    if (!name.empty()) numbered.push_back(name);
    names.push_back(line);
  }
  if (names.empty()) {
    throw Error(ErrorCode::BadInput, "'" + path + "' lists no label: write one name in each line");
  }
  return numbered.size() == names.size() ? numbered : names;
}

}  // namespace lenet::apps
