//! The open connections, limited in total and per address.

use std::net::{IpAddr, Ipv6Addr};

use tokio::task::AbortHandle;

use super::connection_grant::{ConnectionGrant, ConnectionWatch};

/// The open connections, oldest first.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    most: usize,
    most_per_address: usize,
    open: Vec<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    network: IpAddr,
    admission: ConnectionWatch,
    task: AbortHandle,
}

impl ConnectionTable {
    /// An empty table for `most` connections, `most_per_address` from one address.
    pub(super) const fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, open: Vec::new() }
    }

    /// Whether a connection from that address may open. Where there are too many, the oldest that has not been admitted
    /// closes instead: a flood then costs its own connections first, and never those of viewers.
    pub(super) fn make_room(&mut self, address: IpAddr) -> bool {
        self.open.retain(|connection| connection.admission.is_open());
        let network = network(address);
        let from_there = self.open.iter().filter(|connection| connection.network == network).count();
        if from_there >= self.most_per_address {
            self.close_oldest(|connection| connection.network == network)
        } else if self.open.len() >= self.most {
            self.close_oldest(|_| true)
        } else {
            true
        }
    }

    fn close_oldest(&mut self, eligible: impl Fn(&OpenConnection) -> bool) -> bool {
        let oldest = self
            .open
            .iter()
            .position(|connection| !connection.admission.is_granted() && eligible(connection));
        let Some(oldest) = oldest else { return false };
        self.open.remove(oldest).task.abort();
        true
    }

    /// Adds a connection that `task` answers.
    pub(super) fn insert(&mut self, address: IpAddr, admission: &ConnectionGrant, task: AbortHandle) {
        self.open.push(OpenConnection { network: network(address), admission: admission.watch(), task });
    }
}

/// What one person commands: an IPv4 address, or the 64-bit prefix of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    /// A table, and connections that stay open until they are aborted.
    struct Bench {
        table: ConnectionTable,
        admissions: Vec<ConnectionGrant>,
    }

    impl Bench {
        /// Whether a connection from `address` may open; opens it.
        fn connect(&mut self, address: &str) -> bool {
            let address = address.parse().unwrap();
            let is_open = self.table.make_room(address);
            if is_open {
                let admission = ConnectionGrant::default();
                let task = tokio::spawn(std::future::pending::<()>());
                self.table.insert(address, &admission, task.abort_handle());
                self.admissions.push(admission);
            }
            is_open
        }

        fn open(&self) -> usize {
            self.table.open.len()
        }
    }

    #[test]
    fn a_flood_costs_its_own_connections_and_never_those_that_were_admitted() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut bench = Bench { table: ConnectionTable::new(8, 4), admissions: Vec::new() };
        for address in ["10.0.0.1", "10.0.0.2"] {
            assert!(bench.connect(address));
        }
        bench.admissions.iter().for_each(ConnectionGrant::grant);
        // Addresses of one IPv6 network count as one, and so do the two forms of an IPv4 address.
        for host in 0..100 {
            assert!(bench.connect(&format!("2001:db8:0:1::{host:x}")));
            assert!(bench.open() <= 6);
        }
        for address in ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"] {
            assert!(bench.connect(address));
        }
        assert_eq!(bench.open(), 8);
        for host in 0..100 {
            assert!(bench.connect(&format!("10.0.1.{host}")));
            assert_eq!(bench.open(), 8);
        }
        let kept = |table: &ConnectionTable, address: &str| {
            let address: IpAddr = address.parse().unwrap();
            table.open.iter().filter(|open| open.network == address && open.admission.is_granted()).count()
        };
        assert_eq!((kept(&bench.table, "10.0.0.1"), kept(&bench.table, "10.0.0.2")), (1, 1));

        // Where all were admitted, the next one waits until one closes.
        bench.admissions.iter().for_each(ConnectionGrant::grant);
        assert!(!bench.connect("10.0.2.1"));
        bench.admissions.clear();
        assert!(bench.connect("10.0.2.1"));
        assert_eq!(bench.open(), 1);
    }
}
