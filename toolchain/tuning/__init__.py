"""The search: variants of a recipe -> trials on the validation split -> the recipe to ship.

`variants` says what is tried, `values` what was found, `choice` which to ship; `page` puts it into
words. Training and timing are the ordinary stages, which `toolchain tune` runs. `forms` is the same
for the forms of one int8 .onnx file, which `toolchain quantize --tune-onnx` tries.
"""
