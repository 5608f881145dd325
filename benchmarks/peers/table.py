"""What was found as Markdown: the files, the ratios, and which bars are held."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.measurement import JOINT_CONFIDENCE

# What, ours, the other, and the most that ours may be of it, or of each backbone that has a bar.
BARS = (
    ("int8 .onnx against fp32 .onnx", "onnx", "fp32.onnx", {"mobilenet_v2": 0.60, "vgg16": 0.33}),
    ("int8 .onnx against quantize_static", "onnx", "quantize-static.onnx", 1.03),
    ("int8 .tflite against fp32", "tflite", "fp32.tflite", {"mobilenet_v2": 0.75, "vgg16": 0.15}),
    ("int8 .tflite against the converter's PTQ", "tflite", "converter-ptq.tflite", 1.03),
)
SIZE_BAR = 0.31


def markdown(result: dict) -> str:
    timed = result["benchmark"]
    machine, noise = timed["machine"], timed["noise"]
    why = f" ({'; '.join(noise['reasons'])})" if noise["reasons"] else ""
    lines = [
        f"# {result['name']}: our int8 files and other quantizers', {result['date'][:10]}",
        "",
        f"{machine['processor']}, {machine['logical cores']} cores"
        f"{_instructions(machine)}; "
        + ", ".join(f"{k} {v}" for k, v in result["versions"].items())
        + ".",
        f"{result['calibration']} train photos to calibrate on, {result['images']} test "
        f"photos. The machine was {noise['verdict']}{why}.",
        "",
        f"    {result['command']}",
        "",
        *_files(result),
        "",
        *_bars(result),
    ]
    return "\n".join(lines) + "\n"


def _instructions(machine: dict) -> str:
    flags = machine["processor flags"]
    return f", {'with' if 'vnni' in flags else 'without'} VNNI ({flags})"


def _files(result: dict) -> Iterator[str]:
    ours = _ours(result)
    yield (
        "| file | run by | top-1 % | 95 % | as fp32 % | MB | p50 ms | 95 % | of fp32 | of ours |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for at, row in enumerate(result["benchmark"]["measurements"]):
        known, p50 = result["quality"][row["file"]], row["latency"] and row["latency"]["p50_ms"]
        kind = "onnx" if row["runtime"] != "litert" else "tflite"
        base = _find(result, f"fp32.{kind}")
        speed = f"{p50['value']:.3f} | {p50['low']:.3f} to {p50['high']:.3f}" if p50 else "| "
        yield (
            f"| {row['file']} | {row['runtime']} | {100 * known['value']:.2f} | "
            f"{100 * known['low']:.1f} to {100 * known['high']:.1f} | "
            f"{100 * known['agreement']:.2f} | {row['bytes'] / 1e6:.2f} | {speed} | "
            f"{_shown(_ratio(result, at, base))} | {_shown(_ratio(result, at, ours.get(kind)))} |"
        )
    for name, why in result["missing"].items():
        yield f"| {name} | {' '.join(why.split()).replace('|', '/')} | | | | | | | | |"


def _bars(result: dict) -> Iterator[str]:
    rows, ours = result["benchmark"]["measurements"], _ours(result)
    yield "| p50, 1 thread | at most | found | interval | bar |"
    yield "|---|---:|---:|---:|---|"
    for what, kind, other, most in BARS:
        bar = most if isinstance(most, float) else most.get(result["backbone"])
        found = _ratio(result, ours.get(kind), _find(result, other))
        shown = "no bar" if bar is None else bar
        if found is None:
            yield f"| {what} | {shown} | not measured | | |"
            continue
        interval = f"{found['low']:.3f} to {found['high']:.3f}"
        yield f"| {what} | {shown} | {found['value']:.3f} | {interval} | {_verdict(found, bar)} |"
    for kind, place in ours.items():
        share = rows[place]["bytes"] / rows[_find(result, f"fp32.{kind}")]["bytes"]
        word = "held" if share <= SIZE_BAR else "missed"
        yield f"| size, int8 .{kind} against fp32 | {SIZE_BAR} | {share:.3f} | exact | {word} |"
    yield ""
    sure = f"{100 * JOINT_CONFIDENCE:.0f} %"
    yield f"Ratios are of the same rounds; all intervals hold together at {sure}."


def _verdict(found: dict, bar: float | None) -> str:
    if bar is None:
        return ""
    if found["high"] <= bar:
        return "held"
    if found["low"] > bar:
        return "missed"
    return f"{'held' if found['value'] <= bar else 'missed'}, but the interval holds the bar"


def _ours(result: dict) -> dict[str, int]:
    """Format -> row of our int8 file: trained where there is one."""
    found = {}
    for kind in ("onnx", "tflite"):
        for precision in ("int8-ptq", "int8-qat"):
            place = _find(result, f"{precision}.{kind}")
            if place is not None:
                found[kind] = place
    return found


def _find(result: dict, ending: str) -> int | None:
    """The row of a file: a peer's by its name, ours by what follows the run's."""
    names = [row["file"] for row in result["benchmark"]["measurements"]]
    wanted = {ending, f"{result['name']}.{ending}"}
    return next((at for at, name in enumerate(names) if name in wanted), None)


def _ratio(result: dict, row: int | None, other: int | None) -> dict | None:
    for one in result["benchmark"]["comparisons"]:
        ratio = one["ratio"]
        if (one["row"], one["other"]) == (row, other):
            return ratio
        if (one["row"], one["other"]) == (other, row):
            return {
                "value": 1 / ratio["value"], "low": 1 / ratio["high"], "high": 1 / ratio["low"]
            }  # fmt: skip
    return None


def _shown(ratio: dict | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['value']:.3f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
