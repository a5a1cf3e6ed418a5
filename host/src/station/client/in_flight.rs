//! Requests that were sent ahead of the responses to earlier ones.

use std::collections::VecDeque;

/// Requests without a response yet, each with what it is about.
///
/// The line keeps order: a response means that every earlier request, or its response, is lost.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    requests: VecDeque<(u16, T)>,
}

impl<T> InFlight<T> {
    pub(super) const fn new() -> Self {
        Self { requests: VecDeque::new() }
    }

    /// A request of that sequence number was sent.
    pub(super) fn push(&mut self, sequence: u16, item: T) {
        self.requests.push_back((sequence, item));
    }

    /// A response arrived: what its request is about, and what the lost requests before it are about. `None` when nobody
    /// waits for it any more.
    pub(super) fn acknowledge(&mut self, sequence: u16) -> Option<(T, Vec<T>)> {
        let at = self.requests.iter().position(|&(sent, _)| sent == sequence)?;
        let lost = self.requests.drain(..at).map(|(_, item)| item).collect();
        self.requests.pop_front().map(|(_, item)| (item, lost))
    }

    /// Stops waiting for the responses to requests that are about anything else than `keep` accepts.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.requests.retain(|(_, item)| keep(item));
    }

    /// Stops waiting for every response.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = T> {
        self.requests.drain(..).map(|(_, item)| item)
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_acknowledges_its_request_and_gives_up_those_before_it() {
        let mut in_flight = InFlight::new();
        (0..5).for_each(|at| in_flight.push(65_534_u16.wrapping_add(at), at));
        assert_eq!(in_flight.acknowledge(65_534), Some((0, vec![])));
        assert_eq!(in_flight.acknowledge(1), Some((3, vec![1, 2])));
        assert_eq!(in_flight.acknowledge(0), None, "given up before");
        in_flight.push(3, 5);
        in_flight.retain(|&at| at != 5);
        assert_eq!(in_flight.len(), 1);
        assert_eq!(in_flight.clear().collect::<Vec<_>>(), [4]);
        assert_eq!(in_flight.acknowledge(2), None);
    }
}
