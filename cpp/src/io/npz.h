/// Several arrays in one file, as NumPy's savez writes them.
#pragma once

#include <string>
#include <vector>

#include "io/array_file.h"

namespace lenet {

/// An array with its name in the file.
struct NamedArray {
  std::string name;
  Array array;
};

/// Writes the arrays without compression, atomically as `write_atomically`, whose errors it has.
/// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
/// \param arrays of different names, in C order
/// \throws Error also Unsupported: they take 4 GiB or more, for which this format is another one.
void write_npz(const std::string& path, const std::vector<NamedArray>& arrays);

}  // namespace lenet
