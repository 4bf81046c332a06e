/// Runs a small model through every function of onnxruntime that cpp/compat/onnxruntime_api.h
/// declares, to see that each is where it is said to be. Run by cmake/ProbeOnnxRuntime.cmake; says
/// on standard output what it finds.
///
///     probe_onnxruntime libonnxruntime.so FOLDER-TO-WRITE-TO
#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "compat/onnxruntime_api.h"

namespace {

using namespace lenet::ort;

// y = x + x, for x of float [N, 2]: field numbers and lengths of onnx.proto.
constexpr unsigned char kModel[] = {
    0x08, 7,                                          // ir_version
    0x3a, 63,                                         // graph:
    0x0a, 14, 0x0a, 1,    'x',  0x0a, 1,    'x',      //   node: inputs,
    0x12, 1,  'y',  0x22, 3,    'A',  'd',  'd',      //     output, operator
    0x12, 1,  'g',                                    //   name
    0x5a, 20, 0x0a, 1,    'x',                        //   input: name,
    0x12, 15, 0x0a, 13,   0x08, 1,    0x12, 9,        //     type: float,
    0x0a, 3,  0x12, 1,    'N',  0x0a, 2,    0x08, 2,  //     dimensions
    0x62, 20, 0x0a, 1,    'y',                        //   output, likewise
    0x12, 15, 0x0a, 13,   0x08, 1,    0x12, 9,        //
    0x0a, 3,  0x12, 1,    'N',  0x0a, 2,    0x08, 2,  //
    0x42, 4,  0x0a, 0,    0x10, 13,                   // opset_import
};

// y = ZipMap(x), for x of float [N, 2]: a list of maps from "b" and "a" to the two numbers.
constexpr unsigned char kMapModel[] = {
    0x08, 7,                                                    // ir_version
    0x3a, 106,                                                  // graph:
    0x0a, 58,  0x0a, 1,    'x',  0x12, 1,    'y',               //   node: input, output,
    0x22, 6,   'Z',  'i',  'p',  'M',  'a',  'p',               //     operator
    0x2a, 30,  0x0a, 19,   'c',  'l',  'a',  's',  's',  'l',   //     attribute: name,
    'a',  'b', 'e',  'l',  's',  '_',  's',  't',  'r',  'i',   //
    'n',  'g', 's',  0x4a, 1,    'b',  0x4a, 1,    'a',  0xa0,  //       texts,
    0x01, 8,                                                    //       type
    0x3a, 10,  'a',  'i',  '.',  'o',  'n',  'n',  'x',  '.',   //     domain
    'm',  'l',                                                  //
    0x12, 1,   'g',                                             //   name
    0x5a, 20,  0x0a, 1,    'x',                                 //   input: name,
    0x12, 15,  0x0a, 13,   0x08, 1,    0x12, 9,                 //     type: float,
    0x0a, 3,   0x12, 1,    'N',  0x0a, 2,    0x08, 2,           //     dimensions
    0x62, 19,  0x0a, 1,    'y',                                 //   output: name,
    0x12, 14,  0x22, 12,   0x0a, 10,                            //     type: list of
    0x2a, 8,   0x08, 8,    0x12, 4,    0x0a, 2,    0x08, 1,     //     maps of text to float
    0x42, 4,   0x0a, 0,    0x10, 13,                            // opset_import
    0x42, 14,  0x0a, 10,   'a',  'i',  '.',  'o',  'n',  'n',   // opset_import
    'x',  '.', 'm',  'l',  0x10, 1,                             //
};

[[noreturn]] void moved(const std::string& what) {
  std::printf("MOVED: %s\n", what.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}

void require(bool holds, const char* what) {
  if (!holds) moved(what);
}

/// A crash in the call that follows is then reported for the right call.
void checking(const char* what) {
  std::printf("checking %s\n", what);
  std::fflush(stdout);
}

const Api* api = nullptr;

void succeed(Status* status, const char* what) {
  if (status != nullptr) moved(std::string(what) + ": " + api->GetErrorMessage(status));
}

bool logged = false;

void note_log(void* parameter, LogLevel, const char*, const char*, const char*, const char*) {
  *static_cast<bool*>(parameter) = true;
}

#define CHECK_CALL(function, ...) \
  checking(#function);            \
  succeed(api->function(__VA_ARGS__), #function)

SessionOptions* make_options() {
  SessionOptions* options = nullptr;
  CHECK_CALL(CreateSessionOptions, &options);
  CHECK_CALL(SetIntraOpNumThreads, options, 1);
  CHECK_CALL(SetInterOpNumThreads, options, 1);
  CHECK_CALL(SetSessionLogSeverityLevel, options, kLogFatal);
  CHECK_CALL(SetSessionGraphOptimizationLevel, options, kEnableAll);
  CHECK_CALL(DisableCpuMemArena, options);
  CHECK_CALL(DisableMemPattern, options);
  return options;
}

/// A library that was built without a provider says so.
template <typename Options, auto kCreate, auto kUpdate, auto kAppend, auto kRelease>
void check_provider(SessionOptions* options, const std::string& provider) {
  const std::string doing = "the four functions of " + provider;
  checking(doing.c_str());
  Options* made = nullptr;
  Status* status = (api->*kCreate)(&made);
  if (status == nullptr) {
    const char* const name = "device_id";
    const char* const value = "0";
    succeed((api->*kUpdate)(made, &name, &value, 1), "device_id");
    status = (api->*kAppend)(options, made);
    (api->*kRelease)(made);
  }
  if (status == nullptr) return;
  std::string message = api->GetErrorMessage(status);
  const auto lower = [](char letter) { return static_cast<char>(std::tolower(letter)); };
  std::transform(message.begin(), message.end(), message.begin(), lower);
  require(message.find(provider) != std::string::npos, (doing + " are others").c_str());
  api->ReleaseStatus(status);
}

void check_name(Session* session, decltype(Api::SessionGetInputName) get_name,
                const char* expected) {
  Allocator* allocator = nullptr;
  char* name = nullptr;
  CHECK_CALL(GetAllocatorWithDefaultOptions, &allocator);
  checking(expected);
  succeed(get_name(session, 0, allocator, &name), "a name");
  require(name != nullptr && std::strcmp(name, expected) == 0, "a name is another");
  CHECK_CALL(AllocatorFree, allocator, name);
}

void check_type(Session* session, decltype(Api::SessionGetInputTypeInfo) get_type) {
  TypeInfo* type = nullptr;
  checking("a type");
  succeed(get_type(session, 0, &type), "a type");
  const TensorInfo* tensor = nullptr;
  CHECK_CALL(CastTypeInfoToTensorInfo, type, &tensor);
  ElementType element = {};
  CHECK_CALL(GetTensorElementType, tensor, &element);
  std::size_t rank = 0;
  CHECK_CALL(GetDimensionsCount, tensor, &rank);
  std::int64_t shape[2] = {};
  CHECK_CALL(GetDimensions, tensor, shape, rank == 2 ? 2 : 0);
  require(element == kFloat && rank == 2 && shape[0] == -1 && shape[1] == 2, "a type is another");
  checking("ReleaseTypeInfo");
  api->ReleaseTypeInfo(type);
}

/// What the first model gives for six numbers.
void check_sum(Value* made, const float* data) {
  TensorInfo* info = nullptr;
  CHECK_CALL(GetTensorTypeAndShape, made, &info);
  std::int64_t shape[2] = {};
  CHECK_CALL(GetDimensions, info, shape, 2);
  void* found = nullptr;
  CHECK_CALL(GetTensorMutableData, made, &found);
  bool doubled = shape[0] == 3 && shape[1] == 2;
  for (int i = 0; i < 6; ++i) doubled &= static_cast<const float*>(found)[i] == 2 * data[i];
  require(doubled, "a sum is another");
  checking("ReleaseTensorTypeAndShapeInfo");
  api->ReleaseTensorTypeAndShapeInfo(info);
}

/// What the second model gives for 1, 2, 3, 4.
void check_maps(Value* list) {
  Allocator* allocator = nullptr;
  CHECK_CALL(GetAllocatorWithDefaultOptions, &allocator);
  std::size_t count = 0;
  CHECK_CALL(GetValueCount, list, &count);
  require(count == 2, "the number of maps is another");
  Value* map = nullptr;
  CHECK_CALL(GetValue, list, 1, allocator, &map);
  Value* keys = nullptr;
  CHECK_CALL(GetValue, map, 0, allocator, &keys);
  Value* values = nullptr;
  CHECK_CALL(GetValue, map, 1, allocator, &values);
  CHECK_CALL(GetStringTensorDataLength, keys, &count);
  require(count == 2, "the length of texts is another");
  char texts[2] = {};
  std::size_t begins[2] = {};
  CHECK_CALL(GetStringTensorContent, keys, texts, 2, begins, 2);
  require(texts[0] == 'a' && texts[1] == 'b' && begins[0] == 0 && begins[1] == 1,
          "the keys of a map are others");
  void* found = nullptr;
  CHECK_CALL(GetTensorMutableData, values, &found);
  const auto* numbers = static_cast<const float*>(found);
  require(numbers[0] == 4 && numbers[1] == 3, "the values of a map are others");
  for (Value* value : {keys, values, map}) api->ReleaseValue(value);
}

/// \param gives_maps it is the second model
void check_run(Session* session, bool gives_maps = false) {
  MemoryInfo* memory = nullptr;
  CHECK_CALL(CreateCpuMemoryInfo, kDeviceAllocator, kDefaultMemory, &memory);
  float data[6] = {1, 2, 3, 4, 5, 6};
  const std::int64_t given_shape[] = {gives_maps ? 2 : 3, 2};
  Value* given = nullptr;
  CHECK_CALL(CreateTensorWithDataAsOrtValue, memory, data, gives_maps ? 16 : 24, given_shape, 2,
             kFloat, &given);
  const char* input = "x";
  const char* output = "y";
  const Value* inputs[] = {given};
  Value* made = nullptr;
  RunOptions* options = nullptr;
  CHECK_CALL(CreateRunOptions, &options);
  CHECK_CALL(RunOptionsSetTerminate, options);
  checking("Run, terminated");
  Status* status = api->Run(session, options, &input, inputs, 1, &output, 1, &made);
  require(status != nullptr, "a run that is to end does not");
  api->ReleaseStatus(status);
  CHECK_CALL(RunOptionsUnsetTerminate, options);
  CHECK_CALL(Run, session, options, &input, inputs, 1, &output, 1, &made);
  checking("ReleaseRunOptions");
  api->ReleaseRunOptions(options);
  if (gives_maps) {
    check_maps(made);
  } else {
    check_sum(made, data);
  }
  checking("ReleaseValue");
  api->ReleaseValue(made);
  api->ReleaseValue(given);
  checking("ReleaseMemoryInfo");
  api->ReleaseMemoryInfo(memory);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) moved(dlerror());
  const auto get_base = reinterpret_cast<GetApiBase>(dlsym(library, kGetApiBaseSymbol));
  require(get_base != nullptr, kGetApiBaseSymbol);
  checking("GetVersionString");
  std::printf("VERSION %s\n", get_base()->GetVersionString());
  checking("GetApi");
  api = get_base()->GetApi(kApiVersion);
  require(api != nullptr, "there is no such version of the API");

  const std::string file = std::string(argv[2]) + "/probe.onnx";
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(kModel), sizeof(kModel));
  Env* environment = nullptr;
  CHECK_CALL(CreateEnvWithCustomLogger, &note_log, &logged, kLogFatal, "probe", &environment);
  SessionOptions* options = make_options();

  Session* session = nullptr;
  checking("CreateSession, of no file");
  const std::string missing = std::string(argv[2]) + "/none.onnx";
  Status* status = api->CreateSession(environment, missing.c_str(), options, &session);
  require(status != nullptr, "a file that is not there is loaded");
  checking("GetErrorCode");
  require(api->GetErrorCode(status) == kNoSuchFile, "the code of a missing file is another");
  checking("GetErrorMessage");
  require(std::strstr(api->GetErrorMessage(status), "none.onnx") != nullptr,
          "a message is another");
  checking("ReleaseStatus");
  api->ReleaseStatus(status);

  CHECK_CALL(CreateSession, environment, file.c_str(), options, &session);
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  CHECK_CALL(SessionGetInputCount, session, &inputs);
  CHECK_CALL(SessionGetOutputCount, session, &outputs);
  require(inputs == 1 && outputs == 1, "the numbers of inputs and outputs are others");
  check_name(session, api->SessionGetInputName, "x");
  check_name(session, api->SessionGetOutputName, "y");
  check_type(session, api->SessionGetInputTypeInfo);
  check_type(session, api->SessionGetOutputTypeInfo);
  check_run(session);
  checking("ReleaseSession");
  api->ReleaseSession(session);
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(kMapModel), sizeof(kMapModel));
  CHECK_CALL(CreateSession, environment, file.c_str(), options, &session);
  check_run(session, true);
  api->ReleaseSession(session);
  check_provider<TensorRtOptions, &Api::CreateTensorRTProviderOptions,
                 &Api::UpdateTensorRTProviderOptions,
                 &Api::SessionOptionsAppendExecutionProvider_TensorRT_V2,
                 &Api::ReleaseTensorRTProviderOptions>(options, "tensorrt");
  check_provider<CudaOptions, &Api::CreateCUDAProviderOptions, &Api::UpdateCUDAProviderOptions,
                 &Api::SessionOptionsAppendExecutionProvider_CUDA_V2,
                 &Api::ReleaseCUDAProviderOptions>(options, "cuda");
  checking("ReleaseSessionOptions");
  api->ReleaseSessionOptions(options);
  require(!logged, "it logs less than what is fatal");
  std::printf("SOUND\n");
  return 0;
}
