// Half types, cp.async, ldmatrix and mma.sync.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void halves(const float *x, __half *h, __nv_bfloat16 *b, float *back, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  h[i] = __float2half_rn(x[i]);
  b[i] = __float2bfloat16_rn(x[i]);
  back[2 * i] = __half2float(h[i]);
  back[2 * i + 1] = __bfloat162float(b[i]);
}

extern "C" __global__ void half_math(const __half2 *x, const __half2 *y, __half2 *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __half2 a = x[i], b = y[i];
  out[4 * i] = __hadd2(a, b);
  out[4 * i + 1] = __hfma2(a, b, b);
  out[4 * i + 2] = __hmax2(a, __hneg2(b));
  out[4 * i + 3] = __hmul2(a, b);
}

extern "C" __global__ void bfloat_math(const __nv_bfloat162 *x, const __nv_bfloat162 *y,
                                       __nv_bfloat162 *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[2 * i] = __hfma2(x[i], y[i], x[i]);
  out[2 * i + 1] = __hmin2(x[i], y[i]);
}

__device__ unsigned shared_address(const void *p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
__device__ void copy16(void *to, const void *from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes) : "memory");
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Sums of the columns of tiles that a three-stage pipeline brings in; the last tile is cut off.
extern "C" __global__ void pipeline(const float *x, float *out, int rows) {
  __shared__ __align__(16) float stage[3][128 * 4];
  int t = threadIdx.x, tiles = (rows + 127) / 128;
  float4 sum = {0.f, 0.f, 0.f, 0.f};
  for (int k = 0; k < 2; ++k) {
    int row = k * 128 + t;
    if (k < tiles) copy16(&stage[k][4 * t], x + 4 * (row < rows ? row : 0), row < rows ? 16 : 0);
    commit();
  }
  for (int k = 0; k < tiles; ++k) {
    wait<1>();
    __syncthreads();
    int next = k + 2, row = next * 128 + t;
    if (next < tiles)
      copy16(&stage[next % 3][4 * t], x + 4 * (row < rows ? row : 0), row < rows ? 16 : 0);
    commit();
    float4 v = *(float4 *)&stage[k % 3][4 * ((t + 1) % 128)];
    sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
  }
  *(float4 *)&out[4 * t] = sum;
}

__device__ void load4(unsigned *r, const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
__device__ void load2_trans(unsigned *r, const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(p)));
}
__device__ void mma16(float *c, const unsigned *a, const unsigned *b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c = a b in bf16: blocks of 32 x 32, 4 warps of 16 x 16, k by 32, two stages.
extern "C" __global__ void mma_gemm(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int n,
                                    int k) {
  __shared__ __align__(16) __nv_bfloat16 sa[2][32][40], sb[2][32][40];
  int t = threadIdx.x, lane = t % 32, warp = t / 32, wm = warp / 2 * 16, wn = warp % 2 * 16;
  int bm = blockIdx.y * 32, bn = blockIdx.x * 32, r = t / 4, q = t % 4 * 8;
  float acc[2][4] = {};
  copy16(&sa[0][r][q], a + (bm + r) * k + q, 16);
  copy16(&sb[0][r][q], b + r * n + bn + q, 16);
  commit();
  for (int k0 = 0; k0 < k; k0 += 32) {
    int now = k0 / 32 % 2;
    if (k0 + 32 < k) {
      copy16(&sa[now ^ 1][r][q], a + (bm + r) * k + k0 + 32 + q, 16);
      copy16(&sb[now ^ 1][r][q], b + (k0 + 32 + r) * n + bn + q, 16);
    }
    commit();
    wait<1>();
    __syncthreads();
    for (int kk = 0; kk < 32; kk += 16) {
      unsigned fa[4], fb[2];
      load4(fa, &sa[now][wm + lane % 16][kk + lane / 16 * 8]);
      for (int j = 0; j < 2; ++j) {
        load2_trans(fb, &sb[now][kk + lane % 16][wn + 8 * j]);
        mma16(acc[j], fa, fb);
      }
    }
    __syncthreads();
  }
  for (int j = 0; j < 2; ++j)
    for (int h = 0; h < 2; ++h) {
      float2 v = {acc[j][2 * h], acc[j][2 * h + 1]};
      *(float2 *)&c[(bm + wm + lane / 4 + 8 * h) * n + bn + wn + 8 * j + lane % 4 * 2] = v;
    }
}

// One warp: d = a b + c for the fragments of tf32 and of f16 accumulators, as they come.
extern "C" __global__ void mma_tf32(const float *a, const float *b, float *c) {
  int lane = threadIdx.x, g = lane / 4, q = lane % 4;
  unsigned fa[4] = {__float_as_uint(a[g * 8 + q]), __float_as_uint(a[(g + 8) * 8 + q]),
                    __float_as_uint(a[g * 8 + q + 4]), __float_as_uint(a[(g + 8) * 8 + q + 4])};
  unsigned fb[2] = {__float_as_uint(b[q * 8 + g]), __float_as_uint(b[(q + 4) * 8 + g])};
  for (int i = 0; i < 4; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fa[i]) : "f"(__uint_as_float(fa[i])));
  for (int i = 0; i < 2; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fb[i]) : "f"(__uint_as_float(fb[i])));
  float d[4] = {};
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * q + i % 2] = d[i];
}

extern "C" __global__ void mma_f16(const __half *a, const __half *b, __half *c) {
  int lane = threadIdx.x, g = lane / 4, q = lane % 4;
  const unsigned *wa = (const unsigned *)a;
  __half2 b0 = __halves2half2(b[(2 * q) * 8 + g], b[(2 * q + 1) * 8 + g]);
  __half2 b1 = __halves2half2(b[(2 * q + 8) * 8 + g], b[(2 * q + 9) * 8 + g]);
  unsigned fb[2] = {*(unsigned *)&b0, *(unsigned *)&b1}, d[2] = {0, 0};
  unsigned fa[4] = {wa[g * 8 + q], wa[(g + 8) * 8 + q], wa[g * 8 + q + 4], wa[(g + 8) * 8 + q + 4]};
  asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
      : "+r"(d[0]), "+r"(d[1])
      : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  for (int h = 0; h < 2; ++h) ((unsigned *)c)[(g + 8 * h) * 4 + q] = d[h];
}

extern "C" __global__ void special(const float *x, float *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i], r;
  float *o = out + 12 * i;
  o[0] = __expf(v); o[1] = __log2f(fabsf(v)); o[2] = __sinf(v); o[3] = __cosf(v);
  o[4] = __frcp_rn(v); o[5] = rsqrtf(fabsf(v)); o[6] = __fsqrt_rz(fabsf(v)); o[7] = __fdiv_rd(v, 3.f);
  asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(v));
  o[8] = r; o[9] = __fmaf_rz(v, v, 1.f); o[10] = __fadd_ru(v, 1e-9f);
  o[11] = (float)__float2int_rn(v) + (float)__float2uint_rz(fabsf(v));
}
