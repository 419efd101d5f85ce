// One optimizer step of the decoder (isoflop/train/model.py) on one thread of an x86-64 CPU, without torch.
//
// A step of a small model in torch is thousands of operations of a few microseconds whose arithmetic takes a twentieth
// of that. Here it is one call. The mathematics are those of model.py and of torch's AdamW and SGD; sums are taken in
// another order, so results agree to float32 rounding, and those of AVX2 and AVX-512 do not have equal bits.
//
// Floating point is strict (no -ffast-math): a NaN anywhere must reach the loss or the gradient norm.
//
// Legend: B sequences, T tokens, M = B T, V vocabulary, D width, H heads, K head_dim, F hidden size of the MLP.
//
// Every row of numbers here is padded with zeros to whole vectors of 16: no loop over columns has a tail. A head of
// K numbers lies in 16-number steps too, its two halves padded alike, so that rotation pairs lane with lane. Weights,
// gradients and moments stay where torch has them, dense; a step spreads the weights out and gathers the gradients.

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
constexpr int PAD = 16;                   // columns of a row come in such steps
constexpr float NORM_EPSILON = 1e-6f;     // model.py's
constexpr float CLIP_EPSILON = 1e-6f;     // torch.nn.utils.clip_grads_with_norm_'s
constexpr float MASKED = -1e30f;          // far below any score, and finite
// Products: numbers of B beyond which its columns are copied, rows of A from which that pays, rows of B copied at once.
constexpr long FIRST_CACHE = 8192, LEAST_ROWS = 32;
constexpr int DEPTH = 256;
constexpr int ROWS_OF_SCORES = 16;        // queries that attention takes at a time: less of the causal half is wasted
constexpr int TOKENS_OF_LOSSES = 256;     // tokens whose losses are taken at a time, where a sequence has fewer: cached
constexpr long MOST_KEPT_SCORES = 1 << 24;  // floats of all layers; more attention weights are computed anew backward

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float vec8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));

static inline int padded(int n) { return (n + PAD - 1) / PAD * PAD; }
static inline vec load(const float* at) { return *(const vec*)at; }
static inline void store(float* at, vec x) { *(vec*)at = x; }
static inline vec8 load8(const float* at) { return *(const vec8*)at; }
static inline void store8(float* at, vec8 x) { *(vec8*)at = x; }
static inline vec all(float x) { return x - vec{}; }
static inline vec larger(vec x, vec y) { return x > y ? x : y; }

// Reductions by halves: a chain of additions would take one latency per lane.
static inline vec8 lower(vec8 x) { return x; }
static inline vec8 upper(vec8) { return vec8{}; }
#if defined(__AVX512F__)
static inline vec8 lower(vec x) { return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7); }
static inline vec8 upper(vec x) { return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15); }
#endif
static inline float sum(vec x) {
  vec8 e = LANES == 16 ? lower(x) + upper(x) : lower(x);
  vec4 q = __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
  return (q[0] + q[2]) + (q[1] + q[3]);
}
static inline float largest(vec x) {
  float most = x[0];
  for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
  return most;
}
static inline float dot(const float* a, const float* b, int n) {
  vec s{};
  for (int i = 0; i < n; i += LANES) s += load(a + i) * load(b + i);
  return sum(s);
}

// e^x to 2 units in the last place (Cephes' expf: reduction by ln 2 in two parts, then a polynomial of degree 6).
// Clamped to what float32 holds; a NaN stays one.
static inline vec exponential(vec x) {
  x = x < all(-87.f) ? all(-87.f) : x;
  x = x > all(88.f) ? all(88.f) : x;
  const float round_by_adding = 12582912.f;  // 1.5 * 2^23: no fraction bits are left
  vec n = (x * 1.44269504088896341f + round_by_adding) - round_by_adding;
  x -= n * 0.693359375f;
  x -= n * -2.12194440e-4f;
  vec y = all(1.9875691500e-4f);
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * x * x + x + 1.f;
  ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
  return y * (vec)power;
}

// ---- matrix products ------------------------------------------------------------------------------------------------

// A (rows, inner) as it lies: one number to the next row, to the next column.
struct Strided {
  const float* at;
  long row, column;
};

