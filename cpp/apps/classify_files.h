/// What lenet_classify reads: images, and the description of the model that it runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "description/description.h"
#include "lenet/config.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"

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
  /// Reads the image and runs the steps on it.
  /// \param is_dark as decode_bytes
  /// \returns float32 [channels, height, width]
  /// \throws Error as decode_image and the pipeline, naming the file
  Tensor prepare(const ImagePipeline& pipeline, bool& is_dark) const;
};

/// A file stands for itself, whatever its ending, but for a .npy file of several images. A folder
/// stands for the files in it that end as images do (any case), sorted by name, without hidden ones
/// and without folders below.
/// \param missing leave a file that does not exist among the images, so that reading it fails
/// \throws Error FileNotFound when something does not exist, or a folder holds no image.
std::vector<ImageName> find_images(const std::vector<std::string>& names, bool missing);

/// \param preprocess the file; empty: the one beside the model
/// \param changes of steps of the description
/// \returns and throws as describe_model, of the attached model or that of the files
Described describe(const Predictor& predictor, const std::string& preprocess,
                   const StepChanges& changes);

}  // namespace lenet::apps
