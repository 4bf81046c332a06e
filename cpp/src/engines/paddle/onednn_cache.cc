#include "engines/paddle/onednn_cache.h"

#include <cstddef>
#include <cstdint>
#include <memory>

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

}  // namespace

std::string onednn_shape_key(const std::vector<int>& shape) {
  std::string key;
  for (const int size : shape) key += std::to_string(size) + "-";
  return key;
}

void keep_onednn_primitives_under(const std::string& shape_key) {
  const auto set_session = phi::set_session != nullptr ? phi::set_session : phi::set_session_of_3_1;
  if (!phi::thread_locals || !set_session || !phi::set_shape || !phi::set_capacity ||
      !phi::context_pool || !phi::context_of || !phi::set_blob) {
    return;
  }
  phi::ThreadLocals* body = phi::thread_locals();
  set_session(body, kLimitedSession);
  phi::set_shape(body, shape_key);
  phi::set_capacity(body, kShapes);
  // The run itself takes the capacity to be 0 and lets every new shape displace another. So the
  // shape is entered here, with an entry that nobody reads.
  static const std::string name = "lenet";
  phi::set_blob(phi::context_of(phi::context_pool(), phi::Place()), name, nullptr);
}

}  // namespace lenet
