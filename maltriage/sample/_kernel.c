/* The passes over a file's bytes that NumPy takes longest for, each equal to it bit by bit.

   Callers: layout.py and counted.py (histograms), cell_sums.py (sums over bands of rows), words.py
   (runs of letters); and the way back, geometry.py and scattered.py (heat on bytes). Built by hatch_build.py where a compiler is; without it NumPy does the same.
   Arguments are buffers that the callers made; their sizes are checked here all the same, since a
   wrong one would be memory that is not ours. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define HAVE_SSE2 1
#endif

/* One binary for all processors: the loader takes the second form where AVX2 is. */
#if defined(__x86_64__) && defined(__GNUC__) && defined(__GLIBC__)
#define FASTEST __attribute__((target_clones("avx2", "default")))
#else
#define FASTEST
#endif

enum { VALUES = 256, PLANES = 5, DEEP = 255, WIDEST = 256, NIBBLES = 16, LEVELS = 16 };
enum { SHORTEST = 5, LONGEST = 24 };

/* --- buffers --- */

typedef struct {
    Py_buffer view[4];
    int count;
} Buffers;

static void release(Buffers *own) {
    while (own->count) PyBuffer_Release(&own->view[--own->count]);
}

/* The memory of a buffer of `items` items of `size` bytes (-1: any number); NULL: an error is set. */
static void *memory(Buffers *own, PyObject *from, int writable, Py_ssize_t size, Py_ssize_t items) {
    Py_buffer *view = &own->view[own->count];
    if (PyObject_GetBuffer(from, view, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO)) return NULL;
    own->count++;
    if (view->len % size || (items >= 0 && view->len != items * size)) {
        PyErr_SetString(PyExc_ValueError, "a buffer of the wrong size");
        return NULL;
    }
    return view->buf ? view->buf : (void *)own; /* of nothing: any address that is not NULL */
}

static Py_ssize_t length(const Buffers *own, int which, Py_ssize_t size) {
    return own->view[which].len / size;
}

/* --- histograms --- */

/* How often each value is among `n` bytes. Four tables, so that equal bytes in a row do not wait
   for each other. */
static void count(const uint8_t *data, size_t n, int64_t *out) {
    enum { AT_ONCE = 1 << 30 }; /* so that 32 bits are enough */
    uint32_t table[4][VALUES];
    memset(out, 0, VALUES * sizeof *out);
    while (n) {
        size_t part = n < AT_ONCE ? n : AT_ONCE, i = 0;
        memset(table, 0, sizeof table);
        for (; i + 8 <= part; i += 8) {
            uint64_t word;
            memcpy(&word, data + i, 8);
            table[0][word & 0xFF]++;
            table[1][word >> 8 & 0xFF]++;
            table[2][word >> 16 & 0xFF]++;
            table[3][word >> 24 & 0xFF]++;
            table[0][word >> 32 & 0xFF]++;
            table[1][word >> 40 & 0xFF]++;
            table[2][word >> 48 & 0xFF]++;
            table[3][word >> 56]++;
        }
        for (; i < part; i++) table[0][data[i]]++;
        for (int v = 0; v < VALUES; v++)
            out[v] += (int64_t)table[0][v] + table[1][v] + table[2][v] + table[3][v];
        data += part;
        n -= part;
    }
}

PyDoc_STRVAR(histograms_doc,
"histograms(data, edges, out)\n"
"\n"
"Count the values of the bytes between edges.\n"
"\n"
"Args:\n"
"    data: bytes.\n"
"    edges: int64, (n + 1,), ascending, within the data.\n"
"    out: int64, (n, 256), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

/* In place of Py_RETURN_NONE, which takes no reference by the headers of 3.12 and later: built with
 * these, each call on 3.11 would give one away, until that Python ends for want of None. */
static PyObject *none(void) { return Py_NewRef(Py_None); }

static PyObject *histograms(PyObject *self, PyObject *args) {
    PyObject *given[3];
    Buffers own = {.count = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "OOO", &given[0], &given[1], &given[2])) return NULL;
    const uint8_t *data = memory(&own, given[0], 0, 1, -1);
    const int64_t *edges = data ? memory(&own, given[1], 0, 8, -1) : NULL;
    Py_ssize_t pieces = edges ? length(&own, 1, 8) - 1 : -1;
    int64_t *out = pieces >= 0 ? memory(&own, given[2], 1, 8, pieces * VALUES) : NULL;
    int fits = out != NULL;
    if (fits) {
        fits = edges[0] >= 0 && edges[pieces] <= length(&own, 0, 1);
        for (Py_ssize_t i = 0; i < pieces; i++) fits = fits && edges[i] <= edges[i + 1];
        if (fits) {
            Py_BEGIN_ALLOW_THREADS
            for (Py_ssize_t i = 0; i < pieces; i++)
                count(data + edges[i], (size_t)(edges[i + 1] - edges[i]), out + i * VALUES);
            Py_END_ALLOW_THREADS
        }
    }
    release(&own);
    if (!fits) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "edges out of order");
        return NULL;
    }
    return none();
}

