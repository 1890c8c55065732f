//! Archives that are made while they are sent, so that none is ever held as a whole.

use std::io;

use agent_runner_core::{artifact::Artifact, engine::Engine};
use async_zip::{Compression, ZipEntryBuilder, tokio::write::ZipFileWriter};
use bytes::Bytes;
use futures::{
    AsyncWriteExt as _, FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream,
};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tracing::warn;

/// Most files of an archive.
pub(crate) const ENTRIES_MAX: usize = 10_000;
/// Bytes between the archive's maker and the client.
const BUFFER_BYTES: usize = 64 * 1024;

/// Packs the artifacts into `writer`.
async fn pack(engine: Engine, artifacts: Vec<Artifact>, writer: DuplexStream) -> io::Result<()> {
    let mut zip = ZipFileWriter::with_tokio(writer);
    for artifact in artifacts {
        let entry = ZipEntryBuilder::new(artifact.name.clone().into(), Compression::Deflate);
        let mut file = zip.write_entry_stream(entry).await.map_err(io::Error::other)?;
        let mut content = engine.open_artifact(&artifact, None).await.map_err(io::Error::other)?;
        while let Some(piece) = content.next().await {
            file.write_all(&piece?).await?;
        }
        file.close().await.map_err(io::Error::other)?;
    }
    zip.close().await.map_err(io::Error::other)?;
    Ok(())
}

struct Packing {
    pack: Option<BoxFuture<'static, io::Result<()>>>,
    reader: DuplexStream,
    buffer: Vec<u8>,
}

impl Packing {
    /// The next piece; packs while it waits for one.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let packed = async {
                match &mut self.pack {
                    Some(pack) => pack.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                read = self.reader.read(&mut self.buffer) => {
                    let read = read?;
                    let piece = self.buffer.get(..read).unwrap_or_default();
                    return Ok((read > 0).then(|| Bytes::copy_from_slice(piece)));
                }
                result = packed => {
                    self.pack = None;
                    result?;
                }
            }
        }
    }
}

/// A ZIP archive of the artifacts as a stream. An artifact whose bytes cannot be read ends the
/// stream with an error, so that nobody takes half an archive for a whole one. Nothing is packed
/// that nobody reads.
pub(crate) fn stream(
    engine: Engine,
    artifacts: Vec<Artifact>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (reader, writer) = tokio::io::duplex(BUFFER_BYTES);
    let pack = Some(pack(engine, artifacts, writer).boxed());
    let packing = Packing { pack, reader, buffer: vec![0; BUFFER_BYTES] };
    stream::unfold(Some(packing), |packing| async move {
        let mut packing = packing?;
        match packing.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(packing))),
            Ok(None) => None,
            Err(error) => {
                warn!(%error, "an archive broke off");
                Some((Err(error), None))
            }
        }
    })
}
