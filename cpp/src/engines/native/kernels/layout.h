// Moving channels between vectors; included by implementation.h.

/// A row of vectors. \tparam Count the vectors that each is gathered from
/// \param more whether the lanes that are from none of them are those that are there, not zeros
template <int Count>
void gather_row(const float* const* inputs, const std::int32_t* places, bool more,
                std::int32_t columns, float* output) {
  Ints of_vectors[Count];
  unrolled<Count>([&](int s) { of_vectors[s] = load(places + s * kLanes); });
  for (std::int64_t at = 0; at < columns * std::int64_t{kLanes}; at += kLanes) {
    Vector gathered = more ? load(output + at) : Vector{};
    unrolled<Count>(
        [&](int s) { gathered = shuffled(gathered, load(inputs[s] + at), of_vectors[s]); });
    store(output + at, gathered);
  }
}

void gather(const GatherTask& task) {
  constexpr int kAtOnce = 4;
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for (std::int32_t s = 0; s < task.count; s += kAtOnce) {
      const int count = least(task.count - s, kAtOnce);
      const float* inputs[kAtOnce];
      for (int i = 0; i < count; ++i) inputs[i] = task.inputs[s + i] + y * task.input_rows[s + i];
      const auto row = for_count<kAtOnce>(count, [](auto c) { return gather_row<c.value>; });
      row(inputs, task.places + s * kLanes, s > 0, task.columns, task.output + y * task.output_row);
    }
  }
}
