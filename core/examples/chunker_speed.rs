//! Prints how fast this machine cuts content, per core: `cargo run --release --example
//! chunker_speed`.

use std::{hint::black_box, time::Instant};

use strongroom_core::chunker::{ChunkParams, Chunker};

const BUFFER_BYTES: usize = 256 << 20;
const ROUNDS: usize = 5;

#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
#[expect(clippy::print_stdout, reason = "a program, not the library")]
fn main() {
    let mut data = vec![0; BUFFER_BYTES];
    blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut data);
    for (min, average, max) in
        [(128 << 10, 512 << 10, 2 << 20), (32 << 10, 128 << 10, 512 << 10), (4096, 16384, 65536)]
    {
        let params = ChunkParams::content_defined(min, average, max).expect("valid sizes");
        let chunker = Chunker::new(&[7; 32], params);
        let best = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                black_box(count_chunks(&chunker, black_box(&data)));
                start.elapsed()
            })
            .min()
            .expect("some rounds");
        let chunks = count_chunks(&chunker, &data);
        println!(
            "average {average:>7}: {:>5.2} GB/s, {chunks} chunks of {} bytes on average",
            BUFFER_BYTES as f64 / best.as_secs_f64() / 1e9,
            BUFFER_BYTES / chunks,
        );
    }
}

fn count_chunks(chunker: &Chunker, mut data: &[u8]) -> usize {
    let mut chunks = 0;
    while let Some(length) = chunker.cut(data, true) {
        data = &data[length..];
        chunks += 1;
    }
    chunks
}
