#include "repository.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <utility>

#include "io/printable.h"
#include "lenet/interruption.h"
#include "model/model_files.h"
#include "trial.h"

namespace lenet::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxChanges = 64;  // that wait

/// That a model takes a fixed number of images, or nothing.
std::string batch_note(const TensorSpec& input) {
  if (input.shape.empty() || input.shape[0] < 2) return "";
  const std::string count = std::to_string(input.shape[0]);
  return "it takes " + count + " images at once, and refuses a single one: send " + count +
         ", or a multiple of " + count + ", in each request, or export it with an open batch";
}

void require_state(const std::string& path, const std::string& state) {
  if (state_of(path) == state) return;
  throw Error(ErrorCode::BadModel, "its files changed while they were read");
}

}  // namespace

std::shared_ptr<Model> Catalog::find(std::string_view name, std::string_view version) const {
  const auto entry = models.find(name);
  if (entry == models.end()) return nullptr;
  for (const std::shared_ptr<Model>& model : entry->second.versions) {
    if (version.empty() || model->version == version) return model;
  }
  return nullptr;
}

Repository::Repository(const Options& options)
    : options_(options), catalog_(std::make_shared<Catalog>()) {
  Catalog catalog;
  std::optional<Error> first_failure;
  bool is_any_served = false;
  for (auto& [name, versions] : find(nullptr)) {
    if (versions.empty()) continue;
    Catalog::Entry entry = update(name, versions, true);
    if (entry.versions.empty()) {
      const Seen& newest = seen_[{name, versions.front().version}];
      const Error failure(newest.code, "model '" + name + "': " + newest.failure);
      if (versions.front().is_named) throw failure;
      if (!first_failure) first_failure = failure;
    }
    is_any_served = is_any_served || !entry.versions.empty();
    catalog.models.emplace(name, std::move(entry));
  }
  if (!is_any_served) {
    if (first_failure) throw Error(*first_failure);
    const std::string why = left_out_.empty() ? "" : ": " + left_out_.begin()->second;
    throw Error(ErrorCode::BadInput, "there is no model to serve" + why);
  }
  publish(std::move(catalog));
  is_start_ = false;
  thread_ = std::thread([this] { work(); });
}

Repository::~Repository() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    stop_ = true;
    woken_.notify_all();
    // Again and again: a run that is about to begin does not see that it is cancelled.
    while (!ended_) {
      if (const auto model = loading_.lock()) model->cancel();
      woken_.wait_for(lock, std::chrono::milliseconds(20));
    }
  }
  thread_.join();
  for (const Change& change : changes_) {
    if (change.done) change.done("the server is stopping");
  }
}

std::shared_ptr<const Catalog> Repository::catalog() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return catalog_;
}

void Repository::publish(Catalog catalog) {
  auto next = std::make_shared<const Catalog>(std::move(catalog));
  const std::lock_guard<std::mutex> lock(mutex_);
  catalog_.swap(next);  // the old one ends when the lock, and the last request, have ended
}

void Repository::look() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    looks_ = true;
  }
  woken_.notify_one();
}

bool Repository::change(const std::string& name, bool load, std::function<void(std::string)> done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_ || changes_.size() >= kMaxChanges) return false;
    changes_.push_back({name, load, std::move(done)});
  }
  woken_.notify_one();
  return true;
}

Repository::FoundModels Repository::find(std::string* problem) {
  FoundModels found;
  const auto told = std::exchange(left_out_, {});
  for (const ModelSource& source : options_.models) {
    try {
      std::error_code failed;
      const bool exists = fs::exists(source.path, failed);
      const std::string path = exists ? source.path : find_by_stem(source.path);
      if (path.empty()) {
        throw Error(ErrorCode::FileNotFound, "'" + source.path + "' does not exist" +
                                                 (failed ? ": " + failed.message() : ""));
      }
      find_in(path, source.name, true, found);
    } catch (const std::exception& error) {
      if (problem == nullptr) throw;
      *problem = error.what();
    }
  }
  if (found.size() > 1 && !options_.changes.empty()) {
    throw Error(ErrorCode::BadInput, "the given " + list_of(options_.changes) +
                                         " can be for one model only, and there are " +
                                         std::to_string(found.size()) +
                                         ": name one model, or put a preprocess.json beside each");
  }
  for (const auto& [path, why] : left_out_) {
    const auto before = told.find(path);
    if (before == told.end() || before->second != why) options_.log(why);
  }
  for (auto& [name, versions] : found) {
    std::sort(versions.begin(), versions.end(),
              [](const Found& a, const Found& b) { return a.version > b.version; });
  }
  return found;
}

