#include "engines/native/runtime/verify_plan.h"

#include <iterator>
#include <limits>
#include <map>
#include <numeric>

#include "engines/native/contradiction.h"

namespace lenet::native {
namespace {

class Verifier {
 public:
  Verifier(const MemoryUse& use, const NameOfStep& name_of)
      : use_(use), name_of_(name_of), holders_(use.placements.size()) {}

  void verify() {
    for (const Place::Memory memory : {Place::Shared, Place::OfUnit}) {
      pieces_[{memory, std::numeric_limits<std::int64_t>::min()}] = {kNone, kZeros};
    }
    for (std::size_t t = 0; t < tensors(); ++t) {
      const Placement& tensor = use_.placements[t];
      if (tensor.border > 0 && tensor.zero != 0 && !use_.clears[t]) {  // see Program::memory
        put(tensor.begin(), tensor.end(), {kNone, t});
      }
    }
    for (run_ = 0; run_ < 2; ++run_) {
      std::iota(holders_.begin(), holders_.end(), std::size_t{0});
      write(use_.input, 0);
      for (std::size_t s = 0; s < use_.steps.size(); ++s) follow(use_.steps[s], s + 1);
      for (const OutputSource& output : use_.outputs) read(output.tensor, use_.steps.size() + 1);
    }
  }

 private:
  /// What lies in memory from one place to where the next piece begins.
  struct Piece {
    std::size_t value;   ///< a tensor, as run_ numbers them; kNone: nobody's
    std::size_t border;  ///< the tensor of which the border here is clear; kZeros, kNone
  };
  static constexpr std::size_t kZeros = kNone - 1;  ///< all bytes are 0 yet

  std::size_t tensors() const { return use_.placements.size(); }

  /// \param s the step's number; 0 is reading the images, which is none of the program's
  void follow(const StepIo& step, std::size_t s) {
    const Placement& to = use_.placements[step.output];
    for (const std::size_t input : step.inputs) read(input, s);
    std::int64_t channel = 0;
    for (std::size_t i = 0; i < step.there.size(); ++i) {
      const Placement& from = use_.placements[step.inputs[i]];
      const std::int64_t channels = from.shape.channels();
      const bool whole_vectors =
          channel % to.lanes == 0 && (channels % to.lanes == 0 || i + 1 == step.there.size());
      if (step.there[i] &&
          !(whole_vectors && from.is_like(to) &&
            from.place == to.place + to.channel_offset(channel) * to.element_bytes)) {
        fail(s, "does not copy " + given(step.inputs[i]) + ", which lies elsewhere");
      }
      if (step.there[i]) holders_[step.inputs[i]] = step.output;
      channel += channels;
    }
    if (!step.there.empty() && channel != to.shape.channels()) {
      fail(s, "joins parts that are not all of what it gives");
    }
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const Placement& from = use_.placements[step.inputs[i]];
      const bool overlaps = from.begin() < written_end(to) && to.begin() < from.end();
      const bool in_place =
          i >= step.in_place && from.is_like(to) && from.place == to.place && from.size == to.size;
      if (overlaps && !in_place && holder(step.inputs[i]) != step.output) {
        fail(s, "writes over " + given(step.inputs[i]) + " while it reads that");
      }
    }
    write(step.output, s);
  }

  void read(std::size_t tensor, std::size_t s) {
    const Placement& from = use_.placements[tensor];
    if (s > use_.first_batched && from.place.memory() == Place::Shared) {
      fail(s, "reads " + given(tensor) + " of all units, which one memory cannot hold");
    }
    auto piece = find(from.begin());
    do {
      const auto [value, border] = piece->second;
      if (value != numbered(holder(tensor))) {
        const bool is_of_run = value != kNone && value / tensors() == run_;
        fail(s, "reads " + given(tensor) +
                    (is_of_run ? ", over which lies " + given(value % tensors())
                               : std::string(", which is not there")));
      }
      if (from.border > 0 && !is_clear(from, border)) {
        fail(s, "reads " + given(tensor) + ", whose border is not clear");
      }
    } while (++piece != pieces_.end() && piece->first < from.end());
  }

  void write(std::size_t tensor, std::size_t s) {
    const Placement& to = use_.placements[tensor];
    const Place::Memory memory = to.place.memory();
    const std::int64_t bytes = memory == Place::Shared ? use_.shared_bytes : use_.unit_bytes;
    if (to.begin() < Place(memory, 0) || Place(memory, bytes) < written_end(to)) {
      fail(s, "writes outside the memory");
    }
    bool clear = to.border > 0;
    for (auto piece = find(to.begin());
         clear && !use_.clears[tensor] && piece != pieces_.end() && piece->first < to.end();
         ++piece) {
      clear = is_clear(to, piece->second.border);
    }
    put(to.begin(), to.end(), {numbered(tensor), clear ? tensor : kNone});
    put(to.end(), written_end(to), {kNone, kNone});
  }

  static Place written_end(const Placement& to) { return to.begin() + to.size * to.element_bytes; }

  /// Whether a tensor's border is clear where that of another one is.
  bool is_clear(const Placement& tensor, std::size_t border) const {
    if (border >= tensors()) return border == kZeros && tensor.zero == 0;
    const Placement& other = use_.placements[border];
    const std::int64_t apart = (tensor.place - other.place) / tensor.element_bytes;
    const bool of_planes = tensor.block >= tensor.row && apart % tensor.block == 0;
    return tensor.zero == other.zero && other.is_like(tensor) && (apart == 0 || of_planes);
  }

  /// The number that pieces of memory have while they hold the tensor of this run.
  std::size_t numbered(std::size_t tensor) const { return tensor + run_ * tensors(); }

  /// The last Concat of which a tensor is a part that was not copied, or itself.
  std::size_t holder(std::size_t tensor) {
    while (holders_[tensor] != tensor) {
      tensor = holders_[tensor] = holders_[holders_[tensor]];
    }
    return tensor;
  }

  std::map<Place, Piece>::iterator find(Place place) {
    return std::prev(pieces_.upper_bound(place));
  }
  void put(Place begin, Place end, Piece piece) {
    if (!(begin < end)) return;
    pieces_.try_emplace(end, find(end)->second);
    const auto first = pieces_.insert_or_assign(begin, piece).first;
    pieces_.erase(std::next(first), pieces_.lower_bound(end));
  }

  std::string described(std::size_t s) const {
    if (s == 0) return "reading the images";
    if (s > use_.steps.size()) return "writing an output";
    return "step " + std::to_string(s) + " (" + name_of_(s - 1) + ")";
  }
  std::string given(std::size_t tensor) const {
    std::size_t s = tensor == use_.input ? 0 : 1;
    while (s > 0 && s <= use_.steps.size() && use_.steps[s - 1].output != tensor) ++s;
    return "what " + (s > use_.steps.size() ? "no step" : described(s)) + " gives";
  }
  [[noreturn]] void fail(std::size_t s, const std::string& what) const {
    contradict(described(s) + " " + what);
  }

  const MemoryUse& use_;
  const NameOfStep& name_of_;
  std::map<Place, Piece> pieces_;
  std::size_t run_ = 0;
  std::vector<std::size_t> holders_;
};

}  // namespace

void verify_plan(const MemoryUse& use, const NameOfStep& name_of) {
  Verifier(use, name_of).verify();
}

}  // namespace lenet::native
