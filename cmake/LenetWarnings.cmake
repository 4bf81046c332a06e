# lenet_warnings(target): our own code compiles without a warning.
function(lenet_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
endfunction()
