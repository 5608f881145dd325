"""Recipe -> Dataset: find, decode, split and cache the images."""
