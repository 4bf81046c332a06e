#include "lenet/engines.h"
#include "lenet/version.h"
#include "support.h"

namespace lenet::tests {

TEST_CASE("names of options go there and back") {
  std::string names = "auto";
  for (const EngineInfo& engine : available_engines()) names += ", " + engine.name;
  CHECK(engine_names() == names);
  for (const auto value : {EngineKind::Auto, EngineKind::Native, EngineKind::OnnxRuntime,
                           EngineKind::Paddle, EngineKind::Plain}) {
    CHECK(parse_engine(to_string(value)) == value);
  }
  CHECK_ERROR(BadInput, "auto, native, onnxruntime, paddle, plain", parse_engine("Native"));
  for (const auto value : {Precision::Fp32, Precision::Bf16, Precision::Int8, Precision::Tf32}) {
    CHECK(parse_precision(to_string(value)) == value);
  }
  CHECK_ERROR(BadInput, "fp32, bf16, int8, tf32", parse_precision("int4"));
  for (const auto value : {Accelerator::Auto, Accelerator::Plain, Accelerator::OneDnn,
                           Accelerator::OpenVino, Accelerator::TensorRt}) {
    CHECK(parse_accelerator(to_string(value)) == value);
  }
  CHECK(parse_accelerator("openvino") == Accelerator::OpenVino);
  CHECK(to_string(static_cast<Accelerator>(99)) == std::string("?"));
  for (const char* wrong : {"", "OneDNN", "plain ", "cuda"}) {
    CHECK_ERROR(BadInput, "auto, plain, onednn, openvino, tensorrt", parse_accelerator(wrong));
  }
}

TEST_CASE("error codes have the names and exit codes that users are told") {
  const std::pair<ErrorCode, std::pair<int, const char*>> codes[] = {
      {ErrorCode::FileNotFound, {3, "FileNotFound"}},
      {ErrorCode::BadModel, {4, "BadModel"}},
      {ErrorCode::BadInput, {5, "BadInput"}},
      {ErrorCode::Unsupported, {6, "Unsupported"}},
      {ErrorCode::VersionMismatch, {7, "VersionMismatch"}},
      {ErrorCode::BackendFailure, {8, "BackendFailure"}},
  };
  for (const auto& [code, expected] : codes) {
    CHECK(static_cast<int>(code) == expected.first);
    CHECK(to_string(code) == std::string(expected.second));
  }
  CHECK(to_string(static_cast<ErrorCode>(0)) != nullptr);
  const Error error(ErrorCode::BadModel, "why");
  CHECK(error.code() == ErrorCode::BadModel);
  CHECK(error.what() == std::string("why"));
}

TEST_CASE("shapes") {
  CHECK(to_string(Shape{}) == "[]");
  CHECK(to_string(Shape{-1, 1, 28, 28}) == "[N, 1, 28, 28]");
  CHECK(element_count({}) == 1);
  CHECK(element_count({2, 3, 4}) == 24);
  CHECK(element_count({0, 10}) == 0);
  CHECK_ERROR(BadInput, "negative", element_count({2, -1}));
  constexpr auto kHuge = std::numeric_limits<std::int64_t>::max();
  CHECK_ERROR(BadInput, "too large", element_count({kHuge}));
  CHECK_ERROR(BadInput, "too large", element_count({1LL << 32, 1LL << 32}));
}

TEST_CASE("an engine has a version, or a reason why it is not available") {
  const std::string own = version();
  CHECK(own.find_first_not_of("0123456789.") == std::string::npos);
  CHECK(engine_version(EngineKind::Native) == own);
  for (const EngineInfo& engine : available_engines()) {
    CAPTURE(engine.name);
    CHECK(engine.version.empty() != engine.unavailable.empty());
    const EngineKind kind = parse_engine(engine.name);
    const bool has_library = kind != EngineKind::Native && kind != EngineKind::Plain;
    if (has_library && engine_library_name(kind).empty()) {  // not in this build
      CHECK_ERROR(Unsupported, "=ON", engine_version(kind));
    }
    if (engine.version.empty()) continue;
    CHECK(engine_version(kind) == engine.version);
    CHECK(engine.version.find('.') != std::string::npos);
  }
  CHECK_ERROR(BadInput, "auto is no engine", engine_version(EngineKind::Auto));
}

}  // namespace lenet::tests
