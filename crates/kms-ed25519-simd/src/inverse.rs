//! Inversion modulo p by divsteps (Bernstein and Yang, "Fast constant-time gcd computation and modular
//! inversion", 2019), in its variable-time form: for public data, and three times as fast as the
//! exponentiation.
//!
//! Numbers are five signed limbs of 62 bits; all but the top one are in [0, 2^62) after every step.

use crate::field::Fe;

type Signed = [i64; 5];

const MASK: i64 = (1 << 62) - 1;
/// p = 2^255 - 19 = 128 · 2^248 - 19.
const P: Signed = [-19, 0, 0, 0, 128];
/// p^-1 modulo 2^62.
const P_INVERSE: i64 = {
    // Newton: each step doubles the number of right bits, from the three of 1/x = x mod 8.
    let p = (-19_i64) as u64;
    let mut x = p;
    let mut i = 0;
    while i < 5 {
        x = x.wrapping_mul(2_u64.wrapping_sub(p.wrapping_mul(x)));
        i += 1;
    }
    (x as i64) & MASK
};

/// 62 divsteps as a matrix: (f, g) becomes (u·f + v·g, q·f + r·g) / 2^62.
struct Matrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

/// 1/x mod p, and 0 for 0.
pub(crate) fn invert(x: Fe) -> Fe {
    let w = x.canonical();
    if w == [0; 4] {
        return Fe([0; 5]);
    }
    let (mut d, mut e): (Signed, Signed) = ([0; 5], [1, 0, 0, 0, 0]);
    let mut f = P;
    let mut g = [
        w[0] as i64 & MASK,
        (w[0] >> 62 | w[1] << 2) as i64 & MASK,
        (w[1] >> 60 | w[2] << 4) as i64 & MASK,
        (w[2] >> 58 | w[3] << 6) as i64 & MASK,
        (w[3] >> 56) as i64,
    ];
    let mut eta = -1;
    while g != [0; 5] {
        let t = divsteps(&mut eta, f[0] as u64, g[0] as u64);
        update_de(&mut d, &mut e, &t);
        update_fg(&mut f, &mut g, &t);
    }
    // Now f is 1 or -1, and f = d·x modulo p.
    from_signed(normalize(d, f[4] < 0))
}

fn divsteps(eta: &mut i64, mut f: u64, mut g: u64) -> Matrix {
    let (mut u, mut v, mut q, mut r) = (1_u64, 0_u64, 0_u64, 1_u64);
    let mut left = 62;
    loop {
        let zeros = (g | u64::MAX << left).trailing_zeros();
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        *eta -= i64::from(zeros);
        left -= zeros;
        if left == 0 {
            break;
        }
        // Cancel as many low bits of g as the sign of eta allows, with a multiple w of f.
        let w;
        if *eta < 0 {
            *eta = -*eta;
            (f, g) = (g, f.wrapping_neg());
            (u, q) = (q, u.wrapping_neg());
            (v, r) = (r, v.wrapping_neg());
            let limit = (*eta + 1).min(i64::from(left)) as u32;
            let mask = u64::MAX >> (64 - limit) & 63;
            w = f.wrapping_mul(g).wrapping_mul(f.wrapping_mul(f).wrapping_sub(2)) & mask;
        } else {
            let limit = (*eta + 1).min(i64::from(left)) as u32;
            let mask = u64::MAX >> (64 - limit) & 15;
            let inverse = f.wrapping_add((f.wrapping_add(1) & 4) << 1);
            w = inverse.wrapping_neg().wrapping_mul(g) & mask;
        }
        g = g.wrapping_add(f.wrapping_mul(w));
        q = q.wrapping_add(u.wrapping_mul(w));
        r = r.wrapping_add(v.wrapping_mul(w));
    }
    Matrix { u: u as i64, v: v as i64, q: q as i64, r: r as i64 }
}

fn mul(a: i64, b: i64) -> i128 {
    i128::from(a) * i128::from(b)
}

