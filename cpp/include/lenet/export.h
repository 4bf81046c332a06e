/* What liblenet exports. The library is compiled with hidden visibility: what has no LENET_API is
   not part of it. The attribute has no effect on a program or an archive. In C and C++. */
#ifndef LENET_EXPORT_H
#define LENET_EXPORT_H

#ifdef __GNUC__
#define LENET_API __attribute__((visibility("default")))
#else
#define LENET_API
#endif

#endif
