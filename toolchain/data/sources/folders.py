"""Class folders: `cat/*.jpg`, `dog/*.jpg`, at any depth below one folder of everything.

Where each holds train/, val/ or test/ and nothing else, those are the splits: `cat/train/*.jpg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from toolchain.data.sources.found import Found, Top, class_name, tell_eval
from toolchain.data.sources.items import Item, Items, MisfitError
from toolchain.data.sources.split_names import split_of
from toolchain.values import Split


def find(files: Sequence[str], root: str) -> Found:
    """One item a photo.

    Raises:
      MisfitError: a photo lies beside the class folders.
    """
    root = class_root(files, root)
    inner, is_all = _inner(files, root)
    splits = {name: split for name, split in inner.items() if split}
    if len(set(splits.values())) < 2:
        return Found(Items.of(_items(files, root, {})), (root,))
    if is_all and len(splits) == len(inner):
        return Found(Items.of(_items(files, root, splits)), (root,))
    named = ", ".join(sorted(splits)[:4])
    note = f"folders named {named} lie in class folders, beside other photos: no splits are read"
    return Found(Items.of(_items(files, root, {})), (root,), (note,))


def _items(files: Sequence[str], root: str, splits: Mapping[str, Split]) -> Iterator[Item]:
    for name in files:
        folder, slash, rest = name[len(root) :].partition("/")
        if not slash:
            raise MisfitError(name, "lies in no class folder")
        split = splits[rest.partition("/")[0]] if splits else None
        yield Item(name, class_name(folder), split)


def _inner(files: Sequence[str], root: str) -> tuple[dict[str, Split | None], bool]:
    """Names of folders inside class folders -> the split that each means; and if all lie in them.

    Of names that mean no split, only the last is kept: photos may have a folder each.
    """
    found: dict[str, Split | None] = {}
    other, is_all = "", True
    for name in files:
        start = name.find("/", len(root)) + 1
        end = name.find("/", start) if start else -1
        if end < 0:
            is_all = False
        elif (inner := name[start:end]) not in found and inner != other:
            split = split_of(inner)
            if split is None:
                other = inner
            else:
                found[inner] = split
    tops = [Top(name, f"{name}/", split) for name, split in found.items()]
    tell_eval(tops)
    return {top.name: top.split for top in tops} | ({other: None} if other else {}), is_all


def class_root(files: Sequence[str], root: str) -> str:
    """`root`, or the folder above it when all photos lie in one folder: that one is a class."""
    if any("/" in name[len(root) :] for name in files):
        return root
    return "".join(part + "/" for part in root.split("/")[:-2])
