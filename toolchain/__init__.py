"""From a folder of photos to a classifier on a phone and on a server."""

__version__ = "0.1.0"