/* --- the view `entropy` --- */

PyDoc_STRVAR(measure_doc,
"measure(data, size, pieces, pixels)\n"
"\n"
"Write the columns of some pieces of `size` bytes: see `counted.plot_entropy`.\n"
"\n"
"Args:\n"
"    data: bytes.\n"
"    size: of a piece; the last one may be shorter.\n"
"    pieces: int64, the numbers of pieces that are not empty, below the number of columns.\n"
"    pixels: uint8, (17, cells), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

/* n * log2(n) */
static double weighed(int64_t n) {
    enum { KNOWN = 4096 };
    static double table[KNOWN]; /* 0: not worked out yet, or 0; threads write the same */
    if (n < 2) return 0.0;
    if (n >= KNOWN) return (double)n * log2((double)n);
    if (table[n] == 0.0) table[n] = (double)n * log2((double)n);
    return table[n];
}

static void measured(const uint8_t *data, size_t n, uint8_t *pixels, size_t cells) {
    int64_t counts[VALUES];
    double total = (double)n, bits = 0.0;
    count(data, n, counts);
    for (int nibble = 0; nibble < NIBBLES; nibble++) {
        int64_t own = 0;
        for (int v = 0; v < NIBBLES; v++) {
            int64_t c = counts[nibble * NIBBLES + v];
            bits += weighed(c);
            own += c;
        }
        pixels[(1 + nibble) * cells] = (uint8_t)((double)own / total * 255.0 + (0.5 + 1e-9));
    }
    /* The nudges keep what lies on an edge on one side, whatever the last bits of a logarithm. */
    int level = (int)((log2(total) - bits / total) * (LEVELS / 8) + 1e-9);
    pixels[0] = (uint8_t)(1 + (level < LEVELS ? level : LEVELS - 1));
}

static PyObject *measure(PyObject *self, PyObject *args) {
    PyObject *given[3];
    Py_ssize_t size;
    Buffers own = {.count = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "OnOO", &given[0], &size, &given[1], &given[2])) return NULL;
    const uint8_t *data = memory(&own, given[0], 0, 1, -1);
    const int64_t *pieces = data ? memory(&own, given[1], 0, 8, -1) : NULL;
    uint8_t *pixels = pieces ? memory(&own, given[2], 1, 1 + NIBBLES, -1) : NULL;
    int fits = pixels != NULL;
    if (fits) {
        Py_ssize_t n = length(&own, 0, 1), many = length(&own, 1, 8);
        Py_ssize_t cells = length(&own, 2, 1 + NIBBLES);
        fits = size > 0;
        for (Py_ssize_t i = 0; fits && i < many; i++)
            fits = pieces[i] >= 0 && pieces[i] < cells && n > 0 && pieces[i] <= (n - 1) / size;
        if (fits) {
            Py_BEGIN_ALLOW_THREADS
            for (Py_ssize_t i = 0; i < many; i++) {
                Py_ssize_t start = pieces[i] * size;
                Py_ssize_t end = n - start < size ? n : start + size;
                measured(data + start, (size_t)(end - start), pixels + pieces[i], (size_t)cells);
            }
            Py_END_ALLOW_THREADS
        }
    }
    release(&own);
    if (!fits) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no such piece");
        return NULL;
    }
    return none();
}

/* --- sums over the cells of a byteplot --- */

/* One item a column each, one behind the other in memory. */
typedef struct {
    uint32_t *square, *wide, *spare; /* the last two for adding up columns */
    uint16_t *value;
    uint8_t *zero, *printable, *high;
} Columns;

/* Add `depth` rows, at most DEEP, to what the columns have. */
FASTEST static void add_rows(const uint8_t *data, size_t width, size_t depth,
                             uint32_t *restrict square, uint16_t *restrict value,
                             uint8_t *restrict zero, uint8_t *restrict printable,
                             uint8_t *restrict high) {
    for (size_t row = 0; row < depth; row++) {
        const uint8_t *restrict own = data + row * width;
        for (size_t i = 0; i < width; i++) {
            uint8_t b = own[i];
            value[i] = (uint16_t)(value[i] + b);
            zero[i] = (uint8_t)(zero[i] + (b == 0));
            printable[i] = (uint8_t)(printable[i] + ((uint8_t)(b - 0x20) < 0x5F));
            high[i] = (uint8_t)(high[i] + (b >> 7));
        }
        for (size_t i = 0; i < width; i++) square[i] += (uint32_t)(uint16_t)(own[i] * own[i]);
    }
}

FASTEST static void widen8(const uint8_t *restrict from, uint32_t *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = from[i];
}

FASTEST static void widen16(const uint16_t *restrict from, uint32_t *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = from[i];
}

FASTEST static void pair(const uint32_t *restrict from, uint32_t *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = from[2 * i] + from[2 * i + 1];
}

