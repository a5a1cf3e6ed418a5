//! One station as the host reaches it: the protocol's client, the keys that sign changes, simulated stations.

pub mod bundled;
pub mod client;
pub mod key_store;
pub mod link_state;
pub mod model_check;
pub mod slug;
pub mod station_process;
pub mod virtual_line;
