// Windowed sink attention on the CPU, forward and backward, in one pass over memory (see cpp.py).
//
// Positions are S sinks, then T frames; a row is the `dim` contiguous numbers of one (batch, head, position). A frame
// has S + 2 half + 1 keys at most, those of its window `dilation` apart, so its scores never leave the cache. The sinks'
// own rows see everything: each piece of time gives their softmax over its keys, and the pieces are merged at the end.
//
// The common widths in fp32 are kept in vector registers; every other width, and fp64, takes plain loops.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace {

constexpr int64_t PIECE = 64;  // frames that one thread takes at a time: their rows of all heads fit in its cache

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * LANES)));

int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

inline Vector load(const float* from) {
    Vector lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

inline void store(float* to, Vector lanes) { std::memcpy(to, &lanes, sizeof lanes); }

// Groups of `Width` lanes, of a and b by turns: the even groups of both, or the odd ones.
template <int Width, bool Odd, int... Lane>
inline Vector groups(Vector a, Vector b, std::integer_sequence<int, Lane...>) {
    return __builtin_shufflevector(a, b, ((Lane & ~Width) + (Odd ? Width : 0) + (Lane & Width ? LANES : 0))...);
}

// rows[0] becomes the sums over the lanes of LANES vectors, in order: a tree whose every addition serves two of them.
template <int Width = 1> inline void sum_lanes(Vector* rows) {
    if constexpr (Width < LANES) {
        constexpr auto lanes = std::make_integer_sequence<int, LANES>();
        for (int i = 0; i < LANES; i += 2 * Width) {
            const Vector a = rows[i], b = rows[i + Width];
            rows[i] = groups<Width, false>(a, b, lanes) + groups<Width, true>(a, b, lanes);
        }
        sum_lanes<2 * Width>(rows);
    }
}

// One row against many: products with `count` rows that lie `step` numbers apart, and additions to another row.
template <int D, class Real, bool InRegisters = (D > 0)> struct Row {
    const Real* row;
    int64_t dim;
    Row(const Real* from, int64_t dim) : row(from), dim(dim) {}

    Real dot(const Real* other) const {
        Real sum = 0;
        for (int64_t e = 0; e < dim; ++e) sum += row[e] * other[e];
        return sum;
    }
    void dots(const Real* others, int64_t step, int64_t count, Real factor, Real* products) const {
        for (int64_t j = 0; j < count; ++j) products[j] = factor * dot(others + j * step);
    }
    void add_to(Real* to, Real factor) const {
        for (int64_t e = 0; e < dim; ++e) to[e] += factor * row[e];
    }
};

template <int D> struct Row<D, float, true> {
    static constexpr int N = D / LANES;
    Vector row[N];
    Row(const float* from, int64_t) {
        for (int n = 0; n < N; ++n) row[n] = load(from + n * LANES);
    }

    Vector products(const float* other) const {
        Vector sum = row[0] * load(other);
        for (int n = 1; n < N; ++n) sum += row[n] * load(other + n * LANES);
        return sum;
    }
    float dot(const float* other) const {
        const Vector lanes = products(other);
        float sum = 0;
        for (int i = 0; i < LANES; ++i) sum += lanes[i];
        return sum;
    }
    // Writes whole vectors: `products` needs room for padded(count).
    void dots(const float* others, int64_t step, int64_t count, float factor, float* to) const {
        for (int64_t first = 0; first < count; first += LANES) {
            Vector sums[LANES];
            for (int j = 0; j < LANES; ++j) {
                sums[j] = products(others);
                // The last row repeats until the vector is full; the extra products are never read.
                others += first + j + 1 < count ? step : 0;
            }
            sum_lanes(sums);
            store(to + first, factor * sums[0]);
        }
    }
    void add_to(float* to, float factor) const {
        for (int n = 0; n < N; ++n) store(to + n * LANES, load(to + n * LANES) + factor * row[n]);
    }
};

// A weighted sum of rows; `finish` writes it.
template <int D, class Real, bool InRegisters = (D > 0)> struct Sum {
    Real* total;
    int64_t dim;
    Sum(Real* to, int64_t dim) : total(to), dim(dim) { std::fill_n(to, dim, Real(0)); }
    void add(const Real* weights, const Real* rows, int64_t step, int64_t count) {
        for (int64_t j = 0; j < count; ++j)
            for (int64_t e = 0; e < dim; ++e) total[e] += weights[j] * rows[j * step + e];
    }
    void finish(Real factor) {
        for (int64_t e = 0; e < dim; ++e) total[e] *= factor;
    }
};

template <int D> struct Sum<D, float, true> {
    static constexpr int N = D / LANES;
    Vector total[N] = {};
    float* to;
    Sum(float* to, int64_t) : to(to) {}
    void add(const float* weights, const float* rows, int64_t step, int64_t count) {
        for (int64_t j = 0; j < count; ++j)
            for (int n = 0; n < N; ++n) total[n] += weights[j] * load(rows + j * step + n * LANES);
    }
    void finish(float factor) {
        for (int n = 0; n < N; ++n) store(to + n * LANES, factor * total[n]);
    }
};

inline double exponential(double x) { return std::exp(x); }

// Cephes' expf, to 1e-7 relative and without branches, so that a loop over it becomes vector code. NaN stays NaN.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float rounded = std::rint(x * 1.44269504f);
    float r = x - rounded * 0.693359375f;
    r = r + rounded * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(rounded) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return y * power;
}

