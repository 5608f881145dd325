"""The recipe: everything that decides what a run makes, as frozen data read from TOML.

`sections` says which keys there are, their defaults and bounds; `parse` reads TOML into them and
reports all mistakes at once; `defaults` fills in what follows from the backbone. A recipe names
no Python and runs no code.
"""

from toolchain.recipe.parse import load_recipe, parse_recipe
from toolchain.recipe.sections import Recipe

__all__ = ["Recipe", "load_recipe", "parse_recipe"]
