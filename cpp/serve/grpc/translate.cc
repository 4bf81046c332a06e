#include "grpc/translate.h"

#include <google/protobuf/util/json_util.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "infer.h"
#include "json_reader.h"
#include "repository.h"
#include "utf8.h"

namespace lenet::serve {
namespace {

// What a request may have of everything but values: names, shapes, parameters.
constexpr std::size_t kMaxDescription = std::size_t{1} << 16;
// More of an error would not fit into the header that it is sent in.
constexpr std::size_t kMaxMessage = 1024;

enum WireType : unsigned { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// Reads the fields of messages in one another, in the wire format of protobuf. Every length is
/// compared with what is left before memory is taken.
class WireReader {
 public:
  WireReader(google::protobuf::io::CodedInputStream& in, std::size_t size) : in_(in) {
    require(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
    in_.PushLimit(static_cast<int>(size));
  }

  /// Calls `field(number)` for each field of the message, which reads it, or does not.
  template <typename Field>
  void fields(const Field& field) {
    while (in_.BytesUntilLimit() > 0) {
      std::uint32_t tag = 0;
      require(in_.ReadVarint32(&tag) && tag >> 3U != 0);
      type_ = tag & 7U;
      is_read_ = false;
      field(tag >> 3U);
      if (!is_read_) skip();
    }
  }

  /// A field that is a message.
  template <typename Field>
  void message(const Field& field) {
    const auto limit = in_.PushLimit(length());
    fields(field);
    in_.PopLimit(limit);
    is_read_ = true;
  }

  /// Calls `each(value)` for a number, or for those of a packed list.
  template <typename Each>
  void integers(const Each& each) {
    if (type_ != kBytes) return each(integer());
    const auto limit = in_.PushLimit(length());
    while (in_.BytesUntilLimit() > 0) each(varint());
    in_.PopLimit(limit);
    is_read_ = true;
  }

  std::uint64_t integer() {
    require(type_ == kVarint);
    is_read_ = true;
    return varint();
  }

  /// Appends floats as they lie in memory on this machine and on the wire.
  void floats(std::string& to) {
    const int size = type_ == kFixed32 ? sizeof(float) : length();
    require(size % static_cast<int>(sizeof(float)) == 0);
    append(to, size);
  }
  void doubles(std::string& to) {
    const int size = type_ == kFixed64 ? sizeof(double) : length();
    require(size % static_cast<int>(sizeof(double)) == 0);
    append(to, size);
  }

  /// Appends a field's bytes.
  void bytes(std::string& to) { append(to, length()); }

  /// The length of a field of bytes, which are to be read by `append`.
  int length() {
    require(type_ == kBytes);
    int length = 0;
    require(in_.ReadVarintSizeAsInt(&length) && length <= in_.BytesUntilLimit());
    return length;
  }

  void append(std::string& to, int length) {
    const std::size_t before = to.size();
    require(length <= in_.BytesUntilLimit());
    to.resize(before + static_cast<std::size_t>(length));
    require(in_.ReadRaw(to.data() + before, length));
    is_read_ = true;
  }

 private:
  static void require(bool holds) {
    if (!holds) throw Refusal(400, "the message is damaged");
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    require(in_.ReadVarint64(&value));
    return value;
  }

  void skip() {
    if (type_ == kVarint) {
      varint();
    } else {
      require(type_ == kBytes || type_ == kFixed32 || type_ == kFixed64);
      const int size = type_ == kBytes ? length() : type_ == kFixed32 ? 4 : 8;
      require(size <= in_.BytesUntilLimit() && in_.Skip(size));
    }
    is_read_ = true;
  }

  google::protobuf::io::CodedInputStream& in_;
  unsigned type_ = 0;
  bool is_read_ = false;
};

/// Reads one ModelInferRequest; the numbers are those of open_inference.proto.
class Translator {
 public:
  Translator(google::protobuf::io::CodedInputStream& in, std::size_t size) : in_(in, size) {
    data_.reserve(size);
  }

  Request translate(Echo& echo) {
    in_.fields([&](std::uint32_t number) {
      if (number == 1) model_ = text();
      if (number == 2) version_ = text();
      if (number == 3) asked_.id = echo.id = text();
      if (number == 5) read_input();
      if (number == 6) read_output();
      if (number == 7) read_raw();
    });
    require_values();
    echo.typed = typed_;
    asked_.binary_output = true;
    asked_.input.binary_size = static_cast<std::int64_t>(data_.size());
    Request request;
    request.method = "POST";
    request.path = "/v2/models/" + model_path(model_, version_) + "/infer";
    request.body = std::move(data_);
    request.asked = std::make_shared<const Asked>(std::move(asked_));
    return request;
  }

 private:
  void describe(std::size_t bytes) {
    described_ += bytes;
    if (described_ <= kMaxDescription) return;
    throw Refusal(413, "names, shapes and parameters take more than " +
                           std::to_string(kMaxDescription) + " bytes");
  }