void Repository::add_entry(const std::string& path, const std::string& name, FoundModels& found,
                           const std::function<void()>& action) try {
  action();
} catch (const std::exception& error) {
  left_out_[path] = "'" + terminal_text(path) + "' is left out: " + error.what();
  // What is served of a model stays while its folder cannot be read.
  if (is_model_name(name)) found[name];
}

/// \param is_source whether it was named, rather than found in a repository
void Repository::find_in(const std::string& path, const std::string& given_name, bool is_source,
                         FoundModels& found) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  const fs::path last = whole.has_filename() ? whole : whole.parent_path();
  std::error_code failed;  // such as a link that leads to itself: it is no folder
  const bool is_folder = fs::is_directory(path, failed);
  const std::string name =
      !given_name.empty() ? given_name : (is_folder ? last.filename() : last.stem()).string();
  const auto require_name = [&] {
    // "stats" has an address of its own.
    if (!is_model_name(name) || name == "stats") {
      throw Error(ErrorCode::BadInput, "'" + path + "': '" + name +
                                           "' cannot be the name of a model; give another one, of "
                                           "letters, digits, '.', '_', '-'");
    }
  };
  const auto add = [&](std::int64_t version, const std::string& where) {
    require_name();
    std::vector<Found>& versions = found[name];
    for (const Found& other : versions) {
      if (other.version == version) {
        throw Error(ErrorCode::BadInput, "'" + where + "' and '" + other.path +
                                             "' are both version " + std::to_string(version) +
                                             " of model '" + name + "'");
      }
    }
    versions.push_back({version, where, state_of(where), is_source});
  };
  if (!is_folder) {
    if (is_source || last.extension() == ".onnx") add(1, path);
    return;
  }
  const auto entries = entries_of(path);
  if (is_source && !entries.empty() && repositories_.count(path) == 0) {
    const FolderContents contents = contents_of(entries);
    // Who gives a name says that it is a model.
    const bool is_model = !given_name.empty();
    if (is_model && contents.is_repository()) {
      throw Error(ErrorCode::BadInput,
                  "'" + path + "' is a repository of models, which has no name");
    }
    repositories_[path] = !is_model && contents.can_be_repository();
    if (repositories_[path] && !options_.labels.empty()) {
      throw Error(ErrorCode::BadInput,
                  "--labels names the classes of one model, and '" + path +
                      "' is a folder of models: put a file labels.txt beside each model");
    }
  }
  if (!is_source || entries.empty() || !repositories_.at(path)) {
    bool has_version = false;
    for (const auto& entry : entries) {
      const auto version = parse_version(entry.path().filename().string());
      if (!version || !entry.is_directory(failed)) continue;
      require_name();
      const std::string where = entry.path().string();
      add_entry(where, name, found, [&, version = *version] { add(version, where); });
      has_version = true;
    }
    // A model, or a folder that tells why it is none when it is loaded. An empty folder is an error
    // at the start, and later one whose models were taken away.
    const bool is_any = !entries.empty() || (is_source && catalog()->models.empty());
    if (!has_version && is_any) add(1, path);
    return;
  }
  for (const auto& entry : entries) {
    const std::string where = entry.path().string();
    const fs::path file = entry.path().filename();
    const bool is_file = !entry.is_directory(failed);
    add_entry(where, (is_file ? file.stem() : file).string(), found,
              [&] { find_in(where, "", false, found); });
  }
}

