#include "http/page.h"

#include <array>
#include <filesystem>
#include <system_error>

#include "http/content_coding.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/sha256.h"

namespace lenet::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFiles = 1000;
constexpr std::size_t kMaxBytes = 64 << 20;

constexpr std::array<std::pair<std::string_view, const char*>, 13> kTypes = {{
    {".css", "text/css; charset=utf-8"},
    {".html", "text/html; charset=utf-8"},
    {".ico", "image/x-icon"},
    {".jpg", "image/jpeg"},
    {".js", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".png", "image/png"},
    {".svg", "image/svg+xml"},
    {".txt", "text/plain; charset=utf-8"},
    {".wasm", "application/wasm"},
    {".webmanifest", "application/manifest+json"},
    {".webp", "image/webp"},
}};
constexpr std::array<std::pair<std::string_view, const char*>, 2> kPacked = {
    {{".br", "br"}, {".gz", "gzip"}}};

// The page runs its own files and talks to this server, and to nobody else.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string type_of(const std::string& name) {
  const std::string ending = fs::path(name).extension();
  for (const auto& [known, type] : kTypes) {
    if (known == ending) return type;
  }
  return "application/octet-stream";
}

}  // namespace

Page::Page(const std::string& folder) {
  if (folder.empty()) return;
  std::error_code error;
  fs::recursive_directory_iterator entries(folder, error);
  if (error) {
    throw Error(ErrorCode::FileNotFound, "--page: '" + folder + "': " + error.message());
  }
  std::size_t bytes = 0;
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    const fs::path& path = entries->path();
    const fs::file_status status = entries->symlink_status(error);
    if (path.filename().string()[0] == '.') {
      if (fs::is_directory(status)) entries.disable_recursion_pending();
      continue;
    }
    if (!fs::is_regular_file(status)) continue;
    File file;
    file.plain = read_file(path);
    bytes += file.plain.size();
    const std::string name = "/" + path.lexically_relative(folder).generic_string();
    file.type = type_of(name);
    file.tag = '"' + sha256_hex(file.plain).substr(0, 32) + '"';
    files_.emplace(name, std::move(file));
    if (files_.size() > kMaxFiles || bytes > kMaxBytes) {
      throw Error(ErrorCode::BadInput, "--page: '" + folder + "' is no page: more than " +
                                           std::to_string(kMaxFiles) + " files, or " +
                                           std::to_string(kMaxBytes >> 20) + " MiB");
    }
  }
  for (const auto& [ending, coding] : kPacked) {
    for (auto& [name, file] : files_) {
      const auto packed = files_.find(name + std::string(ending));
      if (packed != files_.end()) file.packed.emplace_back(coding, packed->second.plain);
    }
  }
  const auto index = files_.find("/index.html");
  if (index == files_.end()) {
    throw Error(ErrorCode::BadInput, "--page: '" + folder + "' has no index.html");
  }
  files_.emplace("/", index->second);
}

std::optional<Response> Page::find(std::string_view path, std::string_view accept_encoding,
                                   std::string_view if_none_match) const {
  const auto found = files_.find(path);
  if (found == files_.end()) return std::nullopt;
  const File& file = found->second;
  Response response;
  response.content_type = file.type;
  response.headers = {{"ETag", file.tag},
                      {"Cache-Control", "no-cache"},
                      {"Content-Security-Policy", kPolicy},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Vary", "Accept-Encoding"},
                      {"X-Content-Type-Options", "nosniff"}};
  if (if_none_match.find(file.tag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.tail = file.plain;
  for (const auto& [coding, bytes] : file.packed) {
    if (!accepts_coding(accept_encoding, coding)) continue;
    response.tail = bytes;
    response.headers.emplace_back("Content-Encoding", coding);
    break;
  }
  return response;
}

}  // namespace lenet::serve
