"""Bytes of an image to the numbers a network reads. The only owner of decoding and preprocessing."""
