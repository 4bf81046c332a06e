#include "engines/paddle/onednn_cache.h"

#include <dlfcn.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

// What Paddle's libphi_core has of this (paddle/phi/backends/onednn/onednn_context.h,
// paddle/phi/backends/context_pool.h); null where it is not exported. Members are declared as
// functions, whose first argument is the object in the Itanium C++ ABI: a compiler takes no weak
// member function to be null.
#define LENET_WEAK_SYMBOL(name) __asm__(name) __attribute__((weak))

namespace phi {

struct ThreadLocals;
struct ContextPool;
struct OneDnnContext;

/// The processor, of paddle/phi/common/place.h.
struct Place {
  std::int8_t device = 0;
  std::int8_t allocation_type = 1;
  std::size_t device_type_id = 0;
};

ThreadLocals* thread_locals() LENET_WEAK_SYMBOL("_ZN3phi25OneDNNContextThreadLocals5fetchEv");
void set_session(ThreadLocals* body, std::size_t id)
    LENET_WEAK_SYMBOL("_ZN3phi25OneDNNContextThreadLocals4Body25set_cur_onednn_session_idEm");
void set_session_of_3_1(ThreadLocals* body, std::size_t id)
    LENET_WEAK_SYMBOL("_ZN3phi25OneDNNContextThreadLocals4Body25set_cur_mkldnn_session_idEm");
void set_shape(ThreadLocals* body, std::string shape) LENET_WEAK_SYMBOL(
    "_ZN3phi25OneDNNContextThreadLocals4Body23set_cur_input_shape_strE"
    "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");
void set_capacity(ThreadLocals* body, int shapes) LENET_WEAK_SYMBOL(
    "_ZN3phi25OneDNNContextThreadLocals4Body34set_cur_input_shape_cache_capacityEi");
ContextPool* context_pool() LENET_WEAK_SYMBOL("_ZN3phi17DeviceContextPool8InstanceEv");
OneDnnContext* context_of(ContextPool* pool, const Place& place)
    LENET_WEAK_SYMBOL("_ZN3phi17DeviceContextPool3GetERKNS_5PlaceE");
void clear_attributes(OneDnnContext* context)
    LENET_WEAK_SYMBOL("_ZN3phi13OneDNNContext12ClearDnnAttrEv");
std::shared_ptr<void> get_blob(const OneDnnContext* context, const std::string& name)
    LENET_WEAK_SYMBOL(
        "_ZNK3phi13OneDNNContext7GetBlobERKNSt7__cxx1112basic_stringIcSt11char_"
        "traitsIcESaIcEEE");
void set_blob(const OneDnnContext* context, const std::string& name, std::shared_ptr<void> data)
    LENET_WEAK_SYMBOL(
        "_ZNK3phi13OneDNNContext7SetBlobERKNSt7__cxx1112basic_stringIcSt11char_"
        "traitsIcESaIcEEESt10shared_ptrIvE");

}  // namespace phi

