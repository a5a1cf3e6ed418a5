//! The bytes of every message, packet and stored table, frozen per version.
//!
//! When one of these fails, fix the code, never the test: stations in the field use these bytes. A variant that is new
//! is appended to its enum, and its row to the table here.

#![allow(clippy::unwrap_used, reason = "a row that does not decode is a failed test")]

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

#[path = "golden_bytes/stored_v1.rs"]
mod stored_v1;
#[path = "golden_bytes/v1.rs"]
mod v1;

/// The variants of an enum, in their order: the match fails to compile when one is missing.
struct Variants<T> {
    names: &'static [&'static str],
    name_of: fn(&T) -> &'static str,
}

macro_rules! variants {
    ($enum:ident: $($variant:ident)*) => {
        $crate::Variants::<$enum> {
            names: &[$(stringify!($variant)),*],
            name_of: |value| match value {
                $($enum::$variant { .. } => stringify!($variant),)*
            },
        }
    };
}
pub(crate) use variants;

/// Checks every row both ways, and that every variant has a row and its number.
fn check<T>(variants: &Variants<T>, rows: &[(T, &str)])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for (value, expected) in rows {
        let bytes = postcard::to_allocvec(value).unwrap();
        assert_eq!(hex(&bytes), squeezed(expected), "{value:?}");
        assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), value);
        let number = variants.names.iter().position(|&name| name == (variants.name_of)(value));
        assert_eq!(number, Some(usize::from(bytes[0])), "{value:?}");
    }
    for &name in variants.names {
        assert!(rows.iter().any(|(value, _)| (variants.name_of)(value) == name), "{name} has no row");
    }
}

/// The digest of all rows: the digits 0 to 9 and the letters a to v, in ASCII.
const DIGEST: &str = "303132333435363738396162636465666768696a6b6c6d6e6f70717273747576";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a row without its spaces and with its digest written out.
fn squeezed(row: &str) -> String {
    row.split_whitespace().collect::<String>().replace("digest", DIGEST)
}
