#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/printable.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

using std::string_literals::operator""s;

/// For which numbers of images shapes are inferred. The last is one that no program is made for, so
/// that it shows what is rounded, or no longer grows from some number on.
constexpr std::array<std::int64_t, 3> kNumbersOfImages = {1, 2, 1009};

/// What a program declares of a value that an operator gives.
struct Declared {
  Shape shape;
  int dtype;
  bool has_shape;
};

/// What is inferred of it for one number of images.
struct Inferred {
  Shape shape;
  std::string_view data;
};

[[noreturn]] void unsupported(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::Unsupported, "'" + path + "' " + problem);
}

class ShapeInference {
 public:
  ShapeInference(Graph& graph, const std::string& path, const std::vector<const ParsedRule*>& rules,
                 const std::vector<bool>& read)
      : graph_(graph), path_(path), rules_(rules), read_(read) {}

  void run() {
    const Shape& input = graph_.values[graph_.inputs[0]].shape;
    if (!input.empty() && input[0] == kUnknown) return infer_for_numbers();
    infer();
  }

 private:
  void infer() {
    work_ = 0;
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i] != nullptr) infer_operator(i);
    }
  }

  void infer_operator(std::size_t at) {
    OperatorView view(graph_, at, path_, &graph_);
    rules_[at]->infer(view);
    require_sizes(view, graph_.operators[at]);
    work_ += view.work();
    if (work_ > static_cast<double>(kMaxMultiplyAdds) * static_cast<double>(images_)) {
      unsupported(path_, "asks for more than " + std::to_string(kMaxMultiplyAdds) +
                             " multiply-adds for one image");
    }
  }

  void infer_for_numbers() {
    std::vector<Declared> declared(graph_.values.size());
    each_given([&](std::size_t i, const Value& value) {
      declared[i] = {value.shape, value.dtype, value.has_shape};
    });
    std::vector<std::vector<Inferred>> before;  // of the numbers but the last
    std::vector<std::pair<std::int64_t, Error>> failures;
    for (const std::int64_t images : kNumbersOfImages) {
      start(declared);
      images_ = graph_.values[graph_.inputs[0]].shape[0] = images;
      try {
        infer();
        if (images == kNumbersOfImages.back()) continue;
        std::vector<Inferred>& found = before.emplace_back(graph_.values.size());
        each_given(
            [&](std::size_t i, const Value& value) { found[i] = {value.shape, value.data}; });
      } catch (const Error& error) {
        failures.emplace_back(images, error);
      }
    }
    images_ = 1;
    if (failures.empty()) return join(before[0], before[1]);
    start(declared);
    const bool none = failures.size() == kNumbersOfImages.size();
    std::string numbers;
    for (const auto& [images, error] : failures) {
      if (none && error.code() != ErrorCode::BadModel) throw error;
      numbers += (numbers.empty() ? "" : ", ") + std::to_string(images);
    }
    // Damaged is what contradicts itself whatever the number is, so that it need not be known.
    if (none) infer();
    std::string why = failures[0].second.what();
    for (const std::string& part : {"'" + path_ + "':", "'" + path_ + "'", " is damaged"s}) {
      const std::size_t at = why.find(part);
      if (at != std::string::npos) why.erase(at, part.size());
    }
    unsupported(path_, "does not take any number of images; not these: " + numbers + " (" +
                           why.substr(std::min(why.find_first_not_of(' '), why.size())) + ")" +
                           std::string(graph_.remedy));
  }

  template <typename Action>
  void each_given(const Action& action) {
    for (std::size_t i = 0; i < graph_.values.size(); ++i) {
      if (!graph_.values[i].parameter) action(i, graph_.values[i]);
    }
  }

  void start(const std::vector<Declared>& declared) {
    each_given([&](std::size_t i, Value& value) {
      value.shape = declared[i].shape;
      value.dtype = declared[i].dtype;
      value.has_shape = declared[i].has_shape;
      value.data = {};
    });
  }

  /// \param first, second for these of kNumbersOfImages; the graph has what there is for the last
  void join(const std::vector<Inferred>& first, const std::vector<Inferred>& second) {
    each_given([&](std::size_t i, Value& value) {
      if (first[i].shape != value.shape || second[i].shape != value.shape) {
        join_shapes(first[i].shape, second[i].shape, value);
      }
      if (first[i].data != value.data || second[i].data != value.data) {
        join_lists(first[i].data, second[i].data, value);
      }
    });
  }

  /// Sizes that are another for each number of images become unknown.
  void join_shapes(const Shape& first, const Shape& second, Value& value) {
    const auto [one, two, many] = kNumbersOfImages;
    bool linear = first.size() == second.size() && first.size() == value.shape.size();
    for (std::size_t i = 0; linear && i < first.size(); ++i) {
      std::int64_t& size = value.shape[i];
      const std::int64_t slope = (second[i] - first[i]) / (two - one);
      linear = size == second[i] + slope * (many - two);
      if (slope == 0) continue;
      if (slope != 1 || first[i] != one) {
        graph_.mixes_images = std::min(graph_.mixes_images, value.producer);
      }
      size = kUnknown;
    }
    if (linear) return;
    unsupported(path_, "gives '" + printable(value.name) +
                           "', whose shape is not linear in the number of images: " +
                           to_string(first) + " for " + std::to_string(one) + ", " +
                           to_string(second) + " for " + std::to_string(two));
  }

  /// Integers that are another for each number of images become kOpen.
  void join_lists(std::string_view first, std::string_view second, Value& value) {
    const std::string_view last = std::exchange(value.data, {});
    const bool alike = first.size() == last.size() && second.size() == last.size();
    if (value.data_dtype != kInt64 || !alike) return;  // it is not known
    std::string& joined = graph_.decoded.emplace_back(last);
    for (std::size_t at = 0; at < joined.size(); at += sizeof(kOpen)) {
      const std::string_view number = last.substr(at, sizeof(kOpen));
      if (number == first.substr(at, sizeof(kOpen)) && number == second.substr(at, sizeof(kOpen))) {
        continue;
      }
      std::memcpy(&joined[at], &kOpen, sizeof(kOpen));
    }
    value.data = joined;
  }

  void require_sizes(const OperatorView& view, const Operator& op) const {
    for (const auto& [name, values] : op.outputs) {
      for (const std::size_t index : values) {
        if (index == kNone) continue;
        const Value& value = graph_.values[index];
        const bool may_be_empty =
            has_word(kUnreadOutputs, name) || op.kind == "Fill" || is_known(value) || !read_[index];
        const bool empty = std::count(value.shape.begin(), value.shape.end(), 0) > 0;
        view.supports(may_be_empty || !empty, "kernel for a tensor without values");
        require_dimensions(value, 0, images_, path_);
      }
    }
  }

  Graph& graph_;
  const std::string& path_;
  const std::vector<const ParsedRule*>& rules_;
  const std::vector<bool>& read_;
  std::int64_t images_ = 1;  ///< for which shapes are inferred, where that is open
  double work_ = 0;
};

}  // namespace

void require_dimensions(const Value& value, std::int64_t least, std::int64_t images,
                        const std::string& path) {
  const Shape& shape = value.shape;
  const auto is_size = [&](std::int64_t size) {
    return size >= least || (size == kUnknown && !value.parameter);
  };
  if (!std::all_of(shape.begin(), shape.end(), is_size)) {
    refuse_program(path, "is damaged: '" + value.name + "' has the shape " + to_string(shape));
  }
  const double most = static_cast<double>(kMaxValuesPerImage) * static_cast<double>(images);
  if (shape.size() > kMaxRank || volume(shape) > most) {
    unsupported(path, "has a tensor larger than any of a classifier: '" + value.name +
                          "' has the shape " + to_string(shape));
  }
}

void infer_shapes(Graph& graph, const std::string& path,
                  const std::vector<const ParsedRule*>& rules, const std::vector<bool>& read) {
  ShapeInference(graph, path, rules, read).run();
}

}  // namespace lenet