template <class Real> struct Softmax {
    Real largest, sum;
};

// Scores become exp(score - largest), in place. Whole vectors again: scores has room for padded(count).
template <class Real> inline Softmax<Real> exponentials(Real* scores, int64_t count) {
    const int64_t whole = padded(count);
    for (int64_t j = count; j < whole; ++j) scores[j] = scores[0];
    Real largest = scores[0];
    for (int64_t j = 0; j < whole; ++j) largest = scores[j] > largest ? scores[j] : largest;
    for (int64_t j = 0; j < whole; ++j) scores[j] = exponential(scores[j] - largest);
    for (int64_t j = count; j < whole; ++j) scores[j] = 0;
    Real sum = 0;
    for (int64_t j = 0; j < whole; ++j) sum += scores[j];
    return {largest, sum};
}

struct Strides {
    int64_t batch, head, position;
};

template <class Real> struct Rows {
    Real* data;
    Strides strides;
    Real* at(int64_t b, int64_t h, int64_t position) const {
        return data + b * strides.batch + h * strides.head + position * strides.position;
    }
};

struct Span {
    int64_t first, stop;
    int64_t step = 1;  // from one key to the next
    int64_t count() const { return (stop - first + step - 1) / step; }
};

struct Shape {
    int64_t batch, heads, length, dim, half, sinks, dilation;
    int threads;

    int64_t pieces() const { return (length - sinks + PIECE - 1) / PIECE; }
    Span piece(int64_t n) const { return {sinks + n * PIECE, std::min(length, sinks + (n + 1) * PIECE)}; }
    // The keys that the sinks meet in a piece: its frames, and in the first one the sinks themselves.
    Span sinks_keys(int64_t n) const { return {n ? piece(n).first : 0, piece(n).stop}; }
    Span window(int64_t position) const {
        const int64_t before = std::min(half, (position - sinks) / dilation);
        return {position - before * dilation, std::min(length, position + half * dilation + 1), dilation};
    }
    int64_t row(int64_t b, int64_t h, int64_t position) const { return (b * heads + h) * length + position; }
    // Room for the scores of one query, sinks and window each in vectors of their own.
    int64_t most_scores() const { return padded(std::max(2 * half + 1, PIECE + sinks)) + padded(sinks); }
};

