//! Real processes, real sockets, real data folders: what is promised to people, checked from outside.

mod bad_links;
mod bad_requests;
mod bulk;
mod client;
mod cluster;
mod crashes;
mod lifecycle;
mod peer;
mod proxy;
mod raw_changes;
mod recorded;
mod replicas;
mod slow_clients;
mod slow_peers;
mod typing;
mod watching;
