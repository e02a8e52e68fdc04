"""The PTX backend: the same graphs as NVIDIA GPU code.

    graph -> passes -> kernels -> LLVM text -> PTX text -> launches over places in device memory
"""
