/// What an .onnx says of itself in its metadata_props: of images and classes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lenet {

/// The entries, and the producer_name of the file as kProducer.
using Metadata = std::map<std::string, std::string>;

constexpr const char* kProducer = "producer_name";

/// What is understood of them.
struct MetadataDescription {
  std::string preprocess;            ///< in the form of `preprocess.json`, not checked; or nothing
  std::vector<std::string> classes;  ///< in output order; empty when they are not known
  std::string producer;              ///< such as "pytorch"; empty when it is not known
};

/// The entries of a file, without reading the rest of it; those behind damage, and entries of more
/// than 1 MiB, are left out: whatever runs the model says what is wrong with it.
/// \returns nothing of another file than an .onnx, or one that cannot be read
Metadata read_metadata(const std::string& program);

/// Reads the entries of the contents of an .onnx, by the rules of read_metadata.
Metadata metadata_of(std::string_view onnx);

/// Reads the entries of this project (docs/onnx.md), and those of a classifier that ultralytics
/// exported: `task`, `names`, a dict of Python's, and `imgsz`. What is of another form is left out.
MetadataDescription describe_metadata(const Metadata& entries);

}  // namespace lenet
