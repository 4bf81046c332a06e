"""Wheels for any Linux with glibc 2.17 or later, on x86-64 and aarch64."""