/* Add the sums of `size` equal groups of columns to `out`, or each column to several cells. */
static void fold(uint32_t *columns, uint32_t *spare, size_t width, size_t size, double *out) {
    if (width < size) {
        size_t each = size / width;
        for (size_t i = 0; i < size; i++) out[i] += (double)columns[i / each] / (double)each;
        return;
    }
    size_t each = width / size;
    for (; each % 2 == 0; each /= 2) {
        uint32_t *kept = columns;
        pair(columns, spare, width /= 2);
        columns = spare;
        spare = kept;
    }
    for (size_t i = 0; i < size; i++) {
        uint32_t sum = 0;
        for (size_t k = 0; k < each; k++) sum += columns[i * each + k];
        out[i] += (double)sum;
    }
}

/* Add the sums of rows to `out`, (5, size). */
static void add_band(const uint8_t *data, size_t width, size_t depth, size_t size, Columns *own,
                     double *out) {
    for (size_t row = 0; row < depth; row += DEEP) {
        size_t part = depth - row < DEEP ? depth - row : DEEP;
        const uint8_t *flags[] = {own->zero, own->printable, own->high};
        memset(own->square, 0, width * 4);
        memset(own->value, 0, width * 5); /* and what is behind it */
        add_rows(data + row * width, width, part, own->square, own->value, own->zero,
                 own->printable, own->high);
        widen16(own->value, own->wide, width);
        fold(own->wide, own->spare, width, size, out);
        fold(own->square, own->spare, width, size, out + size);
        for (size_t plane = 0; plane < 3; plane++) {
            widen8(flags[plane], own->wide, width);
            fold(own->wide, own->spare, width, size, out + (2 + plane) * size);
        }
    }
}

/* See `cell_sums`. `scratch`: 15 * size doubles. Without contraction of a product and a sum, and in
   the order of NumPy's, so that the last bit is the same. */
static void cells_of(const uint8_t *data, size_t width, size_t size, const int64_t *row,
                     const double *cut, size_t begin, size_t end, Columns *columns,
                     double *scratch, double *out) {
    size_t all = PLANES * size;
    double *sum = scratch, *above = scratch + all, *below = scratch + 2 * all;
    int64_t known = -1; /* the row that `above` is of */
    for (size_t i = begin; i < end; i++) {
        int64_t first = row[i];
        memset(sum, 0, all * sizeof *sum);
        if (cut[i] != 0.0 && known != row[i]) {
            memset(above, 0, all * sizeof *above);
            add_band(data + (size_t)row[i] * width, width, 1, size, columns, above);
            known = row[i];
        }
        if (known == row[i] && row[i + 1] > first) {
            memcpy(sum, above, all * sizeof *sum);
            first++;
        }
        add_band(data + (size_t)first * width, width, (size_t)(row[i + 1] - first), size, columns,
                 sum);
        if (cut[i + 1] != 0.0) {
            if (known == row[i + 1]) {
                memcpy(below, above, all * sizeof *below);
            } else {
                memset(below, 0, all * sizeof *below);
                add_band(data + (size_t)row[i + 1] * width, width, 1, size, columns, below);
            }
            for (size_t k = 0; k < all; k++) sum[k] += below[k] * cut[i + 1];
        }
        if (cut[i] != 0.0)
            for (size_t k = 0; k < all; k++) sum[k] -= above[k] * cut[i];
        if (cut[i + 1] != 0.0) {
            double *kept = above;
            above = below;
            below = kept;
            known = row[i + 1];
        }
        for (size_t plane = 0; plane < PLANES; plane++)
            memcpy(out + (plane * (end - begin) + i - begin) * size, sum + plane * size,
                   size * sizeof *out);
    }
}

