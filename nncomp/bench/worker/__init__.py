"""The process that runs one engine for `nncomp bench`.

This folder imports nothing of nncomp (only itself, numpy and the engine's library, by name): the
process of torch then holds torch alone, and its memory is not charged with ours. It is started by
`nncomp.bench.process` and obeys the requests of `main.py`.
"""
