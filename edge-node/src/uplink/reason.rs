//! Why there is no connection, in words that say what to do.

use fleet_wire::control::Code;
use quinn::{ConnectionError, TransportErrorCode};

/// TLS alerts travel as QUIC transport errors from here on (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// What happened and what to do about it.
pub(super) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(e) => match alert(u64::from(e.code)) {
            Some(alert) => our_refusal(alert, &e.reason),
            None => format!("QUIC failed: {e}"),
        },
        // A full cloud has no connection on which it could say so in our own words.
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            "the cloud takes no more connections".into()
        }
        ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
            Some(alert) => their_refusal(alert),
            None => format!("the cloud broke off: {close}"),
        },
        ConnectionError::ApplicationClosed(close) => {
            let said = String::from_utf8_lossy(&close.reason);
            match Code::from_number(close.error_code.into_inner()) {
                Some(Code::ShuttingDown | Code::Done) => "the cloud is shutting down".into(),
                Some(Code::Identity | Code::Refused) => format!("the cloud refused this edge: {said}"),
                Some(Code::Superseded) => {
                    "another connection with this edge's certificate has taken over: if no other process of this edge \
                     runs, the certificate was copied; give each edge its own"
                        .into()
                }
                Some(Code::Busy) => "the cloud takes no more connections".into(),
                Some(Code::Overdue) => format!("the cloud gave up waiting: {said}"),
                _ => format!("the cloud closed the connection ({}): {said}", close.error_code),
            }
        }
        ConnectionError::TimedOut => {
            "no answer: is the cloud running, is uplink.cloud right, and does UDP get through?".into()
        }
        ConnectionError::Reset => "the cloud has restarted".into(),
        other => other.to_string(),
    }
}

fn alert(code: u64) -> Option<u8> {
    CRYPTO_ERRORS.contains(&code).then(|| (code - CRYPTO_ERRORS.start) as u8)
}

/// We do not trust the cloud.
fn our_refusal(alert: u8, reason: &str) -> String {
    // BadSignature: an authority of the same name with another key, as after making development certificates anew.
    if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        return "the cloud's certificate is not signed by the CA in uplink.ca: use the CA that signed it".into();
    }
    if reason.contains("NotValidForName") || reason.contains("not valid for name") {
        return format!("uplink.server_name is not a name of the cloud's certificate ({reason})");
    }
    if reason.contains("xpired") {
        return format!("the cloud's certificate has expired, or the clock of this machine is wrong ({reason})");
    }
    match alert {
        120 => "the other side does not speak drover/1: is uplink.cloud the port of cloud_ingest?".into(),
        _ => format!("TLS with the cloud failed: {reason}"),
    }
}

/// The cloud does not trust us.
fn their_refusal(alert: u8) -> String {
    match alert {
        45 => "the cloud says that this edge's certificate has expired: renew uplink.certificate".into(),
        44 => "the cloud says that this edge's certificate was revoked: get a new one".into(),
        48 | 51 => {
            "the cloud does not know who signed this edge's certificate: get uplink.certificate from the cloud's CA"
                .into()
        }
        42 | 43 | 46 => "the cloud does not accept this edge's certificate: check uplink.certificate".into(),
        116 => "the cloud wants a certificate and got none: check uplink.certificate".into(),
        120 => "the other side does not speak drover/1: is uplink.cloud the port of cloud_ingest?".into(),
        other => format!("the cloud refused the TLS handshake (alert {other})"),
    }
}
