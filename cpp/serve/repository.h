/// \file
/// The models that are served: found in folders, loaded, and replaced while requests go on.
#pragma once

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
#include "request.h"

namespace lenet::serve {

/// What is served at some moment. Never changed: another one takes its place.
struct Catalog {
  struct Entry {
    std::vector<std::shared_ptr<Model>> versions;  ///< the newest first; none: it was unloaded
    /// Why versions are not served as they are in the folders.
    std::map<std::int64_t, std::string> failures;
  };
  std::map<std::string, Entry, std::less<>> models;

  /// \param version empty: the newest
  /// \returns null when there is none
  std::shared_ptr<Model> find(std::string_view name, std::string_view version) const;
};

/// Whether a text can be the name of a model: 1 to 128 letters, digits, '.', '_' and '-', the first
/// of which is no '.'. Nothing else comes to the file system from a client.
bool is_model_name(std::string_view text);
/// A version: an integer from 1 on, written without zeros in front.
std::optional<std::int64_t> parse_version(std::string_view text);

class Repository {
 public:
  /// Loads every model.
  /// \throws Error of the first that has no version that can be served, and as Service
  explicit Repository(const Options& options);
  ~Repository();
  Repository(const Repository&) = delete;
  Repository& operator=(const Repository&) = delete;

  std::shared_ptr<const Catalog> catalog() const;

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
  /// \returns the model as it is to be served; nothing: no version can be
  std::optional<Catalog::Entry> update(const std::string& name, const std::vector<Found>& versions,
                                       bool now);
  std::shared_ptr<Model> try_load(const std::string& name, const Found& found, Seen& seen);
  /// \returns why it was not made
  std::string make(const Change& change);
  void let_go(const std::string& name, Catalog::Entry& entry, const std::string& reason) const;
  /// Lets models go whose files were not there at two looks, one after the other.
  void let_vanished_go(Catalog& catalog, const FoundModels& found, const std::string& problem);
  void publish(Catalog catalog);
  void work();

  const Options& options_;
  std::map<std::pair<std::string, std::int64_t>, Seen> seen_;  // these four are the thread's
  std::map<std::string, std::string> left_out_;                // at the last look: why, by the path
  std::set<std::string> unloaded_;
  std::set<std::string> vanished_;  // at the last look
  mutable std::mutex mutex_;        // guards what follows
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
