//! Real processes, real sockets, real data folders: what is promised to people, checked from outside.

mod bad_links;
mod bad_requests;
mod bulk;
mod client;
mod cluster;
mod commands;
mod copies;
mod crashes;
mod damage;
mod disks;
mod fold;
mod lifecycle;
mod peer;
mod proxy;
mod raw_changes;
mod recorded;
mod repair;
mod replicas;
mod schema;
mod slow_clients;
mod slow_peers;
mod subscriber;
mod subscriptions;
mod typing;
mod watch;
mod watching;
