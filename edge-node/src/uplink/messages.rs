//! Control messages on quinn's streams.

use super::connection::SessionError;
use fleet_wire::control::{self, PREFIX_LEN};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a stream ended that should not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the cloud ended the stream")]
    Ended,
    #[error("the cloud reset the stream (code {0})")]
    Reset(u64),
    #[error("{0}")]
    Connection(quinn::ConnectionError),
    #[error("{0}")]
    Malformed(String),
}

impl From<StreamError> for SessionError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Connection(error) => SessionError::Lost(error),
            other => SessionError::Protocol(other.to_string()),
        }
    }
}

impl From<quinn::ReadError> for StreamError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset(code.into_inner()),
            quinn::ReadError::ConnectionLost(error) => Self::Connection(error),
            other => Self::Malformed(other.to_string()),
        }
    }
}

impl From<ReadExactError> for StreamError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Ended,
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Reset(code.into_inner()),
            WriteError::ConnectionLost(error) => Self::Connection(error),
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Sends one message.
pub(super) async fn write<T: Serialize>(stream: &mut SendStream, message: &T) -> Result<(), StreamError> {
    let bytes =
        control::encode(message, control::MESSAGE_LEN_MAX).map_err(|e| StreamError::Malformed(e.to_string()))?;
    Ok(stream.write_chunk(bytes.into()).await?)
}

/// Waits for one message. Not to be cancelled and called again: half a message would be lost.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut RecvStream, len_max: usize) -> Result<T, StreamError> {
    let malformed = |e: control::ControlError| StreamError::Malformed(format!("the cloud sent nonsense: {e}"));
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let mut body = vec![0; control::message_len(prefix, len_max).map_err(malformed)?];
    stream.read_exact(&mut body).await?;
    control::decode(&body).map_err(malformed)
}
