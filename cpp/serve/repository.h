/// \file
/// The models that are served: found in folders, loaded, and replaced while requests go on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "model.h"
#include "model_folders.h"
#include "request.h"

namespace lenet::serve {

/// What is served at some moment. Never changed: another one takes its place.
struct Catalog {
  struct Entry {
    /// The newest first. None: the model was unloaded, or could not be loaded.
    std::vector<std::shared_ptr<Model>> versions;
    /// Why versions are not served as they are in the folders.
    std::map<std::int64_t, std::string> failures;
  };
  std::map<std::string, Entry, std::less<>> models;

  /// \param version empty: the newest
  /// \returns null when there is none
  std::shared_ptr<Model> find(std::string_view name, std::string_view version) const;
};

class Repository {
 public:
  /// Loads every model. One of a folder of models that cannot be loaded is left out, as it may be
  /// anybody's; one that the options name is an error.
  /// \throws Error of the first that is named and has no version that can be served; where there is
  ///   no model that can, of the first; and as Service
  explicit Repository(const Options& options);
  ~Repository();
  Repository(const Repository&) = delete;
  Repository& operator=(const Repository&) = delete;

  std::shared_ptr<const Catalog> catalog() const;
  /// How many loads ended the process in which they were tried.
  std::uint64_t died_trials() const { return died_trials_; }

  /// Looks at the folders soon, in the repository's thread.
  void look();
  /// Loads what is new of a model in the folders, or lets the model go, in the repository's thread.
  /// \param done gets an empty text, or why it was not done
  /// \returns false when too much is waiting; `done` is then not called
  bool change(const std::string& name, bool load, std::function<void(std::string)> done);

 private:
  /// A version in the folders.
  struct Found {
    std::int64_t version = 1;
    std::string path;
    std::string state;  ///< of its files: names, sizes, times
    bool is_named;      ///< it, or the model whose version it is, in the options
  };
  /// By name. Without a version: there is something of that name, which cannot be read.
  using FoundModels = std::map<std::string, std::vector<Found>>;
  struct Change {
    std::string name;  ///< empty: what is new in the folders is loaded
    bool load = true;
    std::function<void(std::string)> done;
  };
  /// What is known of a version from earlier looks.
  struct Seen {
    std::string state;
    std::string served;  ///< the state in which it was loaded; empty: not
    std::string failed;  ///< the state in which it could not be loaded
    std::string failure;
    ErrorCode code = ErrorCode::BadModel;  ///< of the failure
  };

  /// Logs what is left out, once.
  /// \param problem gets why a source cannot be read; null: that throws
  FoundModels find(std::string* problem);
  void find_in(const std::string& path, const std::string& given_name, bool is_source,
               FoundModels& found);
  /// Does `action`, which adds an entry of a folder; where that throws, the entry is left out.
  /// \param name of the model that it would be, or be a version of
  void add_entry(const std::string& path, const std::string& name, FoundModels& found,
                 const std::function<void()>& action);
  /// \param now also what may still be being written, and what failed before
  /// \returns the model as it is to be served, without versions where none can be
  Catalog::Entry update(const std::string& name, const std::vector<Found>& versions, bool now);
  std::shared_ptr<Model> load(const std::string& name, const Found& found, Seen& seen);
  /// Logs that a model which takes the place of another one has no labels, or no description of how
  /// images are prepared, where that one has it.
  /// \param what begins the line
  void warn_of_losses(const Model& model, const std::string& what) const;
  /// Loads a model in a process of its own, where the options say so.
  /// \throws Error as that does, and BackendFailure where it died, now or before
  void try_first(const Found& found);
  /// \returns why it was not made
  std::string make(const Change& change);
  void let_go(const std::string& name, Catalog::Entry& entry, const std::string& reason) const;
  /// Lets models go whose files were not there at two looks, one after the other.
  void let_vanished_go(Catalog& catalog, const FoundModels& found, const std::string& problem);
  void publish(Catalog catalog);
  void work();

  const Options& options_;
  std::map<std::pair<std::string, std::int64_t>, Seen> seen_;  // these seven are the thread's
  std::map<std::string, std::string> left_out_;                // at the last look: why, by the path
  std::set<std::string> unloaded_;
  std::set<std::string> vanished_;  // at the last look
  bool is_start_ = true;
  /// Whether a folder of the options is a repository, by its path, as it was when it was first
  /// read. What somebody puts into it must not make one model of it.
  std::map<std::string, bool> repositories_;
  /// What happened to the processes that loaded these files, by the digest of the files.
  std::map<std::string, std::string> set_aside_;
  std::atomic<std::uint64_t> died_trials_{0};
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const Catalog> catalog_;
  std::condition_variable woken_;
  bool stop_ = false;
  bool looks_ = false;  ///< soon
  bool ended_ = false;
  std::weak_ptr<Model> loading_;  // that makes its first run
  std::deque<Change> changes_;
  std::thread thread_;
};

}  // namespace lenet::serve