/// Applies the matrix to (d, e) modulo p: multiples of p make the division by 2^62 exact.
fn update_de(d: &mut Signed, e: &mut Signed, t: &Matrix) {
    let (sd, se) = (d[4] >> 63, e[4] >> 63);
    let mut md = (t.u & sd) + (t.v & se);
    let mut me = (t.q & sd) + (t.r & se);
    let mut cd = mul(t.u, d[0]) + mul(t.v, e[0]);
    let mut ce = mul(t.q, d[0]) + mul(t.r, e[0]);
    md -= P_INVERSE.wrapping_mul(cd as i64).wrapping_add(md) & MASK;
    me -= P_INVERSE.wrapping_mul(ce as i64).wrapping_add(me) & MASK;
    cd += mul(P[0], md);
    ce += mul(P[0], me);
    cd >>= 62;
    ce >>= 62;
    for i in 1..5 {
        cd += mul(t.u, d[i]) + mul(t.v, e[i]) + mul(P[i], md);
        ce += mul(t.q, d[i]) + mul(t.r, e[i]) + mul(P[i], me);
        d[i - 1] = cd as i64 & MASK;
        e[i - 1] = ce as i64 & MASK;
        cd >>= 62;
        ce >>= 62;
    }
    d[4] = cd as i64;
    e[4] = ce as i64;
}

/// Applies the matrix to (f, g); the division by 2^62 is exact.
fn update_fg(f: &mut Signed, g: &mut Signed, t: &Matrix) {
    let mut cf = (mul(t.u, f[0]) + mul(t.v, g[0])) >> 62;
    let mut cg = (mul(t.q, f[0]) + mul(t.r, g[0])) >> 62;
    for i in 1..5 {
        cf += mul(t.u, f[i]) + mul(t.v, g[i]);
        cg += mul(t.q, f[i]) + mul(t.r, g[i]);
        f[i - 1] = cf as i64 & MASK;
        g[i - 1] = cg as i64 & MASK;
        cf >>= 62;
        cg >>= 62;
    }
    f[4] = cf as i64;
    g[4] = cg as i64;
}

/// From (-2p, p) into [0, p), negated first if asked.
fn normalize(mut r: Signed, negate: bool) -> Signed {
    if r[4] < 0 {
        add_p(&mut r);
    }
    if negate {
        r = r.map(|limb| -limb);
        carry(&mut r);
    }
    if r[4] < 0 {
        add_p(&mut r);
    }
    r
}

fn add_p(r: &mut Signed) {
    r[0] += P[0];
    r[4] += P[4];
    carry(r);
}

fn carry(r: &mut Signed) {
    for i in 0..4 {
        r[i + 1] += r[i] >> 62;
        r[i] &= MASK;
    }
}

fn from_signed(r: Signed) -> Fe {
    let r = r.map(|limb| limb as u64);
    Fe(Fe::limbs_of([
        r[0] | r[1] << 62,
        r[1] >> 2 | r[2] << 60,
        r[2] >> 4 | r[3] << 58,
        r[3] >> 6 | r[4] << 56,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn agrees_with_the_exponentiation() {
        let mut x = Fe([3, 1, 4, 1, 5]);
        for _ in 0..20_000 {
            let inverse = invert(x);
            assert_eq!(inverse.canonical(), x.invert().canonical());
            assert_eq!(inverse.mul(&x).canonical(), [1, 0, 0, 0]);
            x = x.square().add(Fe([7, 0, 0, 0, 0]));
        }
    }

    #[test]
    fn edges() {
        for x in [0, 1, 2, 18, 19, 20] {
            let x = Fe([x, 0, 0, 0, 0]);
            assert_eq!(invert(x).canonical(), x.invert().canonical());
            let minus = Fe([0; 5]).sub(x);
            assert_eq!(invert(minus).canonical(), minus.invert().canonical());
        }
    }
}
