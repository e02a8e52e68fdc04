// Elementwise work, divergent control flow, calls, local memory and constants.
extern "C" __global__ void saxpy(int n, float a, const float *__restrict__ x, float *y) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    y[i] = a * x[i] + y[i];
}

extern "C" __global__ void copy4(const float4 *__restrict__ x, float4 *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = x[i];
}

// Steps of the Collatz sequence: every lane leaves its loop at another time.
extern "C" __global__ void collatz(const int *x, int *steps, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned v = x[i];
  int count = 0;
  while (v != 1) {
    v = (v & 1) ? 3 * v + 1 : v / 2;
    count++;
    if (count == 60) break;
  }
  steps[i] = count;
}

// A switch inside of a loop, with nested breaks.
extern "C" __global__ void switches(const int *x, int *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = x[i], r = 0;
  for (int k = 0; k < 10; ++k) {
    switch ((v + k) % 6) {
      case 0: r += v * k; break;
      case 1: r -= k; if (r < -100) goto done; break;
      case 2: r ^= 0x55; break;
      case 3: r = r * 3 + 1; continue;
      case 4: r >>= 1; break;
      default: r += 7;
    }
    v += r & 3;
  }
done:
  y[i] = r;
}

__noinline__ __device__ float horner(float x, const float *c, int n) {
  float r = 0.f;
  for (int i = 0; i < n; ++i) r = r * x + c[i];
  return r;
}

__constant__ float table[8] = {1.f, -2.f, 3.f, -4.f, 5.f, -6.f, 7.f, -8.f};

extern "C" __global__ void polynomial(const float *x, float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = horner(x[i], table, i % 9) + horner(0.5f, table, 3);
}

// An array per thread, indexed by data: local memory.
extern "C" __global__ void local_sort(const float *x, float *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float v[8];
  for (int k = 0; k < 8; ++k) v[k] = x[8 * i + k];
  for (int k = 1; k < 8; ++k) {
    float key = v[k];
    int j = k - 1;
    while (j >= 0 && v[j] > key) { v[j + 1] = v[j]; --j; }
    v[j + 1] = key;
  }
  for (int k = 0; k < 8; ++k) y[8 * i + k] = v[k];
}

struct Pair { float scale; int shift[3]; };

extern "C" __global__ void by_value(Pair p, const float *x, float *y) {
  int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[i] = x[i] * p.scale + p.shift[threadIdx.x % 3];
}

extern "C" __global__ void integers(const int *a, const int *b, int *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int x = a[i], y = b[i];
  unsigned ux = x, uy = y;
  int *o = out + 16 * i;
  o[0] = y ? x / y : -1;
  o[1] = y ? x % y : x;
  o[2] = uy ? ux / uy : -1;
  o[3] = __mulhi(x, y);
  o[4] = __umulhi(ux, uy);
  o[5] = __popc(x);
  o[6] = __clz(x);
  o[7] = __brev(x);
  o[8] = __funnelshift_l(x, y, y & 63);
  o[9] = __byte_perm(x, y, y & 0x7777);
  o[10] = __ffs(x);
  o[11] = (int)(((long long)x * y) >> 13);
  o[12] = min(x, y) + max(ux, uy);
  o[13] = abs(x) - (x >> 3);
  o[14] = (short)x * (short)y;
  o[15] = (int)__sad(x, y, ux >> 5);
}
