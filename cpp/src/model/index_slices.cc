#include "model/index_slices.h"

#include <algorithm>
#include <string_view>

#include "model/rules/operator_view.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// Operators between the numbers and where they are put together.
constexpr int kMostSteps = 16;

class IndexReader {
 public:
  IndexReader(const Graph& graph, const std::string& path) : graph_(graph), path_(path) {}

  /// The indices [..., axes] are columns that are joined, one for each axis, or one column.
  std::optional<std::vector<IndexSlice>> read(const Operator& scatter) const {
    const Value& data = value(scatter.inputs.at("X")[0]);
    const std::size_t indices = scatter.inputs.at("Indices")[0];
    Shape places = value(indices).shape;
    places.pop_back();
    Argument columns(indices);
    if (const Operator* const joined = giver(indices, "Concat")) {
      const std::int64_t axis = *joined->attribute<std::int64_t>("axis");
      const bool is_last = axis == -1 || axis == static_cast<std::int64_t>(places.size());
      if (is_last) columns = joined->inputs.at("X");
    }
    const bool of_axes = columns.size() == places.size() && places.size() <= data.shape.size();
    if (!of_axes) return std::nullopt;
    std::vector<IndexSlice> slices;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto slice = read_column(columns[i], i, places.size());
      if (!slice || slice->count != places[i] || !fits_axis(*slice, data, i)) return std::nullopt;
      slices.push_back(*slice);
    }
    return slices;
  }

 private:
  const Value& value(std::size_t index) const { return graph_.values[index]; }

  /// The operator of that kind that gives a value; null where another one does.
  const Operator* giver(std::size_t index, std::string_view kinds) const {
    const std::size_t producer = value(index).producer;
    if (producer == kNone || !has_word(kinds, graph_.operators[producer].kind)) return nullptr;
    return &graph_.operators[producer];
  }

  /// A column [..., 1], whose numbers are another along one axis alone, and repeated along others.
  std::optional<IndexSlice> read_column(std::size_t column, std::size_t axis,
                                        std::size_t rank) const {
    const Operator* const op = giver(column, "Unsqueeze Reshape");
    if (op == nullptr) return std::nullopt;
    std::size_t numbers = op->inputs.at("X")[0];
    Shape lengthened = value(numbers).shape;
    lengthened.push_back(1);
    if (lengthened != value(column).shape) return std::nullopt;
    if (const Operator* const expand = giver(numbers, "Expand"))
      numbers = expand->inputs.at("X")[0];
    const Shape& shape = value(numbers).shape;
    const auto varies = [](std::int64_t size) { return size != 1; };
    const auto first = std::find_if(shape.begin(), shape.end(), varies);
    if (first == shape.end()) return read_sequence(numbers, 1);
    if (std::count_if(shape.begin(), shape.end(), varies) > 1) return std::nullopt;
    const auto behind = static_cast<std::size_t>(shape.end() - first);
    if (behind + axis != rank) return std::nullopt;
    return read_sequence(numbers, *first);
  }

  /// Numbers in their order, whatever the shape is.
  /// \param count of them; kUnknown: as many as there are images
  /// \param steps how many more operators are looked through
  std::optional<IndexSlice> read_sequence(std::size_t index, std::int64_t count,
                                          int steps = kMostSteps) const {
    if (is_known(value(index))) {
      const auto list = known_list(value(index));
      return list ? read_list(*list) : std::nullopt;
    }
    const Operator* const op = giver(index, "Range Reshape Squeeze Unsqueeze Cast Identity Slice");
    if (op == nullptr || steps == 0) return std::nullopt;
    const OperatorView view(graph_, value(index).producer, path_);
    if (op->kind == "Range") {
      const auto start = number(view, "start");
      const auto step = number(view, "delta");
      if (!start || !step) return std::nullopt;
      return IndexSlice{*start, *step, count};
    }
    const std::size_t from = op->inputs.at("X")[0];
    const int dtype = value(index).dtype;
    if (dtype != kInt32 && dtype != kInt64) return std::nullopt;  // a narrower one may wrap around
    if (op->kind != "Slice") return read_sequence(from, count, steps - 1);
    const Shape& sizes = value(from).shape;
    const auto step = view.is_given("steps") ? number(view, "steps") : std::int64_t{1};
    if (sizes.size() != 1 || !step) return std::nullopt;
    const auto whole = read_sequence(from, sizes[0], steps - 1);
    if (!whole || !is_index(*whole)) return std::nullopt;
    if (sizes[0] == kUnknown) {
      const std::int64_t left = value(index).images.per_image;
      const bool keeps_all = *step == 1 && left > 0 && left == value(from).images.per_image;
      return keeps_all ? whole : std::nullopt;
    }
    const auto start = number(view, "starts");
    const auto end = number(view, "ends");
    if (sizes[0] < 1 || !start || !end) return std::nullopt;
    const auto [begin, left, stride] = strided_slice(*start, *end, *step, sizes[0]);
    return IndexSlice{whole->start + begin * whole->step, whole->step * stride,
                      std::max<std::int64_t>(left, 0)};
  }

  /// Whether it may be a part of an axis: no sum or product of such numbers overflows.
  static bool is_index(const IndexSlice& slice) {
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    return slice.start >= 0 && slice.start < kMost && slice.step > 0 && slice.step < kMost;
  }

  /// An attribute or an input, of one number.
  static std::optional<std::int64_t> number(const OperatorView& view, std::string_view name) {
    if (!view.is_given(name)) return std::nullopt;
    const bool is_attribute = view.has_attribute(name);
    const auto list = is_attribute ? view.integers(name) : view.list(name);
    if (!list || list->size() != 1) return std::nullopt;
    return list->front();
  }

  static std::optional<IndexSlice> read_list(const Integers& list) {
    if (list.empty()) return std::nullopt;
    IndexSlice slice{list[0], 1, static_cast<std::int64_t>(list.size())};
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!is_index({list[i]})) return std::nullopt;
      if (i == 1) slice.step = list[1] - list[0];
      if (list[i] != list[0] + static_cast<std::int64_t>(i) * slice.step) return std::nullopt;
    }
    return slice;
  }

  /// Whether the entries lie in an axis; of that of the images all, in their order.
  static bool fits_axis(const IndexSlice& slice, const Value& data, std::size_t axis) {
    const std::int64_t size = data.shape[axis];
    if (axis == data.images.axis) return slice.start == 0 && slice.step == 1 && slice.count == size;
    if (slice.count < 1 || size < 1 || !is_index(slice)) return false;
    return slice.start < size && (size - 1 - slice.start) / slice.step >= slice.count - 1;
  }

  const Graph& graph_;
  const std::string& path_;
};

}  // namespace

std::optional<std::vector<IndexSlice>> read_index_slices(const Graph& graph, std::size_t at,
                                                         const std::string& path) {
  return IndexReader(graph, path).read(graph.operators[at]);
}

}  // namespace lenet