// A block of C (ROWS, VECTORS vectors) in registers: C = A B, or C += A B.
template <int ROWS, int VECTORS, bool ADD>
static inline void block(int inner, Strided a, const float* __restrict__ b, long b_row, float* __restrict__ c, long c_row) {
  vec sums[ROWS][VECTORS];
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) sums[i][j] = ADD ? load(c + i * c_row + LANES * j) : vec{};
  for (int k = 0; k < inner; k++) {
    vec row[VECTORS];
    for (int j = 0; j < VECTORS; j++) row[j] = load(b + k * b_row + LANES * j);
    for (int i = 0; i < ROWS; i++) {
      float factor = a.at[i * a.row + k * a.column];
      for (int j = 0; j < VECTORS; j++) sums[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) store(c + i * c_row + LANES * j, sums[i][j]);
}

// As many rows at a time as the registers hold: 32 with AVX-512, 16 with AVX2.
template <int VECTORS, bool ADD>
static inline void columns(int m, int inner, Strided a, const float* b, long b_row, float* c, long c_row) {
  constexpr int ROWS = LANES == 16 ? (VECTORS == 3 ? 8 : 12) : (VECTORS == 3 ? 4 : VECTORS == 2 ? 6 : 8);
  int i = 0;
  auto rest = [&] { return Strided{a.at + i * a.row, a.row, a.column}; };
  for (; i + ROWS <= m; i += ROWS) block<ROWS, VECTORS, ADD>(inner, rest(), b, b_row, c + i * c_row, c_row);
  for (; i + 4 <= m; i += 4) block<4, VECTORS, ADD>(inner, rest(), b, b_row, c + i * c_row, c_row);
  for (; i < m; i++) block<1, VECTORS, ADD>(inner, rest(), b, b_row, c + i * c_row, c_row);
}

// As `columns`, for a B too large for the first cache: `DEPTH` rows of its columns at a time are laid side by side.
// Every sum is still taken in one order.
template <int VECTORS, bool ADD>
static void deep_columns(int m, int inner, Strided a, const float* b, long b_row, float* c, long c_row) {
  constexpr int WIDTH = VECTORS * LANES;
  alignas(64) float panel[DEPTH * WIDTH];
  for (int k = 0; k < inner; k += DEPTH) {
    int depth = inner - k < DEPTH ? inner - k : DEPTH;
    for (int i = 0; i < depth; i++) std::memcpy(panel + i * WIDTH, b + (k + i) * b_row, 4 * WIDTH);
    Strided part{a.at + k * a.column, a.row, a.column};
    if (k == 0) columns<VECTORS, ADD>(m, depth, part, panel, WIDTH, c, c_row);
    else columns<VECTORS, true>(m, depth, part, panel, WIDTH, c, c_row);
  }
}

// C (m, n) = A (m, inner) B (inner, n), or C += A B; n is a whole number of vectors.
template <bool ADD = false>
static void product(int m, int n, int inner, Strided a, const float* b, long b_row, float* c, long c_row) {
  const bool deep = m >= LEAST_ROWS && inner * b_row > FIRST_CACHE;
  int j = 0;
  auto take = [&](auto vectors) {
    constexpr int VECTORS = decltype(vectors)::value;
    (deep ? deep_columns<VECTORS, ADD> : columns<VECTORS, ADD>)(m, inner, a, b + j, b_row, c + j, c_row);
    j += VECTORS * LANES;
  };
  while (n - j >= 3 * LANES && n - j != 4 * LANES) take(std::integral_constant<int, 3>{});
  while (n - j >= 2 * LANES) take(std::integral_constant<int, 2>{});
  while (j < n) take(std::integral_constant<int, 1>{});
}

// out (c, r) = in (r, c) transposed, 16 rows at a time so that a cache line of `out` is written at once.
static void transpose(int r, int c, const float* in, long in_row, float* out, long out_row) {
  for (int i = 0; i < r; i += 16) {
    int n = r - i < 16 ? r - i : 16;
    for (int j = 0; j < c; j++)
      for (int k = 0; k < n; k++) out[j * out_row + i + k] = in[(i + k) * in_row + j];
  }
}

// ---- where numbers lie ----------------------------------------------------------------------------------------------

struct Run {
  int dense, spread, n;
};
using Axis = std::vector<Run>;  // where the numbers of a dense axis lie in a padded one

static Axis plain_axis(int n, int offset = 0) { return {{0, offset, n}}; }

static Axis head_axis(int n_heads, int head_dim, int offset = 0) {
  Axis runs;
  int half = head_dim / 2, pitch = padded(head_dim);
  for (int i = 0; i < 2 * n_heads; i++) runs.push_back({i * half, offset + i * pitch / 2, half});
  return runs;
}

struct Zeroed {  // numbers on a cache line's boundary, zero at first
  explicit Zeroed(long n) : at((float*)std::aligned_alloc(64, (n * 4 + 64 + 63) / 64 * 64), std::free) {
    if (!at) throw std::bad_alloc();
    std::memset(at.get(), 0, (n * 4 + 64 + 63) / 64 * 64);
  }
  std::unique_ptr<float, void (*)(void*)> at;
};

// One parameter of the model, where torch has it.
struct Parameter {
  float *weight, *gradient, *mean, *square;  // the latter two: AdamW's moments; SGD has its momentum in `mean`
  int group;
  int n_rows, n_columns;
  Axis rows, columns;

  long size() const { return (long)n_rows * n_columns; }

  void spread(float* out, long out_row) const {
    for (const Run& r : rows)
      for (int i = 0; i < r.n; i++)
        for (const Run& c : columns)
          std::memcpy(out + (r.spread + i) * out_row + c.spread,
                      weight + (long)(r.dense + i) * n_columns + c.dense, 4 * c.n);
  }

  // `add` to the gradient of earlier micro-batches, or be the first.
  void gather(const float* in, long in_row, bool add) const {
    for (const Run& r : rows)
      for (int i = 0; i < r.n; i++)
        for (const Run& c : columns) {
          float* to = gradient + (long)(r.dense + i) * n_columns + c.dense;
          const float* from = in + (r.spread + i) * in_row + c.spread;
          if (!add) std::memcpy(to, from, 4 * c.n);
          else for (int k = 0; k < c.n; k++) to[k] += from[k];
        }
  }
};

// y = x W^T for W (out, in), made of one or more parameters below each other.
struct Linear {
  std::vector<Parameter> parts;
  int out, in, out_row, in_row;  // numbers that count, and with padding
  float *weight, *transposed;    // (out, in_row), (in, out_row)

  void prepare() const {
    for (const Parameter& part : parts) part.spread(weight, in_row);
    transpose(out, in, weight, in_row, transposed, out_row);
  }
  template <bool ADD = false>
  void forward(int m, const float* x, float* y) const {
    product<ADD>(m, out_row, in, {x, in_row, 1}, transposed, out_row, y, out_row);
  }
  void input_gradient(int m, const float* dy, float* dx) const {
    product(m, in_row, out, {dy, out_row, 1}, weight, in_row, dx, in_row);
  }
  void weight_gradient(int m, const float* dy, const float* x, float* scratch, bool add) const {
    product(out, in_row, m, {dy, 1, out_row}, x, in_row, scratch, in_row);
    for (const Parameter& part : parts) part.gather(scratch, in_row, add);
  }
};

struct Gain {
  Parameter parameter;
  float *gain, *gradient;  // padded

  void prepare() const { parameter.spread(gain, 0); }
  void gather(bool add) const { parameter.gather(gradient, 0, add); }
};

struct Layer {
  Gain norm1, query_norm, key_norm, norm2;
  Linear qkv, o, gate_up, down;
  // Kept from the forward pass for the backward one; `inverse` is 1 / rms of a row.
  float *x, *h1, *inverse1, *projected, *inverse_qk, *q, *k, *v, *scores, *mixed;
  float *x_mid, *h2, *inverse2, *gated, *sigmoid, *activated;
};

struct Shape {
  int32_t n_layers, width, n_heads, head_dim, d_ff, vocab_size, context_length, most_sequences;
};

enum Kind : int32_t { ADAMW, SGD, ELSEWHERE };  // ELSEWHERE: torch takes the step with the gradients found here
constexpr int MOST_GROUPS = 5;                   // native_step.py's

struct Optimizer {
  double momentum, beta1, beta2, epsilon, grad_clip;
  double decay[MOST_GROUPS];  // per group: AdamW's weight_decay
  int32_t n_groups, kind;
};

struct Step {
  Shape shape;
  Optimizer optimizer;
  int d_row, inner, k_row, f_row, v_row, t_row;  // padded D, H K, K, F, V, T
  bool keeps_scores;
  std::vector<Zeroed> memory;
  std::vector<Layer> layers;
  Parameter embedding;
  Gain norm;
  Linear head;
  float *cosines, *sines;  // (T, k_row / 2)
  float *x_end, *h_end, *inverse_end, *logits;
  float *dx, *dh, *dgated, *dactivated, *dprojected, *dmixed, *dq, *dk, *dv, *dscores, *transposed1, *transposed2;
  float *scratch;  // a padded gradient of the largest matrix

  float* numbers(long n) {
    memory.emplace_back(n);
    return memory.back().at.get();
  }
  int n_tokens(int n_sequences) const { return n_sequences * shape.context_length; }
};

// ---- operations -----------------------------------------------------------------------------------------------------

// h = x / rms(x) * gain, row by row.
static void norm_forward(int m, int d, int row, const float* x, const float* gain, float* h, float* inverse) {
  for (int i = 0; i < m; i++, x += row, h += row) {
    float r = inverse[i] = 1.f / std::sqrt(dot(x, x, row) / d + NORM_EPSILON);
    for (int j = 0; j < row; j += LANES) store(h + j, load(x + j) * r * load(gain + j));
  }
}

// dx (+)= the gradient through the norm of dh; fills the gain's gradient.
// The gradient dh (row) of one row's norm, taken through it to its `d` numbers x and to the gain.
template <bool ADD>
static inline void norm_row_backward(int d, int row, const float* x, const Gain& gain, float r, const float* dh, float* dx) {
  vec along{};
  for (int j = 0; j < row; j += LANES) {
    vec t = load(dh + j) * load(x + j) * r;
    store(gain.gradient + j, load(gain.gradient + j) + t);
    along += t * load(gain.gain + j);
  }
  float mean = sum(along) * r / d;
  for (int j = 0; j < row; j += LANES) {
    vec through = (load(dh + j) * load(gain.gain + j) - load(x + j) * mean) * r;
    store(dx + j, ADD ? load(dx + j) + through : through);
  }
}

template <bool ADD>
static void norm_backward(int m, int d, int row, const float* x, const Gain& gain, const float* inverse,
                          const float* dh, float* dx) {
  std::memset(gain.gradient, 0, 4 * row);
  for (int i = 0; i < m; i++, x += row, dh += row, dx += row) norm_row_backward<ADD>(d, row, x, gain, inverse[i], dh, dx);
}

// Normalise one head's query or key x and turn its pairs (i, i + K/2) by their angles.
static inline float rotary_forward(int k, int k_row, const float* x, const float* gain, const float* cosines,
                                   const float* sines, float* out) {
  int half = k_row / 2;
  float r = 1.f / std::sqrt(dot(x, x, k_row) / k + NORM_EPSILON);
  for (int i = 0; i < half; i += 8) {
    vec8 a = load8(x + i) * r * load8(gain + i), b = load8(x + half + i) * r * load8(gain + half + i);
    vec8 c = load8(cosines + i), s = load8(sines + i);
    store8(out + i, a * c - b * s);
    store8(out + half + i, b * c + a * s);
  }
  return r;
}

// dx = the gradient through rotation and norm of `dout`, which is overwritten; adds to the gain's gradient.
static inline void rotary_backward(int k, int k_row, const float* x, const Gain& gain, float r, const float* cosines,
                                   const float* sines, float* dout, float* dx) {
  int half = k_row / 2;
  for (int i = 0; i < half; i += 8) {
    vec8 a = load8(dout + i), b = load8(dout + half + i), c = load8(cosines + i), s = load8(sines + i);
    store8(dout + i, a * c + b * s);
    store8(dout + half + i, b * c - a * s);
  }
  norm_row_backward<false>(k, k_row, x, gain, r, dout, dx);
}

// Queries, keys and values of all heads from their projections: (B, H, T, K) each, the first two normed and rotated.
static void heads_forward(const Step& z, const Layer& y, int n) {
  const int T = z.shape.context_length, H = z.shape.n_heads, K = z.k_row, half = K / 2;
  const float* x = y.projected;
  float* inverse = y.inverse_qk;
  for (int b = 0; b < n; b++)
    for (int t = 0; t < T; t++, x += 3 * z.inner)
      for (int h = 0; h < H; h++) {
        const float *c = z.cosines + t * half, *s = z.sines + t * half;
        long at = (((long)b * H + h) * T + t) * K;
        const float *q = x + h * K, *k = q + z.inner, *v = k + z.inner;
        *inverse++ = rotary_forward(z.shape.head_dim, K, q, y.query_norm.gain, c, s, y.q + at);
        *inverse++ = rotary_forward(z.shape.head_dim, K, k, y.key_norm.gain, c, s, y.k + at);
        std::memcpy(y.v + at, v, 4 * K);
      }
}

// Softmax over the first `visible` of `n` scores, scaled; the others become 0.
static inline void softmax(float* row, int visible, int n, float scale) {
  for (int j = visible; j < n; j++) row[j] = MASKED;
  vec most = all(MASKED), total{};
  for (int j = 0; j < n; j += LANES) most = larger(load(row + j), most);
  float shift = largest(most) * scale;
  for (int j = 0; j < n; j += LANES) store(row + j, exponential(load(row + j) * scale - shift));
  for (int j = visible; j < n; j++) row[j] = 0;
  for (int j = 0; j < n; j += LANES) total += load(row + j);
  float inverse = 1.f / sum(total);
  for (int j = 0; j < n; j += LANES) store(row + j, load(row + j) * inverse);
}

// Attention weights of the `n` queries from `first` to the keys up to them; `keys` (K, T) transposed.
static void attention_weights(const Step& z, const float* q, const float* keys, int first, int n, float* weights) {
  const int K = z.k_row, n_columns = padded(first + n);
  const float scale = 1.f / std::sqrt((float)z.shape.head_dim);
  product(n, n_columns, K, {q + (long)first * K, K, 1}, keys, z.t_row, weights, z.t_row);
  for (int i = 0; i < n; i++) softmax(weights + (long)i * z.t_row, first + i + 1, n_columns, scale);
}

static float* scores_of(const Step& z, const Layer& y, int pair, int first) {
  return y.scores + ((z.keeps_scores ? (long)pair * z.shape.context_length + first : 0) * z.t_row);
}

// mixed (M, H K) = softmax(q k^T / sqrt(K)) v, causal.
static void attention_forward(const Step& z, const Layer& y, int n_sequences) {
  const int T = z.shape.context_length, H = z.shape.n_heads, K = z.k_row;
  for (int pair = 0; pair < n_sequences * H; pair++) {  // a sequence and a head
    long at = (long)pair * T * K;
    transpose(T, K, y.k + at, K, z.transposed1, z.t_row);
    float* mixed = y.mixed + (long)(pair / H) * T * z.inner + pair % H * K;
    for (int first = 0; first < T; first += ROWS_OF_SCORES) {
      int n = T - first < ROWS_OF_SCORES ? T - first : ROWS_OF_SCORES;
      float* weights = scores_of(z, y, pair, first);
      attention_weights(z, y.q + at, z.transposed1, first, n, weights);
      product(n, K, first + n, {weights, z.t_row, 1}, y.v + at, K, mixed + (long)first * z.inner, z.inner);
    }
  }
}

// dq, dk, dv (T, K) of one sequence and head from dmixed.
static void attention_backward_pair(const Step& z, const Layer& y, int pair) {
  const int T = z.shape.context_length, H = z.shape.n_heads, K = z.k_row;
  const float scale = 1.f / std::sqrt((float)z.shape.head_dim);
  long at = (long)pair * T * K, in_rows = (long)(pair / H) * T * z.inner + pair % H * K;
  if (!z.keeps_scores) transpose(T, K, y.k + at, K, z.transposed1, z.t_row);
  transpose(T, K, y.v + at, K, z.transposed2, z.t_row);
  std::memset(z.dk, 0, 4L * T * K);
  std::memset(z.dv, 0, 4L * T * K);
  for (int first = 0; first < T; first += ROWS_OF_SCORES) {
    int n = T - first < ROWS_OF_SCORES ? T - first : ROWS_OF_SCORES, n_keys = first + n, n_columns = padded(n_keys);
    const float *dout = z.dmixed + in_rows + (long)first * z.inner, *out = y.mixed + in_rows + (long)first * z.inner;
    float* weights = scores_of(z, y, pair, first);
    if (!z.keeps_scores) attention_weights(z, y.q + at, z.transposed1, first, n, weights);
    product<true>(n_keys, K, n, {weights, 1, z.t_row}, dout, z.inner, z.dv, K);
    product(n, n_columns, K, {dout, z.inner, 1}, z.transposed2, z.t_row, z.dscores, z.t_row);
    for (int i = 0; i < n; i++) {
      // The softmax's gradient needs sum_j weight_j dweight_j, which is dout . out.
      float along = dot(dout + (long)i * z.inner, out + (long)i * z.inner, K);
      float *row = z.dscores + (long)i * z.t_row, *weight = weights + (long)i * z.t_row;
      for (int j = 0; j < n_columns; j += LANES) store(row + j, load(weight + j) * (load(row + j) - along) * scale);
    }
    product(n, K, n_keys, {z.dscores, z.t_row, 1}, y.k + at, K, z.dq + (long)first * K, K);
    product<true>(n_keys, K, n, {z.dscores, 1, z.t_row}, y.q + at + (long)first * K, K, z.dk, K);
  }
}

// dprojected (M, 3 H K) from dmixed (M, H K); fills the gradients of both gains.
static void attention_backward(const Step& z, const Layer& y, int n_sequences) {
  const int T = z.shape.context_length, H = z.shape.n_heads, K = z.k_row, half = K / 2;
  std::memset(y.query_norm.gradient, 0, 4 * K);
  std::memset(y.key_norm.gradient, 0, 4 * K);
  for (int pair = 0; pair < n_sequences * H; pair++) {
    attention_backward_pair(z, y, pair);
    for (int t = 0; t < T; t++) {
      long token = (long)(pair / H) * T + t;
      const float *c = z.cosines + t * half, *s = z.sines + t * half, *inverse = y.inverse_qk + 2 * (token * H + pair % H);
      const float* x = y.projected + token * 3 * z.inner + pair % H * K;
      float* dx = z.dprojected + token * 3 * z.inner + pair % H * K;
      rotary_backward(z.shape.head_dim, K, x, y.query_norm, inverse[0], c, s, z.dq + t * K, dx);
      rotary_backward(z.shape.head_dim, K, x + z.inner, y.key_norm, inverse[1], c, s, z.dk + t * K, dx + z.inner);
      std::memcpy(dx + 2 * z.inner, z.dv + t * K, 4 * K);
    }
  }
}

// activated = silu(gate) * up; the sigmoid is kept.
static void swiglu_forward(const Step& z, const Layer& y, int m) {
  for (int i = 0; i < m; i++) {
    const float *gate = y.gated + (long)i * 2 * z.f_row, *up = gate + z.f_row;
    float *sigmoid = y.sigmoid + (long)i * z.f_row, *out = y.activated + (long)i * z.f_row;
    for (int j = 0; j < z.f_row; j += LANES) {
      vec g = load(gate + j), s = 1.f / (1.f + exponential(-g));
      store(sigmoid + j, s);
      store(out + j, g * s * load(up + j));
    }
  }
}

static void swiglu_backward(const Step& z, const Layer& y, int m) {
  for (int i = 0; i < m; i++) {
    const float *gate = y.gated + (long)i * 2 * z.f_row, *up = gate + z.f_row;
    const float *sigmoid = y.sigmoid + (long)i * z.f_row, *dout = z.dactivated + (long)i * z.f_row;
    float *dgate = z.dgated + (long)i * 2 * z.f_row, *dup = dgate + z.f_row;
    for (int j = 0; j < z.f_row; j += LANES) {
      vec g = load(gate + j), s = load(sigmoid + j), d = load(dout + j) * s;
      store(dup + j, d * g);
      store(dgate + j, d * load(up + j) * (1.f + g * (1.f - s)));
    }
  }
}

// The largest of a row of logits, whose padding becomes too small to count.
static float largest_logit(const Step& z, float* row) {
  for (int j = z.shape.vocab_size; j < z.v_row; j++) row[j] = MASKED;
  vec most = all(MASKED);
  for (int j = 0; j < z.v_row; j += LANES) most = larger(load(row + j), most);
  return largest(most);
}

// The loss of a row of logits.
static double loss_of_row(const Step& z, float* row, int64_t target) {
  float shift = largest_logit(z, row);
  vec total{};
  for (int j = 0; j < z.v_row; j += LANES) total += exponential(load(row + j) - shift);
  return (double)(shift - row[target]) + std::log((double)sum(total));
}

// The same; the logits become their gradient times `share`.
static double cross_entropy_row(const Step& z, float* row, int64_t target, float share) {
  const int V = z.shape.vocab_size;
  float wanted = row[target], shift = largest_logit(z, row);
  vec total{};
  for (int j = 0; j < z.v_row; j += LANES) {
    vec x = exponential(load(row + j) - shift);
    store(row + j, x);
    total += x;
  }
  float n = sum(total), factor = share / n;
  for (int j = 0; j < z.v_row; j += LANES) store(row + j, load(row + j) * factor);
  for (int j = V; j < z.v_row; j++) row[j] = 0;
  row[target] -= share;
  return (double)(shift - wanted) + std::log((double)n);
}

// ---- the step -------------------------------------------------------------------------------------------------------

// Spread out the weights, which the last update has changed.
static void prepare(const Step& z) {
  for (const Layer& y : z.layers) {
    for (const Gain* gain : {&y.norm1, &y.query_norm, &y.key_norm, &y.norm2}) gain->prepare();
    for (const Linear* linear : {&y.qkv, &y.o, &y.gate_up, &y.down}) linear->prepare();
  }
  z.norm.prepare();
  z.head.prepare();
}

static void layer_forward(const Step& z, const Layer& y, int n, float* x_next) {
  const int M = z.n_tokens(n), D = z.shape.width;
  norm_forward(M, D, z.d_row, y.x, y.norm1.gain, y.h1, y.inverse1);
  y.qkv.forward(M, y.h1, y.projected);
  heads_forward(z, y, n);
  attention_forward(z, y, n);
  std::memcpy(y.x_mid, y.x, 4L * M * z.d_row);
  y.o.forward<true>(M, y.mixed, y.x_mid);
  norm_forward(M, D, z.d_row, y.x_mid, y.norm2.gain, y.h2, y.inverse2);
  y.gate_up.forward(M, y.h2, y.gated);
  swiglu_forward(z, y, M);
  std::memcpy(x_next, y.x_mid, 4L * M * z.d_row);
  y.down.forward<true>(M, y.activated, x_next);
}

static void layer_backward(const Step& z, const Layer& y, int n, bool add) {
  const int M = z.n_tokens(n), D = z.shape.width;
  y.down.weight_gradient(M, z.dx, y.activated, z.scratch, add);
  y.down.input_gradient(M, z.dx, z.dactivated);
  swiglu_backward(z, y, M);
  y.gate_up.weight_gradient(M, z.dgated, y.h2, z.scratch, add);
  y.gate_up.input_gradient(M, z.dgated, z.dh);
  norm_backward<true>(M, D, z.d_row, y.x_mid, y.norm2, y.inverse2, z.dh, z.dx);
  y.o.weight_gradient(M, z.dx, y.mixed, z.scratch, add);
  y.o.input_gradient(M, z.dx, z.dmixed);
  attention_backward(z, y, n);
  y.qkv.weight_gradient(M, z.dprojected, y.h1, z.scratch, add);
  y.qkv.input_gradient(M, z.dprojected, z.dh);
  norm_backward<true>(M, D, z.d_row, y.x, y.norm1, y.inverse1, z.dh, z.dx);
  for (const Gain* gain : {&y.norm1, &y.query_norm, &y.key_norm, &y.norm2}) gain->gather(add);
}

static void embed(const Step& z, const int64_t* tokens, int n) {
  const int T = z.shape.context_length, D = z.shape.width;
  for (int b = 0; b < n; b++)
    for (int t = 0; t < T; t++)
      std::memcpy(z.layers[0].x + ((long)b * T + t) * z.d_row, z.embedding.weight + tokens[b * (T + 1L) + t] * D, 4 * D);
}

static void embed_backward(const Step& z, const int64_t* tokens, int n, bool add) {
  const int T = z.shape.context_length, D = z.shape.width;
  if (!add) std::memset(z.embedding.gradient, 0, 4 * z.embedding.size());
  for (int b = 0; b < n; b++)
    for (int t = 0; t < T; t++) {
      float* to = z.embedding.gradient + tokens[b * (T + 1L) + t] * D;
      const float* from = z.dx + ((long)b * T + t) * z.d_row;
      for (int j = 0; j < D; j++) to[j] += from[j];
    }
}

// The logits of `n` sequences.
static void forward(const Step& z, const int64_t* tokens, int n) {
  const int M = z.n_tokens(n), L = z.shape.n_layers;
  embed(z, tokens, n);
  for (int l = 0; l < L; l++) layer_forward(z, z.layers[l], n, l + 1 < L ? z.layers[l + 1].x : z.x_end);
  norm_forward(M, z.shape.width, z.d_row, z.x_end, z.norm.gain, z.h_end, z.inverse_end);
  z.head.forward(M, z.h_end, z.logits);
}

// The mean loss of each of `n` sequences.
static void sequence_losses(const Step& z, const int64_t* tokens, int n, double* losses) {
  const int T = z.shape.context_length;
  forward(z, tokens, n);
  for (int b = 0; b < n; b++) {
    losses[b] = 0;
    for (int t = 0; t < T; t++)
      losses[b] += loss_of_row(z, z.logits + ((long)b * T + t) * z.v_row, tokens[b * (T + 1L) + t + 1]);
    losses[b] /= T;
  }
}

// The gradient of the mean loss over `n_batch` sequences, as far as these `n` contribute; returns their share of it.
static double add_gradient(const Step& z, const int64_t* tokens, int n, int n_batch, bool add) {
  const int T = z.shape.context_length, M = z.n_tokens(n), D = z.shape.width, L = z.shape.n_layers;
  forward(z, tokens, n);
  double loss = 0;
  for (int b = 0; b < n; b++)
    for (int t = 0; t < T; t++)
      loss += cross_entropy_row(z, z.logits + ((long)b * T + t) * z.v_row, tokens[b * (T + 1L) + t + 1],
                                1.f / z.n_tokens(n_batch));
  z.head.weight_gradient(M, z.logits, z.h_end, z.scratch, add);
  z.head.input_gradient(M, z.logits, z.dh);
  norm_backward<false>(M, D, z.d_row, z.x_end, z.norm, z.inverse_end, z.dh, z.dx);
  z.norm.gather(add);
  for (int l = L - 1; l >= 0; l--) layer_backward(z, z.layers[l], n, add);
  embed_backward(z, tokens, n, add);
  return loss / z.n_tokens(n_batch);
}

template <typename F>
static void for_each_parameter(const Step& z, F f) {
  f(z.embedding);
  for (const Layer& y : z.layers) {
    for (const Gain* gain : {&y.norm1, &y.query_norm, &y.key_norm, &y.norm2}) f(gain->parameter);
    for (const Linear* linear : {&y.qkv, &y.o, &y.gate_up, &y.down})
      for (const Parameter& part : linear->parts) f(part);
  }
  f(z.norm.parameter);
  for (const Parameter& part : z.head.parts) f(part);
}

static double sum_of_squares(const float* x, long n) {
  double total = 0;  // of sums of 256: the rounding of a long float32 sum grows with its length
  long i = 0;
  for (; i + 256 <= n; i += 256) total += dot(x + i, x + i, 256);
  for (; i < n; i++) total += (double)x[i] * x[i];
  return total;
}

static float gradient_norm(const Step& z) {
  double total = 0;
  for_each_parameter(z, [&](const Parameter& p) { total += sum_of_squares(p.gradient, p.size()); });
  return (float)std::sqrt(total);
}

// torch's AdamW with the gradient times `clip`; `number` counts steps from 1.
static void update_adamw(const Step& z, float clip, const double* rates, int64_t number) {
  const Optimizer& how = z.optimizer;
  const double unbias1 = 1 - std::pow(how.beta1, (double)number), unbias2 = 1 - std::pow(how.beta2, (double)number);
  const float keep2 = (float)how.beta2, take1 = (float)(1 - how.beta1), take2 = (float)(1 - how.beta2);
  const float inverse2 = (float)(1 / std::sqrt(unbias2)), epsilon = (float)how.epsilon;
  for_each_parameter(z, [&](const Parameter& p) {
    const float step = (float)(rates[p.group] / unbias1), keep = (float)(1 - rates[p.group] * how.decay[p.group]);
    float *__restrict__ w = p.weight, *__restrict__ mean = p.mean, *__restrict__ square = p.square;
    const float* __restrict__ gradient = p.gradient;
    const long n = p.size();
    for (long i = 0; i < n; i++) {
      float g = gradient[i] * clip;
      float m = mean[i] + (g - mean[i]) * take1, v = square[i] * keep2 + g * g * take2;
      mean[i] = m;
      square[i] = v;
      w[i] = w[i] * keep - step * m / (std::sqrt(v) * inverse2 + epsilon);
    }
  });
}

// torch's SGD with momentum with the gradient times `clip`, and AdamW's decay.
static void update_sgd(const Step& z, float clip, const double* rates) {
  const Optimizer& how = z.optimizer;
  const float kept = (float)how.momentum;
  for_each_parameter(z, [&](const Parameter& p) {
    const float rate = (float)rates[p.group], keep = (float)(1 - rates[p.group] * how.decay[p.group]);
    float *__restrict__ w = p.weight, *__restrict__ momentum = p.mean;
    const float* __restrict__ gradient = p.gradient;
    const long n = p.size();
    for (long i = 0; i < n; i++) {
      float m = momentum[i] * kept + gradient[i] * clip;
      momentum[i] = m;
      w[i] = w[i] * keep - rate * m;
    }
  });
}

// The gradient clipped to the norm `grad_clip`.
static void update(const Step& z, float norm, const double* rates, int64_t number) {
  float clip = (float)z.optimizer.grad_clip / (norm + CLIP_EPSILON);
  clip = clip > 1.f ? 1.f : clip;
  if (z.optimizer.kind == ADAMW) update_adamw(z, clip, rates, number);
  else update_sgd(z, clip, rates);
}

// Numbers below 1e-38 count as zero meanwhile: moments of rarely seen tokens end there, and each would cost a trap.
struct FlushTiny {
  unsigned before = _mm_getcsr();
  FlushTiny() { _mm_setcsr(before | 0x8040); }
  ~FlushTiny() { _mm_setcsr(before); }
};

// ---- making one -----------------------------------------------------------------------------------------------------

// Hands out the model's parameters in the order of native_step.py's NAMES.
struct Source {
  float* const* tensors;  // per parameter: weight, gradient, mean, square
  const int32_t* groups;

  Parameter next(int n_rows, int n_columns, Axis rows, Axis columns) {
    Parameter p{tensors[0], tensors[1], tensors[2], tensors[3], *groups, n_rows, n_columns, rows, columns};
    tensors += 4;
    groups++;
    return p;
  }
};

static Gain make_gain(Step& z, Source& from, int n, Axis columns, int row) {
  return {from.next(1, n, plain_axis(1), columns), z.numbers(row), z.numbers(row)};
}

static Linear make_linear(Step& z, std::vector<Parameter> parts, int out, int in) {
  int out_row = padded(out), in_row = padded(in);
  return {parts, out, in, out_row, in_row, z.numbers((long)out_row * in_row), z.numbers((long)in_row * out_row)};
}

static Layer make_layer(Step& z, Source& from) {
  const Shape& s = z.shape;
  const int D = s.width, H = s.n_heads, K = s.head_dim, F = s.d_ff;
  const Axis width = plain_axis(D);
  Layer y;
  y.norm1 = make_gain(z, from, D, width, z.d_row);
  std::vector<Parameter> qkv, gate_up;
  for (int i = 0; i < 3; i++) qkv.push_back(from.next(H * K, D, head_axis(H, K, i * z.inner), width));
  y.qkv = make_linear(z, qkv, 3 * z.inner, D);
  y.o = make_linear(z, {from.next(D, H * K, width, head_axis(H, K))}, D, z.inner);
  y.query_norm = make_gain(z, from, K, head_axis(1, K), z.k_row);
  y.key_norm = make_gain(z, from, K, head_axis(1, K), z.k_row);
  y.norm2 = make_gain(z, from, D, width, z.d_row);
  for (int i = 0; i < 2; i++) gate_up.push_back(from.next(F, D, plain_axis(F, i * z.f_row), width));
  y.gate_up = make_linear(z, gate_up, 2 * z.f_row, D);
  y.down = make_linear(z, {from.next(D, F, width, plain_axis(F))}, D, F);

  const long M = z.n_tokens(s.most_sequences);
  for (float** rows : {&y.x, &y.h1, &y.x_mid, &y.h2}) *rows = z.numbers(M * z.d_row);
  for (float** rows : {&y.q, &y.k, &y.v, &y.mixed}) *rows = z.numbers(M * z.inner);
  for (float** column : {&y.inverse1, &y.inverse2}) *column = z.numbers(M);
  for (float** rows : {&y.sigmoid, &y.activated}) *rows = z.numbers(M * z.f_row);
  y.projected = z.numbers(M * 3 * z.inner);
  y.inverse_qk = z.numbers(M * 2 * H);
  y.gated = z.numbers(M * 2 * z.f_row);
  y.scores = z.numbers((z.keeps_scores ? M * H : ROWS_OF_SCORES) * z.t_row);
  return y;
}

static void make_backward(Step& z) {
  const Shape& s = z.shape;
  const long M = z.n_tokens(s.most_sequences);
  for (float** rows : {&z.x_end, &z.h_end, &z.dx, &z.dh}) *rows = z.numbers(M * z.d_row);
  for (float** rows : {&z.dq, &z.dk, &z.dv}) *rows = z.numbers((long)s.context_length * z.k_row);
  for (float** rows : {&z.transposed1, &z.transposed2}) *rows = z.numbers((long)z.k_row * z.t_row);
  z.inverse_end = z.numbers(M);
  z.logits = z.numbers(M * z.v_row);
  z.dgated = z.numbers(M * 2 * z.f_row);
  z.dactivated = z.numbers(M * z.f_row);
  z.dprojected = z.numbers(M * 3 * z.inner);
  z.dmixed = z.numbers(M * z.inner);
  z.dscores = z.numbers((long)ROWS_OF_SCORES * z.t_row);
  long largest = (long)z.v_row * z.d_row;
  for (long n : {3L * z.inner * z.d_row, 2L * z.f_row * z.d_row}) largest = n > largest ? n : largest;
  z.scratch = z.numbers(largest);
}

static void make_rotation(Step& z, const float* cosines, const float* sines) {
  const int half = z.shape.head_dim / 2, row = z.k_row / 2;
  z.cosines = z.numbers((long)z.shape.context_length * row);
  z.sines = z.numbers((long)z.shape.context_length * row);
  for (int t = 0; t < z.shape.context_length; t++) {  // model.py's tables have each half twice
    std::memcpy(z.cosines + (long)t * row, cosines + (long)t * 2 * half, 4 * half);
    std::memcpy(z.sines + (long)t * row, sines + (long)t * 2 * half, 4 * half);
  }
}

static void make(Step& z, Source from) {
  const Shape& s = z.shape;
  z.d_row = padded(s.width);
  z.k_row = padded(s.head_dim);
  z.inner = s.n_heads * z.k_row;
  z.f_row = padded(s.d_ff);
  z.v_row = padded(s.vocab_size);
  z.t_row = padded(s.context_length);
  z.keeps_scores = (long)s.n_layers * z.n_tokens(s.most_sequences) * s.n_heads * z.t_row <= MOST_KEPT_SCORES;
  z.embedding = from.next(s.vocab_size, s.width, plain_axis(s.vocab_size), plain_axis(s.width));
  for (int l = 0; l < s.n_layers; l++) z.layers.push_back(make_layer(z, from));
  z.norm = make_gain(z, from, s.width, plain_axis(s.width), z.d_row);
  z.head = make_linear(z, {from.next(s.vocab_size, s.width, plain_axis(s.vocab_size), plain_axis(s.width))},
                       s.vocab_size, s.width);
  make_backward(z);
}

// ---- what native_step.py calls --------------------------------------------------------------------------------------

extern "C" {

// Raised with any change to the functions below, so that a library of another version is not used.
int32_t isoflop_step_version() { return 5; }

// A step for batches of at most `most_sequences` at once, or null without memory. The tensors are dense float32 and
// outlive it, moments that the optimizer does not have are null; cosines and sines are (T, K).
void* isoflop_step_new(const Shape* shape, const Optimizer* optimizer, float* const* tensors, const int32_t* groups,
                       const float* cosines, const float* sines) {
  try {
    auto z = std::make_unique<Step>();
    z->shape = *shape;
    z->optimizer = *optimizer;
    make(*z, {tensors, groups});
    make_rotation(*z, cosines, sines);
    return z.release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void isoflop_step_free(void* step) { delete (Step*)step; }

// The mean loss of each of `n` sequences (n, T + 1), however many, by the weights as they are.
void isoflop_step_losses(void* step, const int64_t* tokens, int32_t n, double* losses) {
  FlushTiny flush;
  const Step& z = *(Step*)step;
  const int T = z.shape.context_length, cached = T < TOKENS_OF_LOSSES ? TOKENS_OF_LOSSES / T : 1;
  const int most = cached < z.shape.most_sequences ? cached : z.shape.most_sequences;
  prepare(z);
  for (int i = 0; i < n; i += most) sequence_losses(z, tokens + i * (T + 1L), n - i < most ? n - i : most, losses + i);
}

// The gradient of `n` sequences (n, T + 1) of a batch of `n_batch`; the first call of a batch has `add` 0.
double isoflop_step_gradient(void* step, const int64_t* tokens, int32_t n, int32_t n_batch, int32_t add) {
  FlushTiny flush;
  const Step& z = *(Step*)step;
  if (!add) prepare(z);
  return add_gradient(z, tokens, n, n_batch, add);
}

// Take the step `number` (from 1) with the gradient that was added up, at one rate per group. Returns its norm; if
// that or the loss is not finite, nothing has changed; nor for an optimizer that is elsewhere.
float isoflop_step_update(void* step, double loss, const double* rates, int64_t number) {
  FlushTiny flush;
  const Step& z = *(Step*)step;
  const float norm = gradient_norm(z);
  if (z.optimizer.kind != ELSEWHERE && std::isfinite((float)loss) && std::isfinite(norm)) update(z, norm, rates, number);
  return norm;
}

// `n_steps` steps of whole batches: tokens (n_steps, n, T + 1), rates (n_steps, groups), log (n_steps, 2) of loss and norm.
// Returns how many rows of the log were written: the last one's step was not taken if its numbers are not finite.
int32_t isoflop_step_take(void* step, const int64_t* tokens, int32_t n_steps, int32_t n, const double* rates,
                          int64_t first_number, float* log) {
  for (int i = 0; i < n_steps; i++) {
    double loss = isoflop_step_gradient(step, tokens + (long)i * n * (((Step*)step)->shape.context_length + 1), n, n, 0);
    float norm = isoflop_step_update(step, loss, rates + i * ((Step*)step)->optimizer.n_groups, first_number + i);
    log[2 * i] = (float)loss;
    log[2 * i + 1] = norm;
    if (!std::isfinite(log[2 * i]) || !std::isfinite(norm)) return i + 1;
  }
  return n_steps;
}

// C = A B, all (side, side), by the product that the step is made of; side in steps of 16.
void isoflop_step_product(int32_t side, const float* a, const float* b, float* c) {
  product(side, side, side, {a, side, 1}, b, side, c, side);
}
}
