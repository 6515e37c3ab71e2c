//! Control messages on quinn's streams.

use fleet_wire::control::{self, EncodedSet, PREFIX_LEN};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The edge is done with it, or gone.
    #[error("the edge ended the stream")]
    Ended,
    #[error("it breaks the protocol: {0}")]
    Malformed(String),
}

impl From<ReadExactError> for StreamError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(0) => Self::Ended,
            ReadExactError::FinishedEarly(_) => Self::Malformed("it ended in the middle of a message".into()),
            // A reset or a lost connection: what it was about is sent again on the next one.
            ReadExactError::ReadError(_) => Self::Ended,
        }
    }
}

impl From<WriteError> for StreamError {
    fn from(_: WriteError) -> Self {
        Self::Ended
    }
}

/// Sends one message.
pub(super) async fn write<T: Serialize>(
    stream: &mut SendStream,
    message: &T,
    len_max: usize,
) -> Result<(), StreamError> {
    let bytes = control::encode(message, len_max).map_err(|e| StreamError::Malformed(e.to_string()))?;
    Ok(stream.write_chunk(bytes.into()).await?)
}

/// Sends deployments.
pub(super) async fn write_set(stream: &mut SendStream, set: &EncodedSet, len_max: usize) -> Result<(), StreamError> {
    let mut pieces = set.encode(len_max).map_err(|e| StreamError::Malformed(e.to_string()))?;
    Ok(stream.write_all_chunks(&mut pieces).await?)
}

/// Waits for one message. Not to be cancelled and called again: half a message would be lost.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut RecvStream, len_max: usize) -> Result<T, StreamError> {
    let malformed = |e: control::ControlError| StreamError::Malformed(e.to_string());
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let mut body = vec![0; control::message_len(prefix, len_max).map_err(malformed)?];
    stream.read_exact(&mut body).await?;
    control::decode(&body).map_err(malformed)
}
