/// \file
/// A picture as the whole body of a request, as `curl -T photo.jpg` sends it: what the query of the
/// address asks of it, and how its classes are written.
#pragma once

#include <string>
#include <string_view>

#include "description/outputs.h"

namespace lenet::serve {

struct PictureQuery {
  bool raw = false;  ///< the outputs as they are
  Wish wish;         ///< else the classes; without a number of them, as the description says
};

/// Reads the query of an address: nothing, "raw" or "classification=K".
/// \throws Refusal 400
PictureQuery parse_query(const std::string& query);

/// Whether a body is the file of a picture, by its first bytes. A JPEG that has lost its zeros is
/// none: it was changed on its way.
bool is_picture(std::string_view body);

/// Refuses a body that is neither a picture nor JSON, and says what it is and what to send.
/// \throws Refusal 400
[[noreturn]] void refuse_body(std::string_view body);

/// Writes the result of an image as JSON with a line end: the list of its classes, or an object of
/// its attributes or features, with the names that lenet_classify has for them.
/// \param value_name what the values of classes are, as value_name in output_plan.h says
std::string finding_json(const Finding& found, const char* value_name);

}  // namespace lenet::serve
