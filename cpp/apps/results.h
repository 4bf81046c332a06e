/// \file
/// The most probable classes of images, and how they are printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "options.h"

namespace lenet::apps {

struct Prediction {
  std::int64_t class_id = 0;
  float probability = 0;
};

struct ImageResult {
  std::string file;
  std::vector<Prediction> predictions;  ///< the most probable first
};

/// The `k` greatest of `outputs`, the lower number first when two are equal.
/// \param softmax whether probabilities are still to be made of them
std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, std::size_t k,
                                    bool softmax);

/// \param names of all classes; empty when they are not known
/// \returns text: a table; csv and json: as lenet-cpp predict writes them.
std::string format_results(const std::vector<ImageResult>& results,
                           const std::vector<std::string>& names, Format format);

}  // namespace lenet::apps
