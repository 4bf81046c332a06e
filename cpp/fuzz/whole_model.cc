#include "whole_model.h"

#include <cstdint>
#include <memory>
#include <string>

#include "engines/native/read_network.h"
#include "engines/paddle/program_traits.h"
#include "model/protobuf.h"
#include "run_network.h"
#include "support.h"

namespace lenet::fuzz {
namespace {

constexpr char kInt32 = 2;
constexpr char kFloat32 = 5;
constexpr char kInt8 = 21;
constexpr std::uint64_t kMaxValues = 4096;

/// Whether a record of ones could be appended; of zeros where it is int32, as zero points are.
bool append_record(const ParameterSpec& spec, std::string& file) {
  if (spec.dtype != kFloat32 && spec.dtype != kInt32) return false;
  std::uint64_t values = 1;
  const char dtype = spec.quantized ? kInt8 : static_cast<char>(spec.dtype);
  std::string desc = {8, dtype};
  for (const std::int64_t dimension : spec.shape) {
    if (dimension < 0 || static_cast<std::uint64_t>(dimension) > kMaxValues) return false;
    values *= static_cast<std::uint64_t>(dimension);
    if (values > kMaxValues) return false;
    desc += '\x10';
    append_varint(desc, static_cast<std::uint64_t>(dimension));
  }
  if (desc.size() > 0x7f) return false;
  // Version (4 bytes), levels (8), version (4), length of the description (4, little-endian).
  file.append(16, '\0');
  file += static_cast<char>(desc.size());
  file.append(3, '\0');
  file += desc;
  constexpr float kOne = 1;
  const std::string one = dtype == kInt8 ? std::string(1, '\1')
                          : dtype == kInt32
                              ? std::string(sizeof(std::int32_t), '\0')
                              : std::string(reinterpret_cast<const char*>(&kOne), sizeof(kOne));
  for (std::uint64_t i = 0; i < values; ++i) file += one;
  return true;
}

}  // namespace

void check_whole_model(ModelFormat format, std::string_view program,
                       const std::vector<ParameterSpec>& specs) {
  std::string params;
  for (const ParameterSpec& spec : specs) {
    if (!append_record(spec, params)) return;
  }
  const ModelFiles files = {format, "program", "parameters"};
  Config config;
  config.check_finite = false;
  const auto accepted = [](const auto& read) {
    return accepts({ErrorCode::BadModel, ErrorCode::Unsupported}, read);
  };
  std::shared_ptr<const Model> model;
  const ModelBytes bytes = {program, params};
  for (const bool checked : {false, true}) {
    config.check_program = checked;
    if (!accepted([&] { model = load_model(files, config, &bytes); })) return;
    read_program_traits(model->graph);
  }
  native::Network network;
  std::unique_ptr<const Graph> sized;
  const auto read = [&] {
    sized = of_one_size(model->graph);
    network = native::load_network(*model, sized ? *sized : model->graph, false, true);
  };
  if (accepts({ErrorCode::BadModel, ErrorCode::Unsupported, ErrorCode::BadInput}, read)) {
    run_network(network);
  }
}

}  // namespace lenet::fuzz
