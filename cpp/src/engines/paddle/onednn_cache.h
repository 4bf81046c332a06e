/// \file
/// Bounds what oneDNN keeps in Paddle: primitives and reordered weights, for each input shape.
///
/// With Paddle's own bound, SetOnednnCacheCapacity of more than 0, each run ends with a count of
/// the process's cache without its mutex (AnalysisPredictor::MkldnnPostReset,
/// OneDNNContext::GetCachedObjectsNumber), which is a segmentation fault once another thread adds
/// or removes a shape. So the predictors are made with a capacity of 0, and what
/// AnalysisPredictor::MkldnnPreSet would do before a run is done here.
#pragma once

#include <string>
#include <vector>

namespace lenet {

/// \returns the name under which oneDNN's cache is to keep what belongs to this shape
std::string onednn_shape_key(const std::vector<int>& shape);

/// Makes what this thread runs next be kept under `shape_key`. There are 16 shapes in the process;
/// for another one of them goes. Does nothing where the Paddle library hides its symbols:
/// everything is kept then, until the predictor is destroyed. Thread-safe.
void keep_onednn_primitives_under(const std::string& shape_key);

}  // namespace lenet
