#![no_main]

libfuzzer_sys::fuzz_target!(
    // The engine's own panics are caught, as on a station; the fuzzer's hook would end the process at each.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| nuclei_fuzz::onnx(bytes)
);
