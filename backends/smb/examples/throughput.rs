//! How fast one large object goes up and down, beside `smbclient` with the same bytes.
//!
//! `cargo run -p strongroom-smb --example throughput -- smb://user@host:port/share/folder [MiB]`
//! with `STRONGROOM_SMB_PASSWORD` set; needs `smbclient`.

use std::{
    error::Error,
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_backend_support::Environment;
use strongroom_core::target::{BackupTarget, ByteRange, ObjectKey, Payload, PutMode};
use strongroom_smb::{SmbConfig, SmbTarget};

const MIB: usize = 1 << 20;
/// What is read at once, as a restore reads packs.
const RANGE_MIB: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: throughput smb://user@host/share/folder [MiB]")?;
    let size_mib = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let config = SmbConfig::from_url(&url, &Environment::process())?;
    let piece = Bytes::from(noise(MIB));

    let target = SmbTarget::create(config.clone()).await?;
    let key = ObjectKey::parse("throughput")?;
    let began = Instant::now();
    let pieces = stream::iter(vec![piece.clone(); size_mib]).map(Ok).boxed();
    target.put(&key, Payload::Streamed(pieces), PutMode::Replace).await?;
    report("strongroom put", size_mib, began)?;
    let began = Instant::now();
    for at in (0..size_mib).step_by(RANGE_MIB) {
        let length = (RANGE_MIB.min(size_mib - at) * MIB) as u64;
        let range = ByteRange::From { offset: (at * MIB) as u64, length };
        if target.get(&key, range).await?.len() as u64 != length {
            return Err("bytes are missing".into());
        }
    }
    report("strongroom get", size_mib, began)?;
    target.delete(&key).await?;
    smbclient(&config, &piece, size_mib)
}

/// The same with the client of Samba.
fn smbclient(config: &SmbConfig, piece: &[u8], size_mib: usize) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let mut file = std::fs::File::create(&there)?;
    for _ in 0..size_mib {
        file.write_all(piece)?;
    }
    let (there, back) = (there.display(), back.display());
    let name = format!("{}/throughput-smbclient", config.path.join("/"));
    for (what, command) in [
        ("smbclient put", format!("put {there} {name}")),
        ("smbclient get", format!("get {name} {back}")),
        ("", format!("del {name}")),
    ] {
        let began = Instant::now();
        let status = Command::new("smbclient")
            .arg(format!("//{}/{}", config.host, config.share))
            .args(["-p", &config.port.to_string(), "-U", &config.user, "-m", "SMB3"])
            .args(["-c", &command])
            .env("PASSWD", config.password.as_ref().map_or("", |password| password.expose()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("smbclient failed: {command}").into());
        }
        if !what.is_empty() {
            report(what, size_mib, began)?;
        }
    }
    Ok(())
}

fn report(what: &str, size_mib: usize, began: Instant) -> std::io::Result<()> {
    let seconds = began.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{what}: {:.0} MiB/s", size_mib as f64 / seconds)
}

/// Bytes that nothing on the way can make smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
