/// \file
/// What stands around a network: how images are prepared for it, how its outputs become a result,
/// what its classes are called. In a file of ours (`preprocess.json`; docs/preprocessing.md) or of
/// the toolkit that exported the network.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "description/step_changes.h"
#include "images/steps.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/tensor.h"

namespace lenet {

/// By the names that PaddleClas has for them (deploy/python/postprocess.py of version 2.6).
enum class PostProcess {
  Topk,
  ThreshOutput,
  MultiLabelThreshOutput,
  PersonAttribute,
  VehicleAttribute,
  TableAttribute,
  NormalizeFeatures  ///< no classes: the outputs are features, divided by their length
};

/// The name, and the thresholds that it has, with their default values.
struct PostProcessKind {
  PostProcess type;
  const char* name;
  std::vector<std::pair<const char*, double>> thresholds;
};
const std::vector<PostProcessKind>& post_process_kinds();

/// From the outputs of a network to a result.
struct ResultRule {
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
  ResultRule outputs;
};

/// Of a `preprocess.json`.
/// \param path for messages; may be empty
/// \throws Error BadModel naming `path`, the place and the problem.
Description parse_description(const std::string& text, const std::string& path);

/// The same, of the images alone: labels and post-processing are not looked at.
Preparation parse_preparation(const std::string& text, const std::string& path);

/// Of the member `postprocess` of one.
/// \throws Error BadModel with the place and the problem.
ResultRule parse_result_rule(const std::string& text);

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

/// Says that there is none, and what was looked for.
std::string no_description(const std::string& program);

/// A model beside which, and in which, nothing describes how images are prepared.
struct UndescribedModel {
  std::string program;  ///< its file, or what to call it
  std::string file;     ///< where a description can be written; empty: the model is in memory
  TensorSpec input;
  std::string producer;  ///< the producer_name of an .onnx; empty: of another format, or not known
};

/// How images are prepared for a model that nothing describes, as the shape of its input tells:
/// float32 [N, 1, 28, 28] as LeNet's digits, float32 [N, 3, S, S] as for ImageNet. Those of an
/// .onnx that PyTorch wrote are resized as torchvision does, others as PaddleClas does. Other
/// inputs of pictures need `changes` that have a mean, a std, and a resize or a crop.
/// \param changes what the user says, in place of such steps
/// \returns the description, and a note that says what was chosen and how to write it to the file
/// \throws Error as change_steps; or with a remedy: FileNotFound, where pictures of another size or
///   type, or of open sizes, are taken; Unsupported, where no pictures of either layout are.
ReadDescription usual_description(const UndescribedModel& model, const StepChanges& changes);

/// Changes steps of a description.
/// \param source what the note calls it
/// \param file as that of UndescribedModel
/// \returns the new description, and a note that says how to write it to the file
/// \throws Error as change_steps
ReadDescription changed_description(const std::string& text, const std::string& source,
                                    const std::string& file, const StepChanges& changes);

/// What manifest.json says of the outputs of a model.
struct Manifest {
  std::vector<std::string> classes;  ///< in output order; empty when they are not known
  std::optional<bool> softmax;       ///< whether the outputs are probabilities; none: not known
};

/// Reads manifest.json beside a model's program.
/// \returns nothing said when there is no manifest, or it is another model's
/// \throws Error BadModel naming the manifest when it is damaged.
Manifest read_manifest(const std::string& program, bool check_hashes);

/// The names of a model's classes, and the file that has them.
struct NamedLabels {
  std::vector<std::string> labels;  ///< in output order; empty when there is no such file
  std::string source;
};

/// Reads labels.txt beside a model's program, as Custom Vision and Teachable Machine write it.
/// \throws Error as read_class_names; BadModel when SHA256SUMS beside it names another content.
NamedLabels find_labels(const std::string& program, bool check_hashes);

/// The contents of files, by their names.
using FileContents = std::map<std::string, std::string>;

/// Reads the files beside a program that describe_model reads, as far as they are there, so that
/// they can be copied with it: manifest.json, labels.txt, and a description of any form as
/// preprocess.json.
/// \throws Error as describe_model
FileContents read_files_beside(const std::string& program, bool check_hashes);

/// All that is known of a model's images and outputs.
struct Described {
  /// The description, with the classes that manifest.json, the metadata of an .onnx or labels.txt
  /// name, if it names none.
  Description description;
  /// The file of the description, or of the model whose metadata or input tells; or nothing.
  std::string source;
  /// For the user: that images are prepared by usual_description or by changed_description, and
  /// unit_note; mostly none.
  std::vector<std::string> image_notes;
  bool assumed = false;          ///< whether images are prepared by usual_description
  std::optional<Error> missing;  ///< why images cannot be prepared, where `source` is nothing
  std::string labels_source;     ///< the file of the labels, or nothing
  bool labels_given = false;     ///< by the user, in place of the model's own
  std::optional<bool> softmax;   ///< whether the outputs are probabilities; none: not known
  std::string note;              ///< for the user, about labels; mostly empty
};

/// \param program the model's file
/// \param preprocess the file of the description; empty: the one beside the model
/// \param input of the model, which tells how images are prepared where nothing describes it
/// \param own_names as Predictor::class_names, taken where no file names the classes
/// \param changes of the user, in place of steps of the description
/// \returns a `source` of nothing, when it is not known how images are prepared
/// \throws Error as read_description; BadModel for a damaged manifest, or a listed file not there
Described describe_model(const std::string& program, const std::string& preprocess,
                         bool check_hashes, const TensorSpec& input,
                         const std::vector<std::string>& own_names,
                         const StepChanges& changes = {});

/// The same of a model in memory.
/// \param program what its file was called
/// \param model its contents, with what read_files_beside gave among the other files
Described describe_model(const std::string& program, const std::string& preprocess,
                         const ModelBytes& model, const TensorSpec& input,
                         const std::vector<std::string>& own_names,
                         const StepChanges& changes = {});

/// \returns the same, of which it is known how images are prepared
/// \throws Error `missing`, where it is not
Described with_images(Described found);

/// The names of classes in a text file: one a line, in output order; or "0 name", "1 name" and so
/// on in every line, as PaddleClas has it. Space around a name and empty lines do not count.
/// \throws Error FileNotFound; BadInput when there is none, it is not UTF-8, has a NUL character or
///   more than kMaxYamlBytes.
std::vector<std::string> read_class_names(const std::string& path);

/// Puts the labels that the user gives in the place of the model's own.
/// \param source the file that has them
void give_labels(Described& described, std::vector<std::string> labels, const std::string& source);

}  // namespace lenet
