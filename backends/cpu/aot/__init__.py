"""Files with native code that run without Python.

`object_file.py`: a graph becomes an object file with a C interface; `header.py` and `example.py`
write the C beside it, `archive.py` and `linker.py` make libraries of it. `package.py`: the native
part of a package that `nncomp.aot.load` runs.
"""
