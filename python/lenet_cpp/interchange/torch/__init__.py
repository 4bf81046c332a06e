"""The networks of :mod:`lenet_cpp.models` in PyTorch, and their parameters in both directions.

Importing this package does not import PyTorch.
"""

from lenet_cpp.interchange.torch.models import NETWORKS, create_network, load_state, save_state
from lenet_cpp.interchange.torch.state import import_state

__all__ = ["NETWORKS", "create_network", "import_state", "load_state", "save_state"]
