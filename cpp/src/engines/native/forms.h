/// \file
/// A model compiled for one size of its input, and for several where that has open sizes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/layer_times.h"
#include "engines/native/runtime/program.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/model.h"

namespace lenet::native {

/// Does a part of the loading, and names the engine that may run what this one does not support.
/// \param other as name_other_engine; may be empty
template <typename Work>
auto or_another(const std::string& other, const std::string& file, Work work) try {
  return work();
} catch (const Error& error) {
  if (error.code() != ErrorCode::Unsupported) throw;
  std::string what = error.what();
  if (what.find(file) == std::string::npos) what.insert(0, "'" + file + "': ");
  if (!other.empty()) what += "; use " + other + " instead of native";
  throw Error(error.code(), what);
}

/// What clones share.
struct Compiled {
  std::string other;  ///< what may run the model where this engine does not; or empty
  std::string file;   ///< the model's
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::vector<Images> output_images;           ///< as Network::output_images
  std::unique_ptr<Program> nhwc;               ///< a unit is one image
  std::unique_ptr<Program> batch_interleaved;  ///< a unit is many; null where that does not pay
  const char* instructions;
  Arithmetic arithmetic = Arithmetic::Float32;
  std::string why;   ///< this arithmetic; empty where there was no choice
  std::string half;  ///< as Graph::half
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
  std::shared_ptr<Compiled> of(const Shape& sizes) {
    const std::shared_ptr<Form> form = find(sizes);
    const std::lock_guard lock(form->mutex);  // threads that want other sizes go on
    if (form->compiled != nullptr) return form->compiled;
    try {
      std::shared_ptr<Compiled> compiled = compile_(sizes);
      if (compiled->outputs.size() != outputs.size()) {
        throw Error(ErrorCode::Unsupported,
                    print("'%s' gives other outputs for %s than for %s", compiled->file.c_str(),
                          lenet::to_string(sizes).c_str(), lenet::to_string(tried).c_str()));
      }
      const std::lock_guard all(mutex_);
      form->compiled = std::move(compiled);
    } catch (...) {
      const std::lock_guard all(mutex_);
      forms_.erase(std::remove(forms_.begin(), forms_.end(), form), forms_.end());
      throw;
    }
    return form->compiled;
  }

  /// As `Predictor::compiled_sizes`.
  CompiledSizes compiled() const {
    std::set<const Aligned<char>*> of_all;
    CompiledSizes found;
    const std::lock_guard lock(mutex_);
    for (const auto& form : forms_) {
      if (form->compiled == nullptr) continue;  // another thread compiles it
      std::set<const Aligned<char>*> arrays;
      for (const auto* program : {&form->compiled->nhwc, &form->compiled->batch_interleaved}) {
        if (*program == nullptr) continue;
        (*program)->weights().list(arrays);
        (*program)->weights().list(of_all);
      }
      found.sizes.push_back({{form->sizes.begin() + 1, form->sizes.end()}, bytes_of(arrays)});
    }
    found.bytes = bytes_of(of_all);
    return found;
  }

  const TensorSpec input;
  const std::vector<TensorSpec> outputs;
  const Shape tried;  ///< an input that the model takes

 private:
  static constexpr std::size_t kKeptForms = 8;  ///< without max_sizes

  struct Form {
    explicit Form(Shape wanted) : sizes(std::move(wanted)) {}
    const Shape sizes;
    std::mutex mutex;                    ///< held by the thread that compiles
    std::shared_ptr<Compiled> compiled;  ///< written with both mutexes
  };

  static std::int64_t bytes_of(const std::set<const Aligned<char>*>& arrays) {
    std::size_t bytes = 0;
    for (const auto* array : arrays) bytes += array->size();
    return static_cast<std::int64_t>(bytes);
  }

  std::shared_ptr<Form> find(const Shape& sizes) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(forms_.begin(), forms_.end(), [&](const auto& form) {
      return std::equal(sizes.begin() + 1, sizes.end(), form->sizes.begin() + 1);
    });
    if (found != forms_.end()) {
      std::rotate(found, found + 1, forms_.end());
    } else {
      if (max_sizes_ > 0 && forms_.size() >= max_sizes_) {
        throw Error(ErrorCode::Unsupported,
                    print("the input has the shape %s, and max_sizes=%zu different sizes have come "
                          "before; raise max_sizes, or give all images one of these sizes",
                          lenet::to_string(sizes).c_str(), max_sizes_));
      }
      if (max_sizes_ == 0 && forms_.size() >= kKeptForms) forms_.erase(forms_.begin());
      forms_.push_back(std::make_shared<Form>(sizes));
    }
    return forms_.back();
  }

  const Compile compile_;
  const std::size_t max_sizes_;  ///< 0: any number, of which the last are kept
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Form>> forms_;  ///< the last that was used is the last
};

/// Compiles a model with open sizes for one input that it takes, without its weights, and looks
/// with another one for the sizes of outputs that depend on it. \param tried set to the input
inline std::shared_ptr<Compiled> try_sizes(
    const Model& model, const std::string& other,
    const std::function<std::shared_ptr<Compiled>(const Graph&)>& compile_graph, Shape& tried) {
  const Shape& declared = model.graph.values[model.graph.inputs[0]].shape;
  std::shared_ptr<Compiled> found;
  std::string why;
  for (const Shape& sizes : sizes_to_try(declared)) {
    if (found != nullptr && sizes.size() == 4 && sizes[1] != tried[1]) break;  // other channels
    std::unique_ptr<const Graph> graph;
    try {
      graph = model.graph.with_sizes(sizes);
    } catch (const Error& error) {
      if (why.empty()) why = error.what();
      continue;
    }
    const std::shared_ptr<Compiled> compiled = compile_graph(*graph);
    compiled->pack = nullptr;
    compiled->input.shape = declared;
    if (found == nullptr) {
      found = compiled;
      tried = sizes;
      continue;
    }
    for (std::size_t i = 0; i < std::min(found->outputs.size(), compiled->outputs.size()); ++i) {
      Shape& shape = found->outputs[i].shape;
      const Shape& second = compiled->outputs[i].shape;
      if (shape.size() != second.size()) shape.clear();
      for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        if (shape[axis] != second[axis]) shape[axis] = -1;
      }
    }
    return found;
  }
  if (found == nullptr) {
    or_another(other, model.path, [&] {
      throw Error(ErrorCode::Unsupported,
                  why +
                      "; other usual sizes do not fit either: fix the size with lenet-cpp "
                      "convert --image-size");
    });
  }
  // Of one input alone nobody can tell which sizes of the outputs depend on it.
  const bool is_open = std::find(declared.begin() + (declared.size() == 4 ? 2 : 1), declared.end(),
                                 -1) != declared.end();
  if (!is_open) return found;
  for (TensorSpec& output : found->outputs) {
    for (std::size_t axis = 1; axis < output.shape.size(); ++axis) output.shape[axis] = -1;
  }
  return found;
}

}  // namespace lenet::native
