# Linux on aarch64, cross-compiled (Debian: g++-aarch64-linux-gnu) and run in an emulator (qemu-user).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(_libraries /usr/aarch64-linux-gnu)
find_program(LENET_AARCH64_EMULATOR NAMES qemu-aarch64 qemu-aarch64-static
             DOC "What runs the tests that were built for aarch64")
if(LENET_AARCH64_EMULATOR)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LENET_AARCH64_EMULATOR} -L ${_libraries})
endif()

# Of this machine come programs, and libraries that are headers only.
set(CMAKE_FIND_ROOT_PATH ${_libraries})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
