"""Names that are imported when they are first used, and those of typing for any Python."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Generic, TypeVar

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    from typing_extensions import Self, Unpack

__all__ = ["LazyModule", "Self", "Unpack", "cached", "lazy_exports"]


_Owner = TypeVar("_Owner")
_Value = TypeVar("_Value")


class cached(Generic[_Owner, _Value]):  # noqa: N801 - a decorator, used as functools.cached_property is
    """As :class:`functools.cached_property`, which until Python 3.12 takes a lock of the class.

    A child that was forked while a thread had the lock would wait for ever. Threads may compute a
    value twice; the first one stays.
    """

    def __init__(self, function: Callable[[_Owner], _Value]) -> None:
        """Remember what computes the value."""
        self._function, self.__doc__ = function, function.__doc__

    def __get__(self, owner: _Owner, kind: type[_Owner]) -> _Value:
        """Return the value, which becomes an attribute of the object."""
        value = self._function(owner)
        found: _Value = vars(owner).setdefault(self._function.__name__, value)
        return found


class LazyModule:
    """A module that is imported when something of it is first used, or ``get_type_hints`` asks."""

    def __init__(self, name: str) -> None:
        """Remember the module's name."""
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        """Import the module, and return what it has under a name."""
        return getattr(import_module(self._name), attribute)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """Let a copy be the module itself."""
        return import_module, (self._name,)


def lazy_exports(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: Its ``__name__``.
        places: Each name and its module; a name that equals the last part of the module's path
            is the module itself.
    """

    def get(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(places[name])
        found = module if places[name].endswith(f".{name}") else getattr(module, name)
        setattr(sys.modules[package], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names
