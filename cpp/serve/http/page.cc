#include "http/page.h"

#include <filesystem>
#include <utility>

#include "http/content_coding.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/hash_check.h"

namespace lenet::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFiles = 1000;
constexpr std::size_t kMaxBytes = 64 << 20;

constexpr std::pair<std::string_view, const char*> kTypes[] = {
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
};
constexpr std::pair<const char*, const char*> kPacked[] = {{".br", "br"}, {".gz", "gzip"}};

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

Page::Page(const std::string& folder) try {
  if (folder.empty()) return;
  std::size_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = "/" + entry.path().lexically_relative(folder).generic_string();
    const bool is_hidden = name.find("/.") != std::string::npos;
    if (is_hidden || !fs::is_regular_file(entry.symlink_status())) continue;
    File file{type_of(name), "", read_file(entry.path())};
    bytes += file.bytes.size();
    file.tag = '"' + sha256_hex(file.bytes).substr(0, 32) + '"';
    files_.emplace(name, std::move(file));
    if (files_.size() > kMaxFiles || bytes > kMaxBytes) {
      throw Error(ErrorCode::BadInput, "--page: '" + folder + "' is no page: more than " +
                                           std::to_string(kMaxFiles) + " files, or " +
                                           std::to_string(kMaxBytes >> 20) + " MiB");
    }
  }
  if (files_.count("/index.html") == 0) {
    throw Error(ErrorCode::BadInput, "--page: '" + folder + "' has no index.html");
  }
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorCode::FileNotFound, "--page: '" + folder + "': " + error.code().message());
}

std::optional<Response> Page::find(std::string_view path, std::string_view accept_encoding,
                                   std::string_view if_none_match) const {
  const std::string name(path == "/" ? "/index.html" : path);
  const auto found = files_.find(name);
  if (found == files_.end()) return std::nullopt;
  const File& file = found->second;
  Response response;
  response.content_type = file.type;
  response.headers = {{"ETag", file.tag},
                      {"Cache-Control", "no-cache"},
                      {"Content-Security-Policy", kPolicy},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      // The page then looks for its model here: page.js.
                      {"Link", "</v2>; rel=\"service-meta\""},
                      {"Referrer-Policy", "no-referrer"},
                      {"Vary", "Accept-Encoding"},
                      {"X-Content-Type-Options", "nosniff"}};
  if (if_none_match.find(file.tag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.tail = file.bytes;
  for (const auto& [ending, coding] : kPacked) {
    const auto packed = files_.find(name + ending);
    if (packed == files_.end() || !accepts_coding(accept_encoding, coding)) continue;
    response.tail = packed->second.bytes;
    response.headers.emplace_back("Content-Encoding", coding);
    break;
  }
  return response;
}

}  // namespace lenet::serve
