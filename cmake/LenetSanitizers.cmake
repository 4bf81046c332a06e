# LENET_SANITIZE: our code with sanitizers, and the tests with the run-time options that a process
# with Paddle in it needs. docs/sanitizers-and-fuzzing.md explains each of them.
set(LENET_SANITIZE "" CACHE STRING "Sanitizers for our code: a list of address, undefined, thread")

set(_flags)
foreach(_sanitizer ${LENET_SANITIZE})
  if(_sanitizer STREQUAL "undefined")
    list(APPEND _flags -fsanitize=undefined,float-cast-overflow,float-divide-by-zero)
  elseif(_sanitizer MATCHES "^(address|thread)$")
    list(APPEND _flags -fsanitize=${_sanitizer})
  else()
    message(FATAL_ERROR "LENET_SANITIZE: unknown sanitizer '${_sanitizer}'; known: address, undefined, thread")
  endif()
endforeach()
if("thread" IN_LIST LENET_SANITIZE AND "address" IN_LIST LENET_SANITIZE)
  message(FATAL_ERROR "LENET_SANITIZE: thread and address exclude one another; use two builds")
endif()
if(LENET_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "LENET_BUILD_FUZZERS needs Clang with libFuzzer, which Apple's Clang does not have: "
                        "-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ (Debian: apt-get install clang)")
  endif()
  # Coverage counters in the library too, where the readers are.
  list(APPEND _flags -fsanitize=fuzzer-no-link)
endif()

if(_flags)
  # -O1 after the build type's flags: fast enough, and stack traces that name the functions. What runs
  # once for a model, and the tests, take half as long to compile without it.
  set(LENET_SANITIZE_COLD -O0)
  add_compile_options(${_flags} -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1)
  add_compile_definitions($<$<COMPILE_LANGUAGE:CXX>:_GLIBCXX_ASSERTIONS>)
  add_link_options(${_flags})
endif()

# Of a test that loads Paddle, the environment.
set(LENET_SANITIZER_ENVIRONMENT)
if(LENET_SANITIZE)
  list(JOIN PADDLE_RUNTIME_DIRS ":" _runtime_path)
  list(APPEND LENET_SANITIZER_ENVIRONMENT
    # The sanitizers' dlopen stands between Paddle and the loader, which then no longer searches
    # Paddle's own run path.
    LD_LIBRARY_PATH=${_runtime_path}
    # TBB otherwise opens a helper with RTLD_DEEPBIND, at which the sanitizers end the process.
    TBB_ENABLE_SANITIZERS=1
    # LeakSanitizer guesses where glibc has put a library's thread-local variables, at times wrongly,
    # and crashes ("Tracer caught signal 11").
    ASAN_OPTIONS=alloc_dealloc_mismatch=0:intercept_tls_get_addr=0
    LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/sanitizers/lsan.supp:print_suppressions=0
    UBSAN_OPTIONS=print_stacktrace=1
    TSAN_OPTIONS=ignore_noninstrumented_modules=1)
endif()

# Gives it to the tests of the current folder; to be called after the last add_test.
function(lenet_set_sanitizer_environment)
  if(NOT LENET_SANITIZER_ENVIRONMENT)
    return()
  endif()
  get_property(_tests DIRECTORY PROPERTY TESTS)
  foreach(_test ${_tests})
    set_property(TEST ${_test} APPEND PROPERTY ENVIRONMENT ${LENET_SANITIZER_ENVIRONMENT})
  endforeach()
endfunction()
