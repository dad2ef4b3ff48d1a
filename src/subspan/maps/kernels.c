/* What maps do to one float32 vector, each as one pass: `kernels.py` says what, and when.

   Sums add in the order that is written here, and nothing is contracted to a fused multiplication
   and addition (-ffp-contract=off), so that the numbers are the same on every processor. Vectors
   are those of GCC and Clang; on x86-64 with glibc each function is compiled for three generations
   of processors, and the loader takes the newest that fits. Another compiler fails, and the
   package is installed without this. */

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GLIBC__) /* whose loader chooses */
#define PUBLIC __attribute__((visibility("default"), target_clones("avx512f", "avx2", "default")))
#else
#define PUBLIC __attribute__((visibility("default")))
#endif
#define ORDER 16 /* of the Walsh-Hadamard matrix */
#define WIDTH 16 /* columns at a time */
#define LINE 64  /* coordinates that `Strips` moves together */

typedef float vector __attribute__((vector_size(4 * WIDTH)));
typedef float unaligned __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* Some linkers ask for it: setuptools takes the file for a Python module. */
void *PyInit__kernels(void) { return 0; }

/* What `kernels.VERSION` must be: to be raised with every change of a signature or of `shape`. */
__attribute__((visibility("default"))) int64_t kernels_version(void) { return 1; }

/* out[i] = theta[place[i]] * entry[i], and + offset[i] where offset is not NULL. */
PUBLIC void gather(const float *restrict theta, const int32_t *restrict place,
                   const float *restrict entry, const float *restrict offset, float *restrict out,
                   int64_t size)
{
    if (offset)
        for (int64_t i = 0; i < size; i++) out[i] = theta[place[i]] * entry[i] + offset[i];
    else
        for (int64_t i = 0; i < size; i++) out[i] = theta[place[i]] * entry[i];
}

/* sums[place[i]] += v[i] * entry[i], in the order of i. */
PUBLIC void scatter(const float *restrict v, const int32_t *restrict place,
                    const float *restrict entry, float *restrict sums, int64_t size)
{
    for (int64_t i = 0; i < size; i++) sums[place[i]] += v[i] * entry[i];
}

/* WIDTH columns of 16 rows, in place; sign is NULL, or multiplies before or after.

   A product adds its 16 terms one after another. Rows whose signs agree so far share their sum. */
INLINE void mix_columns(float *x, int64_t apart, const float *sign, int64_t signs_apart, int first)
{
    vector in[ORDER], sum[ORDER];
#pragma GCC unroll 16
    for (int c = 0; c < ORDER; c++) {
        in[c] = *(const unaligned *)(x + c * apart);
        if (sign && first) in[c] *= *(const unaligned *)(sign + c * signs_apart);
        in[c] *= 0.25f; /* 1 / √16: exact */
    }
    sum[0] = in[0];
#pragma GCC unroll 4
    for (int half = 1; half < ORDER; half *= 2) {
#pragma GCC unroll 8
        for (int r = 0; r < half; r++) sum[r + half] = sum[r];
#pragma GCC unroll 8
        for (int c = half; c < 2 * half; c++)
#pragma GCC unroll 16
            for (int r = 0; r < 2 * half; r++)
                sum[r] = __builtin_parity(r & c) ? sum[r] - in[c] : sum[r] + in[c];
    }
#pragma GCC unroll 16
    for (int r = 0; r < ORDER; r++) {
        if (sign && !first) sum[r] *= *(const unaligned *)(sign + r * signs_apart);
        *(unaligned *)(x + r * apart) = sum[r];
    }
}

/* Multiply `blocks` matrices of 16 rows and `length` columns by the Walsh-Hadamard matrix, in place.

   sign: NULL, or 16 rows of `panel` columns, a multiple of WIDTH, which repeat along the columns;
   they multiply first, or else last. */
INLINE void mix(float *x, int64_t blocks, int64_t length, const float *sign, int64_t panel, int first)
{
    for (int64_t block = 0; block < blocks; block++, x += ORDER * length) {
        int64_t k = 0;
        for (; k + WIDTH <= length; k += WIDTH)
            mix_columns(x + k, length, sign ? sign + k % panel : 0, panel, first);
        if (k == length) continue;
        float rest[ORDER * WIDTH] = {0}; /* fewer than WIDTH columns are left */
        size_t bytes = sizeof(float) * (size_t)(length - k);
        for (int c = 0; c < ORDER; c++) memcpy(rest + c * WIDTH, x + c * length + k, bytes);
        mix_columns(rest, WIDTH, sign ? sign + k % panel : 0, panel, first);
        for (int c = 0; c < ORDER; c++) memcpy(x + c * length + k, rest + c * WIDTH, bytes);
    }
}

/* `kernels.Shape` says what these are. */
struct shape {
    int64_t dim, size, lines, whole, hands, length, apart, panel;
};

/* out = U D T S theta, and + offset where that is not NULL: `strips.py` has the letters. */
PUBLIC void mix_strips(const struct shape *of, const float *restrict theta,
                       const int64_t *restrict line, const float *restrict factor, float scale,
                       const float *sign, const float *restrict offset, float *restrict out)
{
    int64_t block = ORDER * of->apart, at = of->lines * LINE;
    for (int64_t i = 0; i < of->lines; i++)
        for (int k = 0; k < LINE; k++)
            out[LINE * i + k] = theta[LINE * line[i] + k] * factor[i];
    for (int64_t hand = 0; hand < of->hands; hand++)
        for (int64_t k = of->whole; k < of->dim; k++) out[at++] = theta[k] * scale;
    for (; at < of->size; at++) out[at] = 0;
    mix(out + of->size - ORDER * of->length, 1, of->length, sign, of->panel, 0);
    mix(out, of->size / block, of->apart, 0, 0, 0);
    mix(out + of->size - block, 1, of->apart, 0, 0, 0);
    if (offset)
        for (int64_t i = 0; i < of->size; i++) out[i] += offset[i];
}

/* work = T' D U' x; then line line[i] of theta gains factor[i] times line i of work. */
PUBLIC void unmix_strips(const struct shape *of, const float *restrict x,
                         const int64_t *restrict line, const float *restrict factor,
                         const float *sign, float *restrict work, float *restrict theta)
{
    /* The last block, which may overlap with the one before, comes first. */
    int64_t block = ORDER * of->apart, whole = of->size / block * block, from = whole - block;
    memcpy(work + from, x + from, sizeof(float) * (size_t)(of->size - from));
    mix(work + of->size - block, 1, of->apart, 0, 0, 0);
    for (int64_t at = 0; at < whole; at += block) {
        if (at < from) memcpy(work + at, x + at, sizeof(float) * (size_t)block);
        mix(work + at, 1, of->apart, 0, 0, 0);
    }
    mix(work + of->size - ORDER * of->length, 1, of->length, sign, of->panel, 1);
    for (int64_t i = 0; i < of->lines; i++)
        for (int k = 0; k < LINE; k++) theta[LINE * line[i] + k] += work[LINE * i + k] * factor[i];
}
