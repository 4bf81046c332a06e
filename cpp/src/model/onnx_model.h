/// \file
/// What has to be known of an .onnx file before an engine sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lenet {

/// Values of a tensor that are kept in another file.
struct ExternalData {
  std::string tensor;
  std::string location;  ///< as the model has it: relative to its folder
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  ///< 0: to the end of the file
};

struct OnnxModel {
  std::vector<ExternalData> external;
  /// Some of it is computed in integers, or from integers that are dequantized.
  bool quantized = false;
  bool ends_in_softmax = false;
};

/// Reads the whole protocol buffer, subgraphs and functions too.
/// \param path for errors
/// \throws Error BadModel when it is no whole ONNX model.
OnnxModel read_onnx_model(std::string_view bytes, const std::string& path);

/// Where the values of a TensorProto are, when they are in another file.
/// \throws Error BadModel
std::optional<ExternalData> read_external_data(std::string_view tensor, const std::string& path);

/// The files of `model.external`, each once.
/// \throws Error BadModel when one is not in the model's folder or shorter than the model says,
///   FileNotFound.
std::vector<std::string> find_external_files(const OnnxModel& model, const std::string& path);

}  // namespace lenet
