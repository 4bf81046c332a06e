// The models that a service finds, loads and replaces.

#include <deque>
#include <mutex>

#include "serve_support.h"

namespace lenet::tests {

constexpr std::size_t kNone = std::string::npos;

/// A server of a folder with the model m, and what its log says.
class LoggedServer {
 public:
  /// \param text what the lines contain that are kept
  LoggedServer(const std::string& folder, std::string text)
      : text_(std::move(text)), server_(options_with_log(folder)) {}

  /// Loads the newest version of m. \returns the lines that were logged since the last call
  Names lines_of_load() {
    CHECK(server_.post("/v2/repository/models/m/load").status == 200);
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  Options options_with_log(const std::string& folder) {
    Options options = options_of(folder, "");
    options.allow_load = true;
    options.log = [this](const std::string& line) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (line.find(text_) != kNone) lines_.push_back(line);
    };
    return options;
  }

  std::string text_;
  std::mutex mutex_;
  Names lines_;
  Server server_;
};

TEST_CASE("a version without the labels of the one before says so") {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& version, bool labels) {
    fs::create_directories(folder / ("m/" + version));
    for (const char* name : {"lenet.pdmodel", "lenet.pdiparams"}) {
      fs::copy(kModelDir + "/" + name, folder / ("m/" + version + "/" + name));
    }
    std::string text;
    for (int i = 0; i < 10; ++i) text += "digit " + std::to_string(i) + "\n";
    if (labels) write_file(folder / ("m/" + version + "/labels.txt"), text);
  };
  put("1", true);
  LoggedServer server(folder.path(), "labels");
  const auto lost = [](const std::string& version, const std::string& before) {
    return Names{"model 'm' version " + version + ": warning: it has no labels, but version " +
                 before + ", which was served before, has 10; copy labels.txt, or the other file " +
                 "that has them, to the new version"};
  };
  CHECK(server.lines_of_load().empty());
  put("2", false);
  CHECK(server.lines_of_load() == lost("2", "1"));
  CHECK(server.lines_of_load().empty());  // it is said once
  put("3", true);
  CHECK(server.lines_of_load().empty());
  fs::remove(folder / "m/3/labels.txt");  // the same version, written anew
  CHECK(server.lines_of_load() == lost("3", "3"));
}

TEST_CASE("a version without the description of the one before says so") {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& version, bool is_described) {
    fs::create_directories(folder / ("m/" + version));
    for (const char* name : {"lenet.pdmodel", "lenet.pdiparams", "preprocess.json"}) {
      if (!is_described && name == std::string("preprocess.json")) continue;
      fs::copy(kModelDir + "/" + name, folder / ("m/" + version + "/" + name));
    }
  };
  put("1", true);
  LoggedServer server(folder.path(), "warning: ");
  CHECK(server.lines_of_load().empty());
  put("2", false);
  CHECK(server.lines_of_load() ==
        Names{"model 'm' version 2: warning: nothing describes how its images are prepared, but "
              "version 1, which was served before, has such a description; copy preprocess.json, "
              "or the other file that has it, to the new version"});
  put("3", false);  // as the one before
  CHECK(server.lines_of_load().empty());
}