template <class Real> struct Forward {
    Shape s;
    Rows<const Real> q, k, v;
    Rows<Real> out;
    Real* lse;    // (batch, heads, length): log of the sum of exponentials, for the backward pass
    Real* parts;  // (batch, heads, pieces, sinks, dim + 2): a piece's sum of values, largest score, sum of weights
    Real scale;

    Real* part(int64_t b, int64_t h, int64_t piece, int64_t sink) const {
        return parts + (((b * s.heads + h) * s.pieces() + piece) * s.sinks + sink) * (s.dim + 2);
    }

    template <int D> void frame(int64_t b, int64_t h, int64_t i, Real* scores) const {
        const Row<D, Real> query(q.at(b, h, i), s.dim);
        const Span seen = s.window(i);
        query.dots(k.at(b, h, 0), k.strides.position, s.sinks, scale, scores);
        query.dots(k.at(b, h, seen.first), seen.step * k.strides.position, seen.count(), scale,
                   scores + s.sinks);
        const auto [largest, sum] = exponentials(scores, s.sinks + seen.count());
        Sum<D, Real> values(out.at(b, h, i), s.dim);
        values.add(scores, v.at(b, h, 0), v.strides.position, s.sinks);
        values.add(scores + s.sinks, v.at(b, h, seen.first), seen.step * v.strides.position, seen.count());
        values.finish(1 / sum);
        lse[s.row(b, h, i)] = largest + std::log(sum);
    }

    template <int D> void sink(int64_t b, int64_t h, int64_t i, int64_t piece, Real* scores) const {
        const Row<D, Real> query(q.at(b, h, i), s.dim);
        const Span seen = s.sinks_keys(piece);
        query.dots(k.at(b, h, seen.first), k.strides.position, seen.count(), scale, scores);
        const auto [largest, sum] = exponentials(scores, seen.count());
        Real* to = part(b, h, piece, i);
        Sum<D, Real> values(to, s.dim);
        values.add(scores, v.at(b, h, seen.first), v.strides.position, seen.count());
        values.finish(1);
        to[s.dim] = largest;
        to[s.dim + 1] = sum;
    }

    void merge(int64_t b, int64_t h, int64_t i) const {
        Real largest = part(b, h, 0, i)[s.dim], sum = 0;
        for (int64_t n = 1; n < s.pieces(); ++n) largest = std::max(largest, part(b, h, n, i)[s.dim]);
        Sum<0, Real> values(out.at(b, h, i), s.dim);
        for (int64_t n = 0; n < s.pieces(); ++n) {
            const Real* from = part(b, h, n, i);
            const Real weight = std::exp(from[s.dim] - largest);
            sum += weight * from[s.dim + 1];
            values.add(&weight, from, 0, 1);
        }
        values.finish(1 / sum);
        lse[s.row(b, h, i)] = largest + std::log(sum);
    }

    template <int D> void run() const {
#pragma omp parallel num_threads(s.threads)
        {
            std::vector<Real> scores(s.most_scores());
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < s.batch * s.pieces(); ++item) {
                const int64_t b = item / s.pieces(), piece = item % s.pieces();
                const Span own = s.piece(piece);
                for (int64_t h = 0; h < s.heads; ++h) {
                    for (int64_t i = own.first; i < own.stop; ++i) frame<D>(b, h, i, scores.data());
                    for (int64_t i = 0; i < s.sinks; ++i) sink<D>(b, h, i, piece, scores.data());
                }
            }
#pragma omp for
            for (int64_t b = 0; b < s.batch; ++b)
                for (int64_t h = 0; h < s.heads; ++h)
                    for (int64_t i = 0; i < s.sinks; ++i) merge(b, h, i);
        }
    }
};

