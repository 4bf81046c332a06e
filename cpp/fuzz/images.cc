#include "images.h"

#include <string>

#include "lenet/image_io.h"
#include "support.h"

namespace lenet::fuzz {

void read_both(std::string_view magic, std::string_view bytes) {
  static MemoryFile file;
  std::string contents(magic);
  if (bytes.size() > magic.size()) contents += bytes.substr(magic.size());
  file.write(contents);
  accepts({ErrorCode::BadInput}, [&] {
    const Tensor images = read_images(file.path());
    require(images.shape.size() == 4, "images have four dimensions");
    require(images.data.size() == element_count(images.shape), "as many values as the shape says");
    require(images.data.size() <= contents.size(), "no more pixels than bytes");
  });
  accepts({ErrorCode::BadInput}, [&] {
    require(read_labels(file.path()).size() <= contents.size(), "no more labels than bytes");
  });
}

}  // namespace lenet::fuzz
