/// What the files of the module share: what each registers; Python threads inside the library; and
/// enumerators that Python reads and writes by name.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "lenet/config.h"

namespace lenet::bindings {

void register_images(pybind11::module_& module);
void register_outputs(pybind11::module_& module);
void register_predictors(pybind11::module_& module);
void register_python_threads(pybind11::module_& module);

/// For as long as it lives, the thread runs C++ without the GIL.
///
/// - An interpreter that ends waits for the threads inside and lets no other in. A daemon thread
///   that came back after the end would be unwound by force through C++ frames, which aborts the
///   process, and libraries would be taken down under one that still runs.
/// - A child forked while another thread was inside is refused: the locks that thread held are
///   never given back there.
class WithoutGil {
 public:
  /// \throws Error Unsupported in such a child.
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

/// For an Interruption: what a signal's handler raises in Python, such as KeyboardInterrupt, ends
/// the work, and so does the end of the interpreter. Called without the GIL.
void look_for_signals();

/// To be called when a model is loaded. Some libraries keep threads that a forked child does not
/// have, and sometimes wait for them: such a child is refused too.
/// \param config the one in force
void note_workers(Accelerator accelerator, const Config& config);

/// Whether this process was forked while another thread was inside: then nothing that belongs to
/// the Paddle library may be touched, nor destroyed.
bool forked_inside() noexcept;

/// Destroys what holds Paddle's objects, but where `forked_inside`.
template <typename T>
struct Deleter {
  void operator()(T* object) const {
    if (!forked_inside()) delete object;
  }
};

/// How Python holds a predictor or a pool.
template <typename T>
using Held = std::unique_ptr<T, Deleter<T>>;

}  // namespace lenet::bindings

namespace pybind11::detail {

/// \tparam Parse throws lenet::Error for a name that is none
template <typename Value, Value (*Parse)(std::string_view)>
struct NameCaster {
  PYBIND11_TYPE_CASTER(Value, const_name("str"));
  bool load(handle source, bool /*convert*/) {
    if (!isinstance<str>(source)) return false;
    value = Parse(source.cast<std::string>());
    return true;
  }
  static handle cast(Value from, return_value_policy /*policy*/, handle /*parent*/) {
    return str(lenet::to_string(from)).release();
  }
};

template <>
struct type_caster<lenet::EngineKind> : NameCaster<lenet::EngineKind, lenet::parse_engine> {};
template <>
struct type_caster<lenet::Precision> : NameCaster<lenet::Precision, lenet::parse_precision> {};
template <>
struct type_caster<lenet::Accelerator> : NameCaster<lenet::Accelerator, lenet::parse_accelerator> {
};

}  // namespace pybind11::detail
