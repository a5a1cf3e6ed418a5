//! Who can use the page.
//!
//! On loopback, only programs of this machine can reach it. A page of another site in the same browser must not, which
//! the request's host name and origin show. Beyond loopback a request needs a token, which the address printed at the
//! start carries.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use rand::Rng as _;

/// The cookie's name ends in the page's port: browsers send a host's cookies to all of its ports, and pages on two ports
/// have two tokens.
const COOKIE: &str = "nuclei-token-";

/// What a request must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessPolicy {
    /// That it is meant for this machine.
    Loopback,
    /// A token.
    Token {
        /// 32 hexadecimal digits.
        token: String,
        /// The page's port.
        port: u16,
    },
}

impl AccessPolicy {
    /// What a page at that address asks for: a new token beyond loopback.
    pub fn of(address: SocketAddr) -> Self {
        if address.ip().is_loopback() {
            Self::Loopback
        } else {
            Self::Token { token: format!("{:032x}", rand::rng().random::<u128>()), port: address.port() }
        }
    }

    /// Whether a request with those headers and that query may be answered.
    pub fn allows(&self, headers: &HeaderMap, query: &str) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(host) = text(header::HOST) else { return false };
        let is_own = text(header::ORIGIN).is_none_or(|origin| {
            origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        });
        is_own
            && match self {
                Self::Loopback => is_loopback_name(host),
                Self::Token { token, port } => {
                    let cookies = text(header::COOKIE).unwrap_or_default();
                    let shown = query.split('&').filter_map(|pair| pair.strip_prefix("token="));
                    let kept = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
                    let kept = kept.filter(|&(name, _)| is_cookie_of(name, *port)).map(|(_, value)| value);
                    shown.chain(kept).any(|shown| is_same(shown, token))
                }
            }
    }

    /// The part of the page's address that carries the token.
    pub fn query(&self) -> String {
        match self {
            Self::Loopback => String::new(),
            Self::Token { token, .. } => format!("?token={token}"),
        }
    }

    /// The cookie that replaces the token in the address.
    pub fn cookie(&self) -> Option<String> {
        match self {
            Self::Loopback => None,
            Self::Token { token, port } => {
                Some(format!("{COOKIE}{port}={token}; HttpOnly; SameSite=Strict; Path=/"))
            }
        }
    }
}

fn is_cookie_of(name: &str, port: u16) -> bool {
    name.strip_prefix(COOKIE).is_some_and(|ending| ending == port.to_string())
}

fn is_loopback_name(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// Constant-time comparison.
fn is_same(shown: &str, token: &str) -> bool {
    let differing = shown.bytes().zip(token.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    shown.len() == token.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn loopback_is_for_this_machine_and_this_page() {
        let cases: [(&[(header::HeaderName, &str)], bool); 7] = [
            (&[(header::HOST, "127.0.0.1:8070")], true),
            (&[(header::HOST, "localhost:8070"), (header::ORIGIN, "http://localhost:8070")], true),
            (&[(header::HOST, "[::1]:8070")], true),
            // Another site's page, another site's name for this address, and no name at all.
            (&[(header::HOST, "localhost:8070"), (header::ORIGIN, "http://evil.example")], false),
            (&[(header::HOST, "localhost:8070"), (header::ORIGIN, "null")], false),
            (&[(header::HOST, "evil.example:8070")], false),
            (&[], false),
        ];
        for (pairs, allowed) in cases {
            assert_eq!(AccessPolicy::Loopback.allows(&headers(pairs), ""), allowed, "{pairs:?}");
        }
    }

    #[test]
    fn elsewhere_the_token_is_needed() {
        let policy = AccessPolicy::of("0.0.0.0:8070".parse().unwrap());
        let AccessPolicy::Token { token, .. } = &policy else { panic!("no token") };
        assert_ne!(policy, AccessPolicy::of("0.0.0.0:8070".parse().unwrap()));
        let host = (header::HOST, "bench.lab:8070");
        let cookie = format!("a=b; {COOKIE}8070={token}");
        assert!(policy.allows(&headers(std::slice::from_ref(&host)), &format!("x=1&token={token}")));
        assert!(policy.allows(&headers(&[host.clone(), (header::COOKIE, &cookie)]), ""));
        for query in
            ["", "token=", &format!("token={}", &token[1..]), "token=00000000000000000000000000000000"]
        {
            assert!(!policy.allows(&headers(std::slice::from_ref(&host)), query), "{query}");
        }
        assert_eq!(policy.query(), format!("?token={token}"));
        assert!(policy.cookie().unwrap().contains(token));
    }
    #[test]
    fn pages_on_two_ports_of_one_machine_do_not_share_a_cookie() {
        let policies =
            ["0.0.0.0:8070", "0.0.0.0:8071"].map(|address| AccessPolicy::of(address.parse().unwrap()));
        // What a browser stores of the two pages, which it sends to both.
        let stored = policies.each_ref().map(|policy| policy.cookie().unwrap());
        let names = stored.each_ref().map(|cookie| cookie.split('=').next().unwrap());
        assert_ne!(names[0], names[1]);
        let sent = stored.each_ref().map(|cookie| cookie.split(';').next().unwrap()).join("; ");
        for (policy, host) in policies.iter().zip(["bench.lab:8070", "bench.lab:8071"]) {
            assert!(policy.allows(&headers(&[(header::HOST, host), (header::COOKIE, &sent)]), ""), "{host}");
            let other = stored.iter().find(|cookie| policy.cookie().as_ref() != Some(cookie)).unwrap();
            let other = other.split(';').next().unwrap();
            assert!(!policy.allows(&headers(&[(header::HOST, host), (header::COOKIE, other)]), ""), "{host}");
        }
    }
}
