// Moving channels between vectors; included by implementation.h.

/// \tparam Count the vectors that each is gathered from
template <int Count>
void gather_vectors(const GatherTask& task) {
  Ints places[Count];
  unrolled<Count>([&](int s) { places[s] = load(task.places + s * kLanes); });
  for (std::int32_t y = 0; y < task.rows; ++y) {
    const float* from[Count];
    for (int s = 0; s < Count; ++s) from[s] = task.inputs[s] + y * task.input_rows[s];
    float* to = task.output + y * task.output_row;
    for (std::int32_t x = 0; x < task.columns; ++x, to += kLanes) {
      Vector gathered{};
      unrolled<Count>(
          [&](int s) { gathered = shuffled(gathered, load(from[s] + x * kLanes), places[s]); });
      store(to, gathered);
    }
  }
}

/// Of more vectors than there are registers for.
void gather_many(const GatherTask& task) {
  for (std::int32_t y = 0; y < task.rows; ++y) {
    float* to = task.output + y * task.output_row;
    for (std::int32_t x = 0; x < task.columns; ++x, to += kLanes) {
      Vector gathered{};
      for (std::int32_t s = 0; s < task.count; ++s) {
        const Vector next = load(task.inputs[s] + y * task.input_rows[s] + x * kLanes);
        gathered = shuffled(gathered, next, load(task.places + s * kLanes));
      }
      store(to, gathered);
    }
  }
}

void gather(const GatherTask& task) {
  (task.count == 1   ? gather_vectors<1>
   : task.count == 2 ? gather_vectors<2>
   : task.count == 3 ? gather_vectors<3>
   : task.count == 4 ? gather_vectors<4>
                     : gather_many)(task);
}
