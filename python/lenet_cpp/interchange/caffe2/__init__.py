"""Read and write the nets of Caffe2, without Caffe2."""

from lenet_cpp.interchange.caffe2.nets import find_nets, read_nets

__all__ = ["find_nets", "read_nets"]
