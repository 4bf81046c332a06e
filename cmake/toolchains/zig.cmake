# This toolchain is Clang from the Python package ziglang, which has the C and C++ libraries of each
# target. The files beside this one name the target in LENET_ZIG_TARGET.
if(NOT LENET_ZIG)
  find_program(LENET_ZIG_PYTHON NAMES ${Python3_EXECUTABLE} python3 DOC "The Python with ziglang")
  execute_process(
    COMMAND ${LENET_ZIG_PYTHON} -c
            "import importlib.util as u; print(u.find_spec('ziglang').submodule_search_locations[0])"
    OUTPUT_VARIABLE _package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_program(LENET_ZIG NAMES zig PATHS ${_package} NO_DEFAULT_PATH
               DOC "The compiler of the Python package ziglang")
  if(NOT LENET_ZIG)
    message(FATAL_ERROR "There is no zig: pip install --group zig, and name the interpreter by "
                        "-DPython3_EXECUTABLE=")
  endif()
endif()
# Zig's tools are subcommands, but some projects accept only a compiler of one word: scripts call
# them.
if(NOT LENET_ZIG_TOOLS)
  set(LENET_ZIG_TOOLS ${CMAKE_BINARY_DIR}/zig)
endif()
set(GCC)
if(LENET_ZIG_TARGET MATCHES "x86_64-linux")
  find_program(LENET_ZIG_GCC g++ DOC "What compiles the kernels for AVX-512")
  if(LENET_ZIG_GCC)
    set(GCC ${LENET_ZIG_GCC})
  endif()
endif()
set(ZIG ${LENET_ZIG})
set(TARGET "${LENET_ZIG_TARGET} -g0")  # else zig describes every object to a debugger
foreach(MODE cc c++)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/zig.sh.in ${LENET_ZIG_TOOLS}/${MODE} @ONLY)
endforeach()
foreach(_tool ar ranlib)
  file(CONFIGURE OUTPUT ${LENET_ZIG_TOOLS}/${_tool}
       CONTENT "#!/bin/sh\nexec '${LENET_ZIG}' ${_tool} \"$@\"\n")
endforeach()
foreach(_tool cc c++ ar ranlib)
  file(CHMOD ${LENET_ZIG_TOOLS}/${_tool} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endforeach()
# CMake's tries use the same compiler and folders.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LENET_ZIG LENET_ZIG_TOOLS LENET_TARGET_LIBRARIES)
set(CMAKE_C_COMPILER ${LENET_ZIG_TOOLS}/cc)
set(CMAKE_CXX_COMPILER ${LENET_ZIG_TOOLS}/c++)
set(CMAKE_AR ${LENET_ZIG_TOOLS}/ar CACHE FILEPATH "Archiver")
set(CMAKE_RANLIB ${LENET_ZIG_TOOLS}/ranlib CACHE FILEPATH "Index of an archive")

# Only programs come from this machine: its headers belong to its own C library.
set(CMAKE_FIND_ROOT_PATH ${LENET_TARGET_LIBRARIES})
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json ON)  # the package of Python is in a folder of its own
