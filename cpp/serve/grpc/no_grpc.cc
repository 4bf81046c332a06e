// In place of grpc_server.cc, in the program without gRPC.
#include <unistd.h>

#include <filesystem>

#include "grpc/grpc_server.h"
#include "lenet/error.h"

namespace lenet::serve {

void require_grpc(char** argv) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  execv((self.parent_path() / "lenet_serve_grpc").c_str(), argv);
  throw Error(
      ErrorCode::Unsupported,
      "--grpc_port: lenet_serve_grpc, the program with gRPC, is not beside this one; build "
      "it where Debian's packages libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc are");
}

std::unique_ptr<GrpcServer> start_grpc(Service&, const ServeOptions&, AccessLog&) {
  return nullptr;  // never called
}

}  // namespace lenet::serve
