"""Messages between parent and child: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.runtimes.wire import MAX_HEADER, WireError, receive, send


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["uint8", "float32", "int64"]),
            st.lists(st.integers(0, 5), max_size=4),
        ),
        max_size=3,
    )
)
def test_arrays_come_out_as_they_went_in(described) -> None:
    arrays = [
        np.arange(np.prod(shape, dtype=int)).astype(d).reshape(shape) for d, shape in described
    ]
    stream = io.BytesIO()
    send(stream, {"ask": "run", "text": "\udcff ü"}, arrays)
    stream.seek(0)
    header, found = receive(stream)
    assert header == {"ask": "run", "text": "\udcff ü"}
    for before, after in zip(arrays, found, strict=True):
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)


def test_non_contiguous_arrays_are_sent_in_order() -> None:
    stream, array = io.BytesIO(), np.arange(12, dtype=np.float32).reshape(3, 4).T
    send(stream, {}, [array])
    stream.seek(0)
    assert np.array_equal(receive(stream)[1][0], array)


def test_end_between_messages_is_told_from_one_inside() -> None:
    with pytest.raises(EOFError):
        receive(io.BytesIO())
    stream = io.BytesIO()
    send(stream, {}, [np.zeros(100, np.uint8)])
    for cut in (2, 10, 50):
        with pytest.raises(WireError):
            receive(io.BytesIO(stream.getvalue()[:cut]))


@pytest.mark.parametrize(
    "arrays",
    [
        [["object", [1]]],
        [["float32", [-1]]],
        [["float32", [1 << 40]]],
        [["uint8", ["3"]]],
        [["uint8"]],
        "text",
    ],
)
def test_hostile_headers_are_refused(arrays) -> None:
    text = json.dumps({"arrays": arrays}).encode()
    with pytest.raises(WireError):
        receive(io.BytesIO(struct.pack(">I", len(text)) + text + bytes(64)))


@pytest.mark.parametrize("data", [struct.pack(">I", MAX_HEADER + 1), b"\0\0\0\2[]", b"\0\0\0\1{"])
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        receive(io.BytesIO(data + bytes(8)))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises((WireError, EOFError)):
        receive(io.BytesIO(data[:4] + b"\xff" + data[4:]) if data else io.BytesIO())
