// Shared memory, barriers, warps: reductions, scan, transpose, histogram, softmax, tiled product.
extern "C" __global__ void block_sum(const float *x, float *out, int n) {
  __shared__ float s[256];
  int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  s[t] = i < n ? x[i] : 0.f;
  __syncthreads();
  for (int o = blockDim.x / 2; o > 0; o >>= 1) {
    if (t < o) s[t] += s[t + o];
    __syncthreads();
  }
  if (t == 0) out[blockIdx.x] = s[0];
}

__device__ float warp_sum(float v) {
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffff, v, o);
  return v;
}

extern "C" __global__ void warp_then_block(const float *x, float *out, int n) {
  __shared__ float s[32];
  float v = 0.f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) v += x[(size_t)blockIdx.x * n + i];
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < blockDim.x / 32 ? s[threadIdx.x] : 0.f;
    v = warp_sum(v);
    if (threadIdx.x == 0) out[blockIdx.x] = v;
  }
}

// The last block to finish adds up what the others wrote.
__device__ unsigned finished = 0;

extern "C" __global__ void grid_sum(const float *x, float *partial, float *out, int n) {
  __shared__ bool last;
  float v = 0.f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
  v = warp_sum(v);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = v;
    __threadfence();
    last = atomicInc(&finished, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last) {
    v = 0.f;
    for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x) v += ((volatile float *)partial)[i];
    v = warp_sum(v);
    if (threadIdx.x == 0) *out = v;
  }
}

extern "C" __global__ void transpose(const float *x, float *y, int rows, int cols) {
  __shared__ float tile[32][33];
  int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
  for (int k = 0; k < 32; k += 8)
    if (r + k < rows && c < cols) tile[threadIdx.y + k][threadIdx.x] = x[(r + k) * cols + c];
  __syncthreads();
  c = blockIdx.y * 32 + threadIdx.x;
  r = blockIdx.x * 32 + threadIdx.y;
  for (int k = 0; k < 32; k += 8)
    if (r + k < cols && c < rows) y[(r + k) * rows + c] = tile[threadIdx.x][threadIdx.y + k];
}

extern "C" __global__ void transpose_conflicts(const float *x, float *y) {
  __shared__ float tile[32][32];
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

extern "C" __global__ void histogram(const unsigned char *x, unsigned *bins, int n) {
  __shared__ unsigned s[256];
  for (int b = threadIdx.x; b < 256; b += blockDim.x) s[b] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&s[x[i]], 1u);
  __syncthreads();
  for (int b = threadIdx.x; b < 256; b += blockDim.x)
    if (s[b]) atomicAdd(&bins[b], s[b]);
}

// Inclusive scan of one block (Hillis and Steele), double buffered in dynamic shared memory.
extern "C" __global__ void scan(const int *x, int *y) {
  extern __shared__ int buffer[];
  int t = threadIdx.x, n = blockDim.x, in = 0;
  buffer[t] = x[blockIdx.x * n + t];
  __syncthreads();
  for (int o = 1; o < n; o *= 2) {
    int v = buffer[in * n + t];
    if (t >= o) v += buffer[in * n + t - o];
    in ^= 1;
    buffer[in * n + t] = v;
    __syncthreads();
  }
  y[blockIdx.x * n + t] = buffer[in * n + t];
}

extern "C" __global__ void softmax(const float *x, float *y, int n) {
  __shared__ float s[8];
  const float *row = x + (size_t)blockIdx.x * n;
  float m = -3.4e38f, sum = 0.f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i]);
  for (int o = 16; o > 0; o >>= 1) m = fmaxf(m, __shfl_down_sync(0xffffffff, m, o));
  if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = m;
  __syncthreads();
  m = s[0];
  for (int w = 1; w < blockDim.x / 32; ++w) m = fmaxf(m, s[w]);
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += __expf(row[i] - m);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0.f;
  for (int w = 0; w < blockDim.x / 32; ++w) sum += s[w];
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[(size_t)blockIdx.x * n + i] = __expf(row[i] - m) / sum;
}