void Repository::try_first(const Found& found) {
  const bool is_open = options_.poll_seconds > 0 || options_.allow_load;
  if (!options_.trial_command || (is_start_ && !is_open)) return;
  constexpr int kMoreSeconds = 10;  // after those for the load and for the first run
  const int load_seconds = options_.config.load_seconds;
  const int seconds = load_seconds == 0 ? 0 : load_seconds + options_.trial_seconds + kMoreSeconds;
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::BackendFailure, "'" + found.path + "' is set aside until its content " +
                                               "changes, because it ended a trial: " + what);
  };
  if (!set_aside_.empty()) {
    const auto before = set_aside_.find(digest_of(found.path));
    if (before != set_aside_.end()) refuse(before->second);
  }
  const Trial trial = try_load(options_.trial_command(found.path), seconds, [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stop_;
  });
  switch (trial.end) {
    case Trial::End::Loaded:
      return require_state(found.path, found.state);
    case Trial::End::NotStarted:
      options_.log("'" + found.path +
                   "' is loaded without a trial in another process: " + trial.problem);
      return;
    case Trial::End::Died:
      ++died_trials_;
      require_state(found.path, found.state);
      set_aside_[digest_of(found.path)] = trial.problem;
      return refuse(trial.problem);
    default:
      throw Error(trial.code, trial.problem);
  }
}

std::shared_ptr<Model> Repository::load(const std::string& name, const Found& found, Seen& seen) {
  const std::string what = "model '" + name + "' version " + std::to_string(found.version);
  const auto require_serving = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_) throw Error(ErrorCode::BackendFailure, "the server is stopping");
  };
  try {
    const Interruption watch(require_serving);
    try_first(found);
    require_serving();
    auto model = std::make_shared<Model>(name, found.version, found.path, options_);
    require_serving();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      loading_ = model;
    }
    model->measure(options_.trial_seconds);
    // What was loaded must be what is there now, not the beginning of something else.
    require_state(found.path, found.state);
    options_.log(what + " is loaded from " + found.path);
    const Described& described = model->described;
    std::vector<std::string> notes = described.image_notes;
    notes.insert(notes.end(),
                 {described.note, model->precision_reason(), batch_note(model->input)});
    for (const std::string& each : notes) {
      if (!each.empty()) options_.log(what + ": note: " + each);
    }
    warn_of_losses(*model, what);
    seen.served = found.state;
    seen.failed.clear();
    seen.failure.clear();
    return model;
  } catch (const std::exception& error) {
    seen.failed = found.state;
    seen.failure = error.what();
    const auto* const known = dynamic_cast<const Error*>(&error);
    seen.code = known != nullptr ? known->code() : ErrorCode::BadModel;
    options_.log(what + " is not served: " + seen.failure);
    return nullptr;
  }
}

void Repository::warn_of_losses(const Model& model, const std::string& what) const {
  const auto served = catalog();
  auto before = served->find(model.name, model.version);
  if (!before) before = served->find(model.name, "");
  if (!before) return;
  const Described& now = model.described;
  const Described& then = before->described;
  const auto warn = [&](const std::string& lost, const std::string& had,
                        const std::string& remedy) {
    options_.log(what + ": warning: " + lost + ", but version " + before->version +
                 ", which was served before, has " + had + "; " + remedy + " to the new version");
  };
  const std::size_t labels = then.description.labels.size();
  if (now.description.labels.empty() && labels > 0) {
    warn("it has no labels", std::to_string(labels),
         "copy labels.txt, or the other file that has them,");
  }
  const bool is_described = !now.assumed && !now.missing;
  if (!is_described && !then.assumed && !then.source.empty()) {
    warn("nothing describes how its images are prepared", "such a description",
         "copy preprocess.json, or the other file that has it,");
  }
}