namespace lenet {
namespace {

constexpr int kShapes = 16;

// kONEDNNSessionID_CacheClearing: of this session only, the shapes are limited.
constexpr auto kLimitedSession = static_cast<std::size_t>(-1);

bool has_symbols() {
  return phi::thread_locals && (phi::set_session || phi::set_session_of_3_1) && phi::set_shape &&
         phi::set_capacity && phi::context_pool && phi::context_of && phi::get_blob &&
         phi::set_blob;
}

struct CacheMutex {
  std::shared_timed_mutex runs;  // shared by runs, held alone by what removes from the cache
  std::timed_mutex turn;  // so that runs after each other do not keep out who waits to be alone
  std::mutex mutex;       // guards what follows
  GivenUp load;           // that holds `runs` alone; null: none does
};

CacheMutex& cache_mutex() {
  static CacheMutex& one = *new CacheMutex;  // threads may end after static objects
  return one;
}

/// Whether the cache is held by a load that was given up, which may never end.
bool is_held_for_good() {
  const std::lock_guard<std::mutex> lock(cache_mutex().mutex);
  return cache_mutex().load && *cache_mutex().load;
}

/// \returns false where it is held for good
template <typename Lock>
bool take(Lock& lock) {
  constexpr std::chrono::milliseconds kLook(20);
  while (!lock.try_lock_for(kLook)) {
    if (is_held_for_good()) return false;
  }
  return true;
}

/// \returns a lock that is not taken where the cache is held for good
template <typename Lock>
Lock try_lock_cache() {
  std::unique_lock<std::timed_mutex> turn(cache_mutex().turn, std::defer_lock);
  Lock lock(cache_mutex().runs, std::defer_lock);
  if (take(turn)) static_cast<void>(take(lock));
  return lock;
}

[[noreturn]] void refuse_held() {
  throw Error(ErrorCode::BackendFailure,
              "the load of another model was given up (load_seconds) and still keeps Paddle from "
              "loading models and from running with oneDNN; start the process anew without it");
}

template <typename Lock>
Lock lock_cache() {
  Lock lock = try_lock_cache<Lock>();
  if (!lock.owns_lock()) refuse_held();
  return lock;
}

using Shared = std::shared_lock<std::shared_timed_mutex>;
using Alone = std::unique_lock<std::shared_timed_mutex>;

/// At the end of a thread Paddle removes what the thread's last predictor has in the cache, which
/// may run in another by now. Objects of a thread are destroyed in the reverse order of their
/// construction: `last` before Paddle's, `lock` after it.
phi::ThreadLocals* thread_locals() {
  thread_local Alone lock;
  phi::ThreadLocals* body = phi::thread_locals();
  struct Last {
    ~Last() { lock = try_lock_cache<Alone>(); }  // or there are no runs any more
  };
  thread_local const Last last{};
  return body;
}

template <typename Function>
Function* open_mp(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

void set_threads(int threads) {
  static auto* const set = open_mp<void(int)>("omp_set_num_threads");
  if (set != nullptr && threads > 0) set(threads);
}

}  // namespace

OneDnnRun::OpenMpThreads::OpenMpThreads(int threads) {
  static auto* const get = open_mp<int()>("omp_get_max_threads");
  if (get != nullptr) before_ = get();
  set_threads(threads);
}

OneDnnRun::OpenMpThreads::~OpenMpThreads() { set_threads(before_); }

OneDnnRun::OneDnnRun(const std::vector<int>& shape, int threads) : threads_(threads) {
  if (!has_symbols()) return;
  static const std::string name = "lenet";  // of an entry that says that the shape is there
  static const auto entry = std::make_shared<int>();
  std::string key;
  for (const int size : shape) key += std::to_string(size) + "-";
  phi::ThreadLocals* body = thread_locals();
  (phi::set_session ? phi::set_session : phi::set_session_of_3_1)(body, kLimitedSession);
  phi::set_shape(body, std::move(key));
  phi::OneDnnContext* context = phi::context_of(phi::context_pool(), phi::Place());
  if (phi::clear_attributes) phi::clear_attributes(context);
  for (;;) {
    lock_ = lock_cache<Shared>();
    if (phi::get_blob(context, name)) return;
    lock_.unlock();
    const auto alone = lock_cache<Alone>();
    phi::set_capacity(body, kShapes);  // a run sets it to 0
    phi::set_blob(context, name, entry);
  }
}

std::unique_lock<std::recursive_timed_mutex> lock_flags(std::recursive_timed_mutex& mutex) {
  std::unique_lock<std::recursive_timed_mutex> lock(mutex, std::defer_lock);
  if (!take(lock)) refuse_held();
  return lock;
}

NoOneDnnRun::NoOneDnnRun(GivenUp given_up) : lock_(lock_cache<Alone>()) {
  // Where this thread ends, Paddle empties the cache once more.
  if (has_symbols()) thread_locals();
  const std::lock_guard<std::mutex> lock(cache_mutex().mutex);
  cache_mutex().load = std::move(given_up);
}

NoOneDnnRun::~NoOneDnnRun() {
  const std::lock_guard<std::mutex> lock(cache_mutex().mutex);
  cache_mutex().load = nullptr;
}

}  // namespace lenet