TEST_CASE("a new version is served once it is whole, and a broken one never") {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& version) {
    fs::create_directories(folder / ("m/" + version));
    for (const auto& file : fs::directory_iterator(kModelDir)) {
      fs::copy(file, folder / ("m/" + version), fs::copy_options::overwrite_existing);
    }
  };
  put("1");
  Options options = options_of(folder.path(), "");
  options.allow_load = true;
  std::mutex mutex;
  Names problems;  // of looks
  options.log = [&](const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (line.rfind("the models' folders: ", 0) == 0) problems.push_back(line);
  };
  Server server(options);
  const auto versions = [&] { return server.get_json("/v2/models/m").at("versions"); };
  const auto load = [&](const std::string& what = "load") {
    return server.post("/v2/repository/models/m/" + what);
  };
  CHECK(versions() == Names{"1"});
  put("2");
  write_file(folder / "m/2/lenet.pdiparams", "damaged");
  CHECK(load().status == 400);
  CHECK(versions() == Names{"1"});
  const json index = json::parse(server.post("/v2/repository/index").body);
  CHECK(index.at(1).at("state") == "UNAVAILABLE");
  CHECK(index.at(1).at("reason").get<std::string>().find("SHA256SUMS") != std::string::npos);
  CHECK(json::parse(server.post("/v2/repository/index", R"({"ready":true})").body).size() == 1);
  put("2");
  CHECK(load().body == "{}");
  CHECK(versions() == Names{"2"});
  CHECK(server.get("/v2/models/m/versions/1").status == 404);
  // Replaced in place by a broken one: the good one in memory stays.
  write_file(folder / "m/2/lenet.pdmodel", "damaged");
  CHECK(load().status == 400);
  CHECK(versions() == Names{"2"});
  CHECK(values_of(server.ask(
            request_of("POST", "/v2/models/m/infer", bytes_of(random_images(1).data), "0"))) ==
        expected(random_images(1)));
  // Looks until it is so: at least twice, as files that are being written change between looks.
  const auto look_until = [&](const auto& condition) {
    for (int i = 0; i < 4000 && !condition(); ++i) {
      server.service.look_for_models();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(condition());
  };
  const auto is_served = [&](const std::string& version) {
    return server.get("/v2/models/m/versions/" + version).status == 200;
  };
  const auto index_says = [&](const std::string& state, const std::string& reason) {
    const json all = json::parse(server.post("/v2/repository/index").body);
    return all.at(0).at("state") == state && all.at(0).at("reason") == reason;
  };
  put("3");
  look_until([&] { return is_served("3"); });
  CHECK(index_says("READY", ""));
  // All is away, as on a disk that is not there: what is loaded stays.
  fs::rename(folder.path(), folder.path() + ".away");
  const auto look = [&] {
    server.service.look_for_models();
    CHECK(server.post("/v2/repository/models/other/unload").status == 400);  // after the look
  };
  for (int i = 0; i < 3; ++i) {
    look();
    CHECK(index_says("READY", "its files are gone"));
  }
  CHECK(is_served("3"));
  fs::rename(folder.path() + ".away", folder.path());
  look_until([&] { return index_says("READY", ""); });
  {
    const std::lock_guard<std::mutex> lock(mutex);
    REQUIRE(problems.size() == 1);  // however often it was looked
    CHECK(problems[0].find("does not exist") != std::string::npos);
  }
  // The model alone was taken away: it is unloaded at the second look, as a folder that is replaced
  // is missing for a moment.
  fs::remove_all(folder / "m");
  look();
  CHECK(index_says("READY", "its files are gone"));
  CHECK(is_served("3"));
  look();
  CHECK(!is_served("3"));
  CHECK(index_says("UNAVAILABLE", "its files are gone"));
  CHECK(server.get("/v2/models/m").status == 404);
  CHECK(server.post("/v2/repository/index", R"({"ready":true})").body == "[]");
  put("3");
  look_until([&] { return is_served("3"); });
  CHECK(load("unload").status == 200);
  CHECK(server.get("/v2/models/m").status == 404);
  CHECK(index_says("UNAVAILABLE", "unloaded"));
  CHECK(load("unload").status == 400);
  CHECK(load().status == 200);
  CHECK(server.post("/v2/repository/models/other/load").status == 400);
  CHECK(server.post("/v2/repository/models/m/load", R"({"parameters":{"config":"{}"}})").status ==
        400);
}