// c = a b, tiles of 16 x 16 through shared memory.
extern "C" __global__ void gemm(const float *a, const float *b, float *c, int m, int n, int k) {
  __shared__ float sa[16][16], sb[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, col = blockIdx.x * 16 + tx;
  float acc = 0.f;
  for (int k0 = 0; k0 < k; k0 += 16) {
    sa[ty][tx] = row < m && k0 + tx < k ? a[row * k + k0 + tx] : 0.f;
    sb[ty][tx] = col < n && k0 + ty < k ? b[(k0 + ty) * n + col] : 0.f;
    __syncthreads();
    for (int i = 0; i < 16; ++i) acc += sa[ty][i] * sb[i][tx];
    __syncthreads();
  }
  if (row < m && col < n) c[row * n + col] = acc;
}

// Threads of one key find each other, vote and count; odd lanes go another way first.
extern "C" __global__ void warps(const int *x, unsigned *out) {
  int t = threadIdx.x;
  int v = x[t];
  unsigned same = __match_any_sync(0xffffffff, v);
  unsigned odd = __ballot_sync(0xffffffff, v & 1);
  int all = __all_sync(0xffffffff, v >= 0), any = __any_sync(0xffffffff, v > 5);
  unsigned active = 0;
  int sum = 0;
  if (t & 1) {
    active = __activemask();
    sum = __reduce_add_sync(0xaaaaaaaa, v);
  } else {
    sum = __reduce_max_sync(0x55555555, v);
  }
  __syncwarp();
  int up = __shfl_up_sync(0xffffffff, v, 3), seg = __shfl_down_sync(0xffffffff, v, 1, 8);
  int from = __shfl_sync(0xffffffff, v, t * 7 % 32);
  unsigned *o = out + 10 * t;
  o[0] = same; o[1] = odd; o[2] = all; o[3] = any; o[4] = active;
  o[5] = sum; o[6] = up; o[7] = seg; o[8] = from; o[9] = __popc(same);
}

extern "C" __global__ void atomics(int *ints, float *floats, const int *x) {
  int t = blockIdx.x * blockDim.x + threadIdx.x, v = x[t];
  atomicMax(&ints[0], v);
  atomicMin(&ints[1], v);
  atomicXor(&ints[2], v);
  atomicOr(&ints[3], v);
  atomicAnd(&ints[4], v | 0xff);
  int slot = atomicAdd(&ints[5], 1);
  ints[16 + slot] = t;
  atomicExch(&ints[6], 7);
  atomicCAS(&ints[7], 0, 42);
  atomicAdd(&floats[v & 3], 1.f);
}

// Neighbours in a warp exchange values through shared memory.
extern "C" __global__ void warp_exchange(const int *x, int *y) {
  __shared__ int s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncwarp();
  int v = s[t ^ 1];
  __syncwarp();
  s[t ^ 3] = v;
  __syncwarp();
  y[t] = s[t];
}

// Barriers that count: how many threads, whether any, whether all.
extern "C" __global__ void counting(const int *x, int *out) {
  int t = threadIdx.x, v = x[blockIdx.x * blockDim.x + t];
  int many = __syncthreads_count(v > 3), any = __syncthreads_or(v > 8), all = __syncthreads_and(v > 0);
  if (t == 0) {
    out[3 * blockIdx.x] = many;
    out[3 * blockIdx.x + 1] = any != 0;
    out[3 * blockIdx.x + 2] = all != 0;
  }
}

// The first warp produces, the second consumes, with two named barriers.
extern "C" __global__ void named(const int *x, int *y, int rounds) {
  __shared__ int box[32];
  int lane = threadIdx.x % 32, sum = 0;
  for (int k = 0; k < rounds; ++k) {
    if (threadIdx.x < 32) {
      if (k) asm volatile("bar.sync 2, 64;" ::: "memory");
      box[lane] = x[32 * k + lane];
      asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
      asm volatile("bar.sync 1, 64;" ::: "memory");
      sum += box[31 - lane];
      if (k + 1 < rounds) asm volatile("bar.arrive 2, 64;" ::: "memory");
    }
  }
  if (threadIdx.x >= 32) y[lane] = sum;
}

// Blocks wait for each other between two phases: all of them have to be resident.
__device__ unsigned arrived = 0;

extern "C" __global__ void grid_barrier(const int *x, int *middle, int *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
  middle[i] = x[i] * 2;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(&arrived, 1u);
    while (atomicAdd(&arrived, 0u) < gridDim.x) {}
    __threadfence();
  }
  __syncthreads();
  y[i] = middle[n - 1 - i] + 1;
}

extern "C" __global__ void wide(const long long *a, const long long *b, long long *out,
                                const double *x, double *y) {
  int i = threadIdx.x;
  out[4 * i] = a[i] * b[i];
  out[4 * i + 1] = __mul64hi(a[i], b[i]);
  out[4 * i + 2] = b[i] ? a[i] / b[i] : 0;
  out[4 * i + 3] = (a[i] >> (b[i] & 63)) ^ (long long)__popcll(a[i]) ^ (long long)__clzll(b[i]);
  y[i] = fma(x[i], x[i], -1.0) / sqrt(fabs(x[i]) + 1.0);
}
