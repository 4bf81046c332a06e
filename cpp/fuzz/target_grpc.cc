#include <grpcpp/support/status.h>

#include "grpc/translate.h"
#include "infer.h"
#include "serve_answer.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {

/// What is translated takes a memory that the message calls for, and the service answers with what
/// can be translated back.
void grpc(std::string_view bytes) {
  const auto* const begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
  google::protobuf::io::CodedInputStream in(begin, static_cast<int>(bytes.size()));
  serve::Echo echo;
  serve::Request request;
  try {
    request = serve::read_infer_request(in, bytes.size(), echo);
  } catch (const serve::Refusal& refusal) {
    const int status = refusal.status();
    require(status == 400 || status == 413 || status == 501, "a status of the protocol");
    return;
  }
  require(request.body.size() <= 6 * bytes.size() + (1 << 16),
          "no more memory than the message calls for");
  const serve::Response response = answer(std::move(request));
  const ::grpc::Status status = serve::status_of(response);
  require(status.ok() == (response.status == 200), "a status of gRPC");
  require(status.ok() || !status.error_message().empty(), "a reason");
  if (!status.ok()) return;
  inference::ModelInferResponse answer;
  serve::write_infer_response(response, echo, answer);
  require(answer.model_name() == "lenet", "the model's answer");
  require(echo.typed == (answer.raw_output_contents_size() == 0), "values as they came");
}

}  // namespace lenet::fuzz
