/// Reading images and labels from bytes.
#pragma once

#include <string_view>

namespace lenet::fuzz {

/// Gives the bytes to read_images and to read_labels, with `magic` in place of their beginning: the
/// kind of file is told by it, and a mutation of it would only lead to another target.
void read_both(std::string_view magic, std::string_view bytes);

}  // namespace lenet::fuzz
