"""Bytes of an image to the numbers a network reads: sole owner of decoding and preprocessing."""
