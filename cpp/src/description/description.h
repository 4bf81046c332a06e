/// \file
/// What stands around a network: how images are prepared for it, how its outputs become a result,
/// what its classes are called. In a file of ours (`preprocess.json`; docs/preprocessing.md) or of
/// the toolkit that exported the network.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "images/steps.h"

namespace lenet {

/// By the names that PaddleClas has for them (deploy/python/postprocess.py of version 2.6).
enum class PostProcess {
  Topk,
  ThreshOutput,
  MultiLabelThreshOutput,
  PersonAttribute,
  VehicleAttribute,
  TableAttribute
};

/// The name, and the thresholds that it has, with their default values.
struct PostProcessKind {
  PostProcess type;
  const char* name;
  std::vector<std::pair<const char*, double>> thresholds;
};
const std::vector<PostProcessKind>& post_process_kinds();

/// From the outputs of a network to a result.
struct OutputRule {
  PostProcess type = PostProcess::Topk;
  std::optional<std::int64_t> topk;              ///< of Topk: how many classes
  std::vector<double> thresholds;                ///< as post_process_kinds() names them
  std::int64_t default_class = 0;                ///< of ThreshOutput with more than two classes
  std::array<std::string, 2> pair = {"0", "1"};  ///< of ThreshOutput: the names of two classes
  bool by_score = false;  ///< of MultiLabelThreshOutput: as PaddleX 3 has it: above, and sorted
};

struct Description {
  Preparation images;
  std::vector<std::string> labels;  ///< of all classes, in output order; empty: not known
  OutputRule outputs;
};

/// Of a `preprocess.json`.
/// \param path for messages; may be empty
/// \throws Error BadModel naming `path`, the place and the problem.
Description parse_description(const std::string& text, const std::string& path);

/// The same, of the images alone: labels and post-processing are not looked at.
Preparation parse_preparation(const std::string& text, const std::string& path);

/// Of the member `postprocess` of one.
/// \throws Error BadModel with the place and the problem.
OutputRule parse_output_rule(const std::string& text);

/// A description in the form of `preprocess.json`, whatever form it was read in.
struct ReadDescription {
  std::string text;
  std::string note;  ///< what the user should know, in a sentence; mostly empty
};

/// Reads a description in any form that is known: by its contents, not by its name.
/// \param check_hashes compare it with SHA256SUMS beside it, if that is there and names it
/// \throws Error FileNotFound; BadModel, naming the file, when it contradicts itself; Unsupported
///   when it asks for something that is not computed here, or its form is not known.
ReadDescription read_description(const std::string& path, bool check_hashes);

/// The file that describes a program, among those in its folder; empty when there is none.
std::string find_description(const std::string& program);

/// What find_description looks for: "preprocess.json, inference.yml, ...".
std::string description_names();

}  // namespace lenet
