"""A map R^d → R^D: forward, adjoint, a checksum of its bits."""

import torch

import subspan as ss
from subspan.maps import MAPS, CoordinateMap
from subspan.maps.base import LinearMap, check_dims
from subspan.testing import check_map


class FirstMap(LinearMap):
    """The first d weights, from `skip` on."""

    def __init__(self, dim, ambient_dim, seed, *, skip=0, device="cpu", dtype=torch.float32):
        """Options beside these five, here `skip`, are the map's own: `random:first,skip=2`."""
        check_dims(dim, ambient_dim)
        places = (torch.arange(dim) + skip + seed) % ambient_dim
        self._inner = CoordinateMap(places, ambient_dim, dtype=dtype).to(device)
        self.dim, self.ambient_dim = dim, ambient_dim
        self.device, self.dtype = torch.device(device), dtype

    def _forward(self, theta):
        return self._inner._forward(theta)

    def _adjoint(self, v):
        return self._inner._adjoint(v)

    def to(self, device=None, dtype=None):
        """Return the same map elsewhere."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._inner = self._inner.to(device, dtype)
        new.device, new.dtype = new._inner.device, new._inner.dtype
        return new

    def checksum(self):
        """Return a digest of the bits: the same on every device, today and in the next release."""
        return self._inner.checksum()


MAPS["first"] = FirstMap


def make(dim, ambient_dim, seed):
    """What the suite asks for: the map in float64."""
    return ss.maps.make("first", dim=dim, ambient_dim=ambient_dim, seed=seed, dtype=torch.float64)


check_map(make, 5, 20, orthonormal=True)
assert ss.attach(torch.nn.Linear(4, 3), dim=3, map="first", skip=1).theta.numel() == 3
