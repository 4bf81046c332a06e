# lenet_warnings(target): our own code compiles without a warning. In another project the compiler
# may be one that has new warnings.
function(lenet_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                         $<$<BOOL:${lenet_IS_TOP_LEVEL}>:-Werror>)
endfunction()