  std::string text() {
    const int length = in_.length();
    describe(static_cast<std::size_t>(length));
    std::string text;
    in_.append(text, length);
    // Such a text in an answer would be a line of protobuf's in the log, for each request.
    if (!is_utf8(text)) throw Refusal(400, "a text of the message is not UTF-8");
    return text;
  }

  void read_input() {
    describe(sizeof(Asked::Input));
    ++asked_.inputs;
    type_.clear();
    Asked::Input& input = asked_.input = {};
    Shape& shape = input.shape.emplace();
    in_.message([&](std::uint32_t number) {
      if (number == 1) input.name = text();
      if (number == 2) input.datatype = text();
      if (number == 3) {
        in_.integers([&](std::uint64_t size) {
          describe(sizeof(size));
          shape.push_back(static_cast<std::int64_t>(size));
        });
      }
      if (number == 4) read_parameter();
      if (number == 5) read_contents();
    });
  }

  void read_output() {
    describe(sizeof(Asked::Input));
    Asked::Output& output = asked_.outputs.emplace_back();
    in_.message([&](std::uint32_t number) {
      if (number == 1) output.name = text();
      if (number == 2) output.classes = read_parameter().value_or(output.classes);
    });
  }

  /// \returns the value of "classification"; the others are taken or refused as in HTTP
  std::optional<std::int64_t> read_parameter() {
    describe(1);
    std::string key;
    std::optional<std::int64_t> value;
    in_.message([&](std::uint32_t number) {
      if (number == 1) key = text();
      if (number != 2) return;
      in_.message([&](std::uint32_t choice) {
        if (choice == 2) value = static_cast<std::int64_t>(in_.integer());
        if (choice == 3) text();
      });
    });
    if (key == "shared_memory_region") refuse_shared_memory();
    if (key != "classification") return std::nullopt;
    if (!value) throw Refusal(400, "classification is no integer");
    return value;
  }

  void read_contents() {
    typed_ = true;
    const auto begin = [&](const char* type) {
      if (!type_.empty() && type_ != type) {
        throw Refusal(400, "an input has contents of two types");
      }
      type_ = type;
    };
    in_.message([&](std::uint32_t number) {
      if (number == 2) {
        begin("INT32");
        in_.integers([&](std::uint64_t value) { add(static_cast<std::int32_t>(value)); });
      } else if (number == 3) {
        begin("INT64");
        in_.integers([&](std::uint64_t value) { add(static_cast<std::int64_t>(value)); });
      } else if (number == 7) {
        begin("FP64");
        in_.doubles(data_);
      } else if (number == 4) {
        begin("UINT8");
        in_.integers([&](std::uint64_t value) {
          if (value > 255) throw Refusal(400, "a value of UINT8 is no integer from 0 to 255");
          data_ += static_cast<char>(static_cast<std::uint8_t>(value));
        });
      } else if (number == 6) {
        begin("FP32");
        in_.floats(data_);
      } else if (number == 8) {
        begin("BYTES");
        const int length = in_.length();
        for (unsigned k = 0; k < 4; ++k) {
          data_ += static_cast<char>(static_cast<unsigned>(length) >> (8 * k) & 0xFFU);
        }
        in_.append(data_, length);
      } else {
        throw Refusal(400, "contents are for FP32, UINT8, BYTES, INT32, INT64 and FP64");
      }
    });
  }

  template <typename Number>
  void add(Number number) {
    data_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }

  void read_raw() {
    describe(sizeof(std::size_t));
    in_.bytes(data_);
    ++raw_;
  }

  /// Of one input, which is what a model takes; the service refuses more.
  void require_values() const {
    if (raw_ != (typed_ ? 0 : asked_.inputs)) {
      throw Refusal(400, "the request has " + std::to_string(raw_) + " raw_input_contents for " +
                             std::to_string(asked_.inputs) +
                             " inputs; expected one each, or contents in each");
    }
    if (!type_.empty() && type_ != asked_.input.datatype) {
      throw Refusal(400,
                    "an input of datatype " + asked_.input.datatype + " has contents of " + type_);
    }
  }

