"""ExportedModel -> Verification: parity with the model it came from."""

from toolchain.verification.parity import verify

__all__ = ["verify"]
