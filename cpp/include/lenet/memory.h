/// \file
/// How the C library keeps the memory that a run has freed.
#pragma once

namespace lenet {

/// Lets freed memory be used again by the next run instead of being given back to the system.
///
/// Paddle allocates each intermediate result by malloc. By default glibc returns blocks of more
/// than 128 KiB, and the top of the heap, to the system as soon as they are freed, and the next run
/// has every page mapped and zeroed anew, which for a .json model takes longer than much of its
/// arithmetic (docs/benchmark.md). This raises M_MMAP_THRESHOLD to 32 MiB and M_TRIM_THRESHOLD to
/// 64 MiB: where glibc's own adaptation ends after a block of 32 MiB was once freed (mallopt(3)).
///
/// It counts for the whole process, so a library should leave it to the program: lenet_infer_test
/// and the Python package call it. Where the environment sets MALLOC_MMAP_THRESHOLD_ or
/// MALLOC_TRIM_THRESHOLD_, or the C library is another one, it does nothing. Thread-safe.
void keep_freed_memory() noexcept;

}  // namespace lenet
