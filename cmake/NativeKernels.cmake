# The kernels of the native engine, one file for each instruction set of the processor.
set(native_kernels ${PROJECT_SOURCE_DIR}/cpp/src/engines/native/kernels)
set(native_int8 ${PROJECT_SOURCE_DIR}/cpp/src/engines/native/int8)
# With a sanitizer, -O3 takes five times as long to compile. Without, it makes all sets larger, but
# only those with 32 registers faster: ResNet18 by a tenth, LeNet in int8 by 6 %.
set(native_optimized $<IF:$<CONFIG:Debug>,-O1,-O2>)
set(native_optimized_most $<IF:$<CONFIG:Debug>,-O1,-O3>)
# Where a set has multiply-adds, the kernels of float32 use them; those of int8, as all the rest, round
# products and sums apart.
# GCC has no multiply-adds of one expression only (before 14, `on` is `off`); and with `fast`, Clang joins
# products and sums as it suits what is around them, so that the two layouts would differ in last bits.
set(native_multiply_adds $<IF:$<CXX_COMPILER_ID:Clang>,-ffp-contract=on,-ffp-contract=fast>)
# The reference that the others are compared with; processors have a faster one.
set_source_files_properties(${native_kernels}/scalar.cc ${native_int8}/scalar.cc
                            PROPERTIES COMPILE_OPTIONS "-Os")

# lenet_native_kernels(FILE [OPTION ...]): a file of one set, and what the compiler has to be told.
function(lenet_native_kernels file)
  target_sources(lenet_objects PRIVATE ${file})
  set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${native_optimized};${ARGN}")
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(_avx512 ${native_optimized_most} -march=x86-64-v4 -mprefer-vector-width=512)
  lenet_native_kernels(${native_kernels}/sse42.cc -msse4.2)
  lenet_native_kernels(${native_kernels}/avx2.cc -mavx2 -mfma ${native_multiply_adds})
  lenet_native_kernels(${native_kernels}/avx512.cc ${_avx512} ${native_multiply_adds})
  lenet_native_kernels(${native_int8}/sse42.cc -msse4.2)
  lenet_native_kernels(${native_int8}/avx2.cc -mavx2)
  lenet_native_kernels(${native_int8}/avx512_vnni.cc ${_avx512} -mavx512vnni)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  # GCC would move the loads of a tile to its beginning, and then has too few registers for its sums.
  set(_in_registers $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>)
  lenet_native_kernels(${native_kernels}/neon.cc ${_in_registers} ${native_multiply_adds})
  lenet_native_kernels(${native_int8}/neon.cc ${_in_registers})
  lenet_native_kernels(${native_int8}/neon_dotprod.cc ${_in_registers} -march=armv8.2-a+dotprod)
endif()
set_source_files_properties(${native_int8}/float_layers.cc PROPERTIES COMPILE_OPTIONS "-O2")
# Nothing is thrown in them: without tables to unwind them the program is some 30 kB smaller.
file(GLOB _kernels ${native_kernels}/*.cc ${native_int8}/avx*.cc ${native_int8}/neon*.cc
     ${native_int8}/sse42.cc ${native_int8}/scalar.cc)
list(FILTER _kernels EXCLUDE REGEX "dispatch")
set_property(SOURCE ${_kernels} APPEND PROPERTY COMPILE_OPTIONS
  $<$<CONFIG:Release>:-fno-exceptions> $<$<CONFIG:Release>:-fno-asynchronous-unwind-tables>)
