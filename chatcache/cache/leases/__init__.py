"""Single flight across processes: who makes a call holds a lease, and the others wait for what comes of it."""

from .following import Following
from .lease import Lease, Leases
from .rows import Left

__all__ = ["Following", "Lease", "Leases", "Left"]
