"""Class folders below train/, val/ (or valid/, validation/, dev/) and test/; the split is kept.

The folders may be called training_set, seg_test or test_images, and be repeated inside themselves.
A test folder without class folders has photos to predict: they are left aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from toolchain.data.sources.found import Found, Top, class_name, placed, tops
from toolchain.data.sources.items import Item, Items, MisfitError


def find(files: Sequence[str], root: str) -> Found:
    """One item a photo with its split; the split is ours where train alone has classes.

    Raises:
      MisfitError: a photo lies elsewhere.
    """
    found = tops(files, root)
    aside = [top for top in found.values() if _is_aside(top, found)]
    labelled = [top for top in found.values() if top not in aside]
    for top in labelled:
        if top.loose or not top.classes:
            raise MisfitError(top.first_loose, f"lies beside the class folders of {top.name}/")
    if not labelled:
        raise MisfitError(next(iter(files)), "lies in no class folder")
    times = Counter(top.split for top in labelled)
    if twice := [top.name for top in labelled if times[top.split] > 1]:
        raise MisfitError(f"{twice[0]}/", f"is the same split as {twice[1]}/")
    return Found(
        Items.of(_items(files, root, found, labelled)),
        tuple(root + top.start for top in labelled),
        tuple(top.left_aside() for top in aside),
    )


def _is_aside(top: Top, found: dict[str, Top]) -> bool:
    if top.split != "test":
        return top.split is None
    train = (other.classes for other in found.values() if other.split == "train")
    known: set[str] = set().union(*train)
    # test/unknown/*.jpg and test/images/*.jpg: one folder, and no class of train.
    return not top.classes or (len(top.classes) == 1 and bool(known) and not top.classes & known)


def _items(
    files: Sequence[str], root: str, found: dict[str, Top], labelled: Sequence[Top]
) -> Iterator[Item]:
    kept = any(top.split != "train" for top in labelled)
    names = {top.name for top in labelled}
    for name, top, path in placed(files, root, found):
        if top.name in names:
            folder = path.partition("/")[0]
            yield Item(name, class_name(folder), top.split if kept else None)
