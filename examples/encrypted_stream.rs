//! `EncryptedTarget`: a stream of any length on any target, without a repository.
//!
//! Writes so many MiB of made-up content and reads them back, in constant memory.
//!
//! `cargo run --release -p strongroom-integration-tests --example encrypted_stream -- FOLDER MIB`

#![expect(clippy::print_stdout, reason = "an example talks on standard output")]

use std::{error::Error, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::{
    crypto::{KeyRing, MasterKey},
    encrypted::EncryptedTarget,
    runtime::SystemRandomness,
    target::{ObjectKey, PutMode},
};
use strongroom_local::LocalTarget;

const MIB: usize = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, mib] = arguments.as_slice() else {
        return Err("usage: encrypted_stream FOLDER MIB".into());
    };
    let mib: u64 = mib.parse()?;
    let storage = Arc::new(LocalTarget::create(Path::new(folder)).await?);
    let keys = KeyRing::standalone(MasterKey::generate(&SystemRandomness));
    let target = EncryptedTarget::new(storage, keys);
    let key = ObjectKey::parse("backup.bin")?;

    let content = stream::iter(0..mib).map(|number| Ok::<_, io::Error>(Bytes::from(piece(number))));
    let written = target.put_stream(&key, content, PutMode::Create).await?;
    println!("{written} bytes written");

    let (mut read, mut expected) = (0u64, blake3::Hasher::new());
    (0..mib).for_each(|number| {
        expected.update(&piece(number));
    });
    let mut found = blake3::Hasher::new();
    let mut stream = target.get_stream(&key).await?;
    while let Some(part) = stream.next().await {
        let part = part?;
        read += part.len() as u64;
        found.update(&part);
    }
    assert_eq!(found.finalize(), expected.finalize());
    println!("{read} bytes read back, all as written");
    Ok(())
}

/// The `number`-th MiB: no two are alike.
fn piece(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(MIB / 8)
}