TEST_CASE("more loads than may wait are refused, and the others end") {
  Options options = options_of(kModelDir);
  options.allow_load = true;
  Server server(options);
  std::vector<std::future<Response>> loads;
  for (int i = 0; i < 1000; ++i) {  // each takes milliseconds, and asking for it none
    loads.push_back(server.send(request_of("POST", "/v2/repository/models/lenet/load")));
  }
  int refused = 0;
  for (auto& load : loads) {
    REQUIRE(load.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    const Response response = load.get();
    if (response.status == 200) continue;
    CHECK(response.status == 503);
    CHECK(response.body.find("too many requests to load") != std::string::npos);
    ++refused;
  }
  CHECK(refused > 0);
  CHECK(refused < 1000);
}

TEST_CASE("who loads models again and again does not keep the server from looking") {
  const TemporaryFolder folder;
  fs::copy(kModelDir, folder / "m");
  Options options = options_of(folder.path(), "");
  options.allow_load = true;
  options.poll_seconds = 1;
  Server server(options);
  fs::copy(kModelDir, folder / "other");
  const auto is_found = [&] { return server.get("/v2/models/other").status == 200; };
  const auto end = serve::Clock::now() + std::chrono::seconds(30);
  std::deque<std::future<Response>> loads;
  while (!is_found() && serve::Clock::now() < end) {
    while (loads.size() < 4) {  // so that one waits whenever another ends
      loads.push_back(server.send(request_of("POST", "/v2/repository/models/m/load")));
    }
    CHECK(loads.front().get().status == 200);
    loads.pop_front();
  }
  CHECK(is_found());
}

TEST_CASE("files that were replaced by others of the same size and time are read") {
  const TemporaryFolder folder;
  const std::string model = folder / "m";
  fs::copy(kModelDir, model);
  fs::remove(model + "/SHA256SUMS");
  const std::string params = model + "/lenet.pdiparams";
  std::string other = read_file(params);
  // Bits of the first fully connected layer's weights, which are most of the file.
  for (std::size_t i = 0; i < 4000; ++i) other[other.size() / 2 + i] ^= '\x08';
  Options options = options_of(model, "m");
  options.allow_load = true;
  Server server(options);
  const auto answer = [&] {
    return values_of(
        server.ask(request_of("POST", "/v2/models/m/infer", bytes_of(random_images(1).data), "0")));
  };
  const auto replace = [&](const std::string& contents) {
    const auto time = fs::last_write_time(params);
    write_file(folder / "new", contents);
    fs::last_write_time(folder / "new", time);
    fs::rename(folder / "new", params);
  };
  const std::string before = read_file(params);
  const auto first = answer();
  replace(other);
  for (int i = 0; i < 4000 && answer() == first; ++i) {
    server.service.look_for_models();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(answer() != first);
  replace(before);
  CHECK(server.post("/v2/repository/models/m/load").status == 200);
  CHECK(answer() == first);
}

TEST_CASE("a model is loaded in a process of its own first, which may die") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "models");
  fs::copy(kModelDir, folder / "models/m");
  fs::remove(folder / "models/m/SHA256SUMS");
  const auto trial_does = [&](const std::string& script) {
    write_file(folder / "trial.sh", script);
  };
  Options options = options_of(folder / "models", "");
  options.allow_load = true;
  options.trial_seconds = 1;
  options.config.load_seconds = 1;
  options.trial_command = [&](const std::string& path) {
    return std::vector<std::string>{"/bin/sh", folder / "trial.sh", path};
  };
  trial_does("test -d $1");
  Server server(options);
  const auto died = [&] { return server.service.metrics().find("died_loads_total 1") != kNone; };
  const auto refuses = [&](const std::string& text) {
    const Response response = server.post("/v2/repository/models/m/load");
    CAPTURE(response.body);
    CHECK(response.status == 400);
    CHECK(response.body.find(text) != std::string::npos);
    CHECK(server.get("/v2/models/m").status == 200);  // as it was
  };
  // Content that was not seen before, of a file that the model does not need.
  int changes = 0;
  const auto change = [&] { write_file(folder / "models/m/note", std::to_string(++changes)); };
  CHECK(server.post("/v2/repository/models/m/load").status == 200);
  // A refusal is not a death: the same files are tried again when somebody asks.
  trial_does("echo noise; echo 'lenet_serve: Unsupported: no such operator' >&2; exit 6");
  refuses("no such operator");
  trial_does("");
  CHECK(server.post("/v2/repository/models/m/load").status == 200);
  CHECK(!died());
  trial_does("echo at the end >&2; kill -SEGV $$");
  refuses("signal 11 (an invalid memory access); its last line: at the end");
  CHECK(died());
  trial_does("");
  refuses("is set aside until its content changes");
  change();
  CHECK(server.post("/v2/repository/models/m/load").status == 200);
  for (const auto& [script, text] : std::vector<std::pair<std::string, std::string>>{
           {"kill -KILL $$", "as the system does where memory runs out"},
           {"exit 1", "its process ended with status 1"},
           {"exit 6", "its process ended with status 6"},  // without a message
           {"printf '\\033[31m\\n'; exit 9", "its last line: ?[31m"}}) {
    change();
    trial_does(script);
    refuses(text);
  }
  // 1 s for the load, 1 s for the first run, and 10 s more.
  change();
  trial_does("exec sleep 1000");
  refuses("its process took longer than 12 s");
}

TEST_CASE("a model is loaded where no process can be had for it") {
  Options options = options_of(kModelDir);
  options.allow_load = true;
  std::string told;
  options.log = [&](const std::string& line) { told += line + "\n"; };
  options.trial_command = [](const std::string&) {
    return std::vector<std::string>{"/no/such/program"};
  };
  Server server(options);
  CHECK(told.find("without a trial in another process: /no/such/program: ") != kNone);
  CHECK(server.get("/v2/models/lenet").status == 200);
}

TEST_CASE("models that cannot be served are refused at the start") {
  const TemporaryFolder folder;
  const auto refuses = [](ErrorCode code, const std::string& text, Options options) {
    check_error(code, text, [&] { const Service service(std::move(options)); });
  };
  refuses(ErrorCode::FileNotFound, "does not exist", options_of(folder / "none"));
  refuses(ErrorCode::BadModel, "model 'lenet'", options_of(folder.path()));
  refuses(ErrorCode::BadInput, "cannot be the name", options_of(kModelDir, "a/b"));
  refuses(ErrorCode::BadInput, "cannot be the name", options_of(kModelDir, "stats"));
  Options twice = options_of(kModelDir);
  twice.models.push_back(twice.models[0]);
  refuses(ErrorCode::BadInput, "both version 1", twice);
  refuses(ErrorCode::BadInput, "no model", Options());
}

}  // namespace lenet::tests
