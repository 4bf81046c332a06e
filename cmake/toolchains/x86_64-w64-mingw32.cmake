# Windows on x86-64, cross-compiled (Debian: g++-mingw-w64-x86-64-posix) and run in Wine (wine64).
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)

find_program(LENET_WINE NAMES wine64 wine PATHS /usr/lib/wine DOC "What runs programs of Windows")
if(LENET_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LENET_WINE})
endif()

# Of this machine come programs, and libraries that are headers only.
set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32 ${LENET_WINDOWS_LIBRARIES})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
