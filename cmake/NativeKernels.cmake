# The kernels of the native engine, one file for each instruction set of the processor.
set(native_kernels ${PROJECT_SOURCE_DIR}/cpp/src/engines/native/kernels)
set(native_int8 ${PROJECT_SOURCE_DIR}/cpp/src/engines/native/int8)
# What pays is written out in them: -O3 makes them larger and no faster, but for int8 with AVX-512
# (6 %). With a sanitizer it would take five times as long to compile.
set(native_optimized $<IF:$<CONFIG:Debug>,-O1,-O2>)
# The reference that the others are compared with; processors have a faster one.
set_source_files_properties(${native_kernels}/scalar.cc ${native_int8}/scalar.cc
                            PROPERTIES COMPILE_OPTIONS "-Os;-ffp-contract=off")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  target_sources(lenet_objects PRIVATE ${native_kernels}/sse42.cc ${native_kernels}/avx2.cc ${native_kernels}/avx512.cc)
  set_source_files_properties(${native_kernels}/sse42.cc PROPERTIES COMPILE_OPTIONS "${native_optimized};-msse4.2;-ffp-contract=off")
  set_source_files_properties(${native_kernels}/avx2.cc PROPERTIES COMPILE_OPTIONS "${native_optimized};-mavx2;-mfma;-ffp-contract=fast")
  set_source_files_properties(${native_kernels}/avx512.cc PROPERTIES COMPILE_OPTIONS
    "${native_optimized};-march=x86-64-v4;-mprefer-vector-width=512;-ffp-contract=fast")
  # All sets round alike: no product and sum rounded once.
  target_sources(lenet_objects PRIVATE ${native_int8}/sse42.cc ${native_int8}/avx2.cc
                               ${native_int8}/avx512_vnni.cc)
  set_source_files_properties(${native_int8}/sse42.cc PROPERTIES COMPILE_OPTIONS "${native_optimized};-msse4.2;-ffp-contract=off")
  set_source_files_properties(${native_int8}/avx2.cc PROPERTIES COMPILE_OPTIONS "${native_optimized};-mavx2;-ffp-contract=off")
  set_source_files_properties(${native_int8}/avx512_vnni.cc PROPERTIES COMPILE_OPTIONS
    "$<IF:$<CONFIG:Debug>,-O1,-O3>;-march=x86-64-v4;-mavx512vnni;-mprefer-vector-width=512;-ffp-contract=off")
endif()
set_source_files_properties(${native_int8}/float_layers.cc
                            PROPERTIES COMPILE_OPTIONS "-O2;-ffp-contract=off")
# Nothing is thrown in them: without tables to unwind them the program is some 30 kB smaller.
file(GLOB _kernels ${native_kernels}/*.cc ${native_int8}/avx*.cc ${native_int8}/sse42.cc ${native_int8}/scalar.cc)
list(FILTER _kernels EXCLUDE REGEX "dispatch")
set_property(SOURCE ${_kernels} APPEND PROPERTY COMPILE_OPTIONS
  $<$<CONFIG:Release>:-fno-exceptions> $<$<CONFIG:Release>:-fno-asynchronous-unwind-tables>)