PyDoc_STRVAR(cell_sums_doc,
"cell_sums(data, width, size, rows, cuts, begin, end, out)\n"
"\n"
"Fill `out` with the sums of whole rows over the cells of a byteplot: see `cell_sums.cell_sums`.\n"
"\n"
"Args:\n"
"    data: bytes, row by row.\n"
"    width: bytes of a row; a multiple of `size`, at most 256 of it, or `size` over a power of two.\n"
"    rows: int64, (size + 1,), ascending: the row that each edge between bands lies in.\n"
"    cuts: float64, (size + 1,), the share of that row above the edge; 0 where there is none.\n"
"    begin, end: bands that are wanted.\n"
"    out: float64, (5, end - begin, size), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

static PyObject *cell_sums(PyObject *self, PyObject *args) {
    PyObject *given[4];
    Py_ssize_t width, size, begin, end;
    Buffers own = {.count = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "OnnOOnnO", &given[0], &width, &size, &given[1], &given[2], &begin,
                          &end, &given[3]))
        return NULL;
    if (width < 1 || size < 1 || width > (1 << 24) || size > (1 << 16) || begin < 0 ||
        begin > end || end > size ||
        !(width % size == 0 ? width / size <= WIDEST
                            : size % width == 0 && (size / width & (size / width - 1)) == 0)) {
        PyErr_SetString(PyExc_ValueError, "a width that does not fit");
        return NULL;
    }
    const uint8_t *data = memory(&own, given[0], 0, 1, -1);
    const int64_t *rows = data ? memory(&own, given[1], 0, 8, size + 1) : NULL;
    const double *cuts = rows ? memory(&own, given[2], 0, 8, size + 1) : NULL;
    double *out = cuts ? memory(&own, given[3], 1, 8, PLANES * (end - begin) * size) : NULL;
    int fits = out != NULL;
    if (fits) {
        Py_ssize_t whole = length(&own, 0, 1) / width;
        fits = rows[0] >= 0 && rows[size] <= whole;
        for (Py_ssize_t i = 0; fits && i <= size; i++)
            fits = (i == size || rows[i] <= rows[i + 1]) && (cuts[i] == 0.0 || rows[i] < whole);
        if (!fits) PyErr_SetString(PyExc_ValueError, "no such rows");
    }
    size_t w = (size_t)width, doubles = 3 * PLANES * (size_t)size;
    uint8_t *scratch = fits ? malloc(doubles * sizeof(double) + 17 * w) : NULL;
    if (scratch) {
        uint8_t *at = scratch + doubles * sizeof(double);
        Columns columns = {
            .square = (uint32_t *)at,
            .wide = (uint32_t *)(at + 4 * w),
            .spare = (uint32_t *)(at + 8 * w),
            .value = (uint16_t *)(at + 12 * w),
            .zero = at + 14 * w,
            .printable = at + 15 * w,
            .high = at + 16 * w,
        };
        Py_BEGIN_ALLOW_THREADS
        cells_of(data, w, (size_t)size, rows, cuts, (size_t)begin, (size_t)end, &columns,
                 (double *)scratch, out);
        Py_END_ALLOW_THREADS
        free(scratch);
    } else if (fits) {
        PyErr_NoMemory();
    }
    release(&own);
    if (PyErr_Occurred()) return NULL;
    return none();
}

/* --- words --- */

/* Bits of 64 bytes, or fewer: which are letters, and which are zero. */
static void bits_of(const uint8_t *data, size_t n, uint64_t *letters, uint64_t *zeros) {
    uint64_t letter = 0, zero = 0;
    size_t i = 0;
#ifdef HAVE_SSE2
    const __m128i fold = _mm_set1_epi8(0x20), least = _mm_set1_epi8((char)(0x80 + 'a'));
    const __m128i below = _mm_set1_epi8((char)(-128 + 26)), none = _mm_setzero_si128();
    for (; i + 16 <= n; i += 16) {
        __m128i own = _mm_loadu_si128((const __m128i *)(data + i));
        /* Signed comparison: from 'a' on counted from -128. */
        __m128i from = _mm_sub_epi8(_mm_or_si128(own, fold), least);
        letter |= (uint64_t)_mm_movemask_epi8(_mm_cmplt_epi8(from, below)) << i;
        zero |= (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(own, none)) << i;
    }
#endif
    for (; i < n; i++) {
        letter |= (uint64_t)((uint8_t)((data[i] | 0x20) - 'a') < 26) << i;
        zero |= (uint64_t)(data[i] == 0) << i;
    }
    *letters = letter;
    *zeros = zero;
}

static int lowest(uint64_t bits) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    for (; !(bits & 1); bits >>= 1) at++;
    return at;
#endif
}

/* Bits of a word and the one behind it, `by` places farther on. */
#define AHEAD(bits, i, by) ((bits)[i] >> (by) | (bits)[(i) + 1] << (64 - (by)))
#define BEHIND(bits, i, by) ((bits)[i] << (by) | (bits)[(i)-1] >> (64 - (by)))
#define BIT(bits, at) ((bits)[(at) >> 6] >> ((at) & 63) & 1)

/* The sum of 32-bit products has 64 bits, as in NumPy. */
static uint32_t named(const uint8_t *data, size_t letters, size_t step) {
    uint64_t name = 0;
    uint32_t power = 1;
    for (size_t i = 0; i < letters; i++, power *= 0x9E3779B1u)
        name += (uint32_t)(data[i * step] & 0x1F) * power;
    name ^= name >> 16;
    name *= 0x85EBCA6Bu;
    return (uint32_t)(name ^ name >> 13);
}

enum { TILE = 512, AROUND = 3 };

/* Bits of a tile of 64 * TILE bytes, from the word before it to the third behind it. */
typedef struct {
    uint64_t letter[1 + TILE + AROUND], zero[1 + TILE + AROUND];
    uint64_t alone[1 + TILE + AROUND], link[1 + TILE + AROUND];
} Bits;