  WireReader in_;
  std::size_t described_ = 0;
  std::string model_;
  std::string version_;
  Asked asked_;
  std::string data_;     ///< the binary data of the inputs
  std::size_t raw_ = 0;  ///< pieces of it
  bool typed_ = false;   ///< it came as contents, of this type unless they are empty
  std::string type_;
};

}  // namespace

std::string model_path(const std::string& name, const std::string& version) {
  // Neither may bring a part of a path.
  if (!is_model_name(name)) throw Refusal(400, "the name of the model is not valid");
  if (version.empty()) return name;
  if (!parse_version(version)) throw Refusal(400, "the version is not valid");
  return name + "/versions/" + version;
}

Request read_infer_request(google::protobuf::io::CodedInputStream& in, std::size_t size,
                           Echo& echo) {
  return Translator(in, size).translate(echo);
}

namespace {

/// Writes an output in the list that the protocol has for its type, which is not FP16.
void write_contents(const Inferred::Output& from, inference::InferTensorContents& to) {
  const std::string_view type = from.type();
  const auto write = [&](auto& list) {
    using Number = typename std::decay_t<decltype(list)>::value_type;
    list.Reserve(static_cast<int>(from.count));
    for (std::size_t i = 0; i < from.count; ++i) list.Add(static_cast<Number>(from.values[i]));
  };
  if (from.texts) {
    for (const std::string& text : *from.texts) to.add_bytes_contents(text);
  } else if (type == "BOOL") {
    write(*to.mutable_bool_contents());
  } else if (type == "INT32") {
    write(*to.mutable_int_contents());
  } else if (type == "INT64") {
    write(*to.mutable_int64_contents());
  } else if (type == "UINT8") {
    write(*to.mutable_uint_contents());
  } else if (type == "FP64") {
    write(*to.mutable_fp64_contents());
  } else {
    to.mutable_fp32_contents()->Add(from.values, from.values + from.count);
  }
}

}  // namespace

void write_infer_response(const Response& response, const Echo& echo,
                          inference::ModelInferResponse& to) {
  const Inferred& inferred = *response.inferred;
  to.set_model_name(inferred.model);
  to.set_model_version(inferred.version);
  to.set_id(inferred.id);
  // An element that there is no room for would be lost in protobuf.
  const int count = static_cast<int>(inferred.outputs.size());
  to.mutable_outputs()->Reserve(count);
  const auto is_fp16 = [](const auto& output) { return output.type() == std::string_view("FP16"); };
  // The protocol has no typed contents for FP16, and either all outputs are raw or none is.
  const bool typed =
      echo.typed && std::none_of(inferred.outputs.begin(), inferred.outputs.end(), is_fp16);
  if (!typed) to.mutable_raw_output_contents()->Reserve(count);
  for (const Inferred::Output& from : inferred.outputs) {
    inference::ModelInferResponse::InferOutputTensor& output = *to.add_outputs();
    output.set_name(from.name);
    output.set_datatype(from.type());
    for (const std::int64_t size : from.shape) output.add_shape(size);
    if (!typed) {
      from.append_to(*to.add_raw_output_contents());
    } else {
      write_contents(from, *output.mutable_contents());
    }
  }
}

inference::ModelStreamInferResponse stream_error(const grpc::Status& status, const Echo& echo) {
  inference::ModelStreamInferResponse answer;
  answer.set_error_message(status.error_message());
  answer.mutable_infer_response()->set_id(echo.id);
  return answer;
}

std::string read_message(const google::protobuf::Message& from) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (google::protobuf::util::MessageToJsonString(from, &json, options).ok()) return json;
  throw Refusal(400, "the message is damaged");
}

void write_message(const std::string& json, google::protobuf::Message& to) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (google::protobuf::util::JsonStringToMessage(json, &to, options).ok()) return;
  throw Refusal(500, "this answer does not fit " + to.GetTypeName());
}

grpc::Status to_bytes(const google::protobuf::Message& message, grpc::ByteBuffer& to) {
  bool own = false;
  return grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &to, &own);
}

grpc::Status status_of(const Response& response) noexcept try {
  using Code = grpc::StatusCode;
  constexpr std::pair<int, Code> kCodes[] = {{200, Code::OK},
                                             {400, Code::INVALID_ARGUMENT},
                                             {401, Code::UNAUTHENTICATED},
                                             {404, Code::NOT_FOUND},
                                             {408, Code::DEADLINE_EXCEEDED},
                                             {413, Code::RESOURCE_EXHAUSTED},
                                             {415, Code::INVALID_ARGUMENT},
                                             {429, Code::RESOURCE_EXHAUSTED},
                                             {501, Code::UNIMPLEMENTED},
                                             {503, Code::UNAVAILABLE}};
  Code code = Code::INTERNAL;
  for (const auto& [status, its_code] : kCodes) {
    if (status == response.status) code = its_code;
  }
  if (code == Code::OK) return grpc::Status::OK;
  std::string message;
  JsonReader in(response.body.empty() ? response.tail : response.body);
  in.object({"error"}, [&](std::size_t) { message = in.text(); });
  std::size_t size = std::min(message.size(), kMaxMessage);
  // Not within a character: what is no UTF-8 ends a stream.
  while (size > 0 && size < message.size() && (message[size] & 0xC0) == 0x80) --size;
  message.resize(size);
  return {code, message};
} catch (const std::bad_alloc&) {
  return {grpc::StatusCode::UNAVAILABLE, "out of memory"};  // short enough to need none
}

}  // namespace lenet::serve
