# The kernels of the native engine, in one object for each instruction set of the processor.
# With a sanitizer, -O3 takes five times as long to compile as -O1, and -Os twice as long. Without, -O3
# makes all sets larger, but only those with 32 registers faster: ResNet18 by a tenth, LeNet in int8 by 6 %.
set(native_optimized $<IF:$<CONFIG:Debug>,-O1,-O2>)
set(native_optimized_most $<IF:$<CONFIG:Debug>,-O1,-O3>)
set(native_small $<IF:$<CONFIG:Debug>,-O1,-Os>)
# With both sanitizers, these checks of every access take most of the time to compile the kernels. Left to be found
# are accesses out of bounds; not found are single numbers that lie askew, and uses of what left its scope.
if("address" IN_LIST LENET_SANITIZE AND "undefined" IN_LIST LENET_SANITIZE)
  set(_unchecked -fno-sanitize-address-use-after-scope -fno-sanitize=alignment,null,object-size,pointer-overflow)
endif()

# lenet_native_kernels(KIND TABLE LANES REGISTERS [OPTION ...]): the kernels of one set, of float32 (KIND is
# kernels) or int8 (kernels/int8). The file that is compiled is written here: it has nothing of its own.
function(lenet_native_kernels kind table lanes registers)
  string(TOLOWER ${table} name)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/native_${kind}/${name}.cc)
  file(CONFIGURE OUTPUT ${file} CONTENT "#include \"engines/native/${kind}/implementation.h\"\n")
  target_sources(lenet_objects PRIVATE ${file})
  # Nothing is thrown in them: without tables to unwind them the program is some 30 kB smaller.
  set_source_files_properties(${file} PROPERTIES
    COMPILE_DEFINITIONS
      "LENET_LANES=${lanes};LENET_REGISTERS=${registers};LENET_KERNELS=k${table};LENET_NAME=\"${name}\""
    COMPILE_OPTIONS
      "${native_optimized};${_unchecked};${ARGN};$<$<CONFIG:Release>:-fno-exceptions;-fno-asynchronous-unwind-tables>")
endfunction()

set(_int8 -DLENET_ELEMENT=std::int8_t)
set(_uint8 -DLENET_ELEMENT=std::uint8_t)
set(_int16 -DLENET_ELEMENT=std::int16_t)
if(EMSCRIPTEN)
  # There is no int8 (engines/native/compile/without_int8.cc). Browsers on x86-64 keep a few of the 16 registers for
  # themselves, and with 14, V8 keeps two sums of conv_channels in memory: it takes twice as long.
  lenet_native_kernels(kernels Simd128 4 13 ${native_optimized_most})
  return()
endif()
# The reference that the others are compared with, not in a hurry: processors have a faster one.
lenet_native_kernels(kernels Scalar 1 8 ${native_small})
lenet_native_kernels(kernels/int8 Scalar 1 16 ${_int16} ${native_small})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  if(MINGW AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC takes the stack for aligned as its vectors are, which Windows does not keep it (bug 54412 of GCC):
    # the assembler writes the moves that need no alignment.
    list(APPEND native_optimized -Wa,-muse-unaligned-vector-move)
  endif()
  # Clang needs these options for AMX; GCC's assembler knows the instructions anyway.
  set(_tiles $<$<CXX_COMPILER_ID:Clang,AppleClang>:-mamx-tile$<SEMICOLON>-mamx-int8$<SEMICOLON>-mamx-bf16>)
  set(_avx512 ${native_optimized_most} -march=x86-64-v4 -mprefer-vector-width=512)
  lenet_native_kernels(kernels Sse42 4 16 -msse4.2 ${native_small})
  lenet_native_kernels(kernels Avx2 8 16 -mavx2 -mfma)
  lenet_native_kernels(kernels Avx512 16 32 ${_avx512})
  lenet_native_kernels(kernels Avx512Bf16 16 32 ${_avx512} -mavx512bf16 -DLENET_BF16 ${_tiles})
  lenet_native_kernels(kernels/int8 Sse42 4 16 ${_int16} -msse4.2)
  lenet_native_kernels(kernels/int8 Avx2 8 16 ${_int16} -mavx2)
  lenet_native_kernels(kernels/int8 Avx512Vnni 16 32 ${_uint8} ${_avx512} -mavx512vnni ${_tiles})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  # GCC would move the loads of a tile to its beginning, and then has too few registers for its sums.
  set(_in_registers $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>)
  lenet_native_kernels(kernels Neon 4 32 ${_in_registers})
  lenet_native_kernels(kernels/int8 Neon 4 32 ${_int16} ${_in_registers})
  lenet_native_kernels(kernels/int8 NeonDotprod 4 32 ${_int8} -DLENET_DOTPROD ${_in_registers} -march=armv8.2-a+dotprod)
endif()
