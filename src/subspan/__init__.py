"""`subspan`: how many degrees of freedom does training need?

The public names stand in `__init__.pyi`. They are imported on first use, so that `import subspan`
and `subspan --help` do not wait for PyTorch.
"""

import importlib.metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

try:
    __version__ = importlib.metadata.version("subspan")
except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
