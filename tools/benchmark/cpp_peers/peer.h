/// \file
/// Another library's C++ interface, as the benchmark calls it. Each library has a source file that
/// defines `make_peer`; with peer.cc it becomes a shared library, which cpp_engines.py builds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

/// [images, channels, height, width]
using PeerShape = std::int64_t[4];

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// \param outputs gets `size` values, [images, classes]
  /// \throws std::exception
  virtual void run(const float* images, const PeerShape& shape, float* outputs,
                   std::size_t size) = 0;
};

/// Loads a model.
/// \param precision "fp32" or "bf16"
/// \throws std::exception
std::unique_ptr<Peer> make_peer(const std::string& path, int threads, const std::string& precision);
