/// \file
/// From what is named on a command line to image files.
#pragma once

#include <string>
#include <vector>

namespace lenet::apps {

/// A file stands for itself, whatever its ending. A folder stands for the files in it that end as
/// images do (any case), sorted by name, without hidden ones and without folders below.
/// \throws Error FileNotFound when something does not exist, or a folder holds no image.
std::vector<std::string> find_images(const std::vector<std::string>& names);

}  // namespace lenet::apps
