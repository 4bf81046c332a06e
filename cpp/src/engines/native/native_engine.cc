#include "engines/native/native_engine.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engines/native/program.h"
#include "engines/native/read_network.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/check_graph.h"
#include "model/parameters.h"
#include "model/pir_program.h"
#include "model/program_desc.h"

namespace lenet {
namespace {

using native::Network;
using native::Parameters;
using native::Program;

constexpr int kFloat32 = 5;
/// Beyond this the interleaved layout leaves the second-level cache, and one image at a time is
/// faster.
constexpr std::int64_t kMostInterleavedFloats = 1 << 18;

void add_parameters(const std::vector<ParameterSpec>& wanted,
                    const std::vector<ParameterSpec>& found, Parameters& parameters) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (found[i].dtype != kFloat32) continue;  // what takes it says that it cannot
    native::ParameterValues& to = parameters[wanted[i].name];
    to.shape = found[i].shape;
    to.values.resize(found[i].data.size() / sizeof(float));
    std::memcpy(to.values.data(), found[i].data.data(), found[i].data.size());
  }
}

Network load(const ModelFiles& files) {
  const std::string program = read_file(files.program);
  const bool pir = files.format == ModelFormat::Json;
  Graph graph = pir ? read_pir_program(program, files.program)
                    : read_program_desc(program, files.program);
  check_graph(graph, files.program);
  const auto wanted = pir ? read_json_parameters(program, files.program)
                          : read_pdmodel_parameters(program, files.program);
  Parameters parameters;
  if (files.format == ModelFormat::Separate) {
    for (const ParameterSpec& spec : wanted) {
      const std::string path = (std::filesystem::path(files.directory) / spec.name).string();
      const std::string bytes = read_file(path);
      const auto found = read_parameter_records(bytes, path);
      require_same_parameters({spec}, found, path);
      add_parameters({spec}, found, parameters);
    }
  } else {
    const std::string bytes = read_file(files.params);
    const auto found = read_parameter_records(bytes, files.params);
    require_same_parameters(wanted, found, files.params);
    add_parameters(wanted, found, parameters);
  }
  Network network = native::read_network(graph, parameters, files.program);
  native::simplify(network);
  return network;
}

/// What clones share.
struct Compiled {
  TensorSpec input;
  TensorSpec output;
  std::unique_ptr<Program> one;   ///< a unit is one image
  std::unique_ptr<Program> many;  ///< a unit is many, interleaved; null where that does not pay
};

class NativeEngine final : public Engine {
 public:
  explicit NativeEngine(std::shared_ptr<const Compiled> compiled)
      : compiled_(std::move(compiled)) {}

  TensorSpec input_spec() const override { return compiled_->input; }
  TensorSpec output_spec() const override { return compiled_->output; }

  Shape run(const TensorView& input) override {
    const std::int64_t images = input.shape[0];
    const auto image = static_cast<std::int64_t>(element_count(input.shape)) / images;
    Shape shape = compiled_->output.shape;
    shape[0] = images;
    const auto row = static_cast<std::int64_t>(element_count(shape)) / images;
    output_.resize(static_cast<std::size_t>(row * images));
    std::int64_t done = 0;
    if (const Program* many = compiled_->many.get()) {
      const std::int64_t lanes = many->images_per_unit();
      const std::int64_t rest = images % lanes;
      // A unit that is nearly full costs less than its images one by one.
      const std::int64_t count = rest * 4 > lanes * 3 ? images : images - rest;
      if (count > 0) {
        many->run(input.data, count, memory(many_, *many, (count + lanes - 1) / lanes),
                  output_.data());
      }
      done = count;
    }
    while (done < images) {
      const std::int64_t count = std::min<std::int64_t>(images - done, kImagesAtOnce);
      compiled_->one->run(input.data + done * image, count,
                          memory(one_, *compiled_->one, count), output_.data() + done * row);
      done += count;
    }
    return shape;
  }

  void copy_output(float* destination) override {
    std::memcpy(destination, output_.data(), output_.size() * sizeof(float));
  }

  std::unique_ptr<Engine> clone() const override {
    return std::make_unique<NativeEngine>(compiled_);
  }

  void set_layer_callback(LayerCallback /*callback*/) override {
    throw Error(ErrorCode::Unsupported,
                "the native engine joins layers and cannot show each; use engine paddle");
  }

 private:
  static constexpr std::int64_t kImagesAtOnce = 16;

  struct Memory {
    native::AlignedFloats floats;
    std::int64_t units = 0;
  };
  static float* memory(Memory& memory, const Program& program, std::int64_t units) {
    if (memory.units < units) {
      memory.floats = native::AlignedFloats(static_cast<std::size_t>(units * program.unit_floats()));
      memory.units = units;
    }
    return memory.floats.data();
  }

  std::shared_ptr<const Compiled> compiled_;
  Memory one_;
  Memory many_;
  std::vector<float> output_;
};

}  // namespace

std::unique_ptr<Engine> create_native_engine(const Config& /*config*/, const ModelFiles& files) {
  const Network network = load(files);
  const native::Kernels& kernels = native::choose_kernels();
  auto compiled = std::make_shared<Compiled>();
  compiled->input = {network.input_name, network.input_shape, "float32"};
  compiled->output = {network.output_name, network.output_shape, "float32"};
  compiled->one = std::make_unique<Program>(network, kernels, false);
  if (kernels.lanes > 1) {
    auto many = std::make_unique<Program>(network, kernels, true);
    if (many->unit_floats() <= kMostInterleavedFloats) compiled->many = std::move(many);
  }
  return std::make_unique<NativeEngine>(std::move(compiled));
}

}  // namespace lenet
