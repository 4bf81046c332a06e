/// \file
/// A model compiled for one size of its input, and for several where that has open sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/layer_times.h"
#include "engines/native/runtime/program.h"
#include "lenet/error.h"
#include "model/model.h"

namespace lenet::native {

/// Does a part of the loading, and names the engine that may run what this one does not support.
template <typename Work>
auto or_another(const char* other, const std::string& file, Work work) try {
  return work();
} catch (const Error& error) {
  if (error.code() != ErrorCode::Unsupported) throw;
  std::string what = error.what();
  if (what.find(file) == std::string::npos) what.insert(0, "'" + file + "': ");
  throw Error(error.code(), what + "; use " + other + " instead of native");
}

/// What clones share.
struct Compiled {
  const char* other;  ///< what may run the model where this engine does not
  std::string file;   ///< the model's
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::unique_ptr<Program> nhwc;               ///< a unit is one image
  std::unique_ptr<Program> batch_interleaved;  ///< a unit is many; null where that does not pay
  const char* instructions;
  Arithmetic arithmetic = Arithmetic::Float32;
  std::string why;  ///< this arithmetic; empty where there was no choice
  bool is_fastest = false;
  std::function<void()> pack;          ///< packs the weights, once
  std::int64_t images_one_by_one = 1;  ///< that go through `nhwc` together
  std::int64_t least_piece = 1;        ///< images below which another thread does not help
};

/// What clones share of a model whose input has open sizes: it is compiled for the sizes of an
/// input when they first come. Any thread may use it.
class Forms {
 public:
  using Compile = std::function<std::shared_ptr<Compiled>(const Shape& input)>;

  /// \param one of the forms, which has the input and the outputs with their open sizes
  Forms(Compile compile, int max_sizes, const Compiled& one, Shape its_input)
      : input(one.input),
        outputs(one.outputs),
        tried(std::move(its_input)),
        compile_(std::move(compile)),
        max_sizes_(static_cast<std::size_t>(max_sizes)) {}

  /// \param sizes of an input, whatever the number of images
  /// \throws Error as Graph::with_sizes; Unsupported: there are max_sizes others
  std::shared_ptr<Compiled> of(const Shape& sizes);

  /// As `Predictor::compiled_sizes`.
  CompiledSizes compiled() const;

  const TensorSpec input;
  const std::vector<TensorSpec> outputs;
  const Shape tried;  ///< an input that the model takes

 private:
  struct Form {
    explicit Form(Shape wanted) : sizes(std::move(wanted)) {}
    const Shape sizes;
    std::mutex mutex;                    ///< held by the thread that compiles
    std::shared_ptr<Compiled> compiled;  ///< written with both mutexes
  };

  std::shared_ptr<Form> find(const Shape& sizes);

  const Compile compile_;
  const std::size_t max_sizes_;  ///< 0: any number, of which the last are kept
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Form>> forms_;  ///< the last that was used is the last
};

/// Compiles a model with open sizes for one input that it takes, without its weights, and looks
/// with another one for the sizes of outputs that depend on it. \param tried set to the input
std::shared_ptr<Compiled> try_sizes(
    const Model& model, const char* other,
    const std::function<std::shared_ptr<Compiled>(const Graph&)>& compile_graph, Shape& tried);

}  // namespace lenet::native
