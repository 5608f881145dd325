"""ExportedModel -> Verification: every file asked on the same photos, compared with its model."""

from toolchain.verification.ask import ask
from toolchain.verification.pairs import Photos
from toolchain.verification.parity import verify

__all__ = ["Photos", "ask", "verify"]
