//! Simulated hosts.
#[cfg(not(madsim))]
compile_error!(
    "`world` needs --cfg madsim. The project's .cargo/config.toml sets it, but an environment variable RUSTFLAGS replaces \
     that file: unset it, or add `--cfg madsim` to it; and build from inside the project's folder."
);
