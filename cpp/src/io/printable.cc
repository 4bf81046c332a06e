#include "io/printable.h"

#include <array>
#include <cstdint>

#include "utf8.h"

namespace lenet {
namespace {

struct Range {
  std::uint32_t first;
  std::uint32_t last;
};

/// Characters of the categories Cc, Cf, Co, Zs (but the space), Zl and Zp, noncharacters, and
/// planes without characters.
constexpr std::array<Range, 29> kNotPrintable = {{
    {0x0, 0x1f},         {0x7f, 0xa0},       {0xad, 0xad},       {0x600, 0x605},
    {0x61c, 0x61c},      {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
    {0x8e2, 0x8e2},      {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},
    {0x2028, 0x202f},    {0x205f, 0x206f},   {0x3000, 0x3000},   {0xe000, 0xf8ff},
    {0xfdd0, 0xfdef},    {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},
    {0x110bd, 0x110bd},  {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a},  {0x1fffe, 0x1ffff}, {0x2fffe, 0x2ffff}, {0x3fffe, 0xe00ff},
    {0xe01f0, 0x10ffff},
}};

bool is_printable(std::uint32_t character) {
  return std::none_of(kNotPrintable.begin(), kNotPrintable.end(), [&](const Range& range) {
    return character >= range.first && character <= range.last;
  });
}

/// The character that the bytes of `text` encode, which are UTF-8.
std::uint32_t decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  // The first byte has 7, 5, 4 or 3 bits of the character, each further one 6.
  std::uint32_t character = text.size() == 1 ? byte(0) : byte(0) & (0x7fU >> text.size());
  for (std::size_t i = 1; i < text.size(); ++i) character = character << 6U | (byte(i) & 0x3fU);
  return character;
}

std::string escaped(std::uint32_t character) {
  if (character == '\n') return "\\n";
  if (character == '\r') return "\\r";
  if (character == '\t') return "\\t";
  const char* const format = character < 0x100     ? "\\x%02x"
                             : character < 0x10000 ? "\\u%04x"
                                                   : "\\U%08x";
  return print(format, static_cast<unsigned>(character));
}

}  // namespace

std::string terminal_text(std::string_view text) {
  // Python's name for a byte that is no UTF-8.
  constexpr std::uint32_t kUndecoded = 0xdc00;
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (length == 0) {
      shown += escaped(kUndecoded + static_cast<unsigned char>(text[at++]));
      continue;
    }
    const std::string_view bytes = text.substr(at, length);
    const std::uint32_t character = decode(bytes);
    shown += is_printable(character) ? std::string(bytes) : escaped(character);
    at += length;
  }
  return shown;
}

}  // namespace lenet
