"""`subspan`: how many degrees of freedom does training need?

The public names stand in `__init__.pyi`. They are imported on first use, so that `import subspan`
and `subspan --help` do not wait for PyTorch.
"""

import lazy_loader

from subspan.version import VERSION

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
__version__ = VERSION
