#include "image_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

#include "lenet/error.h"

namespace lenet::apps {
namespace fs = std::filesystem;
namespace {

// As in Python, also those that only Python decodes: an image is refused rather than left out.
const std::set<std::string>& suffixes() {
  static const std::set<std::string> all = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg",
                                            ".jpg", ".pbm", ".pgm",  ".png", ".pnm",
                                            ".ppm", ".tif", ".tiff", ".webp"};
  return all;
}

bool is_image(const fs::directory_entry& entry) {
  std::string suffix = entry.path().extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
  std::error_code failed;
  return suffixes().count(suffix) > 0 && entry.path().filename().native()[0] != '.' &&
         entry.is_regular_file(failed);
}

std::vector<std::string> images_in(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code failed;
  for (fs::directory_iterator entries(folder, failed), end; !failed && entries != end;
       entries.increment(failed)) {
    if (is_image(*entries)) found.push_back(entries->path().string());
  }
  if (failed) {
    throw Error(ErrorCode::FileNotFound,
                "cannot read folder '" + folder + "': " + failed.message());
  }
  std::sort(found.begin(), found.end());
  if (found.empty()) {
    std::string known;
    for (const std::string& suffix : suffixes()) known += " " + suffix;
    throw Error(ErrorCode::FileNotFound,
                "'" + folder + "': no image in this folder; looked for" + known);
  }
  return found;
}

}  // namespace

std::vector<std::string> find_images(const std::vector<std::string>& names) {
  std::vector<std::string> images;
  for (const std::string& name : names) {
    std::error_code failed;
    const fs::file_status status = fs::status(name, failed);
    if (fs::is_directory(status)) {
      const auto found = images_in(name);
      images.insert(images.end(), found.begin(), found.end());
    } else if (!fs::exists(status)) {
      throw Error(ErrorCode::FileNotFound,
                  "cannot read '" + name + "': " + (failed ? failed.message() : "it is missing"));
    } else {
      images.push_back(name);
    }
  }
  return images;
}

}  // namespace lenet::apps
