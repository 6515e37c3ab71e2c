//! Why a handshake with an edge failed, in words that say what to do.

use quinn::ConnectionError;

/// TLS alerts travel as QUIC transport errors from here on (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// What happened and what to do about it.
pub(super) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(e) => our_refusal(&e.reason).unwrap_or_else(|| error.to_string()),
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            if CRYPTO_ERRORS.contains(&code) {
                their_refusal((code - CRYPTO_ERRORS.start) as u8)
            } else {
                format!("the edge gave up: {close}")
            }
        }
        ConnectionError::TimedOut => "the edge fell silent in the middle of it".into(),
        other => other.to_string(),
    }
}

/// We do not trust the edge.
fn our_refusal(reason: &str) -> Option<String> {
    let hint = match reason {
        _ if reason.contains("UnknownIssuer") || reason.contains("BadSignature") => {
            "the edge's certificate is not signed by the CA in cloud_ingest.ca"
        }
        _ if reason.contains("xpired") => "the edge's certificate has expired, or a clock is wrong",
        _ if reason.contains("CertificateRequired") || reason.contains("sent no certificates") => {
            "the edge has no certificate"
        }
        _ => return None,
    };
    Some(format!("{hint} ({reason})"))
}

/// The edge does not trust us.
fn their_refusal(alert: u8) -> String {
    match alert {
        45 => "the edge says that this cloud's certificate has expired: renew cloud_ingest.certificate, or one of the \
               clocks is wrong"
            .into(),
        44 => "the edge says that this cloud's certificate was revoked: get a new cloud_ingest.certificate".into(),
        48 | 51 => "the edge does not know who signed this cloud's certificate: check uplink.ca there".into(),
        42 => "the edge does not accept this cloud's certificate: is uplink.server_name there one of its names?".into(),
        43 | 46 => "the edge does not accept this cloud's certificate: check cloud_ingest.certificate".into(),
        120 => "the other side does not speak drover/1: it is no edge".into(),
        other => format!("the edge refused the TLS handshake (alert {other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ConnectionClose, TransportErrorCode};

    fn closed(error_code: TransportErrorCode) -> String {
        let close = ConnectionClose { error_code, frame_type: None, reason: bytes::Bytes::new() };
        explain(&ConnectionError::ConnectionClosed(close))
    }

    #[test]
    fn each_alert_of_an_edge_says_what_to_check() {
        for (alert, words) in [
            (45, "certificate has expired: renew cloud_ingest.certificate"),
            (48, "certificate: check uplink.ca"),
            (51, "certificate: check uplink.ca"),
            (42, "uplink.server_name"),
            (43, "check cloud_ingest.certificate"),
            (80, "alert 80"),
        ] {
            let said = closed(TransportErrorCode::crypto(alert));
            assert!(said.contains(words), "{alert}: {said}");
            assert!([48, 51].contains(&alert) || !said.contains("uplink.ca "), "{alert}: {said}");
        }
    }

    #[test]
    fn an_edge_that_gave_up_is_not_told_to_check_its_ca() {
        let said = closed(TransportErrorCode::APPLICATION_ERROR);
        assert!(said.contains("gave up") && !said.contains("uplink.ca"), "{said}");
    }
}
