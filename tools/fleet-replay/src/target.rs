//! Where to publish: `mqtt://user:password@host:port`, or `mqtts://` for TLS.

use std::fmt;
use std::str::FromStr;

const PORT_PLAIN: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// An edge's MQTT listener, and the login for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("an edge is given as mqtt://user:password@host:port, or mqtts:// for TLS".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let (username, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((username, "")) => (Some(percent_decoded(username)?), None),
            Some((username, password)) => (Some(percent_decoded(username)?), Some(percent_decoded(password)?)),
            None => (None, None),
        };
        let (host, port) = split_port(address)?;
        if host.is_empty() || host.contains(['/', '?', '#']) {
            return Err(format!("{address:?} is not host:port"));
        }
        let port = port.unwrap_or(if tls { PORT_TLS } else { PORT_PLAIN });
        Ok(Self { tls, host: host.to_owned(), port, username, password })
    }
}

/// Without the password: it is printed.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), String> {
    let port_of = |text: &str| text.parse::<u16>().map(Some).map_err(|_| format!("{text:?} is not a port"));
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or("an IPv6 address ends with ]")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port_of(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("{rest:?} after the address is not a port")),
        };
    }
    match address.split_once(':') {
        Some((host, port)) => Ok((host, port_of(port)?)),
        None => Ok((address, None)),
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut hex = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match (hex(), hex()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err("after a % come two hex digits; write a % itself as %25".to_owned()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "user and password must be UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_ports_and_logins() {
        let target: Target = "mqtt://fleet:se%40cret@127.0.0.1:1884".parse().unwrap();
        assert_eq!((target.tls, &*target.host, target.port), (false, "127.0.0.1", 1884));
        assert_eq!((target.username.as_deref(), target.password.as_deref()), (Some("fleet"), Some("se@cret")));
        assert_eq!(format!("{target} {target:?}"), "mqtt://127.0.0.1:1884 mqtt://127.0.0.1:1884");
        let target: Target = "mqtts://[::1]".parse().unwrap();
        assert_eq!((target.tls, &*target.host, target.port, target.username), (true, "::1", 8883, None));
    }

    #[test]
    fn refuses_what_is_no_target() {
        for wrong in [
            "",
            "localhost:1883",
            "http://x",
            "mqtt://",
            "mqtt://x:99999",
            "mqtt://a%zz@x",
            "mqtt://[::1",
            "mqtt://x/y",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
