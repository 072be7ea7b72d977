//! What the benchmarks write: documents of 20 fields, and changes of one field.

use std::net::SocketAddr;

use super::load::{Requests, Template, closed_loop, request};
use crate::cli::output::Failure;

pub const FIELDS: u64 = 20;

/// Connections that prepare documents.
const PREPARING: u64 = 32;

/// Takes turns through documents in an order unlike that of their ids.
const STRIDE: u64 = 7_919;

/// So many changes apart begin those of different connections: their values never meet, and together 64 of
/// them go evenly through 10,000 documents.
const APART: u64 = 1_000_000_157;

/// `PUT`s of every `step`th document.
struct Puts {
    template: Template,
    next: u64,
    step: u64,
    end: u64,
}

/// Merge patches of one field each.
pub struct Patches {
    template: Template,
    documents: u64,
    /// Between the numbers of two of them.
    apart: u64,
    next: u64,
    left: u64,
}

impl Requests for Puts {
    fn next(&mut self) -> Option<&[u8]> {
        let document = self.next;
        self.next += self.step;
        (document < self.end).then(|| self.template.fill(&[document]))
    }
}

impl Patches {
    /// Those of writer number `writer`, at most `count`.
    pub fn new(at: SocketAddr, documents: u64, writer: u64, count: u64) -> Self {
        Self::within("/v1/docs/bench/DDDDD", at, documents, writer * APART, count)
    }

    /// Those of other documents, which are made by their first change.
    pub fn beside(at: SocketAddr, documents: u64, writer: u64) -> Self {
        Self::within("/v1/docs/beside/DDDDD", at, documents, writer * APART, u64::MAX)
    }

    /// Those of documents that a bulk request has made, each of another one until all have had a turn. Two that begin
    /// `count` apart have none in common.
    pub fn of_bulk(at: SocketAddr, documents: u64, first: u64, count: u64) -> Self {
        Self::within("/v1/docs/bulk/00DDDDDDDD", at, documents, first, count)
    }

    /// The same of so many documents that stand `apart` in the order of all. Without end.
    pub fn of_some(at: SocketAddr, documents: u64, apart: u64, writer: u64) -> Self {
        Self { apart, ..Self::of_bulk(at, documents, writer * APART, u64::MAX) }
    }

    fn within(path: &str, at: SocketAddr, documents: u64, next: u64, count: u64) -> Self {
        let body = r#"{"fFF":"value VVVVVVVVVVVVV"}"#;
        let bytes = request("PATCH", path, at, "application/merge-patch+json", body);
        let mark = path.trim_start_matches(|c| c != 'D');
        let template = Template::new(bytes, &[mark, "FF", "VVVVVVVVVVVVV"]);
        Self { template, documents, apart: 1, next, left: count }
    }
}

impl Requests for Patches {
    fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        let (n, documents) = (self.next, self.documents);
        let document = n.wrapping_mul(STRIDE) % documents * self.apart;
        Some(self.template.fill(&[document, n / documents % FIELDS, n]))
    }
}

/// Creates that many documents.
///
/// # Errors
/// When the node does not take one.
pub async fn prepare(at: SocketAddr, documents: u64) -> Result<(), Failure> {
    let fields: Vec<String> = (0..FIELDS).map(|field| format!(r#""f{field:02}":"as it began""#)).collect();
    let body = format!("{{{}}}", fields.join(","));
    let bytes = request("PUT", "/v1/docs/bench/DDDDD", at, "application/json", &body);
    let template = Template::new(bytes, &["DDDDD"]);
    let puts = |n| Puts { template: template.clone(), next: n, step: PREPARING, end: documents };
    closed_loop(at, (0..PREPARING).map(puts).collect(), None).await?;
    Ok(())
}

/// Changes `count` times one field of one of the documents.
///
/// # Errors
/// When the node does not take one.
pub async fn change(at: SocketAddr, documents: u64, connections: u64, count: u64) -> Result<(), Failure> {
    let share = |n| count / connections + u64::from(n < count % connections);
    let patches = (0..connections).map(|n| Patches::new(at, documents, n, share(n))).collect();
    closed_loop(at, patches, None).await?;
    Ok(())
}
