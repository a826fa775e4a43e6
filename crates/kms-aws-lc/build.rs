//! Says where AWS-LC is built with its assembly for Curve25519, by the rule of its own header
//! (`CURVE25519_S2N_BIGNUM_CAPABLE`).

fn main() {
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    println!("cargo::rustc-check-cfg=cfg(assembly)");
    let arch = matches!(target("ARCH").as_str(), "x86_64" | "aarch64");
    if arch && matches!(target("OS").as_str(), "linux" | "macos") {
        println!("cargo::rustc-cfg=assembly");
    }
}
