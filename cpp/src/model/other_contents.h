/// Tells what a file is that is given as a model's and is none.
#pragma once

#include <string>
#include <string_view>

namespace lenet {

/// What a message says of a file that PyTorch wrote.
inline constexpr const char* kTorchFile =
    "is a file of PyTorch: export the model in Python with torch.onnx.export(model, images, "
    "\"model.onnx\"), or make one of the parameters of a known network with lenet-cpp import";

/// Refuses contents that are certainly of another kind: nothing, a picture, an archive, another
/// framework's model, or text where the format is binary. A reader would only call them damaged.
/// \param wanted what the file is to be, such as "a model"
/// \param remedy what to name instead
/// \param as_text whether the format is text that begins with a brace
/// \throws Error BadModel naming `path`, the kind and the remedy.
void refuse_other_contents(const std::string& path, std::string_view contents,
                           const std::string& wanted, const std::string& remedy, bool as_text);

}  // namespace lenet