Catalog::Entry Repository::update(const std::string& name, const std::vector<Found>& versions,
                                  bool now) {
  const auto before = catalog();
  Catalog::Entry entry;
  for (const Found& found : versions) {
    if (entry.versions.size() >= std::max<std::size_t>(options_.versions, 1)) break;
    Seen& seen = seen_[{name, found.version}];
    std::shared_ptr<Model> model = before->find(name, std::to_string(found.version));
    // Files that are being written change from one look to the next.
    const bool is_still = seen.state == found.state;
    seen.state = found.state;
    const bool is_new = !model || seen.served != found.state;
    if (now || (is_new && is_still && seen.failed != found.state)) {
      if (auto loaded = load(name, found, seen)) model = std::move(loaded);
    }
    if (model) entry.versions.push_back(std::move(model));
    if (!seen.failure.empty()) entry.failures[found.version] = seen.failure;
  }
  return entry;
}

std::string Repository::make(const Change& change) {
  Catalog next = *catalog();
  if (!change.load) {
    const auto model = next.models.find(change.name);
    if (model == next.models.end() || model->second.versions.empty()) {
      return "model '" + change.name + "' is not loaded";
    }
    let_go(change.name, model->second, "unloaded");
    unloaded_.insert(change.name);
    publish(std::move(next));
    return "";
  }
  const bool is_look = change.name.empty();
  std::string problem;
  const FoundModels found = find(&problem);
  if (is_look) let_vanished_go(next, found, problem);
  if (!is_look) problem = "there is no model '" + change.name + "' in the folders";
  for (const auto& [name, versions] : found) {
    if (versions.empty()) continue;
    if (is_look ? unloaded_.count(name) != 0 : name != change.name) continue;
    Catalog::Entry entry = update(name, versions, !is_look);
    const bool is_served = !entry.versions.empty();
    Catalog::Entry& known = next.models[name];
    // What is served stays where nothing takes its place.
    if (!is_served) entry.versions = known.versions;
    known = std::move(entry);
    if (is_look) continue;
    if (is_served) unloaded_.erase(name);
    problem = seen_[{name, versions.front().version}].failure;
  }
  publish(std::move(next));
  return problem;
}

void Repository::let_go(const std::string& name, Catalog::Entry& entry,
                        const std::string& reason) const {
  for (const auto& model : entry.versions) entry.failures[*parse_version(model->version)] = reason;
  entry.versions.clear();
  options_.log("model '" + name + "' is unloaded: " + reason);
}

void Repository::let_vanished_go(Catalog& catalog, const FoundModels& found,
                                 const std::string& problem) {
  const auto before = std::exchange(vanished_, {});
  for (auto& [name, entry] : catalog.models) {
    if (found.count(name) != 0) continue;
    for (auto& [version, reason] : entry.failures) reason = "its files are gone";
    if (entry.versions.empty()) continue;
    for (const auto& model : entry.versions) {
      entry.failures[*parse_version(model->version)] = "its files are gone";
    }
    // When a folder that was named cannot be read, such as a disk that is not there, all stays.
    if (!problem.empty()) continue;
    if (before.count(name) != 0) {
      let_go(name, entry, "its files are gone");
    } else {
      vanished_.insert(name);
    }
  }
}

void Repository::work() {
  const std::chrono::seconds poll(options_.poll_seconds);
  std::string last_problem;  // of a look, to tell it once
  Clock::time_point next_look = Clock::now() + poll;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    const auto is_asked = [&] { return stop_ || looks_ || !changes_.empty(); };
    if (options_.poll_seconds > 0) {
      woken_.wait_until(lock, next_look, is_asked);
    } else {
      woken_.wait(lock, is_asked);
    }
    if (stop_) break;
    Change change;
    // Clients that load models again and again must not keep this thread from looking.
    const bool is_due = options_.poll_seconds > 0 && Clock::now() >= next_look;
    if (!is_due && !looks_) {
      change = std::move(changes_.front());
      changes_.pop_front();
    } else {
      looks_ = false;
    }
    lock.unlock();
    std::string problem;
    try {
      problem = make(change);
    } catch (const std::exception& error) {  // such as no memory
      problem = error.what();
    }
    if (change.done) {
      change.done(problem);
    } else if (std::exchange(last_problem, problem) != problem && !problem.empty()) {
      options_.log("the models' folders: " + problem);
    }
    if (change.name.empty()) next_look = Clock::now() + poll;
    lock.lock();
  }
  ended_ = true;
  woken_.notify_all();
}

}  // namespace lenet::serve
