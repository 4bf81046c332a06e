/// \file
/// The user's own values for steps of a preparation (`--mean`, `--std`, `--resize`, `--crop`,
/// `--library`), in place of those that a description has or that are assumed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lenet {

struct StepChanges {
  /// Values of channels, in the order of the model.
  struct Values {
    std::vector<double> numbers;  ///< one for each channel, or one for all
    bool of_255 = false;          ///< for pixels from 0 to 255, else for pixels from 0 to 1
  };
  /// In pixels. Both are 0 where the step is left out.
  struct Size {
    std::int64_t height = 0;
    std::int64_t width = 0;  ///< 0: `height` is the length of the shorter side
  };

  std::optional<Values> mean;
  std::optional<Values> std;
  std::optional<Size> resize;  ///< in place of every Resize and Digit
  std::optional<Size> crop;    ///< in place of every CenterCrop; has a height and a width
  /// `pillow`: resize and round as torchvision does; `opencv`: as PaddleClas does; empty:
  /// unchanged.
  std::string library;

  bool empty() const { return !mean && !std && !resize && !crop && library.empty(); }
};

/// A member of StepChanges as a text.
struct StepOption {
  std::string_view name;
  const char* argument;  ///< what its flag takes, such as "V,..."
  const char* help;
  /// \param shown the name in errors
  /// \throws Error BadInput with the name, the text and what is expected
  void (*set)(StepChanges& changes, const std::string& shown, const std::string& text);
};

/// In the order of the programs' help.
extern const std::array<StepOption, 5> kStepOptions;

/// Lists what is changed, for a note: "mean (of pixels from 0 to 1), std (...) and resize".
std::string list_of(const StepChanges& changes);

/// Replaces steps of a description. The Resize comes first and the CenterCrop last among the steps
/// on images, with the filter, the rounding and the border of the step that is replaced. If only
/// one of mean and std is given, the other one keeps its value for pixels from 0 to 1. \param text
/// a valid description in the form of `preprocess.json` \returns such a text \throws Error BadInput
/// naming the option whose value does not go with the description
std::string change_steps(const std::string& text, const StepChanges& changes);

}  // namespace lenet
