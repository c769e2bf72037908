#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| umbel::fuzzing::local::http_answer(data));
