/// What lenet_classify reads beside the model: images, their preparation, the names of the classes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "description/description.h"
#include "lenet/config.h"
#include "lenet/image_pipeline.h"

namespace lenet::apps {

/// A .npy file of images of one size: uint8 [N, H, W] or [N, H, W, channels].
struct Stack {
  std::string bytes;  ///< the file
  std::size_t begin;  ///< of the pixels in it
  Shape shape;        ///< four dimensions
};

/// An image file, or an image of a stack.
struct ImageName {
  std::string file;
  std::shared_ptr<const Stack> stack;  ///< null: the file is the image
  std::int64_t row = 0;                ///< in the stack

  /// The file; with the row of a stack, "digits.npy[17]".
  std::string text() const;
  /// \throws Error as decode_image
  Image read() const;
};

/// A file stands for itself, whatever its ending, but for a .npy file of several images. A folder
/// stands for the files in it that end as images do (any case), sorted by name, without hidden ones
/// and without folders below.
/// \param missing leave a file that does not exist among the images, so that reading it fails
/// \throws Error FileNotFound when something does not exist, or a folder holds no image.
std::vector<ImageName> find_images(const std::vector<std::string>& names, bool missing);

/// What is known of a model's images and outputs.
struct Described {
  Description description;      ///< with the classes that manifest.json names, if it names none
  std::string source;           ///< the file of the description, or nothing
  std::string labels_source;    ///< the file of the labels, or nothing
  std::optional<bool> softmax;  ///< whether the outputs are probabilities; none: not known
  std::string note;             ///< for the user; mostly empty
};

/// \param config of the predictor, which has the files resolved
/// \param preprocess the file; empty: the one beside the model
/// \returns a `source` of nothing, when nothing describes the images
/// \throws Error as read_description; BadModel naming the manifest when it is damaged
Described describe(const Config& config, const std::string& preprocess);
/// \throws Error FileNotFound too, when nothing describes the images.
Described require_description(const Config& config, const std::string& preprocess);

/// What the outputs of a model are.
struct Manifest {
  std::vector<std::string> classes;  ///< in output order; empty when they are not known
  std::optional<bool> softmax;       ///< whether the outputs are probabilities; none: not known
};

/// Reads manifest.json beside a model's program.
/// \returns nothing said when there is no manifest, or it is another model's
/// \throws Error BadModel naming the manifest when it is damaged.
Manifest read_manifest(const std::string& program, bool check_hashes);

/// The names of classes in a text file: one a line, in output order; or "0 name", "1 name" and so
/// on in every line, as PaddleClas has it. Space around a name and empty lines do not count.
/// \throws Error FileNotFound; BadInput when there is none, or it is not UTF-8.
std::vector<std::string> read_class_names(const std::string& path);

}  // namespace lenet::apps
