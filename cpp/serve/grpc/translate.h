/// \file
/// Between the messages of gRPC and the requests and responses of the service, which are HTTP's.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "grpc/open_inference.pb.h"
#include "request.h"

namespace lenet::serve {

/// A model in the path of a request: NAME, or NAME/versions/VERSION.
/// \param version empty: the newest
/// \throws Refusal 400: the name or the version is not valid
std::string model_path(const std::string& name, const std::string& version);

/// What the answer takes from the request.
struct Echo {
  std::string id;
  bool typed = false;  ///< values came in `contents`: those of the answer are to go there too
};

/// An inference::ModelInferRequest as its bytes are sent, as a request to the service. It is read
/// without a message of protobuf, as that can take 60 times the memory of its bytes.
/// \param size of the message, which the stream has
/// \param echo has the id, if it was read, also after an exception
/// \throws Refusal 400, 413 (too many or too long names, shapes, parameters), 501 (shared memory)
Request read_infer_request(google::protobuf::io::CodedInputStream& in, std::size_t size,
                           Echo& echo);

/// \param response with status 200, to what `read_infer_request` returned
void write_infer_response(const Response& response, const Echo& echo,
                          inference::ModelInferResponse& to);

/// What a stream has in place of the answer to a request that failed.
inference::ModelStreamInferResponse stream_error(const grpc::Status& status, const Echo& echo);

/// The JSON of a message, whose members are called as its fields.
std::string read_message(const google::protobuf::Message& from);
void write_message(const std::string& json, google::protobuf::Message& to);

grpc::Status to_bytes(const google::protobuf::Message& message, grpc::ByteBuffer& to);

/// \param response to any request
grpc::Status status_of(const Response& response) noexcept;

}  // namespace lenet::serve
