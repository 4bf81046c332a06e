/// \file
/// One version of a model that is served, and what is counted about it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"
#include "service.h"

namespace lenet::serve {

using Clock = std::chrono::steady_clock;

/// Events, and the time that they took in all.
struct Counter {
  std::atomic<std::uint64_t> count{0};
  std::atomic<std::uint64_t> nanoseconds{0};

  void add(Clock::duration time, std::uint64_t events = 1) {
    count.fetch_add(events, std::memory_order_relaxed);
    nanoseconds.fetch_add(static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count()),
                          std::memory_order_relaxed);
  }
};

/// Upper limits of a request's time in seconds, for the histogram; infinity follows.
inline constexpr std::array<double, 12> kBuckets = {1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3,
                                                    5e-3, 2.5e-2, 0.1,  0.5,  2.5,    10};

struct Statistics {
  Counter success, fail;                      ///< of requests, from arrival to response
  Counter queue, input, infer, output;        ///< of requests that succeeded: the parts of the time
  std::atomic<std::uint64_t> images{0};       ///< that were computed
  std::atomic<std::uint64_t> runs{0};         ///< of the network
  std::atomic<std::uint64_t> last_run_ms{0};  ///< since 1970
  std::array<std::atomic<std::uint64_t>, kBuckets.size() + 1> buckets{};  ///< of both kinds

  void add_request(bool succeeded, Clock::duration time);
};

class Model {
 public:
  /// Reads, checks and warms a model.
  /// \param path of a program, or of a folder with one
  /// \throws Error as Predictor, ImagePipeline::load and read_manifest
  Model(std::string name, std::int64_t version, const std::string& path, const Options& options);

  const std::string name;
  const std::string version;
  int time_limit_ms = 0;                  ///< of a run; 0: none, or its engine cannot be stopped
  std::optional<ImagePipeline> pipeline;  ///< nothing: there is no preprocess.json
  std::vector<std::string> classes;       ///< their names, if manifest.json has them
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  double image_us = 0;  ///< of a warm run of one image; infinite where the shape is not known
  mutable Statistics statistics;

  /// A predictor for the thread that asks, until the lease ends.
  class Lease {
   public:
    explicit Lease(Model& model);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Predictor* operator->() { return predictor_.get(); }

   private:
    Model& model_;
    std::unique_ptr<Predictor> predictor_;
  };
  /// Ends the runs that the engine can end, with BackendFailure.
  void cancel();

  // What the endpoints answer.
  nlohmann::json metadata() const;
  nlohmann::json config() const;
  nlohmann::json counted() const;

 private:
  void measure();

  std::string platform_;
  std::unique_ptr<const Predictor> first_;  // whose clones run
  std::mutex mutex_;                        // guards what follows
  std::vector<std::unique_ptr<Predictor>> idle_;
  std::set<Predictor*> running_;
};

}  // namespace lenet::serve
