#include "engines/native/forms.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "engines/native/refusal.h"
#include "engines/native/runtime/aligned.h"
#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

constexpr std::size_t kKeptForms = 8;  // without max_sizes

/// Arrays of weights. A set, because forms share arrays, which count once.
using Arrays = std::set<const Aligned<char>*>;

std::int64_t bytes_of(const Arrays& arrays) {
  std::size_t bytes = 0;
  for (const auto* array : arrays) bytes += array->size();
  return static_cast<std::int64_t>(bytes);
}

/// Whether two inputs differ in nothing but the number of images.
bool have_same_sizes(const Shape& a, const Shape& b) {
  return std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

/// Opens the sizes of outputs that differ for another input.
void open_what_differs(std::vector<TensorSpec>& outputs, const std::vector<TensorSpec>& others) {
  for (std::size_t i = 0; i < std::min(outputs.size(), others.size()); ++i) {
    Shape& shape = outputs[i].shape;
    const Shape& second = others[i].shape;
    if (shape.size() != second.size()) shape.clear();
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] != second[axis]) shape[axis] = -1;
    }
  }
}

/// Inputs besides the one that was tried, of the same channels. Small images come first: what is
/// cut off at some size has that size for all larger images.
std::vector<Shape> other_sizes(const Shape& declared, const Shape& tried) {
  std::vector<Shape> others;
  for (const std::int64_t pixels : {2, 3, 5, 7, 11, 13, 17, 19, 23}) {
    Shape sizes = tried;
    for (std::size_t i = sizes.size() == 4 ? 2 : 1; i < sizes.size(); ++i) {
      if (declared[i] < 0) sizes[i] = pixels;
    }
    if (sizes == tried) return {};
    others.push_back(std::move(sizes));
  }
  const std::vector<Shape> usual = sizes_to_try(declared);
  for (auto next = std::find(usual.begin(), usual.end(), tried) + 1; next < usual.end(); ++next) {
    if (tried.size() == 4 && (*next)[1] != tried[1]) break;  // other channels
    others.push_back(*next);
  }
  return others;
}

/// A model for one image may give one row for some sizes and several for others. Each run shows
/// whether an output has a row for each image.
void leave_rows_open(Compiled& compiled) {
  for (std::size_t i = 0; i < compiled.outputs.size(); ++i) {
    TensorSpec& output = compiled.outputs[i];
    const bool of_one_image = compiled.output_images[i].axis == kNone;
    if (of_one_image && !output.shape.empty() && output.shape[0] < 0) output.by_image = true;
  }
}

}  // namespace

struct Forms::Form {
  explicit Form(Shape wanted) : sizes(std::move(wanted)) {}
  const Shape sizes;
  std::mutex mutex;                    ///< held by the thread that compiles
  std::shared_ptr<Compiled> compiled;  ///< written with both mutexes
};

Forms::Forms(Compile compile, int max_sizes, const Compiled& one, Shape its_input)
    : input(one.input),
      outputs(one.outputs),
      tried(std::move(its_input)),
      compile_(std::move(compile)),
      max_sizes_(static_cast<std::size_t>(max_sizes)) {}

std::shared_ptr<Compiled> Forms::of(const Shape& sizes) {
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

CompiledSizes Forms::compiled() const {
  Arrays of_all;
  CompiledSizes found;
  const std::lock_guard lock(mutex_);
  for (const auto& form : forms_) {
    if (form->compiled == nullptr) continue;  // another thread compiles it
    Arrays arrays;
    for (const auto* program : {&form->compiled->one_by_one, &form->compiled->side_by_side}) {
      if (*program == nullptr) continue;
      (*program)->weights().list(arrays);
      (*program)->weights().list(of_all);
    }
    found.sizes.push_back({{form->sizes.begin() + 1, form->sizes.end()}, bytes_of(arrays)});
  }
  found.bytes = bytes_of(of_all);
  return found;
}

std::shared_ptr<Forms::Form> Forms::find(const Shape& sizes) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(forms_.begin(), forms_.end(), [&](const auto& form) {
    return have_same_sizes(sizes, form->sizes);
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

std::shared_ptr<Compiled> try_sizes(
    const Model& model, const std::string& other,
    const std::function<std::shared_ptr<Compiled>(const Graph&)>& compile_graph, Shape& tried) {
  const Shape& declared = model.graph.values[model.graph.inputs[0]].shape;
  std::shared_ptr<Compiled> found;
  std::string why;
  for (const Shape& sizes : sizes_to_try(declared)) {
    std::unique_ptr<const Graph> graph;
    try {
      graph = model.graph.with_sizes(sizes);
    } catch (const Error& error) {
      if (why.empty()) why = error.what();
      continue;
    }
    found = compile_graph(*graph);
    found->pack = nullptr;
    found->input.shape = declared;
    tried = sizes;
    break;
  }
  if (found == nullptr) {
    why +=
        "; other usual sizes do not fit either: fix the size with lenet-cpp convert --image-size";
    throw add_remedy(Error(ErrorCode::Unsupported, why), other, model.path);
  }
  for (const Shape& sizes : other_sizes(declared, tried)) {
    try {
      open_what_differs(found->outputs, compile_graph(*model.graph.with_sizes(sizes))->outputs);
    } catch (const Error&) {  // it does not take this one
      continue;
    }
    leave_rows_open(*found);
    return found;
  }
  // With a single input nobody can tell which sizes of the outputs depend on it.
  const bool is_open = std::find(declared.begin() + (declared.size() == 4 ? 2 : 1), declared.end(),
                                 -1) != declared.end();
  if (!is_open) return found;
  for (TensorSpec& output : found->outputs) {
    const auto first_of_image = output.shape.begin() + (output.by_image ? 1 : 0);
    std::fill(first_of_image, output.shape.end(), -1);
  }
  leave_rows_open(*found);
  return found;
}

}  // namespace lenet::native