/* The words that begin in the tile at `base`; see `find_words`. */
static Py_ssize_t words_in_tile(const uint8_t *data, size_t n, size_t base, Py_ssize_t most,
                                int64_t *start, int64_t *size, uint32_t *name) {
    Bits own;
    uint64_t *letter = own.letter + 1, *zero = own.zero + 1, *alone = own.alone + 1;
    uint64_t *link = own.link + 1;
    Py_ssize_t found = 0, tile = (Py_ssize_t)((n - base + 63) / 64);
    if (tile > TILE) tile = TILE;
    for (Py_ssize_t i = -1; i < tile + AROUND; i++) {
        letter[i] = zero[i] = 0;
        if (i < 0 && !base) continue;
        size_t at = base + 64 * (size_t)i; /* 64 less than base for -1 */
        if (at < n) bits_of(data + at, n - at < 64 ? n - at : 64, &letter[i], &zero[i]);
    }
    /* A letter that stands alone; and one with a zero and another such letter behind it. The word
       before the tile lacks the one before it, which its upper bits do not need. */
    alone[-1] = letter[-1] & ~AHEAD(letter, -1, 1) & ~(letter[-1] << 1);
    for (Py_ssize_t i = 0; i < tile + 2; i++)
        alone[i] = letter[i] & ~AHEAD(letter, i, 1) & ~BEHIND(letter, i, 1);
    for (Py_ssize_t i = -1; i < tile + 1; i++)
        link[i] = alone[i] & AHEAD(zero, i, 1) & AHEAD(alone, i, 2);
    for (Py_ssize_t i = 0; i < tile; i++) {
        uint64_t narrow = letter[i] & ~BEHIND(letter, i, 1);
        for (int by = 1; by < SHORTEST; by++) narrow &= AHEAD(letter, i, by);
        uint64_t wide = link[i] & ~BEHIND(link, i, 2);
        for (int by = 1; by < SHORTEST - 1; by++) wide &= AHEAD(link, i, 2 * by);
        for (uint64_t starts = narrow | wide; starts; starts &= starts - 1) {
            int low = lowest(starts);
            size_t here = 64 * (size_t)i + (size_t)low, step = 1 + (size_t)(wide >> low & 1);
            size_t letters = SHORTEST;
            if (step == 1)
                while (letters <= LONGEST && BIT(letter, here + letters)) letters++;
            else
                while (letters <= LONGEST && BIT(link, here + 2 * (letters - 1))) letters++;
            if (letters > LONGEST) continue;
            if (found == most) return found;
            start[found] = (int64_t)(base + here);
            size[found] = (int64_t)(letters * step - (step - 1));
            name[found++] = named(data + base + here, letters, step);
        }
    }
    return found;
}

