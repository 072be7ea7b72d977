//! The store: a trait with its contract, RocksDB, and an in-memory model.
