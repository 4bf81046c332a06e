/// The entry points of the fuzzers, one for each reader of files or requests from anybody. Each
/// takes the bytes of a file and aborts the process when the reader breaks its contract: another
/// exception than its typed error, a message that is not one printable line, a result that does not
/// fit the file. Memory errors are for the sanitizers to find.
#pragma once

#include <string_view>

namespace lenet::fuzz {

using Target = void (*)(std::string_view bytes);

void npy(std::string_view bytes);
void idx(std::string_view bytes);
void pgm(std::string_view bytes);
void pdmodel(std::string_view bytes);
void json(std::string_view bytes);
void onnx(std::string_view bytes);
void pdiparams(std::string_view bytes);
void sha256sums(std::string_view bytes);
void photo(std::string_view bytes);
void preprocess(std::string_view bytes);
void yml(std::string_view bytes);
void serve(std::string_view bytes);
void http(std::string_view bytes);  ///< in a build with lenet_serve
void grpc(std::string_view bytes);  ///< in a build with lenet_serve_grpc

}  // namespace lenet::fuzz
