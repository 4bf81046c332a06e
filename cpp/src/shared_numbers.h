/// \file
/// Numbers that copies share.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace lenet {

/// Read as a vector; copied in constant time. Thread-safe as far as a const vector is.
template <class Number>
class SharedNumbers {
 public:
  using Vector = std::vector<Number>;

  SharedNumbers() = default;
  SharedNumbers(Vector numbers) : numbers_(std::make_shared<const Vector>(std::move(numbers))) {}

  const Vector& vector() const {
    static const Vector kEmpty;
    return numbers_ ? *numbers_ : kEmpty;
  }
  operator const Vector&() const { return vector(); }
  std::size_t size() const { return vector().size(); }
  bool empty() const { return vector().empty(); }
  const Number* data() const { return vector().data(); }
  const Number& operator[](std::size_t index) const { return vector()[index]; }
  auto begin() const { return vector().begin(); }
  auto end() const { return vector().end(); }
  bool operator==(const Vector& other) const { return vector() == other; }

 private:
  std::shared_ptr<const Vector> numbers_;
};

}  // namespace lenet
