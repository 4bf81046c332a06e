/// \file
/// A model whose input has open sizes, compiled for each size that comes.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engines/native/compile/compiled.h"
#include "lenet/profile.h"
#include "lenet/tensor.h"
#include "model/model.h"

namespace lenet::native {

/// What the clones of an engine share whose model has open sizes. The model is compiled for the
/// sizes of an input when they first come. Any thread may use it.
class Forms {
 public:
  using Compile = std::function<std::shared_ptr<Compiled>(const Shape& input)>;

  /// \param one of the forms, which has the input and the outputs with their open sizes
  Forms(Compile compile, int max_sizes, const Compiled& one, Shape its_input);

  /// \param sizes of an input, whatever the number of images
  /// \throws Error as Graph::with_sizes; Unsupported: there are max_sizes others
  std::shared_ptr<Compiled> of(const Shape& sizes);

  /// Gives what `Predictor::compiled_sizes` says.
  CompiledSizes compiled() const;

  const TensorSpec input;
  const std::vector<TensorSpec> outputs;
  const Shape tried;  ///< an input that the model takes

 private:
  struct Form;

  std::shared_ptr<Form> find(const Shape& sizes);

  const Compile compile_;
  const std::size_t max_sizes_;  ///< 0: any number, of which the last are kept
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Form>> forms_;  ///< the last that was used is the last
};

/// Compiles a model with open sizes for one input that it takes, without its weights. With a second
/// input it finds out which sizes of the outputs depend on the input's.
/// \param other the engine that may run the model instead, for errors
/// \param tried set to the input
std::shared_ptr<Compiled> try_sizes(
    const Model& model, const std::string& other,
    const std::function<std::shared_ptr<Compiled>(const Graph&)>& compile_graph, Shape& tried);

}  // namespace lenet::native
