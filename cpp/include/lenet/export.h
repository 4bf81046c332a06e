/* What liblenet exports. The library is compiled with hidden visibility: what has no LENET_API is
   not part of it. The attribute has no effect on a program or an archive. lenet.dll exports the
   functions of c_api.h alone, by a list of them: no other compiler links to GCC's C++. In C and
   C++. */
#ifndef LENET_EXPORT_H
#define LENET_EXPORT_H

#if defined(__GNUC__) && !defined(_WIN32)
#define LENET_API __attribute__((visibility("default")))
#else
#define LENET_API
#endif

#endif
