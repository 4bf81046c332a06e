# Writes C definitions for the Python interpreter's symbols that LIBRARY leaves undefined.
# Usage: cmake -DNM=nm -DLIBRARY=libpaddle.so -DOUTPUT=stubs.c -P GeneratePythonStubs.cmake
execute_process(COMMAND ${NM} -D --undefined-only ${LIBRARY} OUTPUT_VARIABLE _symbols
                RESULT_VARIABLE _failed)
if(_failed)
  message(FATAL_ERROR "nm cannot read ${LIBRARY}")
endif()
string(REGEX MATCHALL " U _?Py[A-Za-z0-9_]*" _undefined "${_symbols}")
list(TRANSFORM _undefined REPLACE " U " "")

# Data has to be there when a library is opened, functions only when they are called. So that the
# program also opens the library of another PaddlePaddle, all data that Python 3.10 to 3.13 define
# and a library may refer to is included, whatever this library needs.
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/python_data_symbols.txt _data)

set(_text "/* Generated from the library's undefined symbols and python_data_symbols.txt. */\n")
foreach(_symbol ${_data})
  # Only the address is taken before an interpreter runs.
  string(APPEND _text "char ${_symbol}[1024];\n")
endforeach()
list(REMOVE_ITEM _undefined ${_data})
foreach(_symbol ${_undefined})
  string(APPEND _text "void ${_symbol}(void) { __builtin_trap(); }\n")
endforeach()
file(WRITE ${OUTPUT} "${_text}")
