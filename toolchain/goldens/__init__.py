"""Golden vectors: a dozen pictures, their pixels, and what each exported file answers to them.

They lie in `goldens/` beside the files, as images and JSON that any language reads. `write_goldens`
makes them at export; `replay` proves on any machine that every step from bytes to probabilities is
still the same; `check_client` tells a foreign client's author which step of theirs is another.
"""

from toolchain.goldens.client import check_client
from toolchain.goldens.record import Finding
from toolchain.goldens.replay import Replayed, replay
from toolchain.goldens.write import write_goldens

__all__ = ["Finding", "Replayed", "check_client", "replay", "write_goldens"]
