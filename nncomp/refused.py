"""Names of torch that are left out on purpose, and why: the sentence that a use of one raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SPARSE = "tensors are dense here; sparse layouts are not supported"
QUANTIZED = "quantized tensors are not supported; use float or integer dtypes"
COMPLEX = "complex numbers are not supported; keep real and imaginary parts in two tensors"
DEVICES = "tensors live on the CPU here; there are no other devices"
NAMED = "named dimensions are not supported; use positions"
REMOVED = "torch itself removed it"
SCRIPT = "there is no TorchScript here; nncomp.compile makes a static program of a function"
SHARED = "memory is not shared between processes here"
FACTORS = "factorizations in packed form are not supported; see nncomp.linalg for those that are"
DTYPES = (
    "this dtype is not supported; have bool, uint8, int8 to int64, bfloat16, float16 to float64"
)
DISTRIBUTIONS = "torch.distributions is not provided; draw with rand, randn, bernoulli, multinomial"
TOOLS = "it is a tool around torch that this package does not have"
INTERNAL = "it is an internal function of torch"
DISTRIBUTED = "there are no process groups here: a program runs in one process"

METHODS = {
    SPARSE: (
        "ccol_indices coalesce col_indices crow_indices dense_dim indices is_coalesced "
        "resize_as_sparse_ row_indices smm sparse_dim sparse_mask sparse_resize_ "
        "sparse_resize_and_clear_ sspaddmm to_mkldnn to_padded_tensor to_sparse to_sparse_bsc "
        "to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr values"
    ),
    QUANTIZED: (
        "dequantize int_repr q_per_channel_axis q_per_channel_scales q_per_channel_zero_points "
        "q_scale q_zero_point qscheme"
    ),
    COMPLEX: "cdouble cfloat chalf istft stft",
    NAMED: "align_as align_to refine_names rename rename_",
    REMOVED: "eig lstsq lu_solve reinforce resize resize_as solve symeig",
    FACTORS: "geqrf lu orgqr ormqr",
    SHARED: "record_stream",
    INTERNAL: "grad_dtype hash_tensor index module_load slice_inverse to_dlpack",
}  # fmt: skip

NAMESPACE = {
    SPARSE: (
        "dsmm hsmm hspmm saddmm smm sparse sparse_bsc sparse_bsc_tensor sparse_bsr "
        "sparse_bsr_tensor sparse_compressed_tensor sparse_coo sparse_coo_tensor sparse_csc "
        "sparse_csc_tensor sparse_csr sparse_csr_tensor spmm sspaddmm masked nested "
        "ccol_indices_copy col_indices_copy crow_indices_copy indices_copy row_indices_copy "
        "values_copy resize_as_sparse_ jagged"
    ),
    QUANTIZED: (
        "QInt32Storage QInt8Storage QUInt2x4Storage QUInt4x2Storage QUInt8Storage ao "
        "choose_qparams_optimized dequantize empty_quantized fake_quantize_per_channel_affine "
        "fake_quantize_per_tensor_affine fbgemm_linear_fp16_weight "
        "fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight "
        "fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_quantize_weight "
        "fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix fused_moving_avg_obs_fake_quant "
        "int_repr per_channel_affine per_channel_affine_float_qparams per_channel_symmetric "
        "per_tensor_affine per_tensor_symmetric q_per_channel_axis q_per_channel_scales "
        "q_per_channel_zero_points q_scale q_zero_point qint32 qint8 qscheme quantization "
        "quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_batch_norm "
        "quantized_gru quantized_gru_cell quantized_lstm quantized_lstm_cell quantized_max_pool1d "
        "quantized_max_pool2d quantized_max_pool3d quantized_rnn_relu_cell "
        "quantized_rnn_tanh_cell quint2x4 quint4x2 quint8"
    ),
    COMPLEX: (
        "ComplexDoubleStorage ComplexFloatStorage cdouble cfloat chalf complex complex128 "
        "complex32 complex64 fft istft polar signal stft view_as_complex view_as_complex_copy "
        "view_as_real view_as_real_copy"
    ),
    DEVICES: (
        "accelerator mps mtia xpu Event Stream get_device_module windows"
    ),
    SCRIPT: (
        "CompilationUnit ScriptClass ScriptClassFunction ScriptDict ScriptDictIterator "
        "ScriptDictKeyIterator ScriptFunction ScriptList ScriptListIterator ScriptMethod "
        "ScriptModule ScriptObject fork wait futures import_ir_module import_ir_module_from_buffer "
        "jit parse_ir parse_schema parse_type_comment export fx package library ops classes cond "
        "while_loop SymBool SymFloat SymInt sym_float sym_int sym_ite sym_max sym_min sym_not "
        "sym_sqrt sym_sum sym_constrain_range sym_constrain_range_for_size sym_fresh_size"
    ),
    REMOVED: "eig lstsq solve symeig quasirandom matrix_rank",
    FACTORS: (
        "geqrf lobpcg lu_unpack orgqr ormqr pca_lowrank svd_lowrank"
    ),
    DTYPES: (
        "bit bits16 bits1x8 bits2x4 bits4x2 bits8 float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz "
        "float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int2 int3 int4 int5 int6 int7 uint1 "
        "uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7"
    ),
    DISTRIBUTIONS: "distributions",
    TOOLS: "hub overrides profiler torch_version version",
    DISTRIBUTED: "distributed multiprocessing monitor",
    SHARED: "from_file",
}  # fmt: skip

reasons = {name: reason for reason, names in NAMESPACE.items() for name in names.split()}


def method(name: str, reason: str) -> Callable:
    """A method of Tensor that raises the reason; its attribute `refused` holds it."""

    def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"Tensor.{name}() is not supported: {reason}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Not supported: {reason}."
    refuse.refused = reason  # type: ignore[attr-defined]
    return refuse


def with_refused_methods(cls: type) -> type:
    """Give a class the methods that are left out on purpose."""
    for reason, names in METHODS.items():
        for name in names.split():
            setattr(cls, name, method(name, reason))
    return cls


def missing(module: str, name: str) -> AttributeError:
    """The error for an unknown name of the package's namespace."""
    reason = reasons.get(name)
    why = "" if reason is None else f": {reason}"
    return AttributeError(f"module '{module}' has no attribute '{name}'{why}")


__all__ = ["METHODS", "NAMESPACE", "method", "missing", "reasons", "with_refused_methods"]
