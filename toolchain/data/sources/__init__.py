"""One file a source: where labelled images come from, and how each kind is recognised."""
