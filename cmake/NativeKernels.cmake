# The kernels of the native engine, one file for each instruction set of the processor.
set(native_kernels ${PROJECT_SOURCE_DIR}/cpp/src/engines/native/kernels)
set_source_files_properties(${native_kernels}/scalar.cc PROPERTIES COMPILE_OPTIONS "-O3;-ffp-contract=off")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  target_sources(lenet_objects PRIVATE ${native_kernels}/sse42.cc ${native_kernels}/avx2.cc ${native_kernels}/avx512.cc)
  set_source_files_properties(${native_kernels}/sse42.cc PROPERTIES COMPILE_OPTIONS "-O3;-msse4.2;-ffp-contract=off")
  set_source_files_properties(${native_kernels}/avx2.cc PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mfma;-ffp-contract=fast")
  set_source_files_properties(${native_kernels}/avx512.cc PROPERTIES COMPILE_OPTIONS
    "-O3;-march=x86-64-v4;-mprefer-vector-width=512;-ffp-contract=fast")
endif()
# Nothing is thrown in them: without tables to unwind them the program is some 30 kB smaller.
file(GLOB _kernels ${native_kernels}/*.cc)
list(FILTER _kernels EXCLUDE REGEX "dispatch")
set_property(SOURCE ${_kernels} APPEND PROPERTY COMPILE_OPTIONS
  $<$<CONFIG:Release>:-fno-exceptions> $<$<CONFIG:Release>:-fno-asynchronous-unwind-tables>)
