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

// Never called.
struct GrpcServer::State {
  std::string address;
};
GrpcServer::GrpcServer(Service&, const ServeOptions&, AccessLog&) {}
GrpcServer::~GrpcServer() = default;
const std::string& GrpcServer::address() const { return state_->address; }
void GrpcServer::begin_stop() {}
bool GrpcServer::running() const { return false; }
std::size_t GrpcServer::stop() { return 0; }

}  // namespace lenet::serve
