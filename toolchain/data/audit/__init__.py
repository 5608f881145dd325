"""Audit: what is wrong with labelled images, before a model learns it.

`scan` reads every byte once; `near` finds copies that were changed; `copies` and `classes` turn
that into findings; `audit` calls them; `show`, `page` and `exclude` write down what was found.
"""

from toolchain.data.audit.audit import audit
from toolchain.data.audit.findings import Audit, Finding, Kind, Severity

__all__ = ["Audit", "Finding", "Kind", "Severity", "audit"]