PyDoc_STRVAR(find_words_doc,
"find_words(data, starts, sizes, names) -> int\n"
"\n"
"Find the words of bytes in the order of their places: see `words.find_words`.\n"
"\n"
"Args:\n"
"    data: bytes.\n"
"    starts, sizes: int64, (n,), written: first byte and bytes of each word.\n"
"    names: uint32, (n,), written.\n"
"\n"
"Returns: the number of words found, at most n.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

static PyObject *find_words(PyObject *self, PyObject *args) {
    PyObject *given[4];
    Buffers own = {.count = 0};
    Py_ssize_t found = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOO", &given[0], &given[1], &given[2], &given[3])) return NULL;
    const uint8_t *data = memory(&own, given[0], 0, 1, -1);
    int64_t *starts = data ? memory(&own, given[1], 1, 8, -1) : NULL;
    Py_ssize_t most = starts ? length(&own, 1, 8) : 0;
    int64_t *sizes = starts ? memory(&own, given[2], 1, 8, most) : NULL;
    uint32_t *names = sizes ? memory(&own, given[3], 1, 4, most) : NULL;
    if (names) {
        size_t n = (size_t)length(&own, 0, 1);
        found = 0;
        Py_BEGIN_ALLOW_THREADS
        for (size_t base = 0; base < n && found < most; base += 64 * TILE)
            found += words_in_tile(data, n, base, most - found, starts + found, sizes + found,
                                   names + found);
        Py_END_ALLOW_THREADS
    }
    release(&own);
    return found < 0 ? NULL : PyLong_FromSsize_t(found);
}

PyDoc_STRVAR(numbered_doc,
"numbered(names, numbers) -> int\n"
"\n"
"Number the different names in the order in which they come.\n"
"\n"
"Args:\n"
"    names: uint32, (n,), none of them zero.\n"
"    numbers: int64, (n,), written.\n"
"\n"
"Returns: how many are different.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

static PyObject *numbered(PyObject *self, PyObject *args) {
    PyObject *given[2];
    Buffers own = {.count = 0};
    int64_t next = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO", &given[0], &given[1])) return NULL;
    const uint32_t *names = memory(&own, given[0], 0, 4, -1);
    size_t n = names ? (size_t)length(&own, 0, 4) : 0, slots = 64;
    int64_t *numbers = names ? memory(&own, given[1], 1, 8, (Py_ssize_t)n) : NULL;
    while (slots < 2 * n) slots *= 2;
    struct slot { uint32_t name; int64_t number; } *table = NULL;
    if (numbers && (table = calloc(slots, sizeof *table)) == NULL) PyErr_NoMemory();
    if (table) {
        next = 0;
        for (size_t i = 0; i < n; i++) {
            size_t at = (names[i] * 0x9E3779B1u >> 7) & (slots - 1);
            while (table[at].name && table[at].name != names[i]) at = (at + 1) & (slots - 1);
            if (!table[at].name) table[at] = (struct slot){names[i], next++};
            numbers[i] = table[at].number;
        }
        free(table);
    }
    release(&own);
    return next < 0 ? NULL : PyLong_FromLongLong(next);
}

/* --- heat on the bytes [0, offset) of a file --- */

/* Offsets that heat is wanted at: k * step for k = 0 to `count`, and some others. */
typedef struct {
    const int64_t *others;
    Py_ssize_t step, count, more;
    double *out;
} Wanted;

/* The buffers of what is wanted; false: an error is set. */
static int wanted(Buffers *own, Py_ssize_t step, Py_ssize_t count, PyObject *others, PyObject *out,
                  Wanted *to) {
    if (step < 1 || count < 0 || count > PY_SSIZE_T_MAX / step - 1) {
        PyErr_SetString(PyExc_ValueError, "no such steps");
        return 0;
    }
    to->step = step;
    to->count = count;
    to->others = memory(own, others, 0, 8, -1);
    if (!to->others) return 0;
    to->more = length(own, own->count - 1, 8);
    to->out = memory(own, out, 1, 8, count + 1 + to->more);
    return to->out != NULL;
}

static int64_t offset_of(const Wanted *from, Py_ssize_t i) {
    return i <= from->count ? (int64_t)i * from->step : from->others[i - from->count - 1];
}

/* The sum of the first x cells, a part of a cell counting in part; `sums`: of the first 0, 1, ... */
static double part_of(const double *sums, Py_ssize_t cells, double x) {
    if (!(x > 0.0)) return sums[0];
    if (x >= (double)cells) return sums[cells];
    Py_ssize_t cell = (Py_ssize_t)x;
    return (sums[cell + 1] - sums[cell]) * (x - (double)cell) + sums[cell];
}

PyDoc_STRVAR(window_heat_doc,
"window_heat(heat, start, present, length, step, count, others, out)\n"
"\n"
"Fill `out` with heat on the bytes before offsets: see `WindowGeometry.integrate_steps`.\n"
"\n"
"Args:\n"
"    heat: float64, (w,).\n"
"    start, present, length: of the window.\n"
"    step, count, others: the offsets; `others` int64, (m,).\n"
"    out: float64, (count + 1 + m,), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

static PyObject *window_heat(PyObject *self, PyObject *args) {
    PyObject *given[3];
    Py_ssize_t start, present, across, step, count;
    Buffers own = {.count = 0};
    Wanted to;
    (void)self;
    if (!PyArg_ParseTuple(args, "OnnnnnOO", &given[0], &start, &present, &across, &step, &count,
                          &given[1], &given[2]))
        return NULL;
    const double *heat = memory(&own, given[0], 0, 8, -1);
    if (heat && wanted(&own, step, count, given[1], given[2], &to)) {
        Py_ssize_t cells = length(&own, 0, 8), past;
        double *sums = malloc((size_t)(cells + 1) * sizeof *sums);
        if (start < 0 || present < 0 || across < 1 || present > PY_SSIZE_T_MAX - start) {
            PyErr_SetString(PyExc_ValueError, "no such window");
        } else if (!sums) {
            PyErr_NoMemory();
        } else {
            double scale = (double)cells / (double)across;
            sums[0] = 0.0;
            for (Py_ssize_t i = 0; i < cells; i++) sums[i + 1] = i ? sums[i] + heat[i] : heat[i];
            for (Py_ssize_t i = 0; i <= count + to.more; i++) {
                past = (Py_ssize_t)offset_of(&to, i) - start;
                if (past > present) past = present;
                to.out[i] = past > 0 ? part_of(sums, cells, (double)past * scale) : 0.0;
            }
        }
        free(sums);
    }
    release(&own);
    return PyErr_Occurred() ? NULL : none();
}

PyDoc_STRVAR(scattered_heat_doc,
"scattered_heat(heat, gaps, sizes, cells, step, count, others, out)\n"
"\n"
"Fill `out` with heat on the bytes before offsets: see `ScatteredGeometry.integrate_steps`.\n"
"\n"
"Args:\n"
"    heat: float64, (w,).\n"
"    gaps, sizes, cells: uint32, uint8 and uint16, (n,), of the geometry; cells are below w.\n"
"    step, count, others: the offsets; `others` int64, (m,).\n"
"    out: float64, (count + 1 + m,), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

/* Of edge i, from 0: where it is, and the heat on the bytes before it. */
typedef struct {
    int64_t at;
    double heat;
} Edge;

static double between(const Edge *edge, int64_t offset) {
    double slope = (edge[1].heat - edge[0].heat) / ((double)edge[1].at - (double)edge[0].at);
    return slope * ((double)offset - (double)edge[0].at) + edge[0].heat;
}

static double before(const Edge *edges, Py_ssize_t many, int64_t offset) {
    Py_ssize_t low = 0, high = many; /* the last edge that is not behind the offset is in between */
    if (offset < edges[0].at) return edges[0].heat;
    while (high - low > 1) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (edges[middle].at <= offset) low = middle;
        else high = middle;
    }
    return low == many - 1 || edges[low].at == offset ? edges[low].heat
                                                      : between(edges + low, offset);
}

static PyObject *scattered_heat(PyObject *self, PyObject *args) {
    PyObject *given[6];
    Py_ssize_t step, count;
    Buffers own = {.count = 0};
    Wanted to;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOOnnOO", &given[0], &given[1], &given[2], &given[3], &step,
                          &count, &given[4], &given[5]))
        return NULL;
    const double *heat = memory(&own, given[0], 0, 8, -1);
    const uint32_t *gaps = heat ? memory(&own, given[1], 0, 4, -1) : NULL;
    Py_ssize_t places = gaps ? length(&own, 1, 4) : 0, w = heat ? length(&own, 0, 8) : 0;
    const uint8_t *sizes = gaps ? memory(&own, given[2], 0, 1, places) : NULL;
    const uint16_t *cells = sizes ? memory(&own, given[3], 0, 2, places) : NULL;
    int fits = cells != NULL;
    for (Py_ssize_t i = 0; fits && i < places; i++) fits = cells[i] < w;
    if (cells && !fits) PyErr_SetString(PyExc_ValueError, "no such cell");
    Buffers offsets = {.count = 0}; /* one has room for four */
    if (fits && wanted(&offsets, step, count, given[4], given[5], &to)) {
        Edge *edges = malloc((size_t)(2 * places + 1) * sizeof *edges);
        int64_t *often = calloc((size_t)w + 1, sizeof *often);
        if (!edges || !often) {
            PyErr_NoMemory();
        } else if (!places) {
            for (Py_ssize_t i = 0; i <= count + to.more; i++) to.out[i] = 0.0;
        } else {
            int64_t at = 0;
            double sum = 0.0;
            Py_ssize_t many = 2 * places, last = 0;
            for (Py_ssize_t i = 0; i < places; i++) often[cells[i]]++;
            for (Py_ssize_t i = 0; i < places; i++) {
                edges[2 * i] = (Edge){at += gaps[i], sum += 0.0};
                edges[2 * i + 1] =
                    (Edge){at += sizes[i], sum += heat[cells[i]] / (double)often[cells[i]]};
            }
            for (Py_ssize_t i = 0; i <= count; i++) { /* which ascend */
                int64_t offset = offset_of(&to, i);
                while (last + 1 < many && edges[last + 1].at <= offset) last++;
                to.out[i] = offset <= edges[last].at || last == many - 1 ? edges[last].heat
                                                                        : between(edges + last,
                                                                                  offset);
            }
            for (Py_ssize_t i = count + 1; i <= count + to.more; i++)
                to.out[i] = before(edges, many, offset_of(&to, i));
        }
        free(edges);
        free(often);
    }
    release(&offsets);
    release(&own);
    return PyErr_Occurred() ? NULL : none();
}

PyDoc_STRVAR(body_heat_doc,
"body_heat(heat, height, rows, width, length, step, count, others, out)\n"
"\n"
"Fill `out` with heat on the bytes before offsets: see `BodyGeometry.integrate_steps`.\n"
"\n"
"Args:\n"
"    heat: float64, (height, w).\n"
"    rows, width, length: of the plot.\n"
"    step, count, others: the offsets; `others` int64, (m,).\n"
"    out: float64, (count + 1 + m,), written.\n"
"\n"
"Raises ValueError: the sizes do not fit.");

/* A map with the sums of all cells above and left of each corner, (h + 1, w + 1), on a plot. */
typedef struct {
    const double *corner;
    Py_ssize_t h, w, rows, width;
} Plot;

/* A column of corners, and how far behind it a place in a row is; a row, likewise. */
typedef struct {
    Py_ssize_t low;
    double past;
} Share;

static Share share_of(double at, Py_ssize_t cells) {
    Py_ssize_t low = (Py_ssize_t)at < cells - 1 ? (Py_ssize_t)at : cells - 1;
    return (Share){low, at - (double)low};
}

/* The sum of what is above row `y` and left of place `x`, between the corners beside them. */
static double within(const Plot *plot, Share y, Share x) {
    const double *upper = plot->corner + y.low * (plot->w + 1) + x.low, *lower = upper + plot->w + 1;
    double above = (upper[1] - upper[0]) * x.past + upper[0];
    double below = (lower[1] - lower[0]) * x.past + lower[0];
    return (below - above) * y.past + above;
}

/* The same as one offset is worked out, whose last bit differs. */
static double corner_of(const Plot *plot, Py_ssize_t row, Py_ssize_t low, double past) {
    Share y = share_of((double)(row * plot->h) / (double)plot->rows, plot->h);
    const double *upper = plot->corner + y.low * (plot->w + 1) + low, *lower = upper + plot->w + 1;
    double above = upper[0] * (1 - past) + upper[1] * past;
    double below = lower[0] * (1 - past) + lower[1] * past;
    return above + (below - above) * y.past;
}

static double body_at(const Plot *plot, int64_t offset) {
    Py_ssize_t row = (Py_ssize_t)(offset / plot->width), column = (Py_ssize_t)(offset % plot->width);
    double total = corner_of(plot, row, plot->w - 1, 1.0);
    if (column) {
        double x = (double)(column * plot->w) / (double)plot->width;
        Share in = share_of(x, plot->w);
        total += corner_of(plot, row + 1, in.low, in.past) - corner_of(plot, row, in.low, in.past);
    }
    return total;
}

static void body_steps(const Plot *plot, int64_t size, Py_ssize_t unit, const Wanted *to) {
    Py_ssize_t cuts = plot->width / unit, every = to->step / unit, i = 1;
    double tall = (double)plot->h / (double)plot->rows, wide = (double)plot->w / (double)cuts;
    Share end = share_of((double)cuts * wide, plot->w);
    to->out[0] = 0.0;
    for (; i <= to->count && (int64_t)i * to->step <= size / unit * unit; i++) {
        Py_ssize_t place = i * every - 1, row = place / cuts, cut = place % cuts + 1;
        Share x = share_of((double)cut * wide, plot->w);
        Share y = share_of((double)row * tall, plot->h);
        double first = within(plot, y, x);
        double next = within(plot, share_of((double)(row + 1) * tall, plot->h), x);
        to->out[i] = (next - first) + within(plot, y, end);
    }
    if (i <= to->count) {
        double whole = body_at(plot, size);
        for (; i <= to->count; i++) to->out[i] = whole;
    }
    for (i = 0; i < to->more; i++)
        to->out[to->count + 1 + i] = body_at(plot, to->others[i] < size ? to->others[i] : size);
}

static PyObject *body_heat(PyObject *self, PyObject *args) {
    PyObject *given[3];
    Py_ssize_t h, rows, width, size, step, count, unit, rest;
    Buffers own = {.count = 0};
    Wanted to;
    (void)self;
    if (!PyArg_ParseTuple(args, "OnnnnnnOO", &given[0], &h, &rows, &width, &size, &step, &count,
                          &given[1], &given[2]))
        return NULL;
    enum { MOST = 1 << 30 };
    const double *heat = memory(&own, given[0], 0, 8, -1);
    if (heat && wanted(&own, step, count, given[1], given[2], &to)) {
        Py_ssize_t cells = length(&own, 0, 8), w = h > 0 ? cells / h : 0;
        int fits = w > 0 && w * h == cells && h < MOST && w < MOST && width > 0 && width < MOST;
        fits = fits && rows > 0 && rows <= (Py_ssize_t)1 << 31 && size >= 0 && size <= rows * width;
        for (Py_ssize_t i = 0; i < to.more; i++) fits = fits && to.others[i] >= 0;
        double *corner = fits ? calloc((size_t)((h + 1) * (w + 1)), sizeof *corner) : NULL;
        if (!fits) {
            PyErr_SetString(PyExc_ValueError, "no such plot");
        } else if (!corner) {
            PyErr_NoMemory();
        } else {
            for (Py_ssize_t i = 0; i < h; i++)
                for (Py_ssize_t j = 0; j < w; j++) {
                    double *here = corner + (i + 1) * (w + 1) + j + 1;
                    *here = i ? here[-(w + 1)] + heat[i * w + j] : heat[i * w + j];
                }
            for (Py_ssize_t i = 1; i <= h; i++)
                for (Py_ssize_t j = 2; j <= w; j++)
                    corner[i * (w + 1) + j] += corner[i * (w + 1) + j - 1];
            for (unit = step, rest = width; rest;) { /* their greatest common divisor */
                Py_ssize_t over = unit % rest;
                unit = rest;
                rest = over;
            }
            Plot plot = {corner, h, w, rows, width};
            body_steps(&plot, size, unit, &to);
        }
        free(corner);
    }
    release(&own);
    return PyErr_Occurred() ? NULL : none();
}

/* --- the module --- */

static PyMethodDef methods[] = {
    {"histograms", histograms, METH_VARARGS, histograms_doc},
    {"measure", measure, METH_VARARGS, measure_doc},
    {"cell_sums", cell_sums, METH_VARARGS, cell_sums_doc},
    {"find_words", find_words, METH_VARARGS, find_words_doc},
    {"numbered", numbered, METH_VARARGS, numbered_doc},
    {"window_heat", window_heat, METH_VARARGS, window_heat_doc},
    {"scattered_heat", scattered_heat, METH_VARARGS, scattered_heat_doc},
    {"body_heat", body_heat, METH_VARARGS, body_heat_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "Passes over a file's bytes, compiled.", -1, methods,
    NULL, NULL, NULL, NULL,
};

/* Raised with every change of what a function takes or gives: see native.py. */
enum { VERSION = 3 };

PyMODINIT_FUNC PyInit__kernel(void) {
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddIntConstant(made, "VERSION", VERSION)) Py_CLEAR(made);
    return made;
}
