# Writes C definitions for the Python interpreter's symbols that LIBRARY leaves undefined.
# Usage: cmake -DNM=nm -DLIBRARY=libpaddle.so -DOUTPUT=stubs.c -P GeneratePythonStubs.cmake
execute_process(COMMAND ${NM} -D --undefined-only ${LIBRARY} OUTPUT_VARIABLE _symbols
                RESULT_VARIABLE _failed)
if(_failed)
  message(FATAL_ERROR "nm cannot read ${LIBRARY}")
endif()
string(REGEX MATCHALL " U _?Py[A-Za-z0-9_]*" _symbols "${_symbols}")
set(_text "/* Generated from the library's undefined symbols. */\n")
foreach(_symbol ${_symbols})
  string(REPLACE " U " "" _symbol "${_symbol}")
  if(_symbol MATCHES "^PyExc_|_Type$|Struct$|^_Py_EllipsisObject$")
    # Objects, of which only the address is taken before an interpreter runs.
    string(APPEND _text "char ${_symbol}[1024];\n")
  else()
    string(APPEND _text "void ${_symbol}(void) { __builtin_trap(); }\n")
  endif()
endforeach()
file(WRITE ${OUTPUT} "${_text}")