template <class Real> struct Backward {
    Shape s;
    Rows<const Real> q, k, v, out, gradient;  // gradient: of the loss with respect to `out`
    const Real* lse;
    Rows<Real> dq, dk, dv;  // dk and dv begin as zeros; so do the sinks' rows of dq
    Real scale;

    template <int D> struct Query {
        Row<D, Real> query, given;
        Real norm, delta;  // delta: what the softmax subtracts from the gradient of every weight
    };

    template <int D> Query<D> query(int64_t b, int64_t h, int64_t i) const {
        const Row<D, Real> given(gradient.at(b, h, i), s.dim);
        return {Row<D, Real>(q.at(b, h, i), s.dim), given, lse[s.row(b, h, i)], given.dot(out.at(b, h, i))};
    }

    // One query against the keys of a span: adds to their gradients, and to its own.
    template <int D>
    void meet(const Query<D>& one, int64_t b, int64_t h, Span keys, Sum<D, Real>& own, Real* weights) const {
        const int64_t count = keys.count(), whole = padded(count);
        Real* gradients = weights + whole;
        one.query.dots(k.at(b, h, keys.first), keys.step * k.strides.position, count, scale, weights);
        one.given.dots(v.at(b, h, keys.first), keys.step * v.strides.position, count, 1, gradients);
        for (int64_t j = count; j < whole; ++j) weights[j] = gradients[j] = 0;
        for (int64_t j = 0; j < whole; ++j) {
            weights[j] = exponential(weights[j] - one.norm);
            gradients[j] = weights[j] * (gradients[j] - one.delta) * scale;
        }
        own.add(gradients, k.at(b, h, keys.first), keys.step * k.strides.position, count);
        Real *key = dk.at(b, h, keys.first), *value = dv.at(b, h, keys.first);
        for (int64_t j = 0; j < count; ++j) {
            one.query.add_to(key + j * keys.step * dk.strides.position, gradients[j]);
            one.given.add_to(value + j * keys.step * dv.strides.position, weights[j]);
        }
    }

    template <int D> void piece(int64_t b, int64_t h, int64_t n, Real* weights, Real* scratch) const {
        for (int64_t i = s.piece(n).first; i < s.piece(n).stop; ++i) {
            const auto one = query<D>(b, h, i);
            Sum<D, Real> own(dq.at(b, h, i), s.dim);
            meet<D>(one, b, h, {0, s.sinks}, own, weights);
            meet<D>(one, b, h, s.window(i), own, weights);
            own.finish(1);
        }
        for (int64_t i = 0; i < s.sinks; ++i) {
            const auto one = query<D>(b, h, i);
            Sum<D, Real> own(scratch, s.dim);
            meet<D>(one, b, h, s.sinks_keys(n), own, weights);
            own.finish(1);
            Row<0, Real>(scratch, s.dim).add_to(dq.at(b, h, i), 1);
        }
    }

    template <int D> void run() const {
        // No two threads write to the same rows of dk and dv; all heads at once touch each page of memory only once.
        const int64_t groups = s.batch >= 2 * s.threads ? 1 : s.heads, heads = s.heads / groups;
#pragma omp parallel num_threads(s.threads)
        {
            std::vector<Real> weights(2 * s.most_scores()), scratch(s.dim);
#pragma omp for schedule(dynamic)
            for (int64_t item = 0; item < s.batch * groups; ++item) {
                const int64_t b = item / groups, first = item % groups * heads;
                for (int64_t n = 0; n < s.pieces(); ++n)
                    for (int64_t h = first; h < first + heads; ++h) piece<D>(b, h, n, weights.data(), scratch.data());
            }
        }
    }
};

void run_width(const Forward<double>& pass) { pass.run<0>(); }
void run_width(const Backward<double>& pass) { pass.run<0>(); }
template <class Pass> void run_width(const Pass& pass) {
    switch (pass.s.dim) {
        case 16: return pass.template run<16>();
        case 32: return pass.template run<32>();
        case 64: return pass.template run<64>();
        case 128: return pass.template run<128>();
        default: return pass.template run<0>();
    }
}

// sizes: batch, heads, length, dim, half a window, sinks, dilation, threads. strides: of each of the leading pointers in turn.
Shape shape_of(const int64_t* sizes) {
    const int64_t frames = sizes[2] - sizes[5], half = std::min(sizes[4], (frames - 1) / sizes[6]);
    return {sizes[0], sizes[1], sizes[2], sizes[3], half, sizes[5], sizes[6], static_cast<int>(sizes[7])};
}

template <class Real> struct Arguments {
    void* const* rows;
    const Strides* strides;
    Rows<const Real> in(int n) const { return {static_cast<const Real*>(rows[n]), strides[n]}; }
    Rows<Real> to(int n) const { return {static_cast<Real*>(rows[n]), strides[n]}; }
    Real* plain(int n) const { return static_cast<Real*>(rows[n]); }
};

// rows: q, k, v, out; lse, parts
template <class Real> void forward(Arguments<Real> a, const int64_t* sizes, double scale) {
    run_width(Forward<Real>{
        shape_of(sizes), a.in(0), a.in(1), a.in(2), a.to(3), a.plain(4), a.plain(5), static_cast<Real>(scale)});
}

// rows: q, k, v, out, gradient, dq, dk, dv; lse
template <class Real> void backward(Arguments<Real> a, const int64_t* sizes, double scale) {
    run_width(Backward<Real>{shape_of(sizes), a.in(0), a.in(1), a.in(2), a.in(3), a.in(4), a.plain(8), a.to(5), a.to(6),
                             a.to(7), static_cast<Real>(scale)});
}

}  // namespace

extern "C" {
int64_t frames_in_a_piece() { return PIECE; }
#define ENTRY(pass, Real)                                                                             \
    void pass##_##Real(void* const* rows, const int64_t* strides, const int64_t* sizes, double scale) { \
        pass<Real>({rows, reinterpret_cast<const Strides*>(strides)}, sizes, scale);                  \
    }
ENTRY(forward, float)
ENTRY(forward, double)
ENTRY(backward, float)
ENTRY(backward, double)
}
