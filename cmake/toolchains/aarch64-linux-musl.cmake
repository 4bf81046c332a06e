# This toolchain builds for Linux on aarch64 with musl. Its programs need no file of the system.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(LENET_ZIG_TARGET aarch64-linux-musl)
include(${CMAKE_CURRENT_LIST_DIR}/zig.cmake)
find_program(LENET_AARCH64_EMULATOR NAMES qemu-aarch64 qemu-aarch64-static
             DOC "What runs the tests that were built for aarch64")
if(LENET_AARCH64_EMULATOR)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LENET_AARCH64_EMULATOR})
endif()
